package dcstest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// Harness is one empty scope of the store under test and what a test may do
// to it from outside.
type Harness struct {
	// Open returns the scope as the member sees it ("": a tool). The harness
	// closes what it opened at the end of the test.
	Open func(member string, ttl time.Duration) dcs.Store
	// Put and Delete change a key by hand, without lease or guard.
	Put    func(key dcs.Key, value string)
	Delete func(key dcs.Key)
	// Revoke ends a lease at once.
	Revoke func(dcs.LeaseID)
	// Pass lets a little time go by: up to a second on a clock that is moved
	// by hand, some milliseconds of real time.
	Pass func()
	// Clock is the store's.
	Clock clock.Clock
	// ShortTTL is the shortest lease the store grants as asked.
	ShortTTL time.Duration
}

// Factory makes an empty scope.
type Factory func(t *testing.T) Harness

// patience bounds every wait of the suite, in real time.
const patience = 20 * time.Second

// longTTL is a lease no test outlives.
const longTTL = 60 * time.Second

// Run checks that a store does what dcs.Store says.
func Run(t *testing.T, make Factory) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"an empty scope", emptyScope},
		{"damaged values never fail a read", damagedValues},
		{"a member's key", memberKey},
		{"keepalive keeps the lease", keepAliveKeeps},
		{"another ttl is another lease", otherTTL},
		{"acquire", acquire},
		{"two members race", race},
		{"renew writes nothing", renewWritesNothing},
		{"renew re-attaches after another ttl", reattachOtherTTL},
		{"renew re-creates after the lease is gone", reattachGone},
		{"renew tells a lost key", renewLost},
		{"take", take},
		{"release", release},
		{"release of a key that is not ours", releaseNotOurs},
		{"hand over", handOver},
		{"hand over is guarded", handOverGuards},
		{"apply guards", applyGuards},
		{"apply is all or nothing", applyAllOrNothing},
		{"a leased write", leasedWrite},
		{"member and leader vanish together", expiry},
		{"a lease that is gone is granted anew", grantAnew},
		{"what wakes", wakes},
		{"an expired leader key wakes", wakesOnExpiry},
		{"what does not wake", noWakes},
		{"remove", remove},
		{"an ended context", endedContext},
		{"a tool", tool},
		{"closed", closedStore},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			test.run(&suite{T: t, Harness: make(t), ctx: ctx})
		})
	}
}

// suite is one running test.
type suite struct {
	*testing.T
	Harness
	ctx context.Context
}

func (s *suite) load(st dcs.Store) *dcs.Cluster {
	s.Helper()
	c, err := st.Load(s.ctx)
	if err != nil {
		s.Fatalf("load: %v", err)
	}
	return c
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) wants(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("got error %v, want %v", err, want)
	}
}

// alive opens a member that has published itself.
func (s *suite) alive(name string, ttl time.Duration) dcs.Store {
	s.Helper()
	st := s.Open(name, ttl)
	_, err := st.KeepAlive(s.ctx)
	s.must(err)
	s.must(st.PutMember(s.ctx, dcs.MemberData{State: "running", Role: "replica"}))
	return st
}

// leading opens a member that is alive and holds the leader key.
func (s *suite) leading(name string, ttl time.Duration) (dcs.Store, dcs.Lease) {
	s.Helper()
	st := s.alive(name, ttl)
	l, err := st.AcquireLeader(s.ctx)
	s.must(err)
	return st, l
}

// leader checks who holds the key, under which lease.
func (s *suite) leader(st dcs.Store, name string, lease dcs.LeaseID) dcs.Leader {
	s.Helper()
	c := s.load(st)
	if c.Leader == nil || c.Leader.Name != name || c.Leader.Lease != lease {
		s.Fatalf("leader is %+v, want %s with lease %x", c.Leader, name, lease)
	}
	return *c.Leader
}

// until lets time pass until ok says so.
func (s *suite) until(what string, ok func() bool) {
	s.Helper()
	for !ok() {
		if s.ctx.Err() != nil {
			s.Fatalf("waited in vain until %s", what)
		}
		s.Pass()
	}
}

func emptyScope(s *suite) {
	c := s.load(s.Open("a", longTTL))
	if c.Initialize != nil || c.Config != nil || c.Leader != nil || c.Members != nil || c.Failover != nil ||
		c.FailoverRevision != 0 || c.Sync.Leader != "" || c.HistoryRaw != "" || c.Failsafe != nil || c.Damaged != nil {
		s.Errorf("empty scope reads as %+v", c)
	}
}

