package sim

import "time"

// Several things die or freeze, one right after the other, in every order.

// inOrder does two to four things to one machine within moments.
func (s *Sim) inOrder(m *machine, d time.Duration) {
	acts := []func(){
		func() { m.killAgent(d) },
		func() { m.killAgent(s.dur(0, 50*time.Millisecond)) }, // handed over to the next one
		func() { m.freezeAgent(d) },
		func() { m.killGuard() },
		func() { m.freezeGuard(d) },
		func() { m.killUndertaker() },
		func() { m.crashPostgres() },
		func() { m.freezePostgres(d) },
		func() { m.pause(d, s.chance(0.2)) },
		func() { s.cutFromEtcd(m, d, s.rng.IntN(3)) },
	}
	s.tell(m.name, "several faults in a row")
	at := time.Duration(0)
	for _, i := range s.rng.Perm(len(acts))[:2+s.rng.IntN(3)] {
		s.after(at, acts[i])
		at += s.dur(0, 30*time.Millisecond)
	}
}

// pauseTwo stops two machines at once, each with its own end.
func (s *Sim) pauseTwo(m *machine, d time.Duration) {
	m.pause(d, s.chance(0.2))
	s.nodes[(m.at+1)%len(s.nodes)].pause(s.length(), s.chance(0.2))
}

// pauseOverLease stops the leader's machine until somebody else leads, and a
// little longer: it goes on with what it believed.
func (s *Sim) pauseOverLease(m *machine, _ time.Duration) {
	if leader := s.machineNamed(s.etcd.leader()); leader != nil {
		m = leader
	}
	m.pause(s.shape.ttl+s.dur(0, s.shape.ttl), s.chance(0.3))
}
