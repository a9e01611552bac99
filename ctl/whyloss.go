package ctl

// Why somebody led no longer, and who leads instead: the words for the end of a
// leadership.

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgha/internal/journal"
)

// former is who led before, as the story tells it; empty: unknown.
func (t *teller) former(s span) string {
	p := t.all[s.pivot]
	if p.Kind == journal.KindPromotion && p.Other != "" {
		return p.Other
	}
	for _, e := range t.all[s.from : s.until+1] {
		switch {
		case e.Code == "leader_gone":
			return e.Other
		case e.Kind == journal.KindNoPromotion || e.Kind == journal.KindPromotion || e.Kind == journal.KindRewind:
		case e.Seen != nil && e.Seen.Leader != "" && !e.Seen.DCSLost:
			return e.Seen.Leader
		}
	}
	return ""
}

// gone is since when nobody led in a story; zero: somebody always did.
func (t *teller) gone(s span) time.Time {
	var first time.Time
	for _, e := range t.all[s.from : s.until+1] {
		if e.Seen != nil && e.Seen.Leaderless != nil {
			at := e.Seen.Leaderless.Add(e.at.Sub(e.Record.At))
			if first.IsZero() || at.Before(first) {
				first = at
			}
		}
	}
	return first
}

// lost: the former leader's lease has ended. What it knew itself comes from its
// own journal.
func (t *teller) lost(s span, former string) string {
	gone := t.gone(s)
	if gone.IsZero() {
		gone = t.all[s.pivot].at
	}
	text := fmt.Sprintf(" because the lease of %s ended at %s", former, t.clock(gone))
	var more []string
	if renewed := t.renewal(former, gone); !renewed.IsZero() {
		more = append(more, "last renewal "+t.clock(renewed))
	} else if seen, silent := t.all[s.pivot].Seen, t.silent(former, gone); seen != nil && seen.TTL > 0 && !silent {
		// (An etcd that stood still may end a lease long after its ttl.)
		more = append(more, "last renewal about "+t.clock(gone.Add(-time.Duration(seen.TTL*float64(time.Second)))))
	}
	if why := t.silenceOf(former, gone); why != "" {
		more = append(more, why)
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, "; ") + ")"
	}
	return text
}

// renewal is when a member's lease was last renewed, if the lease that ended
// then is in its journal.
func (t *teller) renewal(member string, gone time.Time) time.Time {
	for _, e := range slices.Backward(t.all) {
		if e.Member != member || e.at.After(gone) || e.Seen == nil || e.Seen.LeaseUntil == nil {
			continue
		}
		until := e.Seen.LeaseUntil.Add(e.at.Sub(e.Record.At))
		if d := until.Sub(gone); d > 3*time.Second || d < -3*time.Second {
			return time.Time{} // renewed later than the journal knows
		}
		return until.Add(-time.Duration(e.Seen.TTL * float64(time.Second)))
	}
	return time.Time{}
}

// silent: the DCS was not answering a member when its lease ended.
func (t *teller) silent(member string, gone time.Time) bool {
	since, _ := t.outage(member, gone)
	return !since.IsZero()
}

// outage is since when the DCS had not answered a member in the outage that was
// not over at the end of its lease, and when it began to step down in it; zero: it
// answered, or no step-down is recorded.
func (t *teller) outage(member string, gone time.Time) (since, demoted time.Time) {
	var stepped time.Time
	for _, e := range t.all {
		if e.Member != member || !e.at.Before(gone) {
			continue
		}
		switch {
		case e.Code == "dcs_lost":
			since = e.at
			if e.Seen != nil && e.Seen.DCSSeen != nil {
				since = e.Seen.DCSSeen.Add(e.at.Sub(e.Record.At))
			}
		case e.Code == "dcs_back", e.Code == "agent_started":
			since, stepped = time.Time{}, time.Time{}
		case e.Kind == journal.KindDemotion && stepped.IsZero():
			stepped = e.at // may be recorded a moment before dcs_lost is
		}
	}
	if since.IsZero() || stepped.Before(since) {
		return since, time.Time{}
	}
	return since, stepped
}

// silenceOf is why a former leader did not renew, as far as anybody knows.
func (t *teller) silenceOf(member string, gone time.Time) string {
	j := t.journal(member)
	if j == nil || j.Source == "" {
		fault := "its journal could not be read"
		if j != nil && j.Fault != "" {
			fault = j.Fault
		}
		return "nothing is known from " + member + " itself: " + fault
	}
	dcsLost, demoted := t.outage(member, gone)
	var before *entry
	for i := range t.all {
		e := &t.all[i]
		if e.Member != member {
			continue
		}
		if e.at.Before(gone) {
			before = e
			continue
		}
		if !dcsLost.IsZero() {
			break
		}
		switch {
		case e.Code == "agent_started":
			return fmt.Sprintf("its machine or its agent had ended without a word, and was started again at %s", t.clock(e.at))
		case before != nil && before.end.Before(gone):
			return fmt.Sprintf("%s recorded nothing from %s to %s: its machine or agent stood still, or was cut off", member, t.clock(before.end), t.clock(e.at))
		}
	}
	if !dcsLost.IsZero() {
		text := fmt.Sprintf("the DCS had not answered %s since %s", member, t.clock(dcsLost))
		if !demoted.IsZero() {
			text += fmt.Sprintf(", and it had stepped down at %s", t.clock(demoted))
		}
		return text
	}
	return member + " has recorded nothing since: its machine or its agent is gone"
}

// released: the former leader gave the key up itself.
func (t *teller) released(s span, former string) string {
	for _, e := range t.within(s, former) {
		switch {
		case e.Kind == journal.KindDemotion, e.Kind == journal.KindShutdown, e.Code == "renewed_refused":
			return fmt.Sprintf(" because %s gave the leader key up at %s: %s", former, t.clock(e.at), e.Text)
		}
	}
	text := fmt.Sprintf(" because the leader key of %s was given up or deleted", former)
	if gone := t.gone(s); !gone.IsZero() {
		text += " at " + t.clock(gone)
	}
	return text + ", while " + former + " was still a member"
}

// causeOfLoss is why the former leader's key was gone.
func (t *teller) causeOfLoss(s span, former string, gone time.Time) string {
	for _, e := range t.all[s.from : s.until+1] {
		if e.Code == "leader_gone" && e.Cause == "leader_released" {
			return former + " is still a member: the key was given up or deleted"
		}
	}
	return t.silenceOf(former, gone)
}

// leaderAfter is the record that somebody leads again, behind the last moment
// without a leader; nil: nobody does.
func (t *teller) leaderAfter(s span) *entry {
	for i := s.from; i < len(t.all); i++ {
		if e := &t.all[i]; i > s.pivot && (e.Code == "leader_known" || e.Kind == journal.KindPromotion || e.Code == "leading") {
			return e
		}
	}
	return nil
}
