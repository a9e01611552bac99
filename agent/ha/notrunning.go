package ha

import "pgha/internal/postgres"

// notRunning is section 5: there are data, but no PostgreSQL.
func notRunning(in Input) Decision {
	holder := in.holder()
	if holder && !in.Settings.Pause && in.Tried.Renew == NotTried && in.Tried.Acquire != Done {
		return do(in, RenewLeader{}, "the leader's PostgreSQL is not running")
	}
	if in.Settings.Pause {
		return pausedNotRunning(in)
	}
	if d, ok := awaitDisk(in); ok {
		return d
	}
	if holder {
		if d, ok := unwellHolder(in); ok {
			return d
		}
	}
	m := in.Memory
	if m.PromoteFailed && holder && in.Tried.Release == NotTried {
		// The promotion ended the server: let one that can have the key.
		in.Memory.PromoteFailed, in.Memory.Released = false, in.Now
		return act(in, ReleaseLeader{}, Reason{Code: ReleasedPromoteFailed})
	}
	if m.Recovering && !m.Rewind.pending() {
		return afterFailedStart(in, holder)
	}
	if left := m.RetryAfter.Sub(in.Now); left > 0 && m.Rewind != RewindFailed {
		if !holder && m.Rewind == RewindNeed {
			return restFor(in, left, Reason{Code: RetryLater, Detail: "this member's history left the leader's; next attempt to mend it follows"}).
				noting("history differs from the leader's, and mending it failed: " + m.RewindWhy)
		}
		return restFor(in, left, Reason{Code: StartFailed}).noting(explained(in, "PostgreSQL does not start; see the log"))
	}
	if holder && m.Rewind != RewindFailed {
		if d, ok := restartInPlace(in); ok {
			return d
		}
	}
	return restartAsStandby(in, holder)
}

// afterFailedStart judges a start that left no postmaster (5.3).
func afterFailedStart(in Input, holder bool) Decision {
	if holder && in.Local.Role.IsPrimary() {
		return do(in, SetRole{Role: postgres.RoleDemoted, Announce: true}, "a primary that does not come back")
	}
	if holder && in.Tried.Release == NotTried {
		return act(in, ReleaseLeader{}, Reason{Code: ReleasedStartFailed})
	}
	in.Memory.Recovering = false
	code := StartFailed
	if in.Tried.Release != NotTried {
		code = ReleasedStartFailed
	}
	d := rest(in, Reason{Code: code})
	if in.Now.Before(in.Memory.RetryAfter) {
		d.Action = Rest{Again: in.Memory.RetryAfter.Sub(in.Now)}
	}
	return d.noting(explained(in, "PostgreSQL does not start; see the log"))
}

// restartInPlace is the holder's crash (5.1): the same server again as
// primary, at once and without a new timeline, or a hand-over when the
// operator set primary_start_timeout to 0 and somebody else can lead.
func restartInPlace(in Input) (Decision, bool) {
	if in.Settings.PrimaryStartTimeout == 0 {
		if in.Peers == nil {
			return do(in, AskPeers{Members: candidates(in, "")}, "is a failover possible"), true
		}
		if possible, says := failoverPossible(in, "", 0); possible {
			return demote(in, DemoteImmediate, Reason{Code: CrashFailover}).
				saying(append(says, Line{Info, "Primary crashed. Failing over."})...), true
		}
		return Decision{}, false
	}
	l := in.Local
	wasPrimary := l.State == postgres.StateCrashed && l.Role == postgres.RolePrimary && !l.RecoverySignal &&
		(l.Control.unclean() || l.Control == ControlShutDown)
	if !wasPrimary {
		return Decision{}, false
	}
	return startJob(in, JobSpec{Kind: JobStartPrimary, Name: string(JobStartPrimary),
		Timeout: in.Settings.PrimaryStartTimeout, Role: postgres.RolePrimary}, Reason{Code: StartingPrimary}).
		saying(Line{Warning, "Postgresql is not running."}), true
}

