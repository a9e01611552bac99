package sim

import (
	"context"
	"time"

	"pgha/internal/clock"
)

// machineClock is one machine's clock: its own zero, its own rate, and it may
// stand still. It implements clock.Clock.
type machineClock struct {
	s       *Sim
	base    Time
	reading clock.Instant // at base
	rate    float64       // of true time
	stopped bool
	wall    time.Duration // civil time is wrong by that much
}

func newMachineClock(s *Sim) *machineClock {
	return &machineClock{
		s: s, base: s.now,
		reading: clock.Instant(s.dur(time.Second, 1000*time.Hour)),
		rate:    1 + s.shape.drift*(2*s.rng.Float64()-1),
	}
}

// Now implements clock.Clock.
func (c *machineClock) Now() clock.Instant {
	if c.stopped {
		return c.reading
	}
	return c.reading.Add(time.Duration(float64(c.s.now.Sub(c.base)) * c.rate))
}

// Wall implements clock.Clock: civil time, which may be wrong by hours; nothing
// safe may depend on it.
func (c *machineClock) Wall() time.Time { return civil(c.s.now).Add(c.wall) }

// civil is the true civil time.
func civil(t Time) time.Time {
	return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(t))
}

// until is how long true time has to go on until the clock shows i.
func (c *machineClock) until(i clock.Instant) time.Duration {
	d := time.Duration(float64(i.Sub(c.Now()))/c.rate) + 1
	return max(d, 0)
}

// stop makes the clock stand still; start lets it go on from there.
func (c *machineClock) stop()  { c.reading, c.base, c.stopped = c.Now(), c.s.now, true }
func (c *machineClock) start() { c.base, c.stopped = c.s.now, false }

type deadlineKey struct{}

// WithDeadline implements clock.Clock. The context itself never ends: the
// models read the deadline from it.
func (c *machineClock) WithDeadline(parent context.Context, at clock.Instant) (context.Context, context.CancelFunc) {
	if earlier, ok := parent.Value(deadlineKey{}).(clock.Instant); ok && earlier.Before(at) {
		at = earlier
	}
	return context.WithValue(parent, deadlineKey{}, at), func() {}
}

// deadlineOf is when a call must return. A call without one is a bug.
func deadlineOf(ctx context.Context) clock.Instant {
	at, ok := ctx.Value(deadlineKey{}).(clock.Instant)
	if !ok {
		panic("sim: a call without a deadline")
	}
	return at
}