func damagedValues(s *suite) {
	st := s.Open("a", longTTL)
	for _, k := range []dcs.Key{
		dcs.KeyInitialize, dcs.KeyConfig, dcs.KeyStatus, dcs.KeyFailover, dcs.KeySync, dcs.KeyHistory,
		dcs.KeyFailsafe, dcs.MemberKey("b"),
	} {
		s.Put(k, "\xff{")
	}
	s.Put("unknown/key", "x")
	c := s.load(st)
	if len(c.Damaged) != 7 { // initialize is plain text
		s.Errorf("damaged: %q, want seven remarks", c.Damaged)
	}
	if c.Config == nil || c.Config.Valid || c.Config.Revision == 0 || c.FailoverRevision == 0 || c.Sync.Revision == 0 {
		s.Errorf("damaged keys lost their revisions: %+v", c)
	}
}

func memberKey(s *suite) {
	st := s.Open("a", longTTL)
	data := dcs.MemberData{
		ConnURL: "postgres://h:1/postgres", APIURL: "http://h:2/patroni", State: "running", Role: "replica",
		Version: "4.1.5", Tags: map[string]any{"clonefrom": true, "failover_priority": 2}, Location: 7, Timeline: 3,
	}
	s.must(st.PutMember(s.ctx, data)) // without a KeepAlive before
	l, err := st.KeepAlive(s.ctx)
	s.must(err)
	c := s.load(st)
	m := c.Member("a")
	if m == nil || m.Lease != l.ID || m.Revision == 0 || !dcs.EqualMember(m.MemberData, data) {
		s.Fatalf("member reads as %+v, want %+v under lease %x", m, data, l.ID)
	}
	if c.Revision < m.Revision {
		s.Errorf("cluster revision %d before the member's %d", c.Revision, m.Revision)
	}
}

func keepAliveKeeps(s *suite) {
	st := s.Open("a", longTTL)
	var last dcs.Lease
	for range 3 {
		before := s.Clock.Now()
		l, err := st.KeepAlive(s.ctx)
		s.must(err)
		if l.ID == 0 || l.TTL < longTTL || l.SentAt.Before(before) || l.SentAt.After(s.Clock.Now()) {
			s.Fatalf("lease %+v, want at least %v from a send time after %d", l, longTTL, before)
		}
		if last.ID != 0 && l.ID != last.ID {
			s.Fatalf("lease changed from %x to %x", last.ID, l.ID)
		}
		last = l
		s.Pass()
	}
}

func otherTTL(s *suite) {
	st := s.Open("a", longTTL)
	first, err := st.KeepAlive(s.ctx)
	s.must(err)
	st.SetTTL(longTTL)
	same, err := st.KeepAlive(s.ctx)
	s.must(err)
	if same.ID != first.ID {
		s.Fatal("the same ttl gave another lease")
	}
	st.SetTTL(2 * longTTL)
	other, err := st.KeepAlive(s.ctx)
	s.must(err)
	if other.ID == first.ID || other.TTL < 2*longTTL {
		s.Fatalf("lease %+v after a new ttl, want another one of %v", other, 2*longTTL)
	}
}

func acquire(s *suite) {
	a, b := s.alive("a", longTTL), s.alive("b", longTTL)
	l, err := a.AcquireLeader(s.ctx)
	s.must(err)
	s.leader(b, "a", l.ID)
	if m := s.load(b).Member("a"); m.Lease != l.ID {
		s.Errorf("member key under lease %x, leader key under %x: they must vanish together", m.Lease, l.ID)
	}
	_, err = b.AcquireLeader(s.ctx)
	s.wants(err, dcs.ErrConflict)
	_, err = a.AcquireLeader(s.ctx)
	s.wants(err, dcs.ErrConflict)
	s.leader(b, "a", l.ID)
}

func race(s *suite) {
	members := []dcs.Store{s.alive("a", longTTL), s.alive("b", longTTL)}
	for round := range 10 {
		results := make(chan error, len(members))
		for _, m := range members {
			go func() {
				_, err := m.AcquireLeader(s.ctx)
				results <- err
			}()
		}
		wins := 0
		for range members {
			switch err := <-results; {
			case err == nil:
				wins++
			case !errors.Is(err, dcs.ErrConflict):
				s.Fatalf("round %d: %v", round, err)
			}
		}
		if wins != 1 {
			s.Fatalf("round %d: %d members acquired the key", round, wins)
		}
		s.Delete(dcs.KeyLeader)
	}
}

