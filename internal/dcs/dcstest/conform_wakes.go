package dcstest

import (
	"pgha/internal/dcs"
)

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
