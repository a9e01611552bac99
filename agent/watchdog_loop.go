package agent

import (
	"context"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
)

// Watchdog is the machine's watchdog device as the loop sees it. Calls come
// from the loop, but Off also from the job that stops PostgreSQL. All return
// within a moment, whatever state the device is in.
type Watchdog interface {
	// Look takes the settings in force and says what decisions have to know.
	// A change of the configuration that cannot wait is made at once.
	Look(s ha.Settings) (state ha.Watchdog, failed bool)
	// Activate opens the device and starts its countdown. Refused: it is
	// required and cannot be had; Done otherwise.
	Activate() ha.Outcome
	// Feed starts the countdown anew, after a confirmed renewal and after the
	// guard. Nothing happens when the device is not active.
	Feed()
	// Resets is when the machine will be reset unless it is fed before; zero:
	// the device is not active. IfFed is what it would be if fed at now.
	Resets() clock.Instant
	IfFed(now clock.Instant) clock.Instant
	// Timeout is the countdown's length; zero: the device is not active.
	Timeout() time.Duration
	// Off stops the countdown, if PostgreSQL has left nothing behind that could
	// write: alive tells whether a postmaster (a standby's) runs.
	Off(alive bool)
}

// noWatchdog is a machine without a device: the simulator's.
type noWatchdog struct{}

func (noWatchdog) Look(ha.Settings) (ha.Watchdog, bool) { return ha.WatchdogUnused, false }
func (noWatchdog) Activate() ha.Outcome                 { return ha.Done }
func (noWatchdog) Feed()                                {}
func (noWatchdog) Resets() clock.Instant                { return 0 }
func (noWatchdog) IfFed(clock.Instant) clock.Instant    { return 0 }
func (noWatchdog) Timeout() time.Duration               { return 0 }
func (noWatchdog) Off(bool)                             {}

// fence puts this member under a deadline that a confirmation has moved, in
// the order of rulings 3: the guard, the watchdog, then everything else. The
// deadline never lies behind the device's own reset (rulings 2), so that the
// stop comes to its safe point before it: the guard gets the earlier of the
// two, counting on the feeding that follows at once, and is told again if the
// device could not be fed.
func (l *Loop) fence(ctx context.Context, until clock.Instant, ttl time.Duration) {
	l.leaderUntil = soonest(until, l.Watchdog.IfFed(l.Clock.Now()))
	l.Server.Hold(ctx, l.leaderUntil, l.term(ttl))
	l.Watchdog.Feed()
	l.restrain(ctx)
}

// restrain moves the deadline before the device's reset, where it is behind.
func (l *Loop) restrain(ctx context.Context) {
	resets := l.Watchdog.Resets()
	if resets.IsZero() || !resets.Before(l.leaderUntil) {
		return
	}
	l.leaderUntil = resets
	l.Server.Hold(ctx, resets, l.term(l.lease.TTL))
}

// term is what the leads before a deadline are parts of (rulings 2): the ttl,
// or the device's countdown where that is what ends first.
func (l *Loop) term(ttl time.Duration) time.Duration {
	if t := l.Watchdog.Timeout(); t > 0 {
		return min(ttl, t)
	}
	return ttl
}

// activateWatchdog carries ha.ActivateWatchdog out. From now on the device's
// reset counts as well.
func (l *Loop) activateWatchdog(ctx context.Context) ha.Outcome {
	out := l.Watchdog.Activate()
	if !l.settings.Pause {
		l.restrain(ctx)
	}
	return out
}

// soonest is the earlier of two instants; zero: none.
func soonest(a, b clock.Instant) clock.Instant {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}
