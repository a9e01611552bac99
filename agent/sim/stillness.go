package sim

import (
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// stillness is what is excused after a machine's clock stood still, and no
// more (rulings 10): nothing on such a machine can know that its lease is over
// before the first loop that learns it from etcd. Writes until then are counted.
type stillness struct {
	// unsure: the clock stood still, and none of the ends below has come.
	unsure    bool
	resumedAt Time
	resumed   clock.Instant // the same on the machine's own clock
	// learnt: the present incarnation of the agent has read that the key is
	// not its own; told is when the loop that read it had ended.
	learnt bool
	told   Time
	// thawedAt is when a frozen PostgreSQL last went on: what it was told
	// meanwhile it does then.
	thawedAt Time
}

// stops notes that the machine's clock stands still from now on.
func (m *machine) stops() { m.unsure = true; m.forgets() }

// forgets: what an agent has learnt dies with it.
func (m *machine) forgets() { m.learnt, m.told = false, 0 }

// goesOn notes that the machine runs again.
func (m *machine) goesOn() { m.resumedAt, m.resumed = m.s.now, m.clock.Now() }

// reads: the agent has read the cluster as it was at that time.
func (m *machine) reads(c *dcs.Cluster, at Time) {
	if m.unsure && !m.frozen && at >= m.resumedAt && (c.Leader == nil || c.Leader.Name != m.name) {
		m.learnt = true
	}
}

// cycled: one of the agent's loops has ended.
func (m *machine) cycled() {
	if m.learnt && m.told == 0 {
		m.told = m.s.now
	}
}

// confirmed: the leader key is ours by a renewal that was sent after the
// machine went on, so its deadline is as good as any again.
func (m *machine) confirmed(l dcs.Lease) {
	if m.unsure && !m.frozen && !l.SentAt.Before(m.resumed) {
		m.unsure = false
	}
}

// stopping is how long the end of PostgreSQL may take that a loop has decided.
const stopping = 2 * time.Second

// sure says whether the machine's deadlines mean anything.
func (m *machine) sure() bool {
	a := m.agent
	if sv := m.db.run; sv != nil && sv.guard.paused {
		return false // its agent has read of a pause, and of no end of it yet (rulings 7)
	}
	switch {
	case !m.unsure || m.frozen:
	case m.db.run == nil, m.s.now >= m.resumedAt.Add(m.s.shape.ttl+time.Second): // the guard's deadline has passed by now
		m.unsure = false
	case m.told != 0 && m.s.now >= max(m.told.Add(stopping), m.thawedAt.Add(time.Second)) && a != nil && !a.dead && !a.frozen && a.lag == 0:
		m.unsure = false
	}
	return !m.unsure
}