// restartAsStandby is 5.2.
func restartAsStandby(in Input, holder bool) Decision {
	m := in.Memory
	if m.Rewind == RewindFailed {
		return afterFailedRewind(in, holder)
	}
	skipRecovery := in.Local.BackupLabel && in.Local.MajorVersion >= 15
	if in.Local.Control.unclean() && !m.CrashRecovered && !skipRecovery && (in.unlocked() || in.Local.RewindUsable) && !in.Local.RecoverySignal {
		return startJob(in, JobSpec{Kind: JobCrashRecovery, Name: string(JobCrashRecovery)}, Reason{Code: CrashRecovering})
	}
	timeout := in.Settings.PrimaryStartTimeout
	if holder {
		in.Memory.Rewind, in.Memory.RewindWhy = RewindInitial, ""
		return startJob(in, JobSpec{Kind: JobStartStandby, Name: string(JobStartStandby), Timeout: timeout, Role: postgres.RoleReplica},
			Reason{Code: StartingReadOnly})
	}
	if !m.Released.IsZero() && in.unlocked() && in.Now.Sub(m.Released) < releaseWait {
		// The new leader is about to appear: follow it at once, not nobody first.
		return restFor(in, releaseWait-in.Now.Sub(m.Released), Reason{Code: WaitingNewLeader})
	}
	if !m.Rewind.executed() && m.Rewind != RewindNeed && in.Tried.Examine != ExamineSame {
		in.Memory.Rewind = RewindCheck // an earlier "same" was about another leader, or another log
	}
	if d, ok := rewindStep(in); ok {
		return d
	}
	target, _ := followTarget(in)
	return startJob(in, JobSpec{Kind: JobStartStandby, Name: string(JobStartStandby), Source: target, Role: postgres.RoleReplica},
		Reason{Code: StartingSecondary})
}

// afterFailedRewind is rulings 58: the directory may be half rewritten, so it
// is never started. It is cloned anew where that is permitted; else it stays
// stopped, and says so.
func afterFailedRewind(in Input, holder bool) Decision {
	if holder && in.Tried.Release == NotTried {
		return act(in, ReleaseLeader{}, Reason{Code: ReleasedStartFailed})
	}
	why := in.Memory.RewindWhy
	leader := in.Cluster.LeaderMember()
	known := leader != nil && leader.Name != in.Self && leader.ConnURL != ""
	switch permitted := in.Settings.RemoveOnRewindFailure || in.Settings.RemoveOnDiverged; {
	case permitted && known && !in.Now.Before(in.Memory.RetryAfter):
		return startJob(in, JobSpec{Kind: JobReinit, Name: "reinitializing due to failed rewind", Source: leader}, Reason{Code: ReinitAfterRewind})
	case permitted:
		return restFor(in, retryPause, Reason{Code: RetryLater, Detail: "pg_rewind failed; to be cloned anew as soon as there is a leader"}).
			noting("pg_rewind failed: " + why + "; to be cloned anew")
	}
	return rest(in, Reason{Code: StayStopped, Detail: "not starting PostgreSQL: pg_rewind failed (" + why +
		"); the data directory may be half rewritten. Re-clone it with `pgha ctl reinit`"}).
		noting("pg_rewind failed: " + why + "; run `pgha ctl reinit`")
}

// pausedNotRunning is section 12: a server stopped by hand stays stopped.
func pausedNotRunning(in Input) Decision {
	if in.holder() && in.Tried.Release == NotTried {
		return act(in, ReleaseLeader{}, Reason{Code: ReleasedPausedStopped})
	}
	// The one exception: a former primary on its way back after a switchover.
	m := in.Memory
	if m.Returning || m.Rewind == RewindSuccess || m.Rewind.pending() && in.Cluster.Leader != nil && in.Local.RewindUsable {
		if in.Now.Before(m.RetryAfter) {
			return restFor(in, m.RetryAfter.Sub(in.Now), Reason{Code: PausedStopped})
		}
		return restartAsStandby(in, false)
	}
	if in.Tried.Release != NotTried {
		return rest(in, Reason{Code: ReleasedPausedStopped})
	}
	return rest(in, Reason{Code: PausedStopped})
}
