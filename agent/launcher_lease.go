package agent

// The deadline of the lease, at the guard that runs and for the next one.

import (
	"context"
	"errors"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard/client"
)

// hold extends the deadline of the running guard, and remembers it for the next.
func (l *launcher) hold(ctx context.Context, until clock.Instant, ttl time.Duration) error {
	l.mu.Lock()
	earlier := l.armed && until.Before(l.until)
	l.until, l.ttl, l.paused = until, ttl, false
	c := l.guard
	l.armed = l.armed || c != nil || l.bare != nil
	l.mu.Unlock()
	switch {
	case c == nil:
		return nil
	case earlier: // the ttl was lowered: the lease that counts now ends before the last one
		return c.Shorten(ctx, until, ttl)
	}
	return c.Arm(ctx, until, ttl)
}

// unhold disarms: this member runs no primary, or the cluster is paused.
func (l *launcher) unhold(ctx context.Context, paused bool) error {
	l.mu.Lock()
	armed := l.armed
	l.until, l.paused, l.armed = 0, paused, false
	c := l.guard
	l.mu.Unlock()
	switch {
	case c == nil || !armed:
		return nil
	}
	disarm := c.Disarm
	if paused {
		disarm = c.DisarmForPause
	}
	if err := disarm(ctx); err != nil && !errors.Is(err, client.ErrNoGuard) {
		return err // a guard that is gone needs no disarming
	}
	return nil
}

// allowUnguarded permits (or forbids again) a start as primary before any
// leader key exists.
func (l *launcher) allowUnguarded(yes bool) {
	l.mu.Lock()
	l.unguarded = yes
	l.mu.Unlock()
}
