package ha

import "time"

// unlockedRetry is how soon a race that nobody could win is run again. The
// new leader's key wakes everybody earlier.
const unlockedRetry = time.Second

// keepSourceFor is how long a replica that does not race keeps streaming from
// where it did, before it cuts the stream (docs/differences.md, "source of a
// leaderless replica").
const keepSourceFor = 2 * time.Second

// releaseWait is how long a former leader leaves the field to the others.
const releaseWait = 2 * time.Second

// leaderless is section 9: nobody holds the leader key. Whoever may lead
// tries to create it; the store decides between several.
func leaderless(in Input) Decision {
	switch in.Tried.Acquire {
	case Done:
		return won(in)
	case Refused, Failed:
		if in.Tried.Reloaded == 0 {
			return do(in, Reload{}, "the leader key was not created by us").
				saying(Line{Info, "Could not take out TTL lock"})
		}
		if in.Tried.Acquire == Failed && agreedUpon(in) {
			return restFor(in, unlockedRetry, Reason{Code: FailsafeLeading}) // nobody else takes it meanwhile
		}
		if in.Local.Primary() && !in.Settings.Pause {
			// Without an answer the key may be ours or anybody's: one primary
			// counts for more than none.
			return demote(in, DemoteImmediateNoLock, Reason{Code: DemotedAfterLosing})
		}
		return restFor(in, unlockedRetry, Reason{Code: FollowingAfterLosing})
	}
	if d, ok := upstreamFirst(in); ok {
		return d
	}
	verdict := eligible(in)
	if verdict.ask != nil {
		return do(in, *verdict.ask, "who is the healthiest")
	}
	if verdict.ok {
		return do(in, AcquireLeader{}, "nobody holds the leader key").saying(verdict.says...)
	}
	return standBack(in).saying(verdict.says...)
}

// upstreamFirst is rulings 16 for the race: a standby that has seen no leader
// since its agent was started knows of no primary, and one may be alive whose
// agent is still down, or about to take the key.
func upstreamFirst(in Input) (Decision, bool) {
	f := in.Cluster.Failover
	named := f != nil && f.Candidate == in.Self
	if in.Memory.LastLed != nil || in.Settings.Pause || in.Tags.NoFailover || named || !in.Local.Running() || !in.Local.InRecovery {
		return Decision{}, false
	}
	switch {
	case in.Tried.Upstream == UpstreamNotAsked:
		return do(in, AskUpstream{}, "is the server that this standby followed a primary"), true
	case upstreamLives(in):
		who := upstreamText(in)
		return restFor(in, retryPause, Reason{Code: WaitUpstream, Detail: who}).
			noting("nobody leads; first start the agent of the member at " + who +
				". If this member is to lead instead, stop that server for good and run `pgha ctl failover --candidate " + in.Self + "`"), true
	}
	return Decision{}, false
}

// won: the key is ours. A request that made us leader is settled first.
func won(in Input) Decision {
	if f := in.Cluster.Failover; f != nil && in.Tried.Failover == NotTried {
		if in.Settings.Pause && f.Leader != "" && f.Candidate != "" {
			keep := *f
			keep.Leader = ""
			return do(in, RewriteFailover{keep}, "the request is settled").
				saying(Line{Info, "Updating failover key after acquiring leader lock..."})
		}
		return do(in, ClearFailover{Revision: f.Revision}, "the request is settled").
			saying(Line{Info, "Cleaning up failover key after acquiring leader lock..."})
	}
	return enforcePrimary(in)
}

// standBack: we are not to lead. A primary steps down; a replica waits.
func standBack(in Input) Decision {
	if in.Settings.Pause {
		if in.Local.Primary() {
			return rest(in, Reason{Code: PausedPrimaryNoLock})
		}
		return rest(in, Reason{Code: PausedIdle})
	}
	named := in.Cluster.Failover != nil && in.Cluster.Failover.Candidate != ""
	if in.Tags.NoFailover || named {
		in.Memory.Rewind = RewindCheck
	}
	primary, replica := DemotedNotHealthiest, NotHealthiest
	if in.Tags.NoFailover {
		primary, replica = NotAllowedPrimary, NotAllowed
	}
	if in.Local.Primary() || becoming(in) {
		return demote(in, DemoteImmediateNoLock, Reason{Code: primary})
	}
	if in.Now.Sub(in.Memory.UnlockedSince) >= keepSourceFor && in.Tried.Follow == FollowNotTried && in.Local.Running() {
		return do(in, Follow{Source: nil}, "no leader to follow")
	}
	return restFor(in, unlockedRetry, Reason{Code: replica})
}
