package sim

import "time"

// Faults of a whole machine: power, pauses, clocks.

// powerOff ends everything on the machine; it comes back with a new clock.
func (m *machine) powerOff(d time.Duration) {
	if m.off || m.frozen {
		return
	}
	m.s.tell(m.name, "machine lost, back in %v", d)
	m.off, m.remnant = true, false
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
		m.stops()
	}
	if still || m.s.opt.Plant == PlantClockStops {
		m.clock.stop()
	}
	m.s.after(d, func() {
		m.frozen = false
		if m.clock.stopped {
			m.clock.start()
		}
		m.goesOn()
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

// jumpWall sets the machine's civil time hours ahead or back, and right again
// after a while. Only schedules may notice.
func (s *Sim) jumpWall(m *machine, d time.Duration) {
	by := s.dur(-5*time.Hour, 5*time.Hour)
	s.tell(m.name, "civil time jumps by %v for %v", by, d)
	c := m.clock
	c.wall += by
	s.after(d, func() { c.wall -= by })
}
