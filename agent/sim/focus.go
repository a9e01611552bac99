package sim

import "time"

// focus is for plants whose moment is too rare for a few hundred runs: with
// such a bug planted, the step that it is about is hit whenever it is taken.
// What is hit, and the invariant that sees it, are those of every other run.
var focus = map[Plant]map[string]func(m *machine){
	PlantOneLook: {
		// The guard stops between its look and the act, until its first stage is past.
		"the guard has looked at the deadline": func(m *machine) {
			g := m.db.run.guard
			g.frozen = true
			m.s.tell(m.name, "guard frozen")
			m.s.after(m.clock.until(g.until.Add(-g.fastBy()))+m.s.dur(0, 500*time.Millisecond), g.thaw)
		},
	},
	PlantEpochIgnored: {
		// A request waits in the socket of a frozen guard while its sender is replaced.
		"the lease was confirmed": func(m *machine) {
			if m.s.chance(0.9) {
				return
			}
			m.freezeGuard(m.s.dur(time.Second, 3*time.Second))
			m.s.after(5*time.Millisecond, func() { m.killAgent(m.s.dur(0, 20*time.Millisecond)) })
		},
	},
	PlantHandOverBlind: {
		// The candidate's agent is replaced while the hand-over is on its way.
		"it is about to be given the leader key": func(m *machine) {
			m.killAgent(0)
			if leader := m.s.machineNamed(m.s.etcd.leader()); leader != nil {
				link := [2]int{leader.at, etcdAt}
				m.s.net.lag[link] = time.Second
				m.s.after(5*time.Second, func() { delete(m.s.net.lag, link) })
			}
		},
	},
	PlantPromotionForgotten: {
		// The key is taken away while PostgreSQL takes its time to become a primary.
		"the guard has looked at the deadline": func(m *machine) { m.s.shape.slowServer = 1 },
		"the promotion was sent": func(m *machine) {
			m.s.shape.slowServer = 0
			m.s.tell("op", "deletes the leader key by hand")
			m.s.tampered()
			m.s.etcd.remove("leader")
		},
	},
}
