package ha

import (
	"fmt"
	"time"

	"pgha/internal/postgres"
)

// checkpointPoll is how often candidates are asked for the shutdown
// checkpoint while clients wait for a new primary.
const checkpointPoll = 25 * time.Millisecond

// checkpointPatience is how long candidates are asked that often: an archiver
// that is behind, or a standby that is away, may keep the postmaster for hours.
const checkpointPatience = 10 * time.Second

// stopRetry keeps attempts to stop PostgreSQL apart that fail at once. The
// guard's deadline does not wait for them.
const stopRetry = time.Second

// lastAsk is how long a stopped leader still asks for a candidate that has
// everything before it gives the key up regardless (rulings 19).
const lastAsk = time.Second

// demote begins a step-down (14): arm the divergence check, stop PostgreSQL.
// A job under way is cancelled first; the step-down follows when it has ended.
func demote(in Input, mode DemotionMode, r Reason) Decision {
	if in.Job != nil {
		if in.Job.Canceled {
			return rest(in, Reason{Code: JobInProgress, Name: in.Job.Name})
		}
		return act(in, CancelJob{}, Reason{Code: LostDuring, Name: in.Job.Name})
	}
	if in.Now.Before(in.Memory.StopAgain) {
		return restFor(in, in.Memory.StopAgain.Sub(in.Now), Reason{Code: RetryLater, Detail: "PostgreSQL could not be stopped; next attempt follows"}).
			noting("PostgreSQL could not be stopped; see the log")
	}
	in.Memory.Rewind, in.Memory.RewindWhy = RewindCheck, ""
	in.Memory.Demotion = &Demotion{Mode: mode, Since: in.Now, Timeline: in.Local.Timeline}
	spec := JobSpec{Kind: JobStop, Name: "demote", Mode: StopFast}
	switch mode {
	case DemoteGraceful:
		spec.Name, spec.Checkpoint = requestName(in.Cluster.Failover)+": demote", true
	case DemoteImmediate, DemoteImmediateNoLock:
		spec.Mode, spec.StopTimeout = StopImmediate, immediatePatience
	case DemoteUnwell:
		spec.Mode, spec.StopTimeout = unwellStop(in)
	}
	return startJob(in, spec, r).saying(Line{Info, "Demoting self (" + string(mode) + ")"})
}

// absorbStop notes how the stop of a demotion ended.
func absorbStop(in Input, m Memory, r JobResult) Memory {
	if m.Demotion == nil {
		m.StopFailed = !r.OK && in.Shutdown != ShutdownNone
		return m
	}
	d := *m.Demotion
	if !r.OK {
		// Still running: the key stays, the next cycles see what is true.
		m.Demotion, m.StopAgain = nil, in.Now.Add(stopRetry)
		return m
	}
	d.Stopped, d.Down, d.Checkpoint = true, in.Now, r.CheckpointLSN
	m.Demotion = &d
	return m
}

// demoting leads a step-down to its end. The key is kept, and renewed, until
// somebody else has everything or PostgreSQL is down.
func demoting(in Input) Decision {
	d := *in.Memory.Demotion
	switch {
	case in.Tried.Renew == Refused:
		d.Released = true
	case in.Tried.Release == Done || in.Tried.HandOver == Done:
		d.Released, in.Memory.Released = true, in.Now
	}
	in.Memory.Demotion = &d
	if in.holder() && !d.Released && d.Mode != DemoteImmediateNoLock && in.Tried.Renew == NotTried {
		return do(in, RenewLeader{}, "stepping down, the key is still ours")
	}
	if in.Job != nil {
		return duringStop(in, d)
	}
	if !d.Stopped { // the agent was told otherwise, or the job never began
		in.Memory.Demotion = nil
		return restFor(in, checkpointPoll, Reason{Code: RetryLater, Detail: "the demotion did not begin; looking again"})
	}
	switch d.Mode {
	case DemoteGraceful:
		if in.holder() && !d.Released && in.Cluster != nil {
			return giveUpKey(in, d, d.Checkpoint, in.Now.Sub(d.Down) >= lastAsk)
		}
	case DemoteImmediate, DemoteUnwell:
		if in.holder() && !d.Released && in.Tried.Release == NotTried {
			return do(in, ReleaseLeader{Optime: d.Checkpoint}, "stopped").saying(Line{Info, "Leader key released"})
		}
	}
	return demoted(in, d)
}

// duringStop: PostgreSQL is going down. In a switchover the key changes
// hands as soon as the candidate has the shutdown checkpoint.
func duringStop(in Input, d Demotion) Decision {
	if d.Mode == DemoteGraceful && in.Job.Phase == PhaseShutDown && in.holder() && !d.Released {
		return giveUpKey(in, d, in.Job.CheckpointLSN, false)
	}
	name := in.Job.Name
	if in.Job.Kind == JobCrashRecovery {
		return rest(in, Reason{Code: RecoveryTimeout})
	}
	if in.holder() && in.Tried.Renew == Done {
		return rest(in, Reason{Code: RenewedDuring, Name: name})
	}
	return rest(in, Reason{Code: JobInProgress, Name: name})
}

