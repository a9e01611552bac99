package ctl

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"pgha/internal/journal"
	"pgha/internal/render"
)

// report is the answer of why. Its JSON is a contract of its own
// (docs/journal.md).
type report struct {
	Cluster  string `json:"cluster"`
	Headline string `json:"headline"`
	Event    event  `json:"event"`
	// At is the moment it is about, From and Until how far it reaches.
	At    *time.Time `json:"at,omitempty"`
	From  *time.Time `json:"from,omitempty"`
	Until *time.Time `json:"until,omitempty"`
	// Leader is who led at its end, Former before; empty: nobody, or unknown.
	Leader string `json:"leader,omitempty"`
	Former string `json:"former_leader,omitempty"`
	Cause  string `json:"cause,omitempty"`
	// Members are all of them, each with its part.
	Members []part           `json:"members"`
	Records []journal.Record `json:"records"`
	// Stories are the sentences of everything since a moment.
	Stories []told   `json:"stories,omitempty"`
	Notes   []string `json:"notes"`

	title string
	rows  [][]any
}

// told is one story of a list.
type told struct {
	At    time.Time `json:"at"`
	Event event     `json:"event"`
	Text  string    `json:"headline"`
}

func newReport(o WhyOptions, journals []memberJournal, at, since, now time.Time) *report {
	all := lineUp(journals)
	t := &teller{all: all, journals: journals, zone: now.Location()}
	spans := stories(all)
	r := &report{Cluster: o.Cluster, Event: eventNone, Members: []part{}, Records: []journal.Record{}, Notes: []string{}}
	defer func() { r.notes(journals) }()
	if !since.IsZero() {
		r.list(t, spans, o.Member, since, now)
		return r
	}
	s, ok := choose(all, spans, at, o.Member)
	if !ok {
		r.quiet(t, o, now)
		return r
	}
	t.dated = day(all[s.pivot].at.In(t.zone)) != day(now)
	r.tell(t, s, o.Member)
	if !at.IsZero() && distance(all, s, at) > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("nothing is recorded of %s itself; this is what is nearest to it", at.In(t.zone).Format(time.DateTime)))
	}
	if at.IsZero() {
		r.present(t, s)
	}
	return r
}

func day(at time.Time) string { return at.Format(time.DateOnly) }

// tell puts one story into the report.
func (r *report) tell(t *teller, s span, member string) {
	p := t.all[s.pivot]
	first, last := t.all[s.from].at, t.all[s.until].end
	r.Event, r.At, r.From, r.Until = s.event, &p.at, &first, &last
	r.Headline, r.Former, r.Members = t.headline(s), t.former(s), t.parts(s)
	if s.event == eventPromotion {
		r.Leader, r.Cause = p.Member, p.Cause
	} else if e := t.leaderAfter(s); e != nil && e.Code == "leader_known" {
		r.Leader = e.Other
	}
	if r.Former == r.Leader {
		r.Former = ""
	}
	for _, one := range r.Members {
		if one.Member == member && one.Why != "" {
			r.Headline = fmt.Sprintf("%s %s: %s. %s", member, one.Part, one.Why, r.Headline)
		}
	}
	var shown []entry
	for _, e := range t.all[s.from : s.until+1] {
		if member != "" && e.Member != member {
			continue
		}
		if e.weight >= detail {
			r.Records = append(r.Records, e.Record)
			shown = append(shown, e)
		}
	}
	left := len(shown)
	shown = fit(shown, screen)
	if left -= len(shown); left > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d records of less weight are not shown; -f json has them", left))
	}
	r.title = "Records of " + first.In(t.zone).Format("2006-01-02 15:04:05 MST")
	for _, e := range shown {
		r.rows = append(r.rows, wrapped(e.at.In(t.zone).Format("15:04:05.000"), e)...)
	}
}

// present says how things stand since the story.
func (r *report) present(t *teller, s span) {
	led, since := t.leaderNow()
	if led != "" && since.After(t.all[s.pivot].at.Add(time.Minute)) {
		r.Headline += fmt.Sprintf(". %s leads since %s", led, t.clock(since))
	}
	for i := len(t.all) - 1; i > s.until; i-- {
		switch t.all[i].Code {
		case "pause_on":
			r.Notes = append(r.Notes, "maintenance mode is on since "+t.clock(t.all[i].at)+": no automatic failover")
			return
		case "pause_off":
			return
		}
	}
}

