package agent

// How long the loop waits: for its calls, because of the lease, and for a step
// before it counts as stuck.

import (
	"context"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
)

// patience is how long one step may take at the very most. Each is bounded by
// retry_timeout, or by less and a moment beside it.
func (l *Loop) patience() time.Duration { return l.settings.RetryTimeout + stepSlack }

// stepSlack covers what a step does beside its longest call (observeBound,
// unholdBound and applyBound), and a starved machine.
const stepSlack = 5 * time.Second

// unholdBound limits the wait for a guard that does not answer.
const unholdBound = time.Second

// applyBound limits what a changed configuration may keep the loop from.
const applyBound = 3 * time.Second

// bounded limits a call: by d, and while we lead by the instant at which a
// clean step-down must begin (style: every call made while leading is
// bounded by the lease). Past that instant a short try remains.
func (l *Loop) bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	now := l.Clock.Now()
	end := now.Add(d)
	if l.leaderUntil.After(now) {
		stepDown := l.stepDown()
		if l.failsafeReady() { // the other half is for asking the members
			stepDown = now.Add(stepDown.Sub(now) / 2)
		}
		end = min(end, max(stepDown, now.Add(lastTry)))
	}
	return l.Clock.WithDeadline(ctx, end)
}

// stepDown is when a clean step-down must begin.
func (l *Loop) stepDown() clock.Instant {
	return l.leaderUntil.Add(-max(3*time.Second, l.term(l.settings.TTL)/5))
}

// shownUntil is until when this member counts as the leader for clients: no
// longer once it steps down because it cannot reach the DCS.
func (l *Loop) shownUntil(in ha.Input) clock.Instant {
	if d := in.Memory.Demotion; d != nil && d.Mode == ha.DemoteOffline {
		return 0
	}
	return l.leaderUntil
}

// lastTry is what remains for a call when the step-down is already due.
const lastTry = 250 * time.Millisecond
