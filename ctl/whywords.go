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

// noFailover: nobody leads, and why nobody of them does.
func (t *teller) noFailover(s span) string {
	former, gone, last := t.former(s), t.gone(s), t.all[s.until].end
	if gone.IsZero() {
		gone = t.all[s.from].at
	}
	text := "Nobody leads since " + t.clock(gone)
	if next := t.leaderAfter(s); next != nil {
		last = next.at
		text = fmt.Sprintf("Nobody led from %s to %s", t.clock(gone), t.clock(last))
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
