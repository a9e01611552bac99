package sim

import (
	"time"

	"pgha/agent/ha"
	"pgha/internal/dcs"
)

// plan schedules a run: the cluster comes up, faults come and go, they end,
// the cluster heals, and then nothing changes any more.
func (s *Sim) plan() {
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
	if !m.s.troubled() || !m.s.chance(m.s.shape.strike) {
		return
	}
	m.s.after(m.s.dur(0, 5*time.Millisecond), func() {
		m.s.tell(m.name, "struck: %s", step)
		m.s.fault(m)
	})
}

// fault does one thing to that machine, or to what it depends on.
func (s *Sim) fault(m *machine) {
	s.checks.tally.Faults++
	if s.shape.failsafe && s.chance(0.3) {
		s.outage()
		return
	}
	d := s.length()
	switch s.rng.IntN(21) {
	case 0:
		m.killAgent(d)
	case 1, 2:
		m.freezeAgent(d)
	case 3:
		m.starve(d)
	case 4:
		m.killGuard()
	case 5:
		m.freezeGuard(d)
	case 6:
		m.crashPostgres()
	case 7:
		m.freezePostgres(d)
	case 8:
		m.powerOff(d)
	case 9, 10:
		m.pause(d, false)
	case 11:
		m.pause(d, s.chance(0.3))
	case 12:
		s.cutOff(m, d, s.rng.IntN(3))
	case 13:
		s.cutFromEtcd(m, d, s.rng.IntN(3))
	case 14:
		s.tell("etcd", "silent for %v", d)
		s.etcd.hush(d)
	case 15:
		s.tell("etcd", "changes its leader")
		s.etcd.hush(s.dur(200*time.Millisecond, 2500*time.Millisecond))
	case 16:
		s.slowAnswers(m)
	default:
		s.operate(m)
	}
}

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

func (m *machine) killAgent(d time.Duration) {
	if a := m.agent; a != nil && !a.dead {
		a.tell("agent killed, back in %v", d)
		a.kill()
		if m.db.data == ha.DataPresent && m.db.run == nil && m.db.half {
			a.tell("a rewind was cut short")
		}
		m.s.after(d, m.boot)
	}
}

func (m *machine) freezeAgent(d time.Duration) {
	if a := m.agent; a != nil && !a.dead && !a.frozen {
		a.tell("agent frozen for %v", d)
		a.frozen = true
		m.s.after(d, func() {
			if !a.dead {
				a.tell("agent thaws")
				a.thaw()
			}
		})
	}
}

func (m *machine) starve(d time.Duration) {
	if a := m.agent; a != nil && a.lag == 0 {
		a.lag = m.s.dur(0, m.s.shape.ttl/4)
		a.tell("agent starved by up to %v for %v", a.lag, d)
		m.s.after(d, func() { a.lag = 0 })
	}
}

func (m *machine) killGuard() {
	if sv := m.db.run; sv != nil {
		m.s.tell(m.name, "guard killed")
		sv.guard.die("killed")
	}
}

func (m *machine) freezeGuard(d time.Duration) {
	if sv := m.db.run; sv != nil && !sv.guard.frozen {
		g := sv.guard
		m.s.tell(m.name, "guard frozen for %v", d)
		g.frozen = true
		m.s.after(d, g.thaw)
		if m.s.chance(0.5) {
			m.freezeAgent(d)
		}
	}
}

func (m *machine) crashPostgres() {
	if sv := m.db.run; sv != nil {
		sv.exit("crashed")
	}
}

func (m *machine) freezePostgres(d time.Duration) {
	if sv := m.db.run; sv != nil && !sv.frozen {
		m.s.tell(m.name, "postgres frozen for %v", d)
		sv.frozen = true
		m.s.after(d, func() {
			m.sureFrom = max(m.sureFrom, m.s.now.Add(time.Second)) // what it was told meanwhile it does now
			sv.thaw()
		})
	}
}

// powerOff ends everything on the machine; it comes back with a new clock.
func (m *machine) powerOff(d time.Duration) {
	if m.off || m.frozen {
		return
	}
	m.s.tell(m.name, "machine lost, back in %v", d)
	m.off = true
	if m.agent != nil {
		m.agent.kill()
	}
	if sv := m.db.run; sv != nil {
		sv.exit("machine lost")
	}
	m.kernel.kill()
	m.s.after(d, func() {
		m.off = false
		m.clock = newMachineClock(m.s)
		m.kernel = &actor{m: m}
		m.boot()
	})
}

