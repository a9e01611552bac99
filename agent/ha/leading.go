package ha

import (
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// leading is section 8 for the holder of the leader key.
func leading(in Input) Decision {
	if in.Settings.Pause && !in.Local.Primary() {
		return pausedHolderStandby(in)
	}
	if in.Tried.Renew == NotTried && in.Tried.Acquire != Done {
		return do(in, RenewLeader{Status: status(in), Failsafe: mapDue(in)}, "the leader's cycle")
	}
	// A refused renewal never comes here: holder() is false then and Decide
	// goes on with what the refusal means (lostKey).
	d, ok := manualFailover(in)
	if ok {
		return d
	}
	if in.Local.Primary() {
		if unwell, ok := unwellHolder(in); ok {
			return unwell.saying(d.Says...)
		}
	}
	return enforcePrimary(in).worried(in).saying(d.Says...)
}

// enforcePrimary makes the holder a primary, and is content when it is one.
func enforcePrimary(in Input) Decision {
	acquired := in.Tried.Acquire == Done
	if d, ok := withWatchdog(in); ok {
		return d
	}
	switch {
	case in.Local.Primary():
		if rows := historyDue(in); rows != nil && !in.Tried.History {
			return do(in, WriteHistory{Rows: rows}, "the timeline history in the DCS is behind")
		}
		if in.Local.Role != postgres.RolePrimary {
			return do(in, SetRole{Role: postgres.RolePrimary}, "running as primary")
		}
		if d, ok := slotsStep(in); ok {
			return d
		}
		if acquired {
			return rest(in, Reason{Code: AcquiredAsPrimary})
		}
		d := rest(in, Reason{Code: Leading}).noting(unsupported(in))
		if again, ok := scheduleWait(in); ok {
			d.Action = Rest{Again: again}
		}
		return d
	case isStarting(in):
		return restFor(in, pollStarting, Reason{Code: Leading})
	case in.Local.Role == postgres.RolePromoted:
		return restFor(in, pollStarting, Reason{Code: Leading}) // promotion in progress
	}
	if in.Memory.PrePromoteFailed && !in.Settings.Pause {
		return giveWay(in)
	}
	if in.Memory.AcquireInDoubt && !in.Settings.Pause {
		if d, ok := askAgain(in); ok {
			return d
		}
		in.Memory.AcquireInDoubt = false
	}
	if in.Tried.Release != NotTried {
		// Whatever came back, the key may go at any moment: the next renewal
		// makes a late release void.
		return restFor(in, unlockedRetry, Reason{Code: NotPromotingNoRenew})
	}
	if in.Now.Before(in.Memory.RetryAfter) {
		return restFor(in, in.Memory.RetryAfter.Sub(in.Now), Reason{Code: RetryLater, Detail: "the promotion failed; next attempt follows"}).
			noting(promotionFailed(in))
	}
	code := PromotedWithLock
	if acquired {
		code = PromotedByAcquiring
	}
	return startJob(in, JobSpec{Kind: JobPromote, Name: string(JobPromote)}, Reason{Code: code})
}

// giveWay: pre_promote forbade the promotion. The key is given up, and this
// member stays out of races for a ttl, so that another one can lead.
func giveWay(in Input) Decision {
	if in.Tried.Release != NotTried {
		return restFor(in, dcsRetry, Reason{Code: RetryLater, Detail: "the leader key could not be released yet"})
	}
	return act(in, ReleaseLeader{}, Reason{Code: PrePromoteFailed}).noting(promotionFailed(in)).
		saying(Line{Warning, "Releasing the leader key voluntarily because the pre-promote script failed"})
}

// becoming: a promotion was asked for and is not over. It cannot be taken back
// but by ending PostgreSQL, so whoever does not hold the key ends it, as a
// primary would be ended.
func becoming(in Input) bool {
	return in.Local.Role == postgres.RolePromoted && in.Local.Alive && in.Job == nil && !in.Settings.Pause
}

func promotionFailed(in Input) string {
	if in.Memory.PrePromoteFailed {
		return "pre_promote failed; see the log"
	}
	return "the promotion failed; see the log"
}

// askAgain: the key became ours by a request whose answer never came. What
// the peers said when it was made may have been overtaken: they are asked
// again, and the key is given up if the race would not be won now.
func askAgain(in Input) (Decision, bool) {
	race := in
	race.Memory.UnlockedSince = in.Now // as if the race were run now
	v := undiverged(race, others(race, ""), healthiest(race, others(race, ""), "", true))
	switch {
	case v.ask != nil:
		return do(in, *v.ask, "the leader key came late"), true
	case v.ok:
		return Decision{}, false
	case in.Tried.Release == NotTried:
		in.Memory.Released = in.Now // the doubt stays until the key is seen to be gone
		return act(in, ReleaseLeader{}, Reason{Code: NotHealthiest}).saying(v.says...), true
	}
	return restFor(in, unlockedRetry, Reason{Code: NotHealthiest}), true
}

// pausedHolderStandby: in pause a holder that is no primary gives the key
// up, unless it waits to be promoted by a manual failover (12), or was asked
// to before the pause: PostgreSQL will be a primary at any moment, and without
// the key another could be one as well.
func pausedHolderStandby(in Input) Decision {
	if in.Local.Role == postgres.RolePromoted && in.Local.Running() {
		if in.Tried.Renew == NotTried {
			return do(in, RenewLeader{}, "a promotion is under way")
		}
		return enforcePrimary(in)
	}
	if f := in.Cluster.Failover; f != nil && f.Candidate == in.Self {
		if in.Tried.Renew == NotTried {
			return do(in, RenewLeader{}, "the failover candidate in pause")
		}
		if in.Local.Running() {
			return enforcePrimary(in)
		}
		return rest(in, Reason{Code: WaitingForPromotion})
	}
	if in.Tried.Release == NotTried {
		return act(in, ReleaseLeader{}, Reason{Code: ReleasedNotPrimary})
	}
	return rest(in, Reason{Code: ReleasedNotPrimary})
}

// status is what the leader publishes with a renewal (contract: dcs-layout.md 1.3).
func status(in Input) *dcs.Status {
	if !in.Local.Queried || in.Local.Location == 0 {
		return nil
	}
	s := &dcs.Status{Optime: in.Local.Location}
	if in.Settings.UseSlots {
		s.Slots = slotPositions(in)
		s.RetainSlots = retained(in)
	}
	return s
}

// historyDue returns the history key's new rows, or nil when it is in order (8).
func historyDue(in Input) []dcs.HistoryRow {
	tl := in.Local.Timeline
	rows := in.Cluster.History
	if !in.Local.Queried || tl == 0 {
		return nil
	}
	if tl == 1 {
		if len(rows) > 0 {
			return []dcs.HistoryRow{}
		}
		return nil
	}
	if n := len(rows); n > 0 && rows[n-1].Timeline == tl-1 && rows[n-1].NewLeader != "" && rows[n-1].Timestamp != "" {
		return nil
	}
	if len(in.Local.HistoryFile) == 0 {
		return nil
	}
	old := map[postgres.Timeline]dcs.HistoryRow{}
	for _, r := range rows {
		old[r.Timeline] = r
	}
	var out []dcs.HistoryRow
	for _, e := range in.Local.HistoryFile {
		row := dcs.HistoryRow{Timeline: e.Timeline, Switch: e.Switch, Reason: e.Reason}
		if o, ok := old[e.Timeline]; ok && o.Switch == e.Switch {
			row.Timestamp, row.NewLeader = o.Timestamp, o.NewLeader
		}
		if e.Timeline == tl-1 && row.Timestamp == "" {
			row.Timestamp, row.NewLeader = in.Wall.Format("2006-01-02T15:04:05.000000-07:00"), in.Self
		}
		out = append(out, row)
	}
	if keep := in.Settings.MaxTimelinesHistory; keep > 0 && len(out) > keep {
		out = out[len(out)-keep:]
	}
	return out
}

// lostKey: a renewal was refused, so the key is proven to be another's.
func lostKey(in Input) Decision {
	switch {
	case in.Settings.Pause && in.Local.Primary():
		return rest(in, Reason{Code: PausedRenewFailed}).saying(Line{Error, "failed to update leader lock"})
	case isStarting(in):
		return demote(in, DemoteImmediateNoLock, Reason{Code: StartingLostLock}).
			saying(Line{Info, "Lost lock while starting up. Demoting self."})
	case in.Local.Primary():
		return demote(in, DemoteImmediateNoLock, Reason{Code: DemotedRenewFailed}).
			saying(Line{Error, "failed to update leader lock"})
	default:
		return rest(in, Reason{Code: NotPromotingNoRenew}).saying(Line{Error, "failed to update leader lock"})
	}
}
