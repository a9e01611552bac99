package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"pgha/internal/lab"
)

const (
	// calm is how long the clients write before the first fault and after the
	// cluster is whole again.
	calm = 1500 * time.Millisecond
	// wholeWithin is how long a cluster may take to repair itself.
	wholeWithin = 90 * time.Second
)

// Outcome is what a round has shown.
type Outcome struct {
	Round
	FaultName string  `json:"fault"`
	Plan      string  `json:"plan"`
	Load1     float64 `json:"machine_load"`
	// Seconds with two members accepting writes: of clients, and of statements
	// inside a server.
	Two       float64 `json:"two_primaries_s"`
	TwoInside float64 `json:"two_primaries_inside_s"`
	// TwoRemote is the part of Two that clients on other machines saw.
	TwoRemote float64 `json:"two_primaries_remote_s"`
	Rows      loss    `json:"rows"`
	// Outages: the longest time without an acknowledgement.
	OutageTCP    time.Duration `json:"outage_tcp"`
	OutageNew    time.Duration `json:"outage_new_connections"`
	OutageSocket time.Duration `json:"outage_socket"`
	Changes      int           `json:"leader_changes"`
	Whole        time.Duration `json:"whole_after"`
	// Outside says why the promise does not hold in this round; empty: it does.
	Outside string `json:"outside,omitempty"`
	// Confirming says that no fault hit a standby: what was confirmed survives.
	Confirming bool     `json:"confirming_standby_survived"`
	Failures   []string `json:"failures,omitempty"`
	Kept       string   `json:"logs,omitempty"`
}

// journal is the round's own log.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) note(format string, a ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(&j.text, "%s %s\n", clock(time.Now()), fmt.Sprintf(format, a...))
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// event is the begin or the end of a strike.
type event struct {
	at time.Duration
	do func()
}

// run plays one round. It always returns: what ends a test elsewhere is a
// failure of the round. interrupted ends the faults early.
func (s *scene) run(r Round, interrupted <-chan struct{}) (out Outcome) {
	j := &journal{}
	s.note = j.note
	out = Outcome{Round: r, FaultName: r.Name(), Plan: r.String(), Load1: machineLoad()}
	j.note("%s", r)
	var c *company
	defer func() {
		if p := recover(); p != nil {
			why, ok := p.(stopped)
			if !ok {
				why.why = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
			out.Failures = append(out.Failures, why.why)
		}
		if c != nil {
			c.dismiss()
		}
		s.ops.Wait()
		out.Failures = append(out.Failures, s.bench.taken()...)
		if len(out.Failures) > 0 && !closed(interrupted) {
			j.note("failed: %s", strings.Join(out.Failures, "\n"))
			out.Kept = s.keep(r, j, c)
		}
		os.MkdirAll(keepRoot, 0o755)
		os.WriteFile(filepath.Join(keepRoot, fmt.Sprintf("round-%03d.log", r.Number)), []byte(j.String()), 0o644)
	}()
	s.failsafe(r.Failsafe)
	s.replicate(r.Mode)
	leader := s.cluster.Leader()
	c = s.hire(r.Load)
	s.advance(c, 20*time.Second)
	s.pass(calm, interrupted)

	begun := time.Now()
	struck := s.strike(r, begun, interrupted)
	ended := time.Now()
	if closed(interrupted) {
		panic(stopped{"interrupted"})
	}
	s.heal()
	s.lab.Until(wholeWithin, "the cluster whole again", s.healthy)
	out.Whole = time.Since(ended)
	j.note("whole again after %v", out.Whole)
	s.advance(c, 30*time.Second) // no promise: each server gets a second to log a client in
	s.pass(calm, interrupted)
	s.ops.Wait()
	s.lab.Until(wholeWithin, "the cluster whole after the operators' commands", s.healthy)
	to := time.Now()
	primary := s.cluster.Leader()
	for _, m := range s.cluster.Members {
		endInside(m)
	}
	c.dismiss()
	s.judge(&out, c, primary, struck, begun, to)
	j.note("%s led, %s leads; struck: %v", leader.Name, primary.Name, struck)
	return out
}

// strike plays the faults and returns the members that were hit.
func (s *scene) strike(r Round, begun time.Time, interrupted <-chan struct{}) []string {
	var events []event
	var struck []string
	for _, st := range r.Strikes {
		var end func()
		events = append(events, event{st.At, func() {
			if closed(interrupted) {
				return
			}
			m := s.member(st.Target)
			name := string(st.Target)
			if m != nil {
				name = m.Name
				struck = append(struck, name)
			}
			s.note("%s on %s (%s) begins", st.Fault, name, st.Target)
			var err error
			if end, err = st.fault().Begin(s, m); err != nil {
				s.note("%s on %s: %v", st.Fault, name, err)
			}
		}}, event{st.At + st.For, func() {
			if end != nil {
				s.note("%s ends", st.Fault)
				end()
			}
		}})
	}
	slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
	for _, e := range events {
		s.pass(e.at-time.Since(begun), interrupted)
		e.do()
	}
	return struck
}

// pass lets time go by.
func (s *scene) pass(d time.Duration, interrupted <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-interrupted:
	}
}

