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
	until  clock.Instant // zero: not armed
	ttl    time.Duration
	paused bool
}

// newGuard arms the new guard with what the agent last knew. A standby needs
// no deadline: the next renewal arms it, before a promotion can be asked for.
func newGuard(sv *server) *guard {
	g := &guard{actor: actor{m: sv.m}, server: sv, paused: sv.m.holdPaused}
	if g.m.holdUntil != 0 && sv.primary {
		g.arm(g.m.holdUntil, g.m.holdTTL)
	}
	return g
}

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
func (g *guard) disarm(paused bool) { g.until, g.paused = 0, paused }

// permits says whether a writable server may come to be now.
func (g *guard) permits() bool {
	if g.m.s.opt.Plant == PlantLatePromote || g.m.s.opt.Plant == PlantNoGuard {
		return true
	}
	return g.paused || g.until != 0 && g.m.clock.Now().Before(g.until.Add(-g.fastBy()))
}

// promote asks the server to leave recovery, if the lease permits it now; it
// looks again right after the act.
func (g *guard) promote() bool {
	if !g.permits() {
		g.m.s.tell(g.m.name, "guard: promotion refused, the lease does not permit it")
		return false
	}
	g.server.promote()
	if !g.permits() {
		g.server.exit("promoted too late")
		return false
	}
	return true
}

// die kills the guard, and with it PostgreSQL (parent-death signal).
func (g *guard) die(why string) {
	if g.dead {
		return
	}
	g.kill()
	if g.m.s.opt.Plant != PlantNoGuard {
		g.server.exit("its guard is gone: " + why)
	}
}

// childGone ends the guard after its child.
func (g *guard) childGone() { g.kill() }
