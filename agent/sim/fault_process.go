package sim

import (
	"time"

	"pgha/agent/ha"
)

// Faults of one process: an agent, a guard, a PostgreSQL.

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
			m.thawedAt = m.s.now // what it was told meanwhile it does now
			sv.thaw()
		})
	}
}
