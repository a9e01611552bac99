package sim

import (
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
)

// probing is what the probes of agent/health.go would have counted of a
// PostgreSQL that answers nothing.
type probing struct {
	since, counted clock.Instant
	failures       int
}

// health is what this member's probes say of its server.
func (c *control) health(sv *server) ha.Health {
	m := c.a.m
	now, retry := m.clock.Now(), m.s.shape.retry
	if sv == nil || !sv.ready || sv.stopping || !sv.stuck() {
		c.probing = probing{}
		return ha.Health{}
	}
	p := &c.probing
	if p.since == 0 {
		p.since, p.counted = now, now
	}
	if now.Sub(p.counted) >= retry { // one at a look, however long it did not look
		p.failures, p.counted = p.failures+1, now
	}
	c.a.after(p.counted.Add(retry).Sub(now), c.a.Wake)
	if p.failures == 0 {
		return ha.Health{}
	}
	return ha.Health{Failing: []ha.ProbeFailure{{Probe: ha.ProbeConnect, Why: "no answer", Since: p.since, Failures: p.failures, Hanging: true}}}
}

// awaitEnd waits until the server is down, with the stages of a stop that has
// a limit: then an immediate stop, then SIGKILL, which a frozen server hears
// as well.
func (j *job) awaitEnd(sv *server, mode ha.StopMode, down func() bool) {
	const every = 5 * time.Millisecond
	limit := j.spec.StopTimeout
	if limit == 0 {
		j.p.poll(every, 0, down)
		return
	}
	m := j.c.a.m
	within := func() bool { return j.p.poll(every, m.clock.Now().Add(limit), down) }
	if mode != ha.StopImmediate {
		if sv.frozen && m.s.chance(0.5) {
			m.s.tell(m.name, "the frozen postmaster is woken for its stop")
			sv.thaw()
		}
		if within() {
			return
		}
		sv.after(m.s.dur(time.Millisecond, 20*time.Millisecond), func() { sv.exit("immediate stop") })
	}
	if within() {
		return
	}
	sv.exit("killed")
}
