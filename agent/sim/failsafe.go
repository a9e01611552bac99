package sim

import (
	"context"
	"time"

	"pgha/agent"
	"pgha/agent/ha"
	"pgha/internal/dcs"
)

// Failsafe mode in the model: POST /failsafe over the simulated network, with
// its losses, latency and one-way cuts. What a member agreed to is lost with
// its agent.

// failsafeSeed says whether a seed has the mode on. It draws nothing, so that
// seeds without it run as if the mode did not exist.
func failsafeSeed(o Options) bool { return o.Seed%3 == 0 }

// AskFailsafe implements agent.Peers: a member that does not answer is asked
// again each second, as production does it.
func (a *agentProcess) AskFailsafe(ctx context.Context, members []dcs.Member, note agent.FailsafeNote) []ha.FailsafeAnswer {
	s, deadline := a.m.s, deadlineOf(ctx)
	out := make([]ha.FailsafeAnswer, len(members))
	open := len(members)
	for i, member := range members {
		out[i] = ha.FailsafeAnswer{Name: member.Name, Fault: "no answer"}
		to := s.machineNamed(member.Name)
		hear := func(accepted bool) {
			s.net.send(to.at, a.m.at, func() {
				a.run(func() {
					if open < 0 || out[i].Accepted || out[i].Refused {
						return
					}
					out[i].Accepted, out[i].Refused = accepted, !accepted
					open--
					a.loop.poke()
				})
			})
		}
		var post func()
		post = func() {
			if open < 0 || out[i].Accepted || out[i].Refused {
				return
			}
			s.net.send(a.m.at, to.at, func() {
				if to.agent != nil && !to.off {
					to.agent.run(func() { hear(to.agent.agrees(note)) })
				}
			})
			a.after(time.Second, post)
		}
		post()
	}
	a.loop.wait(deadline, func() bool { return open == 0 })
	open = -1
	answers := append([]ha.FailsafeAnswer(nil), out...)
	if s.opt.Plant == PlantSilentConsent {
		for i := range answers {
			answers[i].Accepted = !answers[i].Refused
		}
	}
	return answers
}

// agrees is this member's REST API at POST /failsafe.
func (a *agentProcess) agrees(note agent.FailsafeNote) bool {
	s := a.m.s
	if sv := a.m.db.run; !s.shape.failsafe || sv != nil && sv.primary && sv.ready {
		return false
	}
	if s.opt.Plant == PlantForgottenPromise {
		return true
	}
	return a.ha.Promises.Accept(ha.FailsafeSender{Name: note.Name, ConnURL: note.ConnURL, APIURL: note.APIURL, Slots: note.Slots},
		max(s.shape.ttl, note.TTL))
}

// outage cuts every member from etcd, whose leases go on to end, and lets them
// return one after the other. Meanwhile the members have troubles of their own.
func (s *Sim) outage() {
	if s.chance(0.3) {
		s.forgetful()
		return
	}
	d := s.dur(s.shape.ttl/2, 3*s.shape.ttl)
	s.tell("etcd", "out of reach for about %v", d)
	for _, m := range s.nodes {
		s.cutFromEtcd(m, d+s.dur(0, s.shape.ttl), 0)
	}
	for range s.rng.IntN(3) {
		m := s.nodes[s.rng.IntN(len(s.nodes))]
		s.after(s.dur(0, d), func() { s.duringOutage(m) })
	}
}

// forgetful is the hole that a restart may tear: the leader key has run out, a
// member that agreed is restarted, and it alone reaches etcd, but not the primary.
func (s *Sim) forgetful() {
	primary := s.victimPrimary()
	m := s.nodes[s.rng.IntN(len(s.nodes))]
	if m == primary {
		return
	}
	back := s.shape.ttl + s.dur(2*time.Second, s.shape.ttl)
	s.tell("etcd", "out of reach of all, of %s for %v", m.name, back)
	for _, o := range s.nodes {
		if o != m {
			s.cutFromEtcd(o, back+s.shape.ttl, 0)
		}
	}
	s.cutFromEtcd(m, back, 0)
	before := s.dur(0, 2*time.Second)
	s.after(back-before, func() {
		s.tell(m.name, "cut from the primary %s", primary.name)
		s.cut(m.at, primary.at, 2*s.shape.ttl, 0)
		m.killAgent(before)
	})
}

// duringOutage is what makes failsafe mode dangerous: agreements forgotten,
// and members that cannot tell each other what they know.
func (s *Sim) duringOutage(m *machine) {
	leader := s.victimPrimary()
	switch s.rng.IntN(5) {
	case 0:
		m.killAgent(s.dur(0, 2*time.Second))
	case 1:
		m.freezeAgent(s.length())
	case 2:
		s.cutOff(m, s.length(), s.rng.IntN(3))
	case 3: // agreed, restarted, and cut from the primary alone
		if m == leader {
			return
		}
		s.tell(m.name, "cut from the primary %s, agent restarted", leader.name)
		s.cut(m.at, leader.at, s.dur(s.shape.ttl, 3*s.shape.ttl), 0)
		m.killAgent(s.dur(0, 2*time.Second))
	case 4:
		m.crashPostgres()
	}
}

// victimPrimary is a member that accepts writes, or any.
func (s *Sim) victimPrimary() *machine {
	for _, m := range s.nodes {
		if m.db.run.accepts() {
			return m
		}
	}
	return s.nodes[0]
}
