package ha

import "pgha/internal/postgres"

// Watchdog is what decisions know of the machine's watchdog device (20).
type Watchdog int

const (
	// WatchdogUnused: switched off, or (mode automatic) not to be had.
	WatchdogUnused Watchdog = iota
	// WatchdogIdle: to be activated before this member runs as the leader.
	WatchdogIdle
	// WatchdogActive: its countdown runs, and each renewal starts it anew.
	WatchdogActive
)

// withWatchdog is the first row of "enforce primary" (8): nobody leads without
// the watchdog that was asked for. ok is false when nothing stands in the way.
func withWatchdog(in Input) (d Decision, ok bool) {
	if in.Settings.Pause || in.Watchdog != WatchdogIdle || in.Tried.Watchdog == Done {
		return Decision{}, false
	}
	running := in.Local.Primary() || becoming(in)
	switch {
	case in.Tried.Watchdog == NotTried:
		return do(in, ActivateWatchdog{}, "before leading"), true
	case running:
		return demote(in, DemoteImmediate, Reason{Code: WatchdogDemoting}), true
	case in.Tried.Release == NotTried:
		in.Memory.Released = in.Now
		return act(in, ReleaseLeader{}, Reason{Code: WatchdogNotPromoting}), true
	}
	return restFor(in, releaseWait, Reason{Code: WatchdogNotPromoting}), true
}

// bootstrapWatchdog is the same at the end of a bootstrap (3.3): failed, the
// bootstrap is undone, because nobody knows of the new cluster yet.
func bootstrapWatchdog(in Input) (d Decision, ok bool) {
	switch {
	case in.Settings.Pause || in.Watchdog != WatchdogIdle || in.Tried.Watchdog == Done:
		return Decision{}, false
	case in.Tried.Watchdog == NotTried:
		return do(in, ActivateWatchdog{}, "a new cluster's first leader"), true
	}
	in.Memory.BootstrapDone, in.Memory.BootstrapFailed = false, true
	in.Memory.BootstrapWhy = "the watchdog is required and could not be activated"
	return undoBootstrap(in).saying(Line{Error, "Cancelling bootstrap because watchdog activation failed"}), true
}

// NeedsNoWatchdog says whether an active device is to be stopped at the end of
// a cycle (20, "off"): nothing here can write, nor will in a moment. job is the
// one under way by now. The safe point of a stop is the stop's own affair; and
// the loss of the key alone is no reason: the step-down has to come to its
// safe point within the device's timeout, or the machine is reset.
func NeedsNoWatchdog(in Input, job *Job) bool {
	switch {
	case in.Settings.Pause:
		return true
	case !in.Local.Alive:
		return job == nil || noPrimaryBy(job.Kind)
	}
	return job == nil && in.Local.InRecovery && !in.holder() && in.Local.Role != postgres.RolePromoted
}

// noPrimaryBy: these actions are done on a stopped server and never end in a
// primary (5.2, 3.4, 16).
func noPrimaryBy(kind JobKind) bool {
	switch kind {
	case JobStartStandby, JobCrashRecovery, JobUnbootstrap, JobClone, JobReinit, JobRewind:
		return true
	}
	return false
}