// leaderNow is the last leader that the records know, and since when.
func (t *teller) leaderNow() (name string, since time.Time) {
	for _, e := range t.all {
		switch {
		case e.Code == "leader_known" && e.Other != name, e.Kind == journal.KindPromotion && e.Member != name:
			name, since = e.Other, e.at
			if e.Kind == journal.KindPromotion {
				name = e.Member
			}
		case e.Code == "leader_gone" && e.Other == name:
			name = ""
		}
	}
	return name, since
}

// quiet: nothing happened that is worth a story.
func (r *report) quiet(t *teller, o WhyOptions, now time.Time) {
	r.Headline = "Nothing is recorded but routine"
	if len(t.all) > 0 {
		first := t.all[0].at.In(t.zone)
		r.Headline += " since " + first.Format(time.DateTime)
	}
	t.dated = true
	if led, since := t.leaderNow(); led != "" {
		r.Leader = led
		r.Headline += fmt.Sprintf("; %s leads since %s", led, t.clock(since))
	}
	if o.Member != "" {
		r.Headline = o.Member + ": " + r.Headline
	}
}

// list is everything since a moment, a line a story.
func (r *report) list(t *teller, spans []span, member string, since, now time.Time) {
	t.dated = day(since.In(t.zone)) != day(now)
	var chosen []span
	for _, s := range sorted(t.all, spans) {
		if t.all[s.until].end.Before(since) {
			continue
		}
		if _, ok := choose(t.all, []span{s}, time.Time{}, member); ok {
			chosen = append(chosen, s)
		}
	}
	for _, s := range chosen {
		r.Stories = append(r.Stories, told{t.all[s.pivot].at, s.event, t.headline(s)})
	}
	events := "events"
	if len(chosen) == 1 {
		events = "event"
	}
	r.Headline = fmt.Sprintf("%d %s since %s", len(chosen), events, since.In(t.zone).Format(time.DateTime))
	if led, at := t.leaderNow(); led != "" {
		r.Leader = led
		r.Headline += fmt.Sprintf("; %s leads since %s", led, t.clock(at))
	}
	show := r.Stories
	if over := len(show) - screen; over > 0 {
		show = show[over:]
		r.Notes = append(r.Notes, fmt.Sprintf("%d earlier events are not shown; -f json has them", over))
	}
	r.title = "Events, newest last"
	for _, one := range show {
		for i, line := range fold(one.Text, whatWidth+whyWidth) {
			row := []any{"", line}
			if i == 0 {
				row[0] = one.At.In(t.zone).Format(time.DateTime)
			}
			r.rows = append(r.rows, row)
		}
	}
}

// notes adds what a reader has to know of the journals themselves.
func (r *report) notes(journals []memberJournal) {
	for _, j := range journals {
		if j.Source == "" {
			r.Notes = append(r.Notes, j.Name+": "+j.Fault)
		}
		if j.Skew != 0 {
			way := "ahead of"
			if j.Skew < 0 {
				way = "behind"
			}
			r.Notes = append(r.Notes, fmt.Sprintf("%s: its clock is %v %s this machine's; its times are shown put right", j.Name, j.Skew.Abs(), way))
		}
		r.Notes = append(r.Notes, j.Notes...)
	}
}

// write prints the report.
func (r *report) write(out io.Writer, format render.Format) error {
	columns := []render.Column{{Title: "Time", Key: "time"}, {Title: "Member", Key: "member"}, {Title: "What", Key: "what"}, {Title: "Why", Key: "why"}}
	if r.Stories != nil {
		columns = []render.Column{{Title: "Time", Key: "time"}, {Title: "What happened", Key: "what"}}
	}
	switch format {
	case render.JSON, render.YAML:
		return r.encode(out, format)
	case render.TSV:
		return render.Write(out, format, render.Table{Columns: columns, Rows: r.plainRows()})
	}
	fmt.Fprintln(out, render.Printable(strings.Join(foldAll(r.Headline+".", whatWidth+whyWidth+20), "\n")))
	if len(r.rows) > 0 {
		fmt.Fprintln(out)
		if err := render.Write(out, render.Pretty, render.Table{Title: r.title, Columns: columns, Rows: r.rows}); err != nil {
			return err
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, " "+render.Printable(n))
	}
	return nil
}

// encode writes the whole report for programs.
func (r *report) encode(out io.Writer, format render.Format) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	if format == render.JSON {
		_, err = fmt.Fprintf(out, "%s\n", text)
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var plain map[string]any
	if err := d.Decode(&plain); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	_, err = io.WriteString(out, render.EncodeYAML(plain))
	return err
}
