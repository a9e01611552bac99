package sim

import "time"

// Faults between members, and between members and etcd.

// slowAnswers: etcd's answers reach the member late for a while, and then
// agent and guard freeze: how long was the lease really good for?
func (s *Sim) slowAnswers(m *machine) {
	if leader := s.machineNamed(s.etcd.leader()); leader != nil {
		m = leader
	}
	link, by, d := [2]int{etcdAt, m.at}, s.dur(500*time.Millisecond, s.shape.retry*9/20), s.dur(s.shape.loop, 3*s.shape.loop)
	s.tell(m.name, "answers of etcd take %v longer for %v", by, d)
	s.net.lag[link] = by
	s.after(d, func() {
		delete(s.net.lag, link)
		long := s.dur(s.shape.ttl, 3*s.shape.ttl)
		m.freezeGuard(long)
		m.freezeAgent(long)
	})
}

// cutOff separates a member from all others; way: 0 both, 1 out, 2 in.
func (s *Sim) cutOff(m *machine, d time.Duration, way int) {
	s.tell(m.name, "cut off from the members for %v, way %d", d, way)
	for _, o := range s.nodes {
		if o != m {
			s.cut(m.at, o.at, d, way)
		}
	}
	if s.chance(0.5) {
		s.cutFromEtcd(m, d, way)
	}
}

func (s *Sim) cutFromEtcd(m *machine, d time.Duration, way int) {
	s.tell(m.name, "cut off from etcd for %v, way %d", d, way)
	s.cut(m.at, etcdAt, d, way)
}

func (s *Sim) cut(a, b int, d time.Duration, way int) {
	if way != 2 {
		s.net.block(a, b, d)
	}
	if way != 1 {
		s.net.block(b, a, d)
	}
}