func renewWritesNothing(s *suite) {
	a, l := s.leading("a", longTTL)
	seen := s.leader(a, "a", l.ID)
	before := s.load(a).Revision
	again, err := a.RenewLeader(s.ctx, seen)
	s.must(err)
	if again.ID != l.ID || again.SentAt.Before(l.SentAt) {
		s.Errorf("renewed %+v, had %+v", again, l)
	}
	if got := s.leader(a, "a", l.ID); got.Revision != seen.Revision || s.load(a).Revision != before {
		s.Errorf("renewal wrote: revision %d, was %d", got.Revision, seen.Revision)
	}
}

func reattachOtherTTL(s *suite) {
	a, l := s.leading("a", longTTL)
	seen := s.leader(a, "a", l.ID)
	a.SetTTL(2 * longTTL)
	fresh, err := a.RenewLeader(s.ctx, seen)
	s.must(err)
	if fresh.ID == l.ID {
		s.Fatal("no new lease")
	}
	s.leader(a, "a", fresh.ID)
	s.Revoke(l.ID) // the old one runs out: the key must not go with it
	s.leader(a, "a", fresh.ID)
}

func reattachGone(s *suite) {
	a, l := s.leading("a", longTTL)
	seen := s.leader(a, "a", l.ID)
	s.Revoke(l.ID)
	if c := s.load(a); c.Leader != nil || c.Member("a") != nil {
		s.Fatalf("after the lease: leader %+v, members %+v", c.Leader, c.Members)
	}
	fresh, err := a.RenewLeader(s.ctx, seen)
	s.must(err)
	s.leader(a, "a", fresh.ID)
}

func renewLost(s *suite) {
	a, l := s.leading("a", longTTL)
	seen := s.leader(a, "a", l.ID)
	s.Revoke(l.ID)
	b, theirs := s.leading("b", longTTL)
	_, err := a.RenewLeader(s.ctx, seen)
	s.wants(err, dcs.ErrLeaderLost)
	s.leader(b, "b", theirs.ID)
}

func take(s *suite) {
	b, _ := s.leading("b", longTTL)
	a := s.alive("a", longTTL)
	l, err := a.TakeLeader(s.ctx)
	s.must(err)
	s.leader(b, "a", l.ID)
	s.Delete(dcs.KeyLeader)
	l, err = a.TakeLeader(s.ctx)
	s.must(err)
	s.leader(b, "a", l.ID)
}

func release(s *suite) {
	a, _ := s.leading("a", longTTL)
	status := dcs.EncodeStatus(dcs.Status{Optime: 7})
	s.must(a.ReleaseLeader(s.ctx, dcs.Write{Key: dcs.KeyStatus, Value: status}))
	c := s.load(a)
	if c.Leader != nil || c.Status.Optime != 7 {
		s.Errorf("leader %+v, optime %d after the release", c.Leader, c.Status.Optime)
	}
	if c.Member("a") == nil {
		s.Error("the member key went with the leader key: the lease must live on")
	}
}

func releaseNotOurs(s *suite) {
	a := s.alive("a", longTTL)
	w := dcs.Write{Key: dcs.KeyStatus, Value: []byte(`{"optime":7}`)}
	s.wants(a.ReleaseLeader(s.ctx, w), dcs.ErrConflict)
	b, l := s.leading("b", longTTL)
	s.wants(a.ReleaseLeader(s.ctx, w), dcs.ErrConflict)
	s.leader(b, "b", l.ID)
	if got := s.load(b).Status.Optime; got != 0 {
		s.Errorf("optime %d was written without the key", got)
	}
}

