package ha

import (
	"time"

	"pgha/internal/dcs"
)

// Decide says what this member should do next, and why. It knows nothing but
// in. The shell executes the action, puts its outcome into the input, and
// asks again until the action is Rest or Exit: that is one cycle.
//
// The order of the arms is that of section 2; each arm is a file.
func Decide(in Input) Decision {
	in, ask := ledBySender(in)
	if ask != nil {
		return *ask
	}
	return leaveFailsafe(in, decide(in))
}

func decide(in Input) Decision {
	in.Memory = remember(in)
	in.Finished = nil
	switch {
	case in.Local.Superseded:
		return act(in, Exit{Code: exitRefused}, Reason{Code: Superseded})
	case in.Request != nil && !in.Tried.Answered && busy(in) != "":
		// Nothing below would look at it: its caller must not wait for that.
		return refuse(in, busy(in))
	case in.Twin:
		return act(in, Exit{Code: exitRefused}, Reason{Code: TwinFound, Member: in.Self})
	case in.Shutdown != ShutdownNone:
		return shuttingDown(in)
	case in.Memory.Demotion != nil:
		return demoting(in)
	case in.Cluster == nil || in.Tried.Renew == Failed:
		return dcsUnreachable(in)
	case in.Cluster.Member(in.Self) == nil && !in.Tried.Touched && (in.holder() || !mayWrite(in)):
		// A primary without the key, or one in the making, has something more
		// urgent to do; its member key is written at the end of the cycle.
		return do(in, TouchMember{}, "own member key is missing")
	case in.holder() && registrationDue(in):
		return restoreRegistration(in)
	case in.Request != nil && !in.Tried.Answered && !in.keyless():
		return onRequest(in)
	case in.Job != nil:
		return duringJob(in)
	case in.Tried.Renew == Refused && in.Local.Alive:
		return lostKey(in)
	case in.Memory.BootstrapDone || in.Memory.BootstrapFailed:
		return afterBootstrap(in)
	case isStarting(in) && in.holder():
		return startingAsHolder(in)
	case nothingToRun(in):
		return withoutData(in)
	case foreignCluster(in):
		return wrongSystem(in)
	case !in.Local.Alive:
		return notRunning(in)
	case in.Cluster.Leader == nil:
		return leaderless(in)
	case in.holder():
		return leading(in)
	case in.Cluster.Leader.Name == in.Self: // given up in this very cycle
		if in.Memory.GaveWay == in.Now {
			return rest(in, Reason{Code: PrePromoteFailed})
		}
		if in.Tried.Watchdog == Refused {
			return rest(in, Reason{Code: WatchdogNotPromoting})
		}
		return rest(in, Reason{Code: ReleasedNotPrimary})
	default:
		return following(in)
	}
}

// remember brings Memory up to date with what the cycle saw: the last view
// with a leader, how long there has been none, and how a job ended.
func remember(in Input) Memory {
	m := in.Memory
	if in.Cluster == nil || in.Cluster.Failsafe == nil && in.Failsafe.Members != nil {
		m.KeepListed = in.Now.Add(in.Settings.TTL)
	}
	if in.Cluster != nil {
		switch {
		case in.Cluster.Leader == nil || in.Cluster.LeaderMember() != nil:
			m.StrangerSince = 0
		case m.StrangerSince.IsZero():
			m.StrangerSince = in.Now
		}
		if in.Cluster.Leader != nil {
			m.LastLed = in.Cluster
			m.UnlockedSince = 0
			if in.Tried.Release != Done {
				m.Released = 0
			}
			if in.Cluster.Leader.Name != in.Self {
				m.SlotSeen = nil // the next time we lead, its clocks start anew
			}
		} else if m.UnlockedSince.IsZero() {
			m.UnlockedSince = in.Now
		}
		if m.Paused && !in.Settings.Pause { // leaving pause: trust nothing from before it (12)
			m.Rewind, m.RewindWhy = RewindInitial, ""
			if in.Local.Alive && in.Local.InRecovery {
				m.Rewind = RewindCheck
			}
		}
		m.Paused = in.Settings.Pause
	}
	m = rememberHealth(in, rememberExamined(in, m))
	if in.Finished != nil {
		m = absorb(in, m, *in.Finished)
	}
	if in.Local.HalfRewound && in.Job == nil && m.Rewind != RewindFailed {
		// Neither started nor rewound again: a second pg_rewind would trust a
		// log that the first has partly replaced.
		m.Rewind, m.RewindWhy = RewindFailed, "an earlier pg_rewind did not finish"
	}
	switch {
	case in.Tried.Acquire == Failed:
		m.AcquireInDoubt = true
	case in.Tried.Acquire == Done || in.Tried.Release == Done || in.Cluster != nil && in.Cluster.Leader != nil && in.Cluster.Leader.Name != in.Self:
		m.AcquireInDoubt = false
	}
	if in.Local.Alive && in.Job == nil {
		m.PromoteFailed = false
	}
	switch { // 8: after a failed pre_promote the key is released and the failure forgotten
	case m.PrePromoteFailed && in.Tried.Release == Done:
		m.PrePromoteFailed, m.GaveWay = false, in.Now
	case in.Cluster != nil && in.Job == nil && !in.holder():
		m.PrePromoteFailed = false
	}
	if m.BootstrapDone && registeredAsOurs(in) {
		m.BootstrapDone = false // it is a cluster like any other now: others may lead it
	}
	if m.Recovering && in.Job == nil && !isStarting(in) && in.Local.Alive {
		// 5.3: running. A rewind that worked is over with it.
		m.Recovering, m.CrashRecovered, m.FailedStarts = false, false, 0
		if m.Rewind == RewindSuccess {
			m.Rewind, m.RewindWhy = RewindInitial, ""
		}
	}
	return m
}