// giveUpKey hands the key to a candidate that has the shutdown checkpoint
// (rulings 18, 19). last: do not wait for one any longer.
func giveUpKey(in Input, d Demotion, checkpoint postgres.LSN, last bool) Decision {
	if in.Peers == nil {
		return do(in, AskPeers{Members: candidates(in, d.Candidate)}, "who has the shutdown checkpoint")
	}
	ready := healthy(in, d.Candidate, checkpoint)
	if len(ready) == 0 && !last {
		return restFor(in, pollCheckpoint(in), Reason{Code: SwitchoverHandingOver, Name: requestName(in.Cluster.Failover), Member: d.Candidate})
	}
	if len(ready) == 0 && checkpoint != 0 && !in.Settings.Pause && (in.Cluster.Failover == nil || in.Cluster.Failover.Leader != "") {
		return cancelSwitchover(in)
	}
	// Without a checkpoint (it was still starting, or did not stop clean)
	// nobody is known to have everything: the race decides, by positions.
	// Nor in pause, where a standby that holds the key is promoted only while
	// the request names it, and a hand-over settles the request.
	if checkpoint != 0 && d.Timeline != 0 && len(ready) > 0 && ready[0].Pgha && in.Tried.HandOver == NotTried && !in.Settings.Pause {
		if m := in.Cluster.Member(ready[0].Name); m != nil && m.Lease != 0 {
			d.HandedTo = m.Name
			in.Memory.Demotion = &d
			return do(in, HandOver{To: *m, Optime: checkpoint}, "the candidate has everything")
		}
	}
	if in.Tried.Release == NotTried {
		d := do(in, ReleaseLeader{Optime: checkpoint}, "stepping down")
		if len(ready) == 0 && checkpoint != 0 {
			d = d.saying(Line{Warning, fmt.Sprintf("%s: no candidate has received everything; up to %d bytes of WAL are given up", requestName(in.Cluster.Failover), missingBytes(in, checkpoint))})
		}
		return d.saying(Line{Info, "Leader key released"})
	}
	return restFor(in, dcsRetry, Reason{Code: RetryLater, Detail: "the leader key could not be released yet"})
}

// pollCheckpoint is how soon candidates are asked again.
func pollCheckpoint(in Input) time.Duration {
	if in.Job != nil && in.Now.Sub(in.Job.Started) > checkpointPatience {
		return time.Second
	}
	return checkpointPoll
}

// cancelSwitchover: PostgreSQL is down and nobody received its shutdown
// checkpoint, so whoever took over would lose what was acknowledged. A planned
// change is not worth that: the key stays, the request is dropped, and this
// member goes on as the primary (docs/differences.md, "switchover that nobody
// can take over").
func cancelSwitchover(in Input) Decision {
	why := Line{Warning, "switchover: no candidate has received the shutdown checkpoint; PostgreSQL is started again here and nothing is lost"}
	if f := in.Cluster.Failover; f != nil && in.Tried.Failover == NotTried {
		return do(in, ClearFailover{Revision: f.Revision}, "nobody can take over").saying(why, Line{Info, "Cleaning up failover key"})
	}
	in.Memory.Demotion, in.Memory.Rewind, in.Memory.RewindWhy = nil, RewindInitial, ""
	return startJob(in, JobSpec{Kind: JobStartPrimary, Name: "starting again after a cancelled switchover",
		Timeout: in.Settings.PrimaryStartTimeout, Role: postgres.RolePrimary}, Reason{Code: SwitchoverCanceled})
}

// missingBytes is how far the best answering candidate is behind a position.
func missingBytes(in Input, upTo postgres.LSN) postgres.LSN {
	var best postgres.LSN
	for _, p := range in.Peers {
		if p.Answered {
			best = max(best, p.Location)
		}
	}
	return upTo - min(best, upTo)
}

// demoted ends a step-down: what follows is the ordinary return as a standby.
func demoted(in Input, d Demotion) Decision {
	in.Memory.Demotion, in.Memory.Returning = nil, true
	if d.Mode == DemoteImmediate {
		in.Memory.Released = in.Now
	}
	if d.Mode == DemoteOffline && in.Cluster == nil && in.Memory.Rewind != RewindFailed {
		// Read-only service while the DCS is away; no source is known to be good.
		return startJob(in, JobSpec{Kind: JobStartStandby, Name: "starting after demotion", Role: postgres.RoleReplica}, Reason{Code: DemotedNoDCS})
	}
	if in.Cluster == nil {
		return rest(in, Reason{Code: NoDCS})
	}
	if d, ok := awaitDisk(in); ok {
		return d
	}
	return restartAsStandby(in, false)
}
