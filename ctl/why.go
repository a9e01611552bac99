package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
	"pgha/internal/journal"
	"pgha/internal/render"
)

// WhyOptions are those of why.
type WhyOptions struct {
	Cluster string
	// Member limits the answer to what one member had to do with.
	Member string
	// At is a moment, Since where to begin; as typed, empty: not given.
	At, Since string
	// File reads this state directory (or journal directory) alone, and asks
	// nobody.
	File   string
	Format render.Format
	// Own is the member whose configuration this is, StateDir its state
	// directory: read when its agent does not answer. Empty: none.
	Own, StateDir string
}

// whyAnswer bounds the wait for a member's journal.
const whyAnswer = 5 * time.Second

// skewSeen is from when on a clock's difference is said: less may be the way
// of the answer.
const skewSeen = time.Second

// around is how much of the journals is read when a moment is asked for, and
// most when none is.
const (
	around  = 2 * time.Hour
	lookFor = 31 * 24 * time.Hour
)

// Why says why the cluster did or did not change its leader: the journals of
// all members, merged, and of the story that is asked for one sentence and the
// records behind it.
func Why(ctx context.Context, s *Session, o WhyOptions) error {
	now := s.Now()
	at, err := parseMoment(o.At, now)
	if err != nil {
		return err
	}
	since, err := parseMoment(o.Since, now)
	if err != nil {
		return err
	}
	if !at.IsZero() && !since.IsZero() {
		return &UsageError{Text: "--at and --since exclude each other: a moment, or what happened since one"}
	}
	q := journal.Query{Since: now.Add(-lookFor), Limit: journal.DefaultLimit}
	switch {
	case !at.IsZero():
		q = journal.Query{Since: at.Add(-around), Until: at.Add(around), Limit: journal.MaxLimit}
	case !since.IsZero():
		q = journal.Query{Since: since, Limit: journal.MaxLimit}
	}
	var journals []memberJournal
	if o.File != "" {
		journals, err = readFile(o.File, q)
	} else {
		journals, err = s.journals(ctx, &o, q)
	}
	if err != nil {
		return err
	}
	if o.Member != "" && !slices.ContainsFunc(journals, func(j memberJournal) bool { return j.Name == o.Member }) {
		return fail("No member named %s: it is none of %s", o.Member, journalNames(journals))
	}
	if !slices.ContainsFunc(journals, func(j memberJournal) bool { return j.Source != "" }) {
		for _, j := range journals {
			s.warn("%s: %s", j.Name, j.Fault)
		}
		return fail("No journal of %s could be read; on a member's machine `pgha ctl why --file STATE_DIR` reads its file", o.Cluster)
	}
	r := newReport(o, journals, at, since, now)
	return r.write(s.Out, o.Format)
}

func journalNames(journals []memberJournal) string {
	var members []dcs.Member
	for _, j := range journals {
		members = append(members, dcs.Member{Name: j.Name})
	}
	return names(members)
}

