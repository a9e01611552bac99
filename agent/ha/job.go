package ha

import (
	"time"

	"pgha/internal/postgres"
)

// pollStarting is how often a server that is starting is looked at: its
// readiness wakes nobody.
const pollStarting = 200 * time.Millisecond

// duringJob is section 7: one long action is under way. The leader goes on
// renewing; a member that lost the key interrupts what would make it a primary.
func duringJob(in Input) Decision {
	job := *in.Job
	if in.Cluster.Leader != nil && in.Cluster.Leader.Name == in.Self {
		switch in.Tried.Renew {
		case NotTried:
			return do(in, RenewLeader{}, "a long action is under way")
		case Done:
			return renewedDuring(in, job)
		}
	}
	switch {
	case job.Phase == PhaseRecovering:
		return rest(in, Reason{Code: BootstrapRecovering})
	case job.Phase == PhasePostBootstrap:
		return rest(in, Reason{Code: PostBootstrapping})
	case job.Kind == JobBootstrap || job.Kind == JobUnbootstrap || in.Settings.Pause:
		return rest(in, Reason{Code: JobInProgress, Name: job.Name})
	}
	return lostDuring(in, job)
}

func renewedDuring(in Input, job Job) Decision {
	tooLong := job.Kind == JobCrashRecovery && in.Now.Sub(job.Started) > in.Settings.PrimaryStartTimeout
	if tooLong && !job.Canceled {
		if in.Peers == nil {
			return do(in, AskPeers{Members: candidates(in, "")}, "is a failover possible")
		}
		if possible, says := failoverPossible(in, "", 0); possible {
			// What follows is a step-down whose stop has been done (7).
			in.Memory.Rewind, in.Memory.RewindWhy = RewindCheck, ""
			in.Memory.Demotion = &Demotion{Mode: DemoteImmediate, Since: in.Now, Stopped: true, Down: in.Now}
			return act(in, CancelJob{}, Reason{Code: RecoveryTimeout}).
				saying(append(says, Line{Info, "Demoting self because crash recovery is taking too long"})...)
		}
	}
	d := rest(in, Reason{Code: RenewedDuring, Name: job.Name})
	if job.Kind == JobPromote && job.Phase != PhasePromoting && in.Now.Sub(job.Started) >= promoteSlow {
		d = d.noting("has the leader key and is not promoted yet: pre_promote is running")
	}
	return d
}

// promoteSlow is how long what comes before a promotion may take before people
// are told: nobody can write meanwhile, and the change of leader that they
// asked for has been reported as done.
const promoteSlow = 3 * time.Second

// lostDuring: we do not hold the key. What cannot make a writable primary
// goes on; the rest is cancelled, and once it has ended the next cycle demotes.
func lostDuring(in Input, job Job) Decision {
	progress := rest(in, Reason{Code: JobInProgress, Name: job.Name})
	if job.Kind == JobClone || job.Kind == JobReinit {
		progress = progress.noting(cloneFailed(in))
	}
	if in.unlocked() {
		progress = progress.saying(Line{Info, "not healthy enough for leader race"})
	}
	switch {
	case job.Canceled && job.Kind == JobPromote && job.Phase != PhasePromoting:
		return rest(in, Reason{Code: LostBeforePromote})
	case job.Canceled && in.Local.Role == postgres.RolePrimary:
		return rest(in, Reason{Code: LostDuring, Name: job.Name})
	case job.Canceled:
		return progress
	}
	switch {
	case job.Kind == JobPromote && job.Phase != PhasePromoting:
		return act(in, CancelJob{}, Reason{Code: LostBeforePromote})
	case job.Kind == JobPromote:
		// It cannot be taken back: no longer waited for, so that PostgreSQL is
		// ended at once (becoming), or the key taken again, in this very cycle.
		return act(in, CancelJob{}, Reason{Code: LostDuring, Name: job.Name})
	case in.Local.Role == postgres.RolePrimary && (job.Kind == JobRestart || job.Kind == JobStartPrimary):
		return act(in, CancelJob{}, Reason{Code: LostDuring, Name: job.Name}).
			saying(Line{Info, "Demoting primary during " + job.Name})
	}
	return progress
}
