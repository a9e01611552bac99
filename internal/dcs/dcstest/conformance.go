package dcstest

import (
	"context"
	"errors"
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
		{"acquire an empty key", acquireEmpty},
		{"two members race", race},
		{"renew writes nothing", renewWritesNothing},
		{"renew re-attaches after another ttl", reattachOtherTTL},
		{"renew does not re-create a key that is gone", reattachGone},
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