// advance waits until each client of the outside has a new row.
func (s *scene) advance(c *company, timeout time.Duration) {
	from := time.Now()
	s.lab.Until(timeout, "a row acknowledged to every TCP client", func() string {
		for _, l := range c.all() {
			acks := l.Acks()
			if l.Kind == TCP && (len(acks) == 0 || acks[len(acks)-1].At.Before(from)) {
				l.mu.Lock()
				defer l.mu.Unlock()
				return fmt.Sprintf("client %d: %d rows, %v", l.Client, len(acks), l.lastErr)
			}
		}
		return ""
	})
}

// judge compares and says what is wrong.
func (s *scene) judge(out *Outcome, c *company, primary *lab.Member, struck []string, begun, to time.Time) {
	logs := c.all()
	clients := terms(logs, clientKinds...)
	inside := terms(logs, Inside)
	noLoss, gated := true, out.Gate
	for _, st := range out.Strikes {
		f := st.fault()
		noLoss = noLoss && f.NoLoss
		if f.Outside != "" {
			out.Outside = f.Outside
			gated = gated && f.By == Gate
		}
	}
	two, evidence := overlap(clients, clients)
	twoInside, more := overlap(inside, clients)
	remote, seen := overlap(terms(logs, TCP, New, Remote), clients)
	out.Two, out.TwoInside, out.TwoRemote = two.Seconds(), twoInside.Seconds(), remote.Seconds()
	for i, t := range clients {
		if i > 0 && t.server != clients[i-1].server {
			out.Changes++
		}
		s.note("term: %s, timeline %d: %d rows, %s to %s (%s)", t.server, t.timeline, t.rows, clock(t.first), clock(t.last), t.lastBy)
	}
	for _, l := range logs {
		l.mu.Lock()
		if n := len(l.acks); n > 0 {
			last := l.acks[n-1]
			s.note("client %d (%s on %s): %d rows, the last from %s at %s, then %v", l.Client, l.Kind, l.Host, n, last.Server, clock(last.Acked), l.lastErr)
		}
		l.mu.Unlock()
	}
	out.OutageTCP, out.OutageNew = gap(logs, begun, to, false, TCP), gap(logs, begun, to, false, New)
	out.OutageSocket = gap(logs, begun, to, true, Socket)

	there, err := present(primary, logs)
	if err != nil {
		out.Failures = append(out.Failures, fmt.Sprintf("read the rows of %s: %v", primary.Name, err))
		return
	}
	var survivors []string
	for _, m := range s.cluster.Members {
		if !slices.Contains(struck, m.Name) {
			survivors = append(survivors, m.Name)
		}
	}
	out.Confirming = len(survivors) >= len(s.cluster.Members)-1
	out.Rows = compare(logs, there, c.received, survivors)
	s.note("rows: %+v", out.Rows)

	fail := func(format string, a ...any) { out.Failures = append(out.Failures, fmt.Sprintf(format, a...)) }
	if out.Outside != "" {
		if gated {
			for _, e := range seen {
				fail("two primaries behind a gate: %s", e)
			}
		}
		return
	}
	for _, e := range append(evidence, more...) {
		fail("two primaries: %s", e)
	}
	lost := out.Rows.Lost + out.Rows.Inside
	switch {
	case out.Mode == Sync && out.Confirming && lost > 0:
		fail("%d acknowledged rows lost with synchronous replication", lost)
	case out.Mode == Async && noLoss && len(out.Strikes) == 1 && lost > 0:
		fail("%d acknowledged rows lost although PostgreSQL ends cleanly or starts again in place", lost)
	}
	if out.Rows.Beyond > 0 {
		fail("%d rows lost that a surviving member had received", out.Rows.Beyond)
	}
}

// keep copies every log of the round.
func (s *scene) keep(r Round, j *journal, c *company) string {
	dir := filepath.Join(keepRoot, fmt.Sprintf("round-%03d", r.Number))
	if err := s.lab.CopyLogs(dir, nil); err != nil {
		return "not kept: " + err.Error()
	}
	os.WriteFile(filepath.Join(dir, "round.log"), []byte(j.String()), 0o644)
	os.WriteFile(filepath.Join(dir, "state.log"), []byte(s.cluster.State()), 0o644)
	if c != nil {
		for _, l := range c.all() {
			text, _ := json.Marshal(l.Acks())
			os.WriteFile(filepath.Join(dir, fmt.Sprintf("client-%03d-%s-%s.json", l.Client, l.Kind, l.Host)), text, 0o644)
		}
	}
	return dir
}

// machineLoad is the load average of the last minute.
func machineLoad() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	var load float64
	fmt.Sscan(string(text), &load)
	return load
}
