package ctl

import (
	"slices"
	"time"

	"pgha/internal/journal"
)

// event is what a story is about.
type event string

const (
	eventPromotion  event = "new_leader"
	eventNoFailover event = "no_failover"
	eventDemotion   event = "demotion"
	eventRefused    event = "request_refused"
	eventDCS        event = "dcs_lost"
	eventCrash      event = "postgres_ended"
	eventRewind     event = "rewind"
	eventClone      event = "copy"
	eventPause      event = "pause"
	eventAgent      event = "agent"
	eventOther      event = "other"
	eventNone       event = "none"
)

// span is one story: entries from to until, both included, around its pivot.
type span struct {
	from, until int // indexes into the entries
	pivot       int
	event       event
}

// stories cuts the line of records into stories, oldest first. Every promotion
// has one: back to what began it, on to what followed. What is left over makes
// others where nothing happened for a lease's time in between.
func stories(all []entry) []span {
	gap := gapOf(all)
	var out []span
	previous := -1
	for i, e := range all {
		if e.Kind != journal.KindPromotion {
			continue
		}
		if previous >= 0 && all[previous].Member == e.Member && leads(all[previous+1:i], e.Member) {
			continue // the same promotion, said again
		}
		s := span{from: i, until: i, pivot: i, event: eventPromotion}
		near := e.at
		for k := i - 1; k > previous; k-- {
			if !trigger(all[k]) || all[k].weight == silent {
				continue
			}
			if near.Sub(all[k].end) > gap && all[k].Code != "leader_gone" {
				if !slices.ContainsFunc(all[max(0, previous):k], func(e entry) bool { return e.Code == "leader_gone" && e.weight > silent }) {
					break // the time without a leader is one story, however long
				}
			}
			s.from, near = k, all[k].at
		}
		out = append(out, s)
		previous = i
	}
	for n := range out {
		s := &out[n]
		next := len(all)
		if n+1 < len(out) {
			next = out[n+1].from
		}
		last := all[s.pivot].end
		for k := s.pivot + 1; k < next; k++ {
			e := all[k]
			// What begins later begins the next story, unless it is the former
			// leader that notices late.
			late := e.at.Sub(all[s.pivot].at) > aftermath && e.Member != all[s.pivot].Other
			if e.at.Sub(last) > gap || late && begins(e) {
				break
			}
			if e.weight >= detail {
				s.until, last = k, e.end
			}
		}
	}
	return append(out, others(all, out, gap)...)
}

// aftermath is how long after a promotion the others' records of the same
// event come.
const aftermath = 3 * time.Second

// begins says whether a record begins a story of its own.
func begins(e entry) bool {
	return e.weight >= detail && (trigger(e) || e.Kind == journal.KindRequest || e.Kind == journal.KindPause)
}

// leads says whether nobody else came between: no loss, no other leader.
func leads(between []entry, member string) bool {
	return !slices.ContainsFunc(between, func(e entry) bool {
		return e.Code == "leader_gone" || e.Kind == journal.KindDemotion || e.Kind == journal.KindPromotion || e.Code == "leader_known" && e.Other != member
	})
}

// others are the stories without a promotion.
func others(all []entry, taken []span, gap time.Duration) []span {
	var out []span
	var last time.Time
	open := false
	for i, e := range all {
		if slices.ContainsFunc(taken, func(s span) bool { return i >= s.from && i <= s.until }) {
			open = false
			continue
		}
		if e.weight < detail {
			continue
		}
		if open && e.at.Sub(last) <= gap {
			s := &out[len(out)-1]
			s.until = i
			if rank(e) >= rank(all[s.pivot]) {
				s.pivot = i
			}
		} else {
			out = append(out, span{from: i, until: i, pivot: i})
		}
		open = true
		if last = e.end; e.end.Before(e.at) {
			last = e.at
		}
	}
	for i := range out {
		out[i].event = eventOf(all[out[i].pivot])
	}
	return slices.DeleteFunc(out, func(s span) bool { return all[s.pivot].weight < notable })
}

// rank says which record of a story without a promotion it is about.
func rank(e entry) int {
	if e.weight < notable {
		return 0
	}
	order := []event{eventOther, eventAgent, eventClone, eventDCS, eventPause, eventCrash, eventRewind, eventRefused, eventDemotion, eventNoFailover}
	return 1 + slices.Index(order, eventOf(e))
}

func eventOf(e entry) event {
	switch e.Kind {
	case journal.KindPromotion:
		return eventPromotion
	case journal.KindNoPromotion:
		return eventNoFailover
	case journal.KindLeader:
		if e.Code == "leader_gone" {
			return eventNoFailover
		}
	case journal.KindDemotion, journal.KindLock:
		return eventDemotion
	case journal.KindRequest:
		if e.Code == "request_refused" {
			return eventRefused
		}
	case journal.KindDCS, journal.KindFailsafe:
		return eventDCS
	case journal.KindStart, journal.KindGuard, journal.KindHealth:
		return eventCrash
	case journal.KindRole:
		if e.Code == "primary_ended" {
			return eventCrash
		}
	case journal.KindRewind:
		return eventRewind
	case journal.KindClone:
		return eventClone
	case journal.KindPause:
		return eventPause
	case journal.KindAgent, journal.KindShutdown:
		return eventAgent
	}
	return eventOther
}

// choose returns the story that is asked for: the one nearest to at, or the
// last one that says something of who leads; with a member only among those it
// has a part in. False: there is none.
func choose(all []entry, among []span, at time.Time, member string) (span, bool) {
	among = slices.DeleteFunc(slices.Clone(among), func(s span) bool {
		return member != "" && !slices.ContainsFunc(all[s.from:s.until+1], func(e entry) bool { return e.Member == member && e.weight >= detail })
	})
	if len(among) == 0 {
		return span{}, false
	}
	slices.SortStableFunc(among, func(a, b span) int { return all[a.pivot].at.Compare(all[b.pivot].at) })
	if !at.IsZero() {
		return slices.MinFunc(among, func(a, b span) int { return int(distance(all, a, at).Seconds() - distance(all, b, at).Seconds()) }), true
	}
	for _, s := range slices.Backward(among) {
		if telling(all, s) {
			return s, true
		}
	}
	return among[len(among)-1], true
}

// telling says whether a story is worth a headline of its own: a member that
// started, was copied or rewound well follows from what happened before.
func telling(all []entry, s span) bool {
	switch s.event {
	case eventAgent, eventClone, eventOther:
		return false
	case eventRewind:
		return slices.ContainsFunc(all[s.from:s.until+1], func(e entry) bool {
			return e.Kind == journal.KindRewind && (e.Code == "rewind_failed" || e.Code == "job_failed" || e.Code == "stay_stopped_after_failed_rewind")
		})
	}
	return true
}

// distance is how far a story is from a moment; zero: it was under way.
func distance(all []entry, s span, at time.Time) time.Duration {
	first, last := all[s.from].at, all[s.until].end
	switch {
	case at.Before(first):
		return first.Sub(at)
	case at.After(last):
		return at.Sub(last)
	}
	return 0
}

// sorted are stories by the time of what they are about.
func sorted(all []entry, spans []span) []span {
	return slices.SortedStableFunc(slices.Values(spans), func(a, b span) int { return all[a.pivot].at.Compare(all[b.pivot].at) })
}
