package sim

import (
	"fmt"
	"iter"
	"runtime/debug"
	"time"

	"pgha/internal/clock"
)

// actor is something that can be killed and frozen by itself: an agent, a
// guard, a PostgreSQL, or (as kernel) the machine under them. What is due
// while it is frozen happens when it thaws.
type actor struct {
	m        *machine
	dead     bool
	frozen   bool
	lag      time.Duration // starved of CPU: every step may come that much later
	deferred []func()
	procs    []*proc
}

// stuck says whether nothing of it can run now.
func (a *actor) stuck() bool { return a.frozen || a.m.frozen }

// run does it now, or at the thaw, or never.
func (a *actor) run(do func()) {
	switch {
	case a.dead:
	case a.stuck():
		a.deferred = append(a.deferred, do)
	default:
		do()
	}
}

// after does it d later, in true time.
func (a *actor) after(d time.Duration, do func()) { a.m.s.after(d, func() { a.run(do) }) }

// at does it when the machine's clock has reached the instant.
func (a *actor) at(i clock.Instant, do func()) {
	a.after(a.m.clock.until(i), func() {
		if a.m.clock.Now().Before(i) { // the clock stood still meanwhile
			a.at(i, do)
			return
		}
		do()
	})
}

// thaw lets go on what was held back, in its order.
func (a *actor) thaw() {
	a.frozen = false
	if a.m.frozen {
		return
	}
	held := a.deferred
	a.deferred = nil
	at := time.Duration(0)
	for _, do := range held {
		at += a.m.s.dur(0, time.Millisecond)
		a.after(at, do)
	}
}

// kill ends it and all that runs in it.
func (a *actor) kill() {
	a.dead, a.deferred = true, nil
	for _, p := range a.procs {
		p.kill()
	}
}

// proc is straight-line code inside an actor: the loop, or a job. It runs
// until it waits for something, and only one proc runs at any moment.
type proc struct {
	a      *actor
	next   func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	parked bool
	done   bool
}

// killed unwinds a proc whose actor was killed.
type killed struct{}

// spawn starts body in the actor.
func (a *actor) spawn(body func(*proc)) *proc {
	p := &proc{a: a, parked: true}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		p.yield = yield
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(killed); !ok {
					panic(fmt.Sprintf("%v\n%s", r, debug.Stack()))
				}
			}
		}()
		body(p)
	})
	a.procs = append(a.procs, p)
	a.m.s.procs = append(a.m.s.procs, p)
	p.poke()
	return p
}

// poke lets the proc look again at what it waits for.
func (p *proc) poke() {
	var d time.Duration
	if p.a.lag > 0 {
		d = p.a.m.s.dur(0, p.a.lag)
	}
	p.a.after(d, p.step)
}

func (p *proc) step() {
	if p.done || !p.parked {
		return
	}
	p.parked = false
	if _, more := p.next(); !more {
		p.done = true
	}
}

// kill ends the proc where it waits. Never called by the proc itself.
func (p *proc) kill() {
	if !p.done {
		p.done = true
		p.stop()
	}
}

// wait parks until cond holds or the machine's clock reaches the deadline
// (zero: none). It says whether cond held.
func (p *proc) wait(deadline clock.Instant, cond func() bool) bool {
	if deadline != 0 {
		p.a.at(deadline, p.step)
	}
	for !cond() {
		if deadline != 0 && !p.a.m.clock.Now().Before(deadline) {
			return false
		}
		p.parked = true
		if !p.yield(struct{}{}) {
			panic(killed{})
		}
	}
	return true
}

// sleep parks for d on the machine's clock.
func (p *proc) sleep(d time.Duration) {
	p.wait(p.a.m.clock.Now().Add(d), func() bool { return false })
}

// poll parks until cond holds, looking every so often. It gives up at the
// deadline (zero: never).
func (p *proc) poll(every time.Duration, deadline clock.Instant, cond func() bool) bool {
	for !cond() {
		if deadline != 0 && !p.a.m.clock.Now().Before(deadline) {
			return false
		}
		p.sleep(every)
	}
	return true
}
