package ha

import (
	"time"

	"pgha/internal/clock"
)

// dcsRetry is how soon a silent DCS is asked again by a primary.
const dcsRetry = 500 * time.Millisecond

// demoteAt is when a primary that cannot renew must begin its clean
// step-down: planned backwards from the end of its lease (rulings 2).
func demoteAt(in Input) clock.Instant {
	term := in.Term
	if term == 0 {
		term = in.Settings.TTL
	}
	return in.LeaderUntil.Add(-max(3*time.Second, term/5))
}

// dcsUnreachable is section 13: the DCS could not be read, or not be written
// by a leader. A short silence is ridden through as long as the lease is sure.
func dcsUnreachable(in Input) Decision {
	bootstrapping := in.Memory.BootstrapDone || in.Job != nil && in.Job.Kind == JobBootstrap
	switch {
	case bootstrapping: // nobody knows this primary yet: nothing to step down from
		return restFor(in, dcsRetry, Reason{Code: NoDCS}).saying(Line{Error, "Error communicating with DCS"})
	case in.Settings.Pause || !in.Local.Alive || !in.Local.Primary():
		if in.Job != nil {
			return restFor(in, dcsRetry, Reason{Code: JobInProgress, Name: in.Job.Name})
		}
		if in.Settings.FailsafeMode && !in.Settings.Pause && in.Memory.LastLed != nil {
			if d, ok := slotsStep(standbyView(in)); ok { // 13: on the last known state
				return d
			}
		}
		return rest(in, Reason{Code: NoDCS}).saying(Line{Error, "Error communicating with DCS"})
	}
	if d, ok := failsafe(in); ok {
		return d
	}
	switch {
	case in.Now.Before(demoteAt(in)):
		left := in.LeaderUntil.Sub(in.Now)
		return restFor(in, min(dcsRetry, demoteAt(in).Sub(in.Now)), Reason{Code: RidingThrough, Seconds: int(left.Seconds())}).
			saying(Line{Error, "Error communicating with DCS"})
	}
	return demote(in, DemoteOffline, Reason{Code: DemotedNoDCS}).
		saying(Line{Error, "Error communicating with DCS"},
			Line{Info, "demoting self because DCS is not accessible and I was a leader"})
}
