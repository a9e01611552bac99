package ctl

import (
	"slices"
	"sort"
	"time"

	"pgha/internal/journal"
)

// memberJournal is what one member's journal said.
type memberJournal struct {
	Name string
	// Records in the order written.
	Records []journal.Record
	// Skew is how far its clock is ahead of ours; zero: unknown or too little
	// to be told from the way of the answer.
	Skew time.Duration
	// Source is where they came from: rest, file; empty: nowhere.
	Source string
	// Fault is why there are none.
	Fault string
	// Notes are what a reader has to know of them.
	Notes []string
}

// entry is one record on the common line of time.
type entry struct {
	journal.Record
	// at and end are the member's times, put right by its skew.
	at, end time.Time
	weight  weight
}

// weight is how much a record tells.
type weight int

const (
	silent  weight = iota // routine, or said by another record
	detail                // part of a story
	notable               // makes a story
	pivotal               // is what a story is about
)

// lineUp merges journals by time and weighs their records. What several members
// report of the same thing counts once.
func lineUp(journals []memberJournal) []entry {
	var all []entry
	for _, j := range journals {
		var last time.Time
		for _, r := range j.Records {
			at := r.At.Add(-j.Skew)
			// The member's own order counts where its clock was set back.
			if at.Before(last) && last.Sub(at) < time.Second {
				at = last
			}
			last = at
			end := r.End().Add(-j.Skew)
			if end.Before(at) {
				end = at
			}
			all = append(all, entry{Record: r, at: at, end: end, weight: weigh(r)})
		}
	}
	sort.SliceStable(all, func(i, k int) bool { return all[i].at.Before(all[k].at) })
	once(all)
	return all
}

// silentCodes tell nothing that another record does not tell better.
var silentCodes = []string{"acquired", "acquired_refused", "renewed", "rewind_check", "rewind_not_needed", "rewind_done", "starting", "no_dcs",
	"dcs_back", "waiting_for_bootstrap", "bootstrap_recovering", "post_bootstrapping", "initialized", "waiting_leader_promotion"}

// detailCodes belong to stories and make none.
var detailCodes = []string{"leader_known", "riding_through_dcs_silence", "config_taken", "reloaded", "rewinding", "waiting_leader_checkpoint", "cloning",
	"postgres_ended", "pause_off", "became_standby", "switchover_handing_over", "restart_initiated", "changing_source", "retry_later", "starting_as_secondary", "agent_ended"}

// weigh judges one record by itself.
func weigh(r journal.Record) weight {
	switch {
	case slices.Contains(silentCodes, r.Code):
		return silent
	case slices.Contains(detailCodes, r.Code):
		return detail
	}
	switch r.Kind {
	case journal.KindSteady:
		return silent
	case journal.KindJob:
		if r.Code == "job_failed" {
			return notable
		}
		return silent
	case journal.KindPromotion:
		return pivotal
	case journal.KindDemotion:
		if r.Action == "starting after demotion" {
			return detail
		}
		return pivotal
	case journal.KindRequest:
		if r.Code == "request_answered" {
			return detail
		}
		return notable
	case journal.KindLock:
		if r.Code == "renewed_refused" {
			return pivotal
		}
		return notable
	case journal.KindOther:
		return detail
	}
	return notable
}

// onceCodes are reported by every member and shown for the first that does, as
// long as it is about the same.
var onceCodes = []string{"leader_known", "leader_gone", "change_wanted", "pause_on", "pause_off", "config_taken"}

// sameFor is how long a second report is of the same thing.
const sameFor = time.Minute

func once(all []entry) {
	type said struct {
		text string
		at   time.Time
	}
	last := map[string]said{}
	for i := range all {
		e := &all[i]
		if !slices.Contains(onceCodes, e.Code) {
			continue
		}
		what := e.Other
		if e.Code != "leader_known" && e.Code != "leader_gone" {
			what = e.Text
		}
		if before, there := last[e.Code]; there && before.text == what && e.at.Sub(before.at) < sameFor {
			e.weight = silent
			continue
		}
		last[e.Code] = said{what, e.at}
		if e.Code == "leader_known" { // the next loss of a key is another one
			delete(last, "leader_gone")
		}
	}
}

// triggers begin a story: whatever led to a change of leader is among them.
func trigger(e entry) bool {
	switch e.Kind {
	case journal.KindDemotion, journal.KindShutdown, journal.KindFailsafe, journal.KindHealth:
		return true
	case journal.KindDCS:
		return e.Code == "dcs_lost"
	case journal.KindNoPromotion:
		return e.Code != "following_after_losing_race"
	case journal.KindGuard:
		return true
	case journal.KindLock:
		return e.Code == "renewed_refused" || e.Code == "renewed_unanswered" || e.Code == "released"
	case journal.KindLeader:
		return e.Code == "leader_gone"
	case journal.KindRequest:
		return e.Code == "change_wanted"
	case journal.KindRole:
		return e.Code == "primary_ended"
	}
	return false
}

// gapOf is how far apart two records of one story may be: a lease's time.
func gapOf(all []entry) time.Duration {
	gap := 15 * time.Second
	for _, e := range all {
		if e.Seen != nil {
			gap = max(gap, time.Duration(e.Seen.TTL*float64(time.Second)))
		}
	}
	return min(gap, 5*time.Minute)
}
