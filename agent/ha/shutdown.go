package ha

import "pgha/internal/postgres"

// shuttingDown is section 22: the agent was told to end. Shutdown is an
// input like any other: PostgreSQL stops as a job while the lease is still
// renewed, and the key is released once it is down (or once somebody has
// everything).
func shuttingDown(in Input) Decision {
	in.Memory.Demotion = nil
	if in.Shutdown == ShutdownDetach {
		if in.Job != nil && in.Job.Kind != JobStop {
			return cancelThenWait(in)
		}
		return act(in, Exit{}, Reason{Code: Detached})
	}
	if in.Job != nil && in.Job.Kind != JobStop {
		return cancelThenWait(in)
	}
	if in.Settings.Pause && in.Job == nil {
		return act(in, Exit{}, Reason{Code: ShutdownPaused})
	}
	if in.holder() && in.Tried.Renew == NotTried && in.Cluster != nil {
		return do(in, RenewLeader{}, "shutting down, the key is still ours")
	}
	switch {
	case in.Job != nil:
		return duringShutdownStop(in)
	case in.Memory.StopFailed:
		failed := Reason{Code: ShutdownFailed}
		if in.Watchdog == WatchdogActive {
			failed.Detail = " Leaving watchdog running."
		}
		return act(in, Exit{Code: 1}, failed)
	case in.Local.Alive:
		return startJob(in, JobSpec{Kind: JobStop, Name: "stop for shutdown", Mode: StopFast}, Reason{Code: ShuttingDown})
	case in.holder() && in.Tried.Release == NotTried:
		return do(in, ReleaseLeader{Optime: in.Local.CheckpointLSN}, "PostgreSQL is down").
			saying(Line{Info, "Leader key released"})
	}
	return act(in, Exit{}, Reason{Code: ShutdownDone})
}

func cancelThenWait(in Input) Decision {
	if in.Job.Canceled {
		return rest(in, Reason{Code: JobInProgress, Name: in.Job.Name})
	}
	return act(in, CancelJob{}, Reason{Code: JobInProgress, Name: in.Job.Name}).
		saying(Line{Warning, "Cancelling long running task " + in.Job.Name})
}

// duringShutdownStop releases the key early when somebody already has the
// shutdown checkpoint: the archiver may take its time (pitfall 80).
func duringShutdownStop(in Input) Decision {
	wait := rest(in, Reason{Code: ShuttingDown})
	if in.Job.Phase != PhaseShutDown || !in.holder() || in.Tried.Release != NotTried {
		return wait
	}
	if in.Peers == nil {
		return do(in, AskPeers{Members: candidates(in, "")}, "who has the shutdown checkpoint")
	}
	if len(in.Peers) == 0 {
		return wait // there is nobody to wait for
	}
	if ok, _ := failoverPossible(in, "", nonZero(in.Job.CheckpointLSN)); ok {
		return do(in, ReleaseLeader{Optime: in.Job.CheckpointLSN}, "a member has the shutdown checkpoint").
			saying(Line{Info, "Leader key released"})
	}
	return restFor(in, pollCheckpoint(in), Reason{Code: ShuttingDown})
}

// nonZero keeps an unknown checkpoint from meaning "no checkpoint asked for".
func nonZero(l postgres.LSN) postgres.LSN {
	if l == 0 {
		return ^postgres.LSN(0)
	}
	return l
}