func handOver(s *suite) {
	a, _ := s.leading("a", longTTL)
	b := s.alive("b", longTTL)
	s.Put(dcs.KeyFailover, `{"leader":"a","member":"b"}`)
	candidate := *s.load(a).Member("b")
	s.must(a.HandOver(s.ctx, candidate, dcs.Write{Key: dcs.KeyStatus, Value: []byte(`{"optime":7}`)}))
	seen := s.leader(b, "b", candidate.Lease)
	c := s.load(b)
	if c.Failover != nil || c.FailoverRevision == 0 || c.Status.Optime != 7 {
		s.Errorf("failover %+v at %d, optime %d", c.Failover, c.FailoverRevision, c.Status.Optime)
	}
	// One transaction: everything carries one revision.
	if seen.Revision != c.FailoverRevision || seen.Revision != c.Status.Revision {
		s.Errorf("revisions %d, %d, %d differ", seen.Revision, c.FailoverRevision, c.Status.Revision)
	}
	_, err := b.RenewLeader(s.ctx, seen)
	s.must(err)
	if got := s.leader(b, "b", candidate.Lease); got.Revision != seen.Revision {
		s.Error("the new leader had to re-attach the key")
	}
	_, err = a.AcquireLeader(s.ctx)
	s.wants(err, dcs.ErrConflict)
	s.wants(a.ReleaseLeader(s.ctx), dcs.ErrConflict)
	_, err = a.RenewLeader(s.ctx, dcs.Leader{Name: "a"})
	s.wants(err, dcs.ErrLeaderLost)
}

func handOverGuards(s *suite) {
	a, l := s.leading("a", longTTL)
	b := s.alive("b", longTTL)
	old := *s.load(a).Member("b")
	w := dcs.Write{Key: dcs.KeyStatus, Value: []byte(`{"optime":7}`)}

	b.SetTTL(2 * longTTL) // another lease under the same name: b may have restarted
	_, err := b.KeepAlive(s.ctx)
	s.must(err)
	s.must(b.PutMember(s.ctx, dcs.MemberData{State: "running"}))
	s.wants(a.HandOver(s.ctx, old, w), dcs.ErrConflict)

	now := *s.load(a).Member("b")
	s.wants(b.HandOver(s.ctx, now, w), dcs.ErrConflict) // b does not lead
	s.Revoke(now.Lease)
	s.wants(a.HandOver(s.ctx, now, w), dcs.ErrConflict)                                       // b is gone
	s.wants(a.HandOver(s.ctx, dcs.Member{Name: "nobody"}, w), dcs.ErrConflict)                // never was
	s.wants(a.HandOver(s.ctx, dcs.Member{Name: "nobody", Lease: l.ID}, w), dcs.ErrConflict)   // another's lease
	s.wants(a.HandOver(s.ctx, now, dcs.Write{Key: "x", Value: []byte("y")}), dcs.ErrConflict) // nothing of it
	s.leader(a, "a", l.ID)
	if c := s.load(a); c.Status.Optime != 0 || c.FailoverRevision != 0 {
		s.Errorf("a refused hand-over wrote: %+v", c)
	}
}

func applyGuards(s *suite) {
	a, l := s.leading("a", longTTL)
	b := s.alive("b", longTTL)
	put := func(g dcs.Guard) dcs.Write { return dcs.Write{Key: dcs.KeyConfig, Value: []byte(`{}`), Guard: g} }

	s.wants(a.Apply(s.ctx, put(dcs.Guard{Revision: 1 << 40})), dcs.ErrConflict)
	s.must(a.Apply(s.ctx, put(dcs.Guard{Absent: true})))
	s.wants(a.Apply(s.ctx, put(dcs.Guard{Absent: true})), dcs.ErrConflict)
	at := s.load(a).Config.Revision
	s.must(b.Apply(s.ctx, put(dcs.Guard{Revision: at})))
	s.wants(b.Apply(s.ctx, put(dcs.Guard{Revision: at})), dcs.ErrConflict)
	s.must(a.Apply(s.ctx, put(dcs.Guard{Leader: true})))
	s.wants(b.Apply(s.ctx, put(dcs.Guard{Leader: true})), dcs.ErrConflict)
	at = s.load(a).Config.Revision
	s.must(a.Apply(s.ctx, put(dcs.Guard{Leader: true, Revision: at})))
	s.must(b.Apply(s.ctx, put(dcs.Guard{})))
	s.must(b.Apply(s.ctx))

	s.must(b.Apply(s.ctx, dcs.Write{Key: dcs.KeyInitialize, Value: []byte{}}))
	if i := s.load(a).Initialize; i == nil || i.SystemID != "" {
		s.Errorf("initialize %+v, want present and empty", i)
	}
	at = s.load(a).Config.Revision
	s.wants(b.Apply(s.ctx, dcs.Write{Key: dcs.KeyConfig, Guard: dcs.Guard{Revision: at + 1}}), dcs.ErrConflict)
	s.must(b.Apply(s.ctx, dcs.Write{Key: dcs.KeyConfig, Guard: dcs.Guard{Revision: at}}))
	if s.load(a).Config != nil {
		s.Error("config was not deleted")
	}
	s.leader(a, "a", l.ID)
}

