package ha

import "pgha/internal/postgres"

// isStarting says whether the server is up but not yet accepting connections.
func isStarting(in Input) bool {
	return in.Local.Alive && (in.Local.State == postgres.StateStarting || in.Local.State == postgres.StateBootstrapStarting)
}

// startingAsHolder is section 6: the leader's PostgreSQL is still starting.
func startingAsHolder(in Input) Decision {
	if in.Settings.Pause {
		return leading(in)
	}
	switch in.Tried.Renew {
	case NotTried:
		return do(in, RenewLeader{}, "PostgreSQL is starting")
	}
	if d, ok := manualFailover(in); ok {
		return d
	}
	if d, ok := unwellHolder(in); ok {
		return d
	}
	limit := in.Settings.PrimaryStartTimeout
	if in.Local.StartTimeout != 0 {
		limit = in.Local.StartTimeout
	}
	waited := in.Now.Sub(in.Local.StateSince)
	if waited < limit {
		left := limit - waited
		return restFor(in, min(left, pollStarting), Reason{Code: Starting, Seconds: int(left.Seconds())})
	}
	if in.Peers == nil {
		return do(in, AskPeers{Members: candidates(in, "")}, "is a failover possible")
	}
	possible, says := failoverPossible(in, "", 0)
	if !possible {
		return restFor(in, unlockedRetry, Reason{Code: StartingStuck}).saying(says...) // it may be ready at any moment
	}
	return demote(in, DemoteImmediate, Reason{Code: StartingTimeout}).
		saying(append(says, Line{Info, "Demoting self because primary startup is taking too long"})...)
}
