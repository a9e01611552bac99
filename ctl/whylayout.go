package ctl

// Lines that fit a screen: texts are folded, entries left out.

import (
	"fmt"
	"strings"

	"pgha/internal/journal"
)

// Widths of the columns that are wrapped.
const (
	whatWidth = 56
	whyWidth  = 44
)

// screen is how many lines of records or stories are shown to a person.
const screen = 18

// fit leaves out what weighs least, from the end on, until the rest fits.
func fit(entries []entry, most int) []entry {
	for w := detail; w < pivotal && len(entries) > most; w++ {
		for i := len(entries) - 1; i >= 0 && len(entries) > most; i-- {
			if entries[i].weight == w {
				entries = append(entries[:i:i], entries[i+1:]...)
			}
		}
	}
	return entries[max(0, len(entries)-most):]
}

// wrapped is a record as lines of the table.
func wrapped(at string, e entry) [][]any {
	text := e.Text
	if n := e.Times(); n > 1 {
		text += fmt.Sprintf(" (%d times, until %s)", n, e.end.In(e.at.Location()).Format("15:04:05"))
	}
	if e.Action != "" && e.Kind != journal.KindJob && !strings.Contains(e.Text, e.Action) {
		text += " -> " + e.Action
	}
	why := strings.Join(without(e.Why, e.Text), "; ")
	if e.Kind == journal.KindNoPromotion {
		why = whyNot(e, "")
		if why == e.Text {
			why = ""
		}
	}
	if e.Kind == journal.KindPromotion && why == "" {
		why = peersText(e)
	}
	what, whys := fold(text, whatWidth), fold(why, whyWidth)
	var rows [][]any
	for i := 0; i < max(len(what), len(whys)); i++ {
		row := []any{"", "", "", ""}
		if i == 0 {
			row[0], row[1] = at, e.Member
		}
		if i < len(what) {
			row[2] = what[i]
		}
		if i < len(whys) {
			row[3] = whys[i]
		}
		rows = append(rows, row)
	}
	return rows
}

// peersText is what the others answered when they were asked.
func peersText(e entry) string {
	if e.Seen == nil {
		return ""
	}
	var out []string
	for _, p := range e.Seen.Peers {
		switch {
		case !p.Answered:
			out = append(out, p.Name+" did not answer")
		case p.Against != "":
			out = append(out, p.Name+": "+p.Against)
		case p.Ahead > 0:
			out = append(out, p.Name+" was "+sizeText(p.Ahead)+" ahead")
		case p.Ahead < 0:
			out = append(out, p.Name+" was "+sizeText(-p.Ahead)+" behind")
		default:
			out = append(out, p.Name+" was as far")
		}
	}
	return strings.Join(out, "; ")
}

// fold breaks a text into lines at spaces, at most three of them.
func fold(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	if len(lines) > 3 {
		lines = append(lines[:2:2], lines[2]+" ...")
	}
	return lines
}

// foldAll is fold without its limit.
func foldAll(text string, width int) []string {
	var lines []string
	for len(text) > width {
		cut := strings.LastIndexByte(text[:width], ' ')
		if cut <= 0 {
			break
		}
		lines, text = append(lines, text[:cut]), text[cut+1:]
	}
	return append(lines, text)
}

// plainRows are the rows for programs: whole texts, full times.
func (r *report) plainRows() [][]any {
	var rows [][]any
	one := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	for _, s := range r.Stories {
		rows = append(rows, []any{isoTime(s.At), one(s.Text)})
	}
	if r.Stories == nil {
		for _, e := range r.Records {
			rows = append(rows, []any{isoTime(e.At), e.Member, one(e.Text), one(strings.Join(e.Why, "; "))})
		}
	}
	return rows
}
