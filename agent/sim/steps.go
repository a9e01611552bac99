package sim

import (
	"pgha/agent"
	"pgha/agent/ha"
)

// Invariants of single steps: what must be so when a step is taken, whatever
// comes of it. Most of what they forbid would do harm only once in thousands of
// runs; seen at the step it is found at once.

// obeyed: the guard carries out a request (rulings 1).
func (c *checks) obeyed(g *guard, epoch uint64, what string) {
	if epoch < g.epoch {
		c.fail("%s: the guard obeyed an agent that a newer one had replaced (%s)", g.m.name, what)
	}
}

// promotes: the guard leaves a promotion standing that it has sent.
func (c *checks) promotes(g *guard) {
	if sv := g.server; !sv.dead && !sv.stopping && !g.paused && (g.until == 0 || !g.m.clock.Now().Before(g.until.Add(-g.fastBy()))) {
		c.fail("%s: the guard left a promotion standing that it sent after its deadline", g.m.name)
	}
}

// disarms: somebody asks the guard to give its deadline up for a pause (rulings 7).
func (c *checks) disarms(m *machine) {
	if a := m.agent; a == nil || !a.settings.paused {
		c.fail("%s: the guard is to be disarmed for a pause that its agent has not read", m.name)
	}
}

// asks: a member asks for the leader key. A primary must be under a deadline
// by then, because the answer may never come; or its guard, which does not
// run now, has the request to arm it before anything else it does.
func (c *checks) asks(by *agentProcess) {
	sv := by.m.db.run
	if sv == nil || !sv.primary || sv.guard.dead || sv.guard.toArm > 0 || sv.guard.paused || by.settings.current.Pause {
		return
	}
	if sv.guard.until == 0 {
		c.fail("%s asks for the leader key with a primary under no deadline", by.m.name)
	}
}

// cycled: an agent's cycle has ended with that.
func (c *checks) cycled(a *agentProcess, v agent.View, d ha.Decision) {
	sv := a.m.db.run
	other := v.Cluster != nil && !v.ClusterLost && v.Cluster.Leader != nil && v.Cluster.Leader.Name != a.m.name
	_, job := d.Action.(ha.StartJob)
	if other && sv != nil && sv.promoting && !sv.stopping && !sv.stuck() && a.control.job == nil && !job && !v.Settings.Pause && v.Local.Alive {
		c.fail("%s leaves a pending promotion alone although %s leads", a.m.name, v.Cluster.Leader.Name)
	}
}
