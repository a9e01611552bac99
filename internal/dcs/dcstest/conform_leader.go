package dcstest

import (
	"errors"

	"pgha/internal/dcs"
)

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

// acquireEmpty: a key that names nobody is nobody's.
func acquireEmpty(s *suite) {
	a := s.alive("a", longTTL)
	s.Put(dcs.KeyLeader, "")
	if c := s.load(a); c.Leader != nil || len(c.Damaged) != 1 {
		s.Errorf("an empty leader key: leader %+v, damaged %q", c.Leader, c.Damaged)
	}
	l, err := a.AcquireLeader(s.ctx)
	s.must(err)
	s.leader(a, "a", l.ID)
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
	_, err := a.RenewLeader(s.ctx, seen)
	s.wants(err, dcs.ErrConflict)
	if c := s.load(a); c.Leader != nil {
		s.Errorf("the renewal made %+v", c.Leader)
	}
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