func applyAllOrNothing(s *suite) {
	a := s.alive("a", longTTL)
	s.Put(dcs.KeySync, `{"leader":"a"}`)
	writes := []dcs.Write{
		{Key: dcs.KeyHistory, Value: []byte(`[]`)},
		{Key: dcs.KeySync, Guard: dcs.Guard{Absent: true}},
		{Key: dcs.KeyInitialize, Value: []byte("7012345678901234567"), Guard: dcs.Guard{Absent: true}},
	}
	s.wants(a.Apply(s.ctx, writes...), dcs.ErrConflict)
	if c := s.load(a); c.HistoryRaw != "" || c.Initialize != nil || c.Sync.Leader != "a" {
		s.Fatalf("a refused write left traces: %+v", c)
	}
	writes[1].Guard = dcs.Guard{Revision: s.load(a).Sync.Revision}
	s.must(a.Apply(s.ctx, writes...))
	if c := s.load(a); c.HistoryRaw != "[]" || !c.Initialize.SystemID.Valid() || c.Sync.Revision != 0 {
		s.Fatalf("not everything was written: %+v", c)
	}
}

func leasedWrite(s *suite) {
	a := s.Open("a", longTTL)
	claim := dcs.Write{Key: dcs.KeyInitialize, Value: []byte{}, Leased: true, Guard: dcs.Guard{Absent: true}}
	s.wants(a.Apply(s.ctx, claim), dcs.ErrConflict) // no lease yet
	l, err := a.KeepAlive(s.ctx)
	s.must(err)
	s.must(a.Apply(s.ctx, claim))
	s.Revoke(l.ID)
	if i := s.load(a).Initialize; i != nil {
		s.Errorf("the claim outlived its member: %+v", i)
	}
	s.wants(a.Apply(s.ctx, claim), dcs.ErrConflict) // the lease is gone
	l, err = a.KeepAlive(s.ctx)
	s.must(err)
	s.must(a.Apply(s.ctx, claim))
	s.must(a.Apply(s.ctx, dcs.Write{Key: dcs.KeyInitialize, Value: []byte("7012345678901234567")}))
	s.Revoke(l.ID)
	if i := s.load(a).Initialize; i == nil || !i.SystemID.Valid() {
		s.Errorf("a later put without the lease did not detach the key: %+v", i)
	}
}

func expiry(s *suite) {
	watcher := s.alive("b", longTTL)
	_, l := s.leading("a", s.ShortTTL)
	var c *dcs.Cluster
	s.until("a's keys are gone", func() bool {
		c = s.load(watcher)
		if (c.Leader == nil) != (c.Member("a") == nil) {
			s.Fatalf("leader %+v without member %+v, or the reverse", c.Leader, c.Member("a"))
		}
		return c.Leader == nil
	})
	if now := s.Clock.Now(); now.Before(l.Deadline()) {
		s.Errorf("keys vanished %v before the lease's end", l.Deadline().Sub(now))
	}
	if c.Member("b") == nil {
		s.Error("b's key vanished too")
	}
}

func grantAnew(s *suite) {
	a := s.alive("a", longTTL)
	l, err := a.KeepAlive(s.ctx)
	s.must(err)
	s.Revoke(l.ID)
	fresh, err := a.KeepAlive(s.ctx)
	s.must(err)
	if fresh.ID == l.ID || fresh.ID == 0 {
		s.Fatalf("lease %x after %x was revoked", fresh.ID, l.ID)
	}
	s.Revoke(fresh.ID)
	s.must(a.PutMember(s.ctx, dcs.MemberData{State: "running"}))
	if m := s.load(a).Member("a"); m == nil || m.Lease == fresh.ID || m.Lease == 0 {
		s.Fatalf("member %+v, want it under a new lease", m)
	}
	s.Revoke(s.load(a).Member("a").Lease)
	l, err = a.AcquireLeader(s.ctx)
	s.must(err)
	s.leader(a, "a", l.ID)
}

// settle waits until the store has been quiet for a while.
func (s *suite) settle(st dcs.Store) {
	for quiet := 0; quiet < 10; quiet++ {
		select {
		case <-st.Wakes():
			quiet = 0
		default:
			s.Pass()
		}
	}
}

