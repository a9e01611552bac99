package ha

import (
	"time"

	"pgha/internal/postgres"
)

// waitForLeader is how long a stopped former primary waits for a leader that
// is still being promoted before it starts without a comparison.
const waitForLeader = 10 * time.Second

// rewindHelps says whether pg_rewind can be run here and would mend anything.
func rewindHelps(in Input) bool { return in.Local.RewindUsable && !in.Memory.Split }

// rewindStep is section 16: find out whether this member's history left the
// leader's, and mend it. The second result is false when the cycle goes on
// without it.
func rewindStep(in Input) (Decision, bool) {
	leader := in.Cluster.LeaderMember()
	if !in.Memory.Rewind.pending() || leader == nil || leader.Name == in.Self || leader.ConnURL == "" {
		return Decision{}, false
	}
	if in.Memory.Rewind == RewindCheck {
		if d, ok := examine(in, leader.Role); ok {
			return d, true
		}
	}
	if in.Memory.Rewind != RewindNeed {
		return Decision{}, false
	}
	switch {
	case rewindHelps(in) && leader.CheckpointAfterPromote != nil:
		return restFor(in, checkRetry, Reason{Code: WaitingCheckpoint, Member: leader.Name}), true
	case in.Now.Before(in.Memory.RetryAfter) && rewindHelps(in):
		return restFor(in, in.Memory.RetryAfter.Sub(in.Now), Reason{Code: RetryLater, Detail: "pg_rewind: " + in.Memory.RewindWhy}).
			noting("pg_rewind will be tried again: " + in.Memory.RewindWhy), true
	case in.Now.Before(in.Memory.RetryAfter) && in.Settings.RemoveOnDiverged:
		return restFor(in, in.Memory.RetryAfter.Sub(in.Now), Reason{Code: RetryLater, Detail: "cloning failed; next attempt follows"}).
			noting("histories parted (" + in.Memory.RewindWhy + ") and cloning anew failed; see the log"), true
	case rewindHelps(in):
		return startJob(in, JobSpec{Kind: JobRewind, Name: string(JobRewind) + " " + leader.Name, Source: leader}, Reason{Code: Rewinding, Member: leader.Name}), true
	case in.Settings.RemoveOnDiverged:
		return startJob(in, JobSpec{Kind: JobReinit, Name: "reinitializing due to diverged timelines", Source: leader}, Reason{Code: Reinitializing}), true
	}
	return Decision{}, false
}

// examine moves RewindCheck on. It returns a decision while the cycle has to
// wait for something; the comparison's result is put into Memory by the
// caller's next Decide, through Tried.Examine.
func examine(in Input, leaderRole postgres.Role) (Decision, bool) {
	switch {
	case in.Tried.Examine != NotExamined:
		return Decision{}, false // remember() has moved Memory on, or nothing can be told now
	case leaderRole.IsPrimary():
		return do(in, Examine{Leader: *in.Cluster.LeaderMember()}, "did histories part"), true
	}
	return waitForPrimary(in)
}

// waitForPrimary: nothing can be compared yet. A running standby goes on as
// it is; a stopped former primary waits a while, because starting it on a
// wrong guess costs a stop again.
func waitForPrimary(in Input) (Decision, bool) {
	if in.Local.Alive || in.Memory.Demotion != nil || in.Local.BackupLabel {
		return Decision{}, false
	}
	since := in.Memory.CheckSince
	if since.IsZero() {
		in.Memory.CheckSince = in.Now
		since = in.Now
	}
	if in.Now.Sub(since) > waitForLeader {
		return Decision{}, false
	}
	return restFor(in, pollStarting, Reason{Code: WaitingLeader, Member: in.Cluster.Leader.Name}), true
}

// rememberExamined moves the state machine after an examination of this cycle.
func rememberExamined(in Input, m Memory) Memory {
	if m.Rewind != RewindCheck {
		return m
	}
	switch in.Tried.Examine {
	case ExamineSame:
		m.Rewind, m.RewindWhy, m.CheckSince = RewindNotNeed, "", 0
	case ExamineDiverged:
		m.Rewind, m.RewindWhy, m.CheckSince = RewindNeed, in.Tried.ExamineWhy, 0
	case ExamineSplit:
		m.Rewind, m.RewindWhy, m.CheckSince = RewindNeed, in.Tried.ExamineWhy, 0
	}
	m.Split = in.Tried.Examine == ExamineSplit
	return m
}

// absorbRewind judges a finished pg_rewind (16.3 and rulings 58).
func absorbRewind(in Input, m Memory, r JobResult) Memory {
	switch {
	case r.OK:
		m.Rewind, m.RewindWhy = RewindSuccess, ""
		m.CrashRecovered, m.RetryAfter = false, 0
	case r.Unreachable:
		m.RewindWhy = r.Err
		m.RetryAfter = in.Now.Add(retryPause)
	default:
		m.Rewind, m.RewindWhy = RewindFailed, r.Err
		m.RetryAfter = in.Now.Add(retryPause) // another source arms the check again
	}
	return m
}
