package sim

import "time"

// The end of a run: no new faults, the cluster heals, nothing changes any more.

// peace: no new faults. The present ones last at most three times the ttl
// longer; from then on the cluster has its time to heal.
func (s *Sim) peace() {
	s.tell("-", "no new faults")
	s.shape.loss, s.shape.slow, s.shape.slowServer, s.shape.stray = 0, 0, 0, 0
	s.after(3*s.shape.ttl, s.resumeCluster) // a restored etcd may have brought a pause back
	s.after(4*s.shape.ttl, func() { s.heals(s.now.Add(s.bound())) })
}

// bound is how long the cluster may take to be whole again.
func (s *Sim) bound() time.Duration { return 3*s.shape.ttl + 60*time.Second }

// heals waits for the cluster to be whole, and then for nothing to happen.
func (s *Sim) heals(until Time) {
	why := s.checks.unhealed()
	switch {
	case why == "":
		leader, promotions := s.etcd.leader(), s.checks.tally.Promotions
		s.tell("-", "healed under %s", leader)
		s.after(2*s.shape.ttl, func() {
			if now := s.checks.unhealed(); now != "" || s.etcd.leader() != leader || s.checks.tally.Promotions != promotions {
				s.checks.fail("needless change in peace: leader %q -> %q, %s", leader, s.etcd.leader(), now)
				return
			}
			s.checks.final()
			s.ended = true
		})
	case s.now > until:
		s.checks.fail("not healed in time: %s", why)
	default:
		s.after(500*time.Millisecond, func() { s.heals(until) })
	}
}