// pause stops the whole machine. Either its clock goes on meanwhile, or it
// stands still and nothing on the machine can know.
func (m *machine) pause(d time.Duration, still bool) {
	if m.frozen || m.off {
		return
	}
	m.s.tell(m.name, "machine paused for %v, clock stands still: %t", d, still)
	m.frozen = true
	if still {
		m.unsure, m.knows, m.sureFrom = true, false, 0
	}
	if still || m.s.opt.Plant == PlantClockStops {
		m.clock.stop()
	}
	m.s.after(d, func() {
		m.frozen, m.resumedAt = false, m.s.now
		if m.clock.stopped {
			m.clock.start()
		}
		m.s.tell(m.name, "machine goes on")
		m.resume()
	})
}

// resume lets the machine's parts go on: what the kernel's timers have to do
// comes first, before any process runs again.
func (m *machine) resume() {
	held := m.kernel.deferred
	m.kernel.deferred = nil
	for _, do := range held {
		do()
	}
	parts := []*actor{}
	if m.agent != nil && !m.agent.frozen {
		parts = append(parts, &m.agent.actor)
	}
	if sv := m.db.run; sv != nil {
		if !sv.guard.frozen {
			parts = append(parts, &sv.guard.actor)
		}
		if !sv.frozen {
			parts = append(parts, &sv.actor)
		}
	}
	for _, a := range parts {
		a.thaw()
	}
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

// operate is somebody at a keyboard.
func (s *Sim) operate(m *machine) {
	other := s.nodes[s.rng.IntN(len(s.nodes))].name
	leader := s.etcd.leader()
	switch s.rng.IntN(12) {
	case 10, 11:
		in := s.dur(0, 3*s.shape.loop)
		at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(s.now.Add(in)))
		if s.chance(0.5) {
			other = ""
		}
		s.tell("op", "switchover from %s to %q in %v", leader, other, in)
		s.etcd.put(dcs.KeyFailover, string(dcs.EncodeFailover(&dcs.Failover{Leader: leader, Candidate: other, ScheduledAt: at})))
	case 0, 7:
		s.tell("op", "switchover away from %s", leader)
		s.etcd.put(dcs.KeyFailover, requestText(leader, ""))
	case 1, 8, 9:
		s.tell("op", "switchover from %s to %s", leader, other)
		s.etcd.put(dcs.KeyFailover, requestText(leader, other))
	case 2:
		s.tell("op", "failover to %s", other)
		s.etcd.put(dcs.KeyFailover, requestText("", other))
	case 3:
		m.request(ha.Request{Kind: ha.RequestRestart})
	case 4:
		m.request(ha.Request{Kind: ha.RequestReinit, Force: s.chance(0.5)})
	case 5:
		s.pauseCluster()
	case 6:
		s.tell("op", "deletes the leader key by hand")
		s.checks.excuse(2*s.shape.ttl + 10*time.Second)
		if m := s.machineNamed(leader); m != nil && (m.frozen || m.agent == nil || m.agent.frozen) {
			s.checks.excuse(10 * time.Minute) // it cannot know before it goes on (rulings 9)
		}
		s.etcd.remove(dcs.KeyLeader)
	}
}

func (m *machine) request(r ha.Request) {
	if a := m.agent; a != nil && !a.dead && a.loop != nil {
		a.tell("operator's request %d", r.Kind)
		a.run(func() { a.ha.Submit(r) })
	}
}

// pauseCluster pauses the cluster's automation for a while (rulings 7).
func (s *Sim) pauseCluster() {
	if s.etcd.keys[dcs.KeyConfig].value == nil {
		return
	}
	d := s.length()
	s.tell("op", "pauses the cluster for %v", d)
	s.checks.excuse(d + 3*s.shape.ttl + 10*time.Second)
	s.etcd.put(dcs.KeyConfig, string(configDocument(s.shape, true)))
	s.after(d, s.resumeCluster)
}

func (s *Sim) resumeCluster() {
	s.tell("op", "resumes the cluster")
	if s.etcd.keys[dcs.KeyConfig].value != nil {
		s.etcd.put(dcs.KeyConfig, string(configDocument(s.shape, false)))
	}
}

// peace: no new faults. The present ones last at most three times the ttl
// longer; from then on the cluster has its time to heal.
func (s *Sim) peace() {
	s.tell("-", "no new faults")
	s.shape.loss, s.shape.slow, s.shape.slowServer = 0, 0, 0
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
