package sim

import "time"

// plan schedules a run: the cluster comes up, faults come and go, they end,
// the cluster heals, and then nothing changes any more.
func (s *Sim) plan() {
	if s.opt.script != nil {
		s.opt.script(s)
		return
	}
	if !s.opt.Calm {
		s.after(s.dur(0, 20*time.Second), s.nextFault)
	}
	s.after(s.shape.trouble, s.peace)
}

func (s *Sim) troubled() bool { return !s.opt.Calm && s.now < Time(s.shape.trouble) }

func (s *Sim) nextFault() {
	if !s.troubled() {
		return
	}
	s.fault(s.victim())
	s.after(s.dur(0, 2*s.shape.pressure), s.nextFault)
}

// victim is mostly the leader.
func (s *Sim) victim() *machine {
	if m := s.machineNamed(s.etcd.leader()); m != nil && s.chance(0.6) {
		return m
	}
	return s.nodes[s.rng.IntN(len(s.nodes))]
}

// length of a fault: a moment, or longer than any lease.
func (s *Sim) length() time.Duration {
	switch s.rng.IntN(3) {
	case 0:
		return s.dur(0, time.Second)
	case 1:
		return s.dur(0, s.shape.ttl)
	default:
		return s.dur(s.shape.ttl/2, 3*s.shape.ttl)
	}
}

// strike hits a step that matters, sometimes.
func (m *machine) strike(step string) {
	if hook := m.s.opt.hook; hook != nil {
		hook(m, step)
	}
	if hit := focus[m.s.opt.Plant][step]; hit != nil && m.s.troubled() {
		hit(m)
		return
	}
	if !m.s.troubled() || !m.s.chance(m.s.shape.strike) {
		return
	}
	m.s.after(m.s.dur(0, 5*time.Millisecond), func() {
		m.s.tell(m.name, "struck: %s", step)
		m.s.fault(m)
	})
}

// faults are all that can happen to a machine, or to what it depends on, and
// how often of their sum. One line each; what they do is in fault_*.go.
var faults = []struct {
	weight int
	do     func(s *Sim, m *machine, d time.Duration)
}{
	{2, func(_ *Sim, m *machine, d time.Duration) { m.killAgent(d) }},
	{4, func(_ *Sim, m *machine, d time.Duration) { m.freezeAgent(d) }},
	{2, func(_ *Sim, m *machine, d time.Duration) { m.starve(d) }},
	{2, func(_ *Sim, m *machine, _ time.Duration) { m.killGuard() }},
	{2, func(_ *Sim, m *machine, d time.Duration) { m.freezeGuard(d) }},
	{2, func(_ *Sim, m *machine, _ time.Duration) { m.crashPostgres() }},
	{2, func(_ *Sim, m *machine, d time.Duration) { m.freezePostgres(d) }},
	{2, func(_ *Sim, m *machine, d time.Duration) { m.powerOff(d) }},
	{4, func(_ *Sim, m *machine, d time.Duration) { m.pause(d, false) }},
	{2, func(s *Sim, m *machine, d time.Duration) { m.pause(d, s.chance(0.3)) }},
	{1, (*Sim).pauseTwo},
	{1, (*Sim).pauseOverLease},
	{1, (*Sim).jumpWall},
	{2, func(s *Sim, m *machine, d time.Duration) { s.cutOff(m, d, s.rng.IntN(3)) }},
	{2, func(s *Sim, m *machine, d time.Duration) { s.cutFromEtcd(m, d, s.rng.IntN(3)) }},
	{2, func(s *Sim, m *machine, _ time.Duration) { s.slowAnswers(m) }},
	{2, (*Sim).silence},
	{2, (*Sim).changeLeader},
	{1, (*Sim).restore},
	{1, (*Sim).wipe},
	{3, (*Sim).inOrder},
	{8, func(s *Sim, m *machine, _ time.Duration) { s.operate(m) }},
}

// fault does one thing to that machine, or to what it depends on.
func (s *Sim) fault(m *machine) {
	s.checks.tally.Faults++
	if s.shape.failsafe && s.chance(0.3) {
		s.outage()
		return
	}
	d, sum := s.length(), 0
	for _, f := range faults {
		sum += f.weight
	}
	at := s.rng.IntN(sum)
	for _, f := range faults {
		if at -= f.weight; at < 0 {
			f.do(s, m, d)
			return
		}
	}
}
