package ctl

import (
	"fmt"
	"strings"

	"pgha/internal/journal"
)

// parts is what each member did in a story, by name as the journals are.
func (t *teller) parts(s span) []part {
	var out []part
	for _, j := range t.journals {
		out = append(out, t.partOf(s, j))
	}
	return out
}

func (t *teller) partOf(s span, j memberJournal) part {
	p := part{Member: j.Name, Part: partUnknown, Source: j.Source, Skew: j.Skew.Seconds()}
	pivot := t.all[s.pivot]
	leader := ""
	if s.event == eventPromotion {
		leader = pivot.Member
	}
	entries := t.within(s, j.Name)
	for _, e := range entries {
		if f := e.Seen; f != nil && f.LSN != "" {
			p.LSN = f.LSN
			if e.Kind == journal.KindNoPromotion && f.Lag > 0 {
				p.Lag, p.MaxLag = f.Lag, f.MaxLag
			}
		}
	}
	switch {
	case j.Name == leader:
		p.Part = partLeader
		return p
	case j.Name == t.former(s):
		p.Part = partFormer
		p.Why = t.formerWhy(s, j.Name, leader)
		return p
	case j.Source == "":
		p.Why = "its journal could not be read: " + j.Fault
		return p
	}
	if s.event != eventPromotion && s.event != eventNoFailover {
		if len(entries) > 0 {
			p.Part, p.Why = "took part", entries[len(entries)-1].Text
		}
		return p
	}
	for i := len(entries) - 1; i >= 0; i-- {
		if e := entries[i]; e.Kind == journal.KindNoPromotion {
			p.Part, p.Why = partNot, whyNot(e, leader)
			return p
		}
	}
	for _, e := range entries {
		if e.Kind == journal.KindStart || e.Kind == journal.KindClone || e.Kind == journal.KindRewind && e.weight >= detail {
			p.Part, p.Why = partNot, "PostgreSQL was not ready there: "+e.Text
			return p
		}
	}
	if leader != "" {
		p.Part = partFollowed
		if pivot.Cause != "switchover" {
			p.Part, p.Why = partNot, leader+" had the leader key first"
		}
		return p
	}
	return p
}

// formerWhy is what became of the former leader.
func (t *teller) formerWhy(s span, former, leader string) string {
	for _, e := range t.within(s, former) {
		switch {
		case e.Kind == journal.KindDemotion || e.Kind == journal.KindShutdown || e.Code == "renewed_refused":
			return fmt.Sprintf("stepped down at %s: %s", t.clock(e.at), e.Text)
		}
	}
	if former == leader {
		return ""
	}
	if gone := t.gone(s); !gone.IsZero() {
		return t.silenceOf(former, gone)
	}
	return ""
}

// whyNot is why a member did not become leader, in a few words.
func whyNot(e entry, leader string) string {
	var out []string
	for _, line := range e.Why {
		switch {
		case line == "My wal position exceeds maximum replication lag" && e.Seen != nil && e.Seen.Lag > 0:
			line = fmt.Sprintf("%s behind (limit %s)", sizeText(e.Seen.Lag), sizeText(e.Seen.MaxLag))
		case line == "Could not take out TTL lock", strings.HasPrefix(line, "Error communicating"):
			continue
		}
		out = append(out, line)
	}
	text := strings.Join(out, "; ")
	switch {
	case e.Code == "following_after_losing_race" && text == "":
		if leader == "" {
			leader = "somebody else"
		}
		return leader + " was faster"
	case e.Code == "not_allowed" && text == "":
		return "it is tagged nofailover"
	case text == "":
		return e.Text
	}
	return text
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "kB"}} {
		if n >= u.size {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
