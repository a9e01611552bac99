package sim

import (
	"time"

	"pgha/internal/clock"
)

// guard is PostgreSQL's parent. It holds the lease deadline and acts on it in
// three stages (rulings 2), the last of which is the kernel's.
type guard struct {
	actor
	server *server
	epoch  uint64 // of the newest agent it knows
	// undertaker: its child that kills what is left when it dies.
	undertaker bool
	until      clock.Instant // zero: not armed
	ttl        time.Duration
	paused     bool
	// toArm counts the requests to arm it that wait in its socket.
	toArm int
	// writable: a promotion was asked for; it refuses to be disarmed from then on.
	writable bool
}

// newGuard arms the new guard with what the agent last knew. A standby needs
// no deadline: the next renewal arms it, before a promotion can be asked for.
func newGuard(sv *server) *guard {
	g := &guard{actor: actor{m: sv.m}, server: sv, paused: sv.m.holdPaused, undertaker: true}
	if a := sv.m.agent; a != nil {
		g.epoch = a.epoch
	}
	if g.m.holdUntil != 0 && sv.primary {
		g.arm(g.m.holdUntil, g.m.holdTTL)
	}
	return g
}

// hello is what a new agent says first: from then on every older one is
// refused. Of several connections that wait, a guard that goes on may look at
// the newest first, and does here.
func (g *guard) hello(a *agentProcess) {
	greet := func() { g.epoch = max(g.epoch, a.epoch) }
	if g.stuck() && !g.dead {
		g.deferred = append([]func(){greet}, g.deferred...)
		return
	}
	g.run(greet)
}

// ask puts a request into the guard's socket and waits for the answer until
// the instant. The guard carries it out when it runs again, even if its sender
// has died by then; what is void after the instant is refused then.
func (g *guard) ask(p *proc, by clock.Instant, void bool, what string, do func(answer func(ok bool))) (ok bool) {
	from := p.a
	epoch, answered := from.m.agent.epoch, false
	reply := func(yes bool) {
		ok, answered = yes, true
		p.poke()
	}
	if what == armRequest {
		g.toArm++
	}
	g.run(func() {
		if what == armRequest {
			g.toArm--
		}
		switch {
		case epoch < g.epoch && g.m.s.opt.Plant != PlantEpochIgnored:
			g.m.s.tell(g.m.name, "guard: %s refused, a newer agent is here", what)
			reply(false)
			return
		case void && !g.m.clock.Now().Before(by):
			reply(false)
			return
		}
		g.m.s.checks.obeyed(g, epoch, what)
		do(reply)
	})
	p.wait(by, func() bool { return answered || g.dead })
	return ok
}

// armRequest is what a request that arms the guard is called.
const armRequest = "arm"

// stages of the deadline, as distances from the lease's end.
func (g *guard) fastBy() time.Duration   { return max(2*time.Second, g.ttl/10) }
func (g *guard) killBy() time.Duration   { return max(time.Second, g.ttl/20) }
func (g *guard) kernelBy() time.Duration { return max(500*time.Millisecond, g.ttl/40) }

// arm sets the deadline. The kernel's timer is a matter of the machine.
func (g *guard) arm(until clock.Instant, ttl time.Duration) {
	if g.until == until {
		return
	}
	g.until, g.ttl, g.paused = until, ttl, false
	if g.m.s.opt.Plant == PlantNoGuard {
		return
	}
	if now := g.m.clock.Now(); !now.Before(until.Add(-g.killBy())) && g.server.boot {
		// Nothing was armed before: a bootstrap's server would run on unguarded.
		g.server.exit("its first deadline has already passed")
		return
	}
	g.at(until.Add(-g.fastBy()), func() { g.due(g.fastBy(), func() { g.server.run(g.server.stopFast) }, "fast stop") })
	g.at(until.Add(-g.killBy()), func() { g.due(g.killBy(), func() { g.server.exit("killed by its guard") }, "kill") })
	g.m.kernel.at(until.Add(-g.kernelBy()), func() { g.due(g.kernelBy(), func() { g.die("the kernel's timer") }, "timer") })
}

// due acts if the deadline still stands.
func (g *guard) due(before time.Duration, act func(), stage string) {
	if g.dead || g.server.dead || g.until == 0 || g.m.clock.Now().Before(g.until.Add(-before)) {
		return
	}
	if g.m.s.opt.Plant == PlantLatePromote && !g.server.primary {
		return // it watches primaries only, and does not look when one is made
	}
	g.m.s.tell(g.m.name, "guard: the lease ends, %s", stage)
	act()
}

// disarm forgets the deadline.
func (g *guard) disarm(paused bool) {
	g.until, g.paused = 0, paused
}

// permits says whether a writable server may come to be now.
func (g *guard) permits() bool {
	if g.m.s.opt.Plant == PlantLatePromote || g.m.s.opt.Plant == PlantNoGuard {
		return true
	}
	return g.paused || g.until != 0 && g.m.clock.Now().Before(g.until.Add(-g.fastBy()))
}

// promote asks the server to leave recovery, if the lease permits it now; it
// looks again right after the act. It can be frozen between the two.
func (g *guard) promote(answer func(ok bool)) {
	if !g.permits() {
		g.m.s.tell(g.m.name, "guard: promotion refused, the lease does not permit it")
		answer(false)
		return
	}
	g.writable = true
	g.m.strike("the guard has looked at the deadline")
	g.after(g.m.s.dur(0, 5*time.Millisecond), func() {
		g.server.run(g.server.promote)
		if !g.permits() && g.m.s.opt.Plant != PlantOneLook {
			g.server.exit("promoted too late")
			answer(false)
			return
		}
		g.m.s.checks.promotes(g)
		g.m.strike("the promotion was sent")
		answer(true)
	})
}

// die kills the guard, and with it PostgreSQL (parent-death signal). Its
// undertaker, if it lives, kills what does not notice.
func (g *guard) die(why string) {
	if g.dead {
		return
	}
	g.kill()
	if g.m.s.opt.Plant != PlantNoGuard {
		remains := !g.undertaker && g.server.accepts()
		g.server.exit("its guard is gone: " + why)
		if remains {
			g.m.s.tell(g.m.name, "the undertaker is dead as well: a backend goes on")
			g.m.remnant = true
		}
	}
}

// killUndertaker kills the guard's child; the guard replaces it within a second.
func (m *machine) killUndertaker() {
	if sv := m.db.run; sv != nil && sv.guard.undertaker {
		g := sv.guard
		g.undertaker = false
		m.s.tell(m.name, "undertaker killed")
		g.after(m.s.dur(0, time.Second), func() { g.undertaker = true })
	}
}

// sweep kills what an earlier server left, as every start, rewind and clone
// does first.
func (m *machine) sweep() {
	if m.s.opt.Plant != PlantNoSweep {
		m.remnant = false
	}
}

// childGone ends the guard after its child.
func (g *guard) childGone() { g.kill() }
