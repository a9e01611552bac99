package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// freshEvery is after how many rounds a cluster is replaced by a new one.
const freshEvery = 20

// keepRoot is where a run's report and the logs of its failing rounds go.
var keepRoot string

// Settings are the environment of `make chaos`.
type Settings struct {
	Options
	Time time.Duration
	// Only is the one round to play; negative: all.
	Only int
	// Rounds limits their number; zero: no limit.
	Rounds int
}

// FromEnvironment reads TIME, SEED, ROUND, FAULTS, HARSH, LOAD, GATE, FAILSAFE,
// TTL and PEER (patroni).
func FromEnvironment() (Settings, error) {
	s := Settings{Only: -1, Time: 30 * time.Minute, Options: Options{TTL: 10, Harsh: os.Getenv("HARSH") != "", Load: Load(os.Getenv("LOAD")),
		Gate: os.Getenv("GATE"), Failsafe: os.Getenv("FAILSAFE"), Seed: uint64(time.Now().Unix() % 100000)}}
	var err error
	if v := os.Getenv("TIME"); v != "" {
		if s.Time, err = time.ParseDuration(v); err != nil || s.Time <= 0 {
			return s, fmt.Errorf("TIME=%s: want a duration such as 30m", v)
		}
	}
	if v := os.Getenv("SEED"); v != "" {
		if s.Seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			return s, fmt.Errorf("SEED=%s: want a whole number", v)
		}
	}
	if v := os.Getenv("ROUND"); v != "" {
		if s.Only, err = strconv.Atoi(v); err != nil || s.Only < 0 {
			return s, fmt.Errorf("ROUND=%s: want the number of a round, from 0", v)
		}
	}
	if v := os.Getenv("PEER"); v != "" {
		if v != "patroni" {
			return s, fmt.Errorf("PEER=%s: want patroni, or nothing for pgha", v)
		}
		s.Patroni, s.TTL = true, 20
	}
	if v := os.Getenv("TTL"); v != "" {
		if s.TTL, err = strconv.Atoi(v); err != nil || s.TTL < 5 {
			return s, fmt.Errorf("TTL=%s: want seconds, at least 5", v)
		}
	}
	if v := os.Getenv("FAULTS"); v != "" {
		for _, name := range strings.Split(v, ";") {
			s.Faults = append(s.Faults, strings.TrimSpace(name))
		}
	}
	return s, s.Check()
}

// Command is the line that gives the same plan.
func (s Settings) Command() string {
	line := fmt.Sprintf("make chaos TIME=%v SEED=%d TTL=%d PG=%s ETCD=%s", s.Time, s.Seed, s.TTL, or(os.Getenv("PG"), fmt.Sprint(lab.DefaultPG)), lab.EtcdVersion())
	if s.Harsh {
		line += " HARSH=1"
	}
	if s.Patroni {
		line += " PEER=patroni"
	}
	if s.Load != "" {
		line += fmt.Sprintf(" LOAD=%s", s.Load)
	}
	if s.Gate != "" {
		line += " GATE=" + s.Gate
	}
	if s.Failsafe != "" {
		line += " FAILSAFE=" + s.Failsafe
	}
	if len(s.Faults) > 0 {
		line += fmt.Sprintf(" FAULTS='%s'", strings.Join(s.Faults, ";"))
	}
	if s.Only >= 0 {
		line += fmt.Sprintf(" ROUND=%d", s.Only)
	}
	return line
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Run plays rounds until the time is over or interrupted is closed, printing
// a line for each, and returns the report.
func Run(t testing.TB, s Settings, dir string, interrupted <-chan struct{}) Report {
	keepRoot = dir
	r := Report{Command: s.Command(), Begun: time.Now(), TTL: s.TTL,
		Versions: fmt.Sprintf("PostgreSQL %d, etcd %s", lab.PGVersion(t), lab.EtcdVersion())}
	if s.Patroni {
		_, version := lab.PatroniPeer(t)
		r.Versions += ", Patroni " + version
	}
	var stage *scene
	var bench *bench
	end := func() {
		if bench != nil {
			bench.finish()
		}
		stage, bench = nil, nil
	}
	defer func() { end() }()
	unopened := 0
	for n, age := max(s.Only, 0), 0; ; n, age = n+1, age+1 {
		switch {
		case closed(interrupted), time.Since(r.Begun) > s.Time, s.Only >= 0 && n > s.Only, s.Rounds > 0 && len(r.Rounds) >= s.Rounds:
			r.Ended = time.Now()
			return r
		}
		round := s.Plan(n)
		if stage == nil || age >= freshEvery || stage.gate != round.Gate {
			end()
			var failed *Outcome
			if stage, bench, failed = open(t, s.Options, round); failed != nil {
				r.Rounds = append(r.Rounds, *failed)
				fmt.Println(failed.line())
				end()
				if unopened++; unopened == 2 { // a third attempt would say the same
					r.Ended = time.Now()
					return r
				}
				continue
			}
			age, unopened = 0, 0
		}
		out := stage.run(round, interrupted)
		if closed(interrupted) {
			continue // cut short: it proves nothing
		}
		r.Rounds, r.Ended = append(r.Rounds, out), time.Now()
		fmt.Println(out.line())
		if err := r.Save(dir); err != nil { // after each round: a killed run keeps its report
			t.Error(err)
		}
		if len(out.Failures) > 0 {
			end() // what it left could spoil the next
		}
	}
}

// open starts a cluster, or says why it did not come up.
func open(t testing.TB, o Options, r Round) (s *scene, b *bench, failed *Outcome) {
	j := &journal{}
	b = &bench{TB: t, log: func(text string) { j.note("lab: %s", text) }}
	defer func() {
		if p := recover(); p != nil {
			why := fmt.Sprint(p)
			if known, ok := p.(stopped); ok {
				why = known.why
			}
			failed = &Outcome{Round: r, FaultName: r.Name(), Plan: r.String(), Load1: machineLoad(), Failures: []string{"no cluster to begin with: " + why}}
			os.MkdirAll(keepRoot, 0o755)
			failed.Kept = filepath.Join(keepRoot, fmt.Sprintf("round-%03d.log", r.Number))
			os.WriteFile(failed.Kept, []byte(j.String()+why), 0o644)
		}
	}()
	return newScene(b, o, r.Gate, j.note), b, nil
}

// line is the round for a terminal.
func (o Outcome) line() string {
	verdict := "ok"
	if o.Outside != "" {
		verdict = "outside the promise (" + o.Outside + ")"
	}
	if len(o.Failures) > 0 {
		verdict = "FAILED: " + strings.Join(o.Failures, "; ") + "\n    logs: " + o.Kept
	}
	return fmt.Sprintf("%s\n    load %.1f, %d rows, lost %d (bound %d, up to %.1f s before its server's last) + %d inside, two primaries %.3g s (%.3g s from elsewhere, %.3g s inside), outage %.1f s TCP, %.1f s new, %.1f s socket, leader changes %d: %s",
		o.Plan, o.Load1, o.Rows.Acked, o.Rows.Lost, o.Rows.Bound, o.Rows.Before.Seconds(), o.Rows.Inside, o.Two, o.TwoRemote, o.TwoInside, o.OutageTCP.Seconds(), o.OutageNew.Seconds(), o.OutageSocket.Seconds(), o.Changes, verdict)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