// woken waits for a wake-up.
func (s *suite) woken(st dcs.Store, after string) {
	s.Helper()
	s.until("it woke after "+after, func() bool {
		select {
		case <-st.Wakes():
			return true
		default:
			return false
		}
	})
}

var waking = []dcs.Key{dcs.KeyLeader, dcs.KeyConfig, dcs.KeyFailover, dcs.KeySync, dcs.KeyInitialize}

func wakes(s *suite) {
	st := s.Open("a", longTTL)
	s.settle(st)
	for _, k := range waking {
		s.Put(k, "x")
		s.woken(st, "creation of "+string(k))
		s.Put(k, "y")
		s.woken(st, "change of "+string(k))
		s.Delete(k)
		s.woken(st, "deletion of "+string(k))
	}
}

func wakesOnExpiry(s *suite) {
	st := s.Open("a", longTTL)
	_, l := s.leading("b", longTTL)
	s.settle(st)
	s.Revoke(l.ID)
	s.woken(st, "the leader's lease ended")
}

func noWakes(s *suite) {
	st := s.Open("a", longTTL)
	s.settle(st)
	b := s.alive("b", longTTL)
	for _, k := range []dcs.Key{dcs.KeyStatus, dcs.KeyHistory, dcs.KeyFailsafe, "optime/leader", "pgha/lock", "leaders", "confi"} {
		s.Put(k, "x")
	}
	s.must(b.PutMember(s.ctx, dcs.MemberData{State: "stopped"}))
	for range 10 {
		s.Pass()
		select {
		case <-st.Wakes():
			s.Fatal("woken by a key that concerns nobody at once")
		default:
		}
	}
	s.Put(dcs.KeyConfig, "{}") // it still can be woken
	s.woken(st, "config")
}

func remove(s *suite) {
	a, _ := s.leading("a", longTTL)
	s.Put("pgha/lock", "x")
	s.Put(dcs.KeyConfig, "{}")
	s.must(s.Open("", longTTL).Remove(s.ctx))
	if c := s.load(a); c.Leader != nil || c.Config != nil || c.Members != nil {
		s.Errorf("left after remove: %+v", c)
	}
}

func endedContext(s *suite) {
	a, l := s.leading("a", longTTL)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err := a.Load(ctx)
	s.wants(err, dcs.ErrUnavailable)
	_, err = a.KeepAlive(ctx)
	s.wants(err, dcs.ErrUnavailable)
	_, err = a.RenewLeader(ctx, dcs.Leader{Name: "a", Lease: l.ID})
	s.wants(err, dcs.ErrUnavailable)
	err = a.Apply(ctx, dcs.Write{Key: dcs.KeyConfig, Value: []byte("{}")})
	if !errors.Is(err, dcs.ErrUnavailable) && !errors.Is(err, dcs.ErrUnknownOutcome) || !dcs.Failed(err) {
		s.Errorf("apply: %v", err)
	}
	s.leader(a, "a", l.ID)
}

func tool(s *suite) {
	_, l := s.leading("a", longTTL)
	st := s.Open("", longTTL)
	s.leader(st, "a", l.ID)
	s.must(st.Apply(s.ctx, dcs.Write{Key: dcs.KeyFailover, Value: []byte(`{"member":"b"}`)}))
	if f := s.load(st).Failover; f == nil || f.Candidate != "b" {
		s.Errorf("failover %+v", f)
	}
	if _, err := st.KeepAlive(s.ctx); err == nil {
		s.Error("a tool got a lease")
	}
	s.wants(st.ReleaseLeader(s.ctx), dcs.ErrConflict)
	s.wants(st.Apply(s.ctx, dcs.Write{Key: dcs.KeyConfig, Value: []byte("{}"), Guard: dcs.Guard{Leader: true}}), dcs.ErrConflict)
	s.leader(st, "a", l.ID)
}

func closedStore(s *suite) {
	a, l := s.leading("a", longTTL)
	s.must(a.Close())
	s.must(a.Close())
	_, err := a.Load(s.ctx)
	s.wants(err, dcs.ErrUnavailable)
	// The lease is not revoked.
	c := s.load(s.Open("b", longTTL))
	if c.Leader == nil || c.Leader.Lease != l.ID || !slices.ContainsFunc(c.Members, func(m dcs.Member) bool { return m.Name == "a" }) {
		s.Errorf("closing took the keys: %+v", c)
	}
}
