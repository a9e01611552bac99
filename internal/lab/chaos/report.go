package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Report is a whole run.
type Report struct {
	Command  string    `json:"command"`
	Begun    time.Time `json:"begun"`
	Ended    time.Time `json:"ended"`
	Versions string    `json:"versions"`
	TTL      int       `json:"ttl_s"`
	Rounds   []Outcome `json:"rounds"`
}

// line is one fault's rounds.
type line struct {
	fault, outside         string
	async, sync            int
	two, remote, twoInside float64
	acked                  int
	lost, inside, bound    int // asynchronous
	lostSync, lostOther    int // synchronous: a confirming standby survived, or may not have
	changes                int
	tcp, fresh, socket     []time.Duration
	failed                 int
}

// lines are the faults in the order of the catalogue, pairs after them.
func (r Report) lines() []line {
	var all []*line
	for _, f := range catalogue {
		for _, name := range []string{f.Name, f.Name + " (replica)"} {
			all = append(all, &line{fault: name})
			if f.By != "" {
				all = append(all, &line{fault: name + " (" + string(f.By) + ")"})
			}
		}
	}
	for _, o := range r.Rounds {
		i := slices.IndexFunc(all, func(l *line) bool { return l.fault == o.FaultName })
		if i < 0 {
			all = append(all, &line{fault: o.FaultName})
			i = len(all) - 1
		}
		all[i].add(o)
	}
	var list []line
	for _, l := range all {
		if l.async+l.sync > 0 {
			list = append(list, *l)
		}
	}
	return list
}

func (l *line) add(o Outcome) {
	if o.Mode == Sync {
		l.sync++
		if o.Confirming {
			l.lostSync += o.Rows.Lost + o.Rows.Inside
		} else {
			l.lostOther += o.Rows.Lost + o.Rows.Inside
		}
	} else {
		l.async++
		l.lost, l.inside, l.bound = l.lost+o.Rows.Lost, l.inside+o.Rows.Inside, l.bound+o.Rows.Bound
	}
	l.outside = o.Outside
	l.two, l.remote, l.twoInside = l.two+o.Two, l.remote+o.TwoRemote, l.twoInside+o.TwoInside
	l.acked += o.Rows.Acked
	l.changes += o.Changes
	l.tcp, l.fresh, l.socket = append(l.tcp, o.OutageTCP), append(l.fresh, o.OutageNew), append(l.socket, o.OutageSocket)
	if len(o.Failures) > 0 {
		l.failed++
	}
}

// heads are the columns; what each means is below the table.
var heads = []string{"fault", "rounds", "two primaries s", "elsewhere s", "inside s", "rows acked", "lost async (bound)", "inside", "lost sync",
	"changes", "outage TCP", "new", "socket", "failed"}

const legend = `rounds: asynchronous + synchronous. Two primaries: seconds in which two members acknowledged writes to clients;
elsewhere: the part that clients on other machines saw; inside: the same for statements that commit in a loop within the
server. Lost: acknowledged rows missing afterwards; bound: rows of deposed primaries that no unhurt member was seen to have
received; inside: committed by such statements. Lost sync: with 'ANY 1 (*)'; after a + those of rounds whose faults hit two
members. Changes: of the leader. Outage: median and longest time without an acknowledgement to a TCP client, to one that
connects for every row, and to local clients by the unix socket of any member. * outside of what is promised.`

func (l line) cells() []string {
	name := l.fault
	if l.outside != "" {
		name += " *"
	}
	lostSync := fmt.Sprint(l.lostSync)
	if l.lostOther > 0 {
		lostSync += fmt.Sprintf(" + %d", l.lostOther)
	}
	return []string{name, fmt.Sprintf("%d+%d", l.async, l.sync), fmt.Sprintf("%.3g", l.two), fmt.Sprintf("%.3g", l.remote), fmt.Sprintf("%.3g", l.twoInside), fmt.Sprint(l.acked),
		fmt.Sprintf("%d (%d)", l.lost, l.bound), fmt.Sprint(l.inside), lostSync, fmt.Sprint(l.changes), spread(l.tcp), spread(l.fresh), spread(l.socket), fmt.Sprint(l.failed)}
}

// spread is median and maximum.
func spread(d []time.Duration) string {
	s := slices.Sorted(slices.Values(d))
	if len(s) == 0 {
		return "-"
	}
	if len(s) == 1 {
		return fmt.Sprintf("%.1f s", s[0].Seconds())
	}
	return fmt.Sprintf("%.1f / %.1f s", s[(len(s)-1)/2].Seconds(), s[len(s)-1].Seconds())
}

// Failed are the rounds that broke a promise, or could not be played.
func (r Report) Failed() []Outcome {
	return slices.DeleteFunc(slices.Clone(r.Rounds), func(o Outcome) bool { return len(o.Failures) == 0 })
}

// Markdown is the report as a page.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Chaos, %s\n\n`%s`, %s, ttl %d s, %v, %d rounds, %s\n\n", r.Begun.Format("2006-01-02 15:04"), r.Command, r.Versions, r.TTL,
		r.Ended.Sub(r.Begun).Round(time.Second), len(r.Rounds), r.loads())
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for _, l := range r.lines() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(l.cells(), " | "))
	}
	fmt.Fprintf(&b, "\n%s\n", legend)
	for _, o := range r.Failed() {
		fmt.Fprintf(&b, "\n- %s\n  - %s\n  - logs: %s\n", o.Plan, strings.Join(o.Failures, "\n  - "), o.Kept)
	}
	return b.String()
}

// Text is the table for a terminal.
func (r Report) Text() string {
	rows := [][]string{heads}
	for _, l := range r.lines() {
		rows = append(rows, l.cells())
	}
	width := make([]int, len(heads))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(&b, "%-*s  ", width[i], cell)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s\n%s, ttl %d s, %d rounds in %v, %s\n", legend, r.Versions, r.TTL, len(r.Rounds), r.Ended.Sub(r.Begun).Round(time.Second), r.loads())
	return b.String()
}

// loads is the range of the machine's load: outages mean nothing without it.
func (r Report) loads() string {
	low, high := 0.0, 0.0
	for i, o := range r.Rounds {
		if i == 0 || o.Load1 < low {
			low = o.Load1
		}
		high = max(high, o.Load1)
	}
	return fmt.Sprintf("machine load %.1f to %.1f", low, high)
}

// Save writes report.md and report.json into the run's directory.
func (r Report) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), text, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "report.md"), []byte(r.Markdown()), 0o644)
}
