package dcstest

import (
	"context"
	"errors"
	"slices"

	"pgha/internal/dcs"
)

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
	if len(c.Damaged) != 8 {
		s.Errorf("damaged: %q, want a remark each", c.Damaged)
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
