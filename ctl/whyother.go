package ctl

// The words for what is told when the leader did not change: nobody took over, the
// DCS was silent, PostgreSQL ended.

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgha/internal/journal"
)

// noFailover: nobody leads, and why nobody of them does.
func (t *teller) noFailover(s span) string {
	former, gone := t.former(s), t.gone(s)
	if gone.IsZero() {
		gone = t.all[s.from].at
	}
	text := "Nobody leads since " + t.clock(gone)
	if next := t.leaderAfter(s); next != nil {
		text = fmt.Sprintf("Nobody led from %s to %s", t.clock(gone), t.clock(next.at))
	}
	if alone := t.onlyJournal(); alone != "" {
		text = "As far as the journal of " + alone + " tells, n" + text[1:] + " (other members may know better)"
	}
	if former != "" {
		text += ", when the leader key of " + former + " was gone"
		if why := t.causeOfLoss(s, former, gone); why != "" {
			text += " (" + why + ")"
		}
	}
	var out []string
	for _, g := range grouped(t.parts(s), func(p part) bool { return p.Part == partNot || p.Part == partUnknown && p.Member != former }) {
		out = append(out, strings.Join(g.members, ", ")+": "+g.why)
	}
	if len(out) > 0 {
		text += ". No failover, because " + strings.Join(out, "; ")
	}
	return text
}

// onlyJournal is the member whose journal is the only one that was asked for;
// empty: there are others.
func (t *teller) onlyJournal() string {
	if len(t.journals) == 1 {
		return t.journals[0].Name
	}
	return ""
}

func (t *teller) demotion(s span) string {
	p := t.all[s.pivot]
	for _, e := range t.all[s.from : s.until+1] {
		if e.weight == pivotal {
			p = e
			break
		}
	}
	return fmt.Sprintf("%s stepped down at %s: %s%s. Nobody has taken over in this story", p.Member, t.clock(p.at), p.Text, becauseOf(without(p.Why, p.Text)))
}

// silence: the DCS was away, and nothing came of it.
func (t *teller) silence(s span) string {
	var who []string
	first, back := t.all[s.from].at, time.Time{}
	for _, e := range t.all[s.from : s.until+1] {
		if e.Code == "dcs_lost" && !slices.Contains(who, e.Member) {
			who = append(who, e.Member)
		}
	}
	for _, e := range t.all[s.from:] {
		if e.Code == "dcs_back" && slices.Contains(who, e.Member) {
			back = e.at
		}
	}
	text := fmt.Sprintf("the DCS did not answer %s from %s", strings.Join(who, ", "), t.clock(first))
	if back.IsZero() {
		return text + " on; the leader did not change"
	}
	return text + " to " + t.clock(back) + "; the leader did not change"
}

// crash: PostgreSQL ended and nobody else took over.
func (t *teller) crash(s span) string {
	p := t.all[s.pivot]
	member := p.Member
	text := fmt.Sprintf("PostgreSQL of %s ended at %s", member, t.clock(t.all[s.from].at))
	for _, e := range t.within(s, member) {
		if e.Kind == journal.KindGuard {
			text = fmt.Sprintf("%s at %s: %s", member, t.clock(e.at), e.Text)
			break
		}
	}
	leader := p.Seen != nil && p.Seen.Leader == member
	for _, e := range t.all[s.from:] {
		if e.Member == member && (e.Code == "leading" || e.Code == "following") && e.at.After(p.at) {
			text += ", and was started again by " + t.clock(e.at)
			if leader && e.Code == "leading" {
				text += "; no failover: it came back while " + member + " went on renewing its lease (primary_start_timeout)"
			}
			return text
		}
	}
	return text + "; " + p.Text + becauseOf(p.Why)
}
