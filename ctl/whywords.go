package ctl

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgha/internal/journal"
)

// teller puts one story into words.
type teller struct {
	all      []entry
	journals []memberJournal
	zone     *time.Location
	// dated: times are shown with their day.
	dated bool
}

// clock shows a moment to people.
func (t *teller) clock(at time.Time) string {
	if t.dated {
		return at.In(t.zone).Format("2006-01-02 15:04:05")
	}
	return at.In(t.zone).Format("15:04:05")
}

// part is what one member did in a story, and why.
type part struct {
	Member string `json:"member"`
	// Part is its role in the story.
	Part string `json:"part"`
	Why  string `json:"why,omitempty"`
	// LSN, Lag and MaxLag (bytes) are where its log stood; Lag 0: not behind,
	// or not known.
	LSN    string `json:"lsn,omitempty"`
	Lag    int64  `json:"lag,omitempty"`
	MaxLag int64  `json:"max_lag,omitempty"`
	Source string `json:"source,omitempty"`
	// Skew is how many seconds its clock is ahead of this machine's.
	Skew float64 `json:"skew,omitempty"`
}

// The parts.
const (
	partLeader   = "became leader"
	partFormer   = "was the leader"
	partNot      = "did not become leader"
	partFollowed = "followed"
	partUnknown  = "unknown"
)

// within are the entries of one member in a story, all of them.
func (t *teller) within(s span, member string) []entry {
	var out []entry
	for _, e := range t.all[s.from : s.until+1] {
		if e.Member == member {
			out = append(out, e)
		}
	}
	return out
}

// headline is a story in one sentence.
func (t *teller) headline(s span) string {
	p := t.all[s.pivot]
	switch s.event {
	case eventPromotion:
		return t.promotion(s)
	case eventNoFailover:
		return t.noFailover(s)
	case eventDemotion:
		return t.demotion(s)
	case eventRefused:
		return fmt.Sprintf("%s was refused at %s%s", requestOf(p), t.clock(p.at), because(answerOf(p)))
	case eventDCS:
		return t.silence(s)
	case eventCrash:
		return t.crash(s)
	case eventPause:
		return fmt.Sprintf("%s since %s%s", p.Text, t.clock(p.at), t.askedBy(s, "PATCH /config"))
	}
	return fmt.Sprintf("%s at %s: %s", p.Member, t.clock(p.at), p.Text+becauseOf(p.Why))
}

// promotion: who leads now, what made that necessary, and why not the others.
func (t *teller) promotion(s span) string {
	p, former := t.all[s.pivot], t.former(s)
	text := p.Member + " became leader at " + t.clock(p.at)
	if former == "" || former == p.Member {
		text = p.Member + " took the leader key again at " + t.clock(p.at)
	}
	switch p.Cause {
	case "switchover":
		return text + " by a switchover" + fromWhom(former) + t.askedBy(s, "switchover")
	case "manual_failover":
		text += " by a failover" + fromWhom(former) + t.askedBy(s, "failover")
	case "leader_lost":
		text += t.lost(s, former)
	case "leader_released":
		text += t.released(s, former)
	case "key_kept":
		if gone := t.gone(s); !gone.IsZero() {
			text += ": it was the primary all along, and nobody led since " + t.clock(gone)
		}
	case "no_leader_known":
		switch gone := t.gone(s); {
		case former == p.Member:
			text = p.Member + " became leader again at " + t.clock(p.at)
			if !gone.IsZero() {
				text += ", nobody led since " + t.clock(gone)
			}
			if lost := t.causeOfLoss(s, former, gone); lost != "" && !gone.IsZero() {
				text += " (" + lost + ")"
			}
		case p.Code != "acquired_as_primary":
			text = p.Member + " became leader at " + t.clock(p.at) + ": nobody was known to lead"
		}
	}
	return text + t.notThey(s, p.Member, former)
}

func fromWhom(former string) string {
	if former == "" {
		return ""
	}
	return " from " + former
}

// notThey says of every other member why it is not the new leader.
func (t *teller) notThey(s span, leader, former string) string {
	text := ""
	for _, g := range grouped(t.parts(s), func(p part) bool {
		return p.Member != leader && p.Member != former && p.Part == partNot
	}) {
		text += "; " + strings.Join(g.members, ", ") + " did not: " + g.why
	}
	return text
}

// group is members with the same reason.
type group struct {
	members []string
	why     string
}

// grouped puts members with the same reason together, in their order.
func grouped(parts []part, wanted func(part) bool) []group {
	var out []group
	for _, p := range parts {
		if p.Why == "" || !wanted(p) {
			continue
		}
		i := slices.IndexFunc(out, func(g group) bool { return g.why == p.Why })
		if i < 0 {
			i = len(out)
			out = append(out, group{why: p.Why})
		}
		out[i].members = append(out[i].members, p.Member)
	}
	return out
}

// askedBy names who asked for what led to a story, if that is recorded.
func (t *teller) askedBy(s span, what string) string {
	for i := s.from; i < len(t.all); i++ {
		e := t.all[i]
		if e.at.Sub(t.all[s.until].end) > time.Minute {
			break
		}
		if e.Kind == journal.KindRequest && e.Other != "" && strings.HasPrefix(e.Code, "request_") && strings.HasPrefix(e.Text, what) {
			return ", asked for by " + e.Other
		}
	}
	return ""
}

func (t *teller) journal(member string) *memberJournal {
	for i := range t.journals {
		if t.journals[i].Name == member {
			return &t.journals[i]
		}
	}
	return nil
}

// requestOf and answerOf take a recorded request apart.
func requestOf(e entry) string {
	asked, _, _ := strings.Cut(e.Text, ", asked for by ")
	if e.Other != "" {
		asked += " (asked for by " + e.Other + ")"
	}
	return asked
}

func answerOf(e entry) string {
	_, rest, _ := strings.Cut(e.Text, ", asked for by ")
	_, answer, _ := strings.Cut(rest, ": ")
	return answer
}

func because(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

func becauseOf(why []string) string { return because(strings.Join(why, "; ")) }

func without(lines []string, text string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.EqualFold(l, text) })
}
