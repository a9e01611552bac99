// Package clock tells time the way leases need it: on the machine's own
// monotonic clock that goes on while the machine is suspended.
//
// Go's monotonic reading (CLOCK_MONOTONIC) stands still during a suspend, so
// a lease measured with it would look young on a machine that slept past its
// end. CLOCK_BOOTTIME does not stand still, and the guard process and the
// kernel timer count on the same clock (design decision 5).
package clock

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a point in time on CLOCK_BOOTTIME: nanoseconds since this
// machine started. Instants of different machines are never comparable. The
// zero value means "never": before every instant that a clock reads.
type Instant int64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns how long i is after j.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Before says whether i is earlier than j.
func (i Instant) Before(j Instant) bool { return i < j }

// After says whether i is later than j.
func (i Instant) After(j Instant) bool { return i > j }

// IsZero says whether i is the zero Instant, "never".
func (i Instant) IsZero() bool { return i == 0 }

// Clock is the source of time of a part that the simulator also runs.
type Clock interface {
	// Now reads the suspend-aware clock.
	Now() Instant
	// Wall reads the civil time. For schedules and records only: it may jump.
	Wall() time.Time
	// WithDeadline returns a context that ends at the instant, or earlier
	// with its parent.
	WithDeadline(parent context.Context, at Instant) (context.Context, context.CancelFunc)
}

// System is this machine's clock.
type System struct{}

// Now reads CLOCK_BOOTTIME.
func (System) Now() Instant { return Now() }

// Wall reads the civil time.
func (System) Wall() time.Time { return time.Now() }

// WithDeadline ends the context when CLOCK_BOOTTIME reaches at. A suspend
// can make it end late (Go's timers stand still then); it never ends early.
// What must not be late is held by the guard, not by a context.
func (System) WithDeadline(parent context.Context, at Instant) (context.Context, context.CancelFunc) {
	return context.WithTimeout(parent, at.Sub(Now()))
}

// Now reads CLOCK_BOOTTIME.
func Now() Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("clock: CLOCK_BOOTTIME: " + err.Error()) // present since Linux 2.6.39
	}
	return Instant(ts.Nano())
}

// Monotonic reads CLOCK_MONOTONIC: the clock that systemd's notify protocol
// speaks of. Leases never use it.
func Monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock: CLOCK_MONOTONIC: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
