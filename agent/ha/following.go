package ha

import (
	"time"

	"pgha/internal/postgres"
)

// checkRetry is how soon an undecided comparison of histories is repeated.
const checkRetry = time.Second

// following is section 8 for everybody but the holder, and section 4.
func following(in Input) Decision {
	if in.Local.Primary() {
		if in.Settings.Pause {
			return rest(in, Reason{Code: PausedPrimaryNoLock})
		}
		if in.Tried.Acquire == Refused {
			return demote(in, DemoteImmediateNoLock, Reason{Code: DemotedAfterLosing})
		}
		return demote(in, DemoteImmediateNoLock, Reason{Code: DemotedNoLock})
	}
	if becoming(in) {
		return demote(in, DemoteImmediateNoLock, Reason{Code: DemotedNoLock})
	}
	if d, ok := rewindStep(in); ok {
		return d
	}
	target, instead := followTarget(in)
	switch in.Tried.Follow {
	case FollowNotTried:
		return do(in, Follow{Source: target}, "follow the leader")
	case FollowRestart:
		if in.Now.Before(in.Memory.RetryAfter) {
			return restFor(in, in.Memory.RetryAfter.Sub(in.Now), Reason{Code: RetryLater, Detail: "changing primary_conninfo failed; next attempt follows"})
		}
		in.Memory.Rewind = RewindCheck
		return startJob(in, JobSpec{Kind: JobFollow, Name: string(JobFollow), Source: target, Role: postgres.RoleReplica}, Reason{Code: Changing})
	case FollowChanged:
		if in.Memory.Rewind != RewindNeed && in.Tried.Examine == NotExamined {
			in.Memory.Rewind = RewindCheck
		}
	case FollowSame:
		if leader := in.Cluster.LeaderMember(); leader != nil && in.Local.Timeline != 0 && in.Local.Timeline < leader.Timeline &&
			(in.Memory.Rewind == RewindInitial || in.Memory.Rewind == RewindNotNeed) && in.Tried.Examine == NotExamined {
			// The same primary on a new timeline; or "the same" was said of what
			// had been replayed, and what had been received went further.
			in.Memory.Rewind = RewindCheck
		}
	}
	if in.Local.Role != postgres.RoleReplica && in.Local.Running() {
		return do(in, SetRole{Role: postgres.RoleReplica}, "a standby")
	}
	if d, ok := slotsStep(in); ok {
		return d
	}
	d := rest(in, Reason{Code: Following, Member: in.Cluster.Leader.Name}).noting(unwell(in, instead))
	if in.Tried.Acquire == Refused {
		d.Reason.Code = FollowingAfterLosing
	}
	switch {
	case in.Memory.Rewind == RewindCheck:
		d.Action = Rest{Again: checkRetry}
	case isStarting(in):
		d.Action = Rest{Again: pollStarting}
		d = d.saying(Line{Info, "Still starting up as a standby."})
	}
	return d
}

// unwell says in one line what keeps a running standby from being a good one.
func unwell(in Input, instead string) string {
	switch {
	case in.Cluster.Leader != nil && in.Cluster.LeaderMember() == nil && in.Now.Sub(in.Memory.StrangerSince) >= in.Settings.TTL:
		return "the leader key names " + in.Cluster.Leader.Name + ", which is no member: nobody leads. If it was written by hand, delete the leader key of this cluster in etcd"
	case in.Memory.Rewind == RewindNeed && in.Memory.Split:
		return "history differs from the leader's (" + in.Memory.RewindWhy + ") under the same timeline number, which pg_rewind cannot mend; re-clone it with `pgha ctl reinit`"
	case in.Memory.Rewind == RewindNeed && !in.Local.RewindUsable:
		return "history differs from the leader's (" + in.Memory.RewindWhy + ") and pg_rewind cannot be used: " +
			in.Local.RewindUnusable + "; re-clone it with `pgha ctl reinit`"
	case ailing(in) != "":
		return ailing(in)
	case instead != "":
		return "replicating from the leader: " + instead
	}
	return unsupported(in)
}

// unsupported says in one line which settings this version cannot serve
// (rulings 26); empty: none.
func unsupported(in Input) string {
	if len(in.Settings.Unsupported) == 0 {
		return ""
	}
	return "not racing for the leader key: " + in.Settings.Unsupported[0].Message
}
