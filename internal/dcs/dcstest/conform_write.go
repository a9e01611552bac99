package dcstest

import (
	"pgha/internal/dcs"
)

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