// absorb draws the consequences of a finished job.
func absorb(in Input, m Memory, r JobResult) Memory {
	switch r.Kind {
	case JobBootstrap:
		m.BootstrapDone, m.BootstrapFailed, m.BootstrapWhy = r.OK, !r.OK, r.Err
		m.BootstrapCleaned = false // that was an earlier one's
	case JobUnbootstrap:
		m.BootstrapCleaned = true
		if !r.OK {
			m.RetryAfter = in.Now.Add(retryPause)
		}
	case JobClone, JobReinit:
		if r.OK {
			m.Rewind, m.RewindWhy = RewindInitial, ""
			m.Recovering, m.CrashRecovered, m.FailedStarts, m.RetryAfter = false, false, 0, 0
			m.BadSource, m.FailedClones, m.CloneWhy = "", 0, ""
		} else {
			// A method that cannot work is not tried more often than the cycle.
			m.FailedClones, m.CloneWhy = m.FailedClones+1, r.Err
			m.RetryAfter = in.Now.Add(max(retryPause, min(retryPause<<min(m.FailedClones-1, 10), in.Settings.LoopWait)))
			if r.Source != nil {
				m.BadSource = r.Source.Name
			}
		}
	case JobStartPrimary, JobStartStandby, JobRestart, JobFollow:
		m.Recovering, m.Returning = true, false
		if !r.OK {
			m.FailedStarts++
			m.RetryAfter = in.Now.Add(retryPause)
		}
	case JobCrashRecovery:
		m.CrashRecovered = true
	case JobPromote:
		if m.PrePromoteFailed = r.PrePromoteFailed; r.PrePromoteFailed {
			m.RetryAfter = in.Now.Add(retryPause) // nothing was begun: there is nothing to examine
			return m
		}
		m.Rewind, m.RewindWhy, m.PromoteFailed = RewindInitial, "", !r.OK
		if !r.OK {
			m.Rewind = RewindCheck // it may have happened all the same, or half
			m.RetryAfter = in.Now.Add(retryPause)
		}
	case JobRewind:
		m = absorbRewind(in, m, r)
	case JobStop:
		m = absorbStop(in, m, r)
	}
	return m
}

// exitRefused is the exit code for "refused for safety" (rulings 51).
const exitRefused = 3

// retryPause keeps attempts apart that just failed: a wake-up must not turn
// them into a hot loop.
const retryPause = 2 * time.Second

// holder says whether the leader key names this member in the view of this cycle.
func (in Input) holder() bool {
	return in.Cluster != nil && in.Cluster.Leader != nil && in.Cluster.Leader.Name == in.Self &&
		in.Tried.Renew != Refused && in.Tried.Release != Done && in.Tried.HandOver != Done
}

// mayWrite says whether PostgreSQL here accepts writes, or is about to: a
// promotion may be under way, or a start as a primary.
func mayWrite(in Input) bool {
	if j := in.Job; j != nil && (j.Kind == JobPromote || j.Kind == JobStartPrimary || j.Kind == JobRestart) {
		return true
	}
	return in.Local.Primary() || becoming(in)
}

// keyless says whether PostgreSQL here accepts writes though the leader key is
// not ours: whatever else is wanted, that is decided first.
func (in Input) keyless() bool {
	return in.Local.Primary() && !in.holder() && !in.Settings.Pause
}

// unlocked says whether nobody holds the leader key.
func (in Input) unlocked() bool {
	return in.Cluster != nil && (in.Cluster.Leader == nil || in.Tried.Release == Done)
}

// registrationDue says whether the holder must put initialize or config
// right (2, steps 4 and 5).
func registrationDue(in Input) bool {
	c := in.Cluster
	if in.Job != nil || !in.Local.SystemID.Valid() {
		return false
	}
	noID := c.Initialize == nil || !c.Initialize.SystemID.Valid()
	noConfig := c.Config == nil || !c.Config.Valid
	return noID && in.Tried.Initialize == NotTried || noConfig && in.Tried.Config == NotTried
}

func restoreRegistration(in Input) Decision {
	c := in.Cluster
	if in.Tried.Initialize == NotTried && (c.Initialize == nil || !c.Initialize.SystemID.Valid()) {
		put := PutSystemID{ID: in.Local.SystemID, Absent: c.Initialize == nil}
		if c.Initialize != nil {
			put.Revision = c.Initialize.Revision
		}
		return do(in, put, "initialize is missing or damaged")
	}
	var rev dcs.Revision
	if c.Config != nil {
		rev = c.Config.Revision
	}
	return do(in, RestoreConfig{Revision: rev}, "config is missing or damaged")
}

// do is a step within a cycle.
func do(in Input, a Action, why string) Decision {
	return Decision{Action: a, Reason: Reason{Code: Stepping, Self: in.Self, Detail: why}, Memory: in.Memory}
}

// act is an action that carries the cycle's reason.
func act(in Input, a Action, r Reason) Decision {
	r.Self = in.Self
	return Decision{Action: a, Reason: r, Memory: in.Memory}
}

// rest ends the cycle.
func rest(in Input, r Reason) Decision { return act(in, Rest{}, r) }

// restFor ends the cycle and asks for the next one after d at the latest.
func restFor(in Input, d time.Duration, r Reason) Decision { return act(in, Rest{Again: d}, r) }

// saying adds log lines in front of what the decision already says.
func (d Decision) saying(lines ...Line) Decision {
	d.Says = append(append([]Line(nil), lines...), d.Says...)
	return d
}

// noting sets the line shown to people.
func (d Decision) noting(note string) Decision {
	d.Note = note
	return d
}