// journals asks all members at the same time. A member that does not answer is
// read from its file when that is here.
func (s *Session) journals(ctx context.Context, o *WhyOptions, q journal.Query) ([]memberJournal, error) {
	name, c, err := s.cluster(ctx, o.Cluster)
	if name != "" {
		o.Cluster = name
	}
	if err != nil {
		if usage := new(UsageError); errors.As(err, &usage) || o.StateDir == "" {
			return nil, err
		}
		// Without the DCS nobody knows the others; one's own file is still there.
		j := s.own(memberJournal{Name: o.Own, Fault: err.Error()}, *o, q)
		j.Notes = append(j.Notes, "the DCS does not answer this tool ("+err.Error()+"): the other members are not known")
		return []memberJournal{j}, nil
	}
	agents, err := s.Agents()
	if err != nil {
		return nil, oneLine(err)
	}
	out := make([]memberJournal, len(c.Members))
	var all sync.WaitGroup
	for i, m := range c.Members {
		all.Go(func() { out[i] = s.own(s.askJournal(ctx, agents, m, q), *o, q) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, ErrAborted
	}
	if o.Own != "" && o.StateDir != "" && name == s.Scope && c.Member(o.Own) == nil {
		if j := s.own(memberJournal{Name: o.Own, Fault: "it is no member now"}, *o, q); j.Source != "" {
			out = append(out, j)
		}
	}
	if former := departed(out); len(former) > 0 {
		out = append(out, former...)
	}
	return out, nil
}

// departed are members that the others' records speak of and that are no
// members now: a lost leader has no key any more, and that is to be said.
func departed(have []memberJournal) []memberJournal {
	var out []memberJournal
	add := func(name string) {
		is := func(j memberJournal) bool { return j.Name == name }
		if name != "" && !slices.ContainsFunc(have, is) && !slices.ContainsFunc(out, is) {
			out = append(out, memberJournal{Name: name, Fault: "it is no member now: its machine or its agent is gone"})
		}
	}
	for _, j := range have {
		for _, r := range j.Records {
			if r.Kind == journal.KindLeader || r.Kind == journal.KindPromotion {
				add(r.Other)
			}
		}
	}
	return out
}

// askJournal asks one member over REST.
func (s *Session) askJournal(ctx context.Context, agents clusterops.Agents, m dcs.Member, q journal.Query) memberJournal {
	j := memberJournal{Name: m.Name}
	values := url.Values{"since": {q.Since.Format(time.RFC3339Nano)}, "limit": {fmt.Sprint(q.Limit)}}
	if !q.Until.IsZero() {
		values.Set("until", q.Until.Format(time.RFC3339Nano))
	}
	sent := s.Now()
	answer, err := clusterops.Ask(ctx, agents, m, whyAnswer, http.MethodGet, journal.Path+"?"+values.Encode(), nil)
	took := s.Now().Sub(sent)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		j.Fault = fmt.Sprintf("it did not answer within %v", whyAnswer)
		return j
	case err != nil:
		j.Fault = "it does not answer: " + oneLine(cause(err)).Error()
		return j
	case answer.Code == http.StatusUnauthorized || answer.Code == http.StatusForbidden:
		j.Fault = fmt.Sprintf("it refuses to tell (%d %s): give this tool the credentials that may change the cluster, section ctl or restapi", answer.Code, answer.Text())
		return j
	case m.Pgha == nil:
		j.Fault = "it keeps no journal: its agent is Patroni's"
		return j
	case answer.Code != http.StatusOK:
		j.Fault = fmt.Sprintf("it could not show its journal (%d %s)", answer.Code, answer.Text())
		return j
	}
	var a journal.Answer
	if err := json.Unmarshal(answer.Body, &a); err != nil || a.Member == "" {
		j.Fault = "it keeps no journal: it runs an older pgha"
		return j
	}
	j.Source, j.Records = "rest", a.Records
	if skew := a.Now.Sub(sent.Add(took / 2)); skew.Abs() > skewSeen+took/2 {
		j.Skew = skew.Round(100 * time.Millisecond)
	}
	j.Notes = notesOf(j.Name, a)
	return j
}

// cause is an error without the address that it repeats.
func cause(err error) error {
	if asked := new(url.Error); errors.As(err, &asked) {
		return asked.Err
	}
	return err
}

// own reads a member's file when it did not answer and the file is here.
func (s *Session) own(j memberJournal, o WhyOptions, q journal.Query) memberJournal {
	if j.Source != "" || j.Name != o.Own || o.StateDir == "" {
		return j
	}
	dir := journal.Dir(o.StateDir)
	found, err := journal.Read(dir, q)
	if err != nil {
		return j
	}
	a := journal.Answer{Member: j.Name}
	a.Fill(found)
	note := j.Name + ": " + j.Fault + "; its file was read instead (" + dir + ")"
	j.Source, j.Fault, j.Records = "file", "", a.Records
	j.Notes = append([]string{note}, notesOf(j.Name, a)...)
	return j
}

// notesOf says what is missing in an answer.
func notesOf(name string, a journal.Answer) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, name+": "+fmt.Sprintf(format, args...)) }
	if a.Note != "" {
		say("%s", a.Note)
	}
	if a.Lost > 0 {
		say("%d records could not be written since its agent was started", a.Lost)
	}
	if a.Unreadable > 0 {
		say("%d lines of its journal cannot be read and were skipped", a.Unreadable)
	}
	if a.Newer > 0 {
		say("%d records are of a newer pgha than this tool; what is not known here is left out", a.Newer)
	}
	return out
}

// readFile reads the journal of one directory: a state directory, or the
// journal below it.
func readFile(dir string, q journal.Query) ([]memberJournal, error) {
	found, err := journal.Read(journal.Dir(dir), q)
	if errors.Is(err, journal.ErrNone) {
		found, err = journal.Read(filepath.Clean(dir), q)
	}
	switch {
	case errors.Is(err, journal.ErrNone):
		return nil, fail("no journal in %s: pgha.state_dir of a member is expected, for example /var/lib/postgresql/17/main.pgha", dir)
	case errors.Is(err, os.ErrPermission):
		return nil, fail("%v: run it as the user of the agent, or as root", err)
	case err != nil:
		return nil, oneLine(err)
	}
	a := journal.Answer{}
	a.Fill(found)
	byName := map[string]int{}
	var out []memberJournal
	for _, r := range a.Records {
		i, known := byName[r.Member]
		if !known {
			i = len(out)
			byName[r.Member] = i
			out = append(out, memberJournal{Name: r.Member, Source: "file"})
		}
		out[i].Records = append(out[i].Records, r)
	}
	if len(out) == 0 {
		return nil, fail("the journal in %s holds nothing of that time", dir)
	}
	out[0].Notes = notesOf(out[0].Name, a)
	return out, nil
}
