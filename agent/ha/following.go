package ha

import (
	"time"

	"pgha/internal/dcs"
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
		return demote(in, DemoteImmediateNoLock, Reason{Code: DemotedNoLock})
	}
	if d, ok := rewindStep(in); ok {
		return d
	}
	source := followTarget(in)
	switch in.Tried.Follow {
	case FollowNotTried:
		return do(in, Follow{Source: source}, "follow the leader")
	case FollowRestart:
		in.Memory.Rewind = RewindCheck
		return startJob(in, JobSpec{Kind: JobFollow, Name: string(JobFollow), Source: source, Role: postgres.RoleReplica}, Reason{Code: Changing})
	case FollowChanged:
		if in.Memory.Rewind != RewindNeed && in.Tried.Examine == NotExamined {
			in.Memory.Rewind = RewindCheck
		}
	case FollowSame:
		if leader := in.Cluster.LeaderMember(); leader != nil && in.Local.Timeline != 0 && in.Local.Timeline < leader.Timeline &&
			in.Memory.Rewind == RewindInitial {
			in.Memory.Rewind = RewindCheck // the same primary, a new timeline
		}
	}
	if in.Local.Role != postgres.RoleReplica && in.Local.Running() {
		return do(in, SetRole{postgres.RoleReplica}, "a standby")
	}
	if d, ok := slotsStep(in); ok {
		return d
	}
	d := rest(in, Reason{Code: Following, Member: in.Cluster.Leader.Name}).noting(unwell(in))
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
func unwell(in Input) string {
	switch {
	case in.Memory.Rewind == RewindNeed && !in.Local.RewindUsable:
		return "history differs from the leader's (" + in.Memory.RewindWhy + ") and pg_rewind cannot be used: " +
			in.Local.RewindUnusable + "; re-clone it with `pgha ctl reinit`"
	case len(in.Settings.Unsupported) > 0:
		return "not racing for the leader key: " + in.Settings.Unsupported[0].Message
	}
	return ""
}

// followTarget is whom to follow (4); nil: nobody.
func followTarget(in Input) *dcs.Member {
	if in.Tags.NoStream {
		return nil
	}
	target := in.Cluster.LeaderMember()
	if via := in.Tags.ReplicateFrom; via != "" && via != in.Self {
		if m := in.Cluster.Member(via); m != nil {
			target = m
		}
	}
	if target == nil || target.Name == in.Self || target.ConnURL == "" {
		return nil
	}
	return target
}
