package stories

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// The primary's program is replaced under load, again and again: the process,
// PostgreSQL, the leader key and its lease stay; no write is lost, no health
// check is refused.
func TestHandOver(t *testing.T) { handOver(t, short(t), 3, 4*time.Second) }

// Watched until every deadline has passed that was armed before the last one.
func TestHandOverTwentyTimes(t *testing.T) { handOver(t, long(t), 20, 12*time.Second) }

func handOver(t *testing.T, l *lab.Lab, times int, watched time.Duration) {
	c := replaceable(t, l)
	leader := c.Leader()
	w, p, checks := c.StartWriter(), c.StartProber(), startChecks(t, leader)
	programs := []string{lab.NextBinary(t), lab.Binary(t)}
	pid, server, guard, timeline := leader.Agent().Pid, leader.Postmaster(), leader.Guard(), mustStatus(t, leader).Timeline
	key, err := c.Etcd.KeyLife(c.Key("leader"))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range times {
		leader.Install(programs[i%2])
		w.Advance(5 * time.Second)
		send(t, leader, syscall.SIGUSR2)
		awaitHandOvers(l, leader, i+1)
	}
	w.Advance(5 * time.Second)
	l.Never(watched, "a hand-over must not be noticed", func() string {
		if now := c.Leader(); now != leader {
			return "the leader key changed hands"
		}
		return ""
	})
	gap := w.Gap(began)
	t.Logf("%d hand-overs: largest write gap %v; %s", times, gap.Round(time.Millisecond), checks.stop())
	if gap > time.Second {
		t.Errorf("write gap %v", gap)
	}
	if checks.bad != "" {
		t.Errorf("GET /primary of the leader: %s", checks.bad)
	}
	sameServer(t, leader, server)
	if now := leader.Guard(); now != guard || leader.Agent().Pid != pid || !leader.Agent().Alive() {
		t.Errorf("agent %s (was %d), guard %d (was %d)", leader.Agent(), pid, now, guard)
	}
	if now := c.WaitHealthy(20 * time.Second); now != leader || mustStatus(t, leader).Timeline != timeline {
		t.Errorf("%s leads on timeline %d, was %s on %d", now.Name, mustStatus(t, now).Timeline, leader.Name, timeline)
	}
	if now, err := c.Etcd.KeyLife(c.Key("leader")); err != nil || now != key {
		t.Errorf("the leader key is %s, was %s (%v)", now, key, err)
	}
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

// What is not fit to take over is refused in one line, and the agent goes on
// as if nothing had been asked.
func TestHandOverRefused(t *testing.T) {
	l := long(t)
	c := replaceable(t, l)
	leader := c.Leader()
	w := c.StartWriter()
	pid := leader.Postmaster()
	for _, bad := range []struct {
		name, want string
		prepare    func()
	}{
		{"not executable", "is not an executable file", func() { leader.InstallText("#!/bin/sh\n", 0o644) }},
		{"no program", "cannot be run", func() { leader.InstallText("\x00\x01\x02", 0o755) }},
		{"another program", "is no pgha that can take over", func() { leader.InstallText("#!/bin/sh\necho hello\n", 0o755) }},
		{"an older pgha", "is a pgha without hand-over", func() {
			leader.InstallText("#!/bin/sh\necho 'pgha: error: unknown flag: --handover-check' >&2\nexit 2\n", 0o755)
		}},
		{"a configuration that does not parse", "not YAML", func() {
			leader.Install(lab.Binary(t))
			edit(t, leader, func(text string) string { return text + "\nscope: [\n" })
		}},
		{"another data directory", "postgresql.data_dir is", func() {
			leader.Configure()
			edit(t, leader, func(text string) string { return strings.ReplaceAll(text, leader.DataDir(), leader.DataDir()+"2") })
		}},
	} {
		t.Run(bad.name, func(t *testing.T) {
			bad.prepare()
			code, body, err := leader.REST("POST", "/pgha/v1/handover", "")
			var answer struct{ State, Reason string }
			if err != nil || code != http.StatusConflict || json.Unmarshal([]byte(body), &answer) != nil {
				t.Fatalf("%d %s %v", code, body, err)
			}
			t.Log(answer.Reason)
			if answer.State != "refused" || strings.Contains(answer.Reason, "\n") || !strings.Contains(answer.Reason, bad.want) {
				t.Errorf("%q, want %q", answer.Reason, bad.want)
			}
			// The log has a writer of its own: the line may come after the answer.
			l.Until(10*time.Second, "the log says it", func() string { return lacking(leader.AgentLog(), answer.Reason) })
		})
	}
	leader.Configure()
	leader.Install(lab.NextBinary(t))
	if code, body, err := leader.REST("POST", "/pgha/v1/handover", ""); err != nil || code != http.StatusAccepted || !strings.Contains(body, lab.NextVersion) {
		t.Errorf("%d %s %v", code, body, err)
	}
	awaitHandOvers(l, leader, 1)
	sameServer(t, leader, pid)
	if now := c.WaitHealthy(20 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
}

// A hand-over on a standby, in pause, twice in a row, beside a restart of
// PostgreSQL, during a switchover, and of an agent that is killed in it.
func TestHandOverAtOddMoments(t *testing.T) {
	l := long(t)
	c := replaceable(t, l)
	leader := c.Leader()
	w, p := c.StartWriter(), c.StartProber()
	standby := c.Others(leader)[0]
	done := map[*lab.Member]int{}
	over := func(m *lab.Member) {
		t.Helper()
		done[m]++
		awaitHandOvers(l, m, done[m])
	}

	send(t, standby, syscall.SIGUSR2)
	over(standby)

	ctl(t, leader, 0, words("pause pg-basic --wait"))
	for _, m := range c.Members {
		pid := m.Postmaster()
		send(t, m, syscall.SIGUSR2)
		over(m)
		sameServer(t, m, pid)
	}
	ctl(t, leader, 0, words("resume pg-basic --wait"))
	if now := c.WaitHealthy(20 * time.Second); now != leader {
		t.Fatalf("%s leads after hand-overs in pause", now.Name)
	}

	// Twice in a row: the second is refused, or is one more.
	send(t, leader, syscall.SIGUSR2)
	send(t, leader, syscall.SIGUSR2)
	over(leader)

	// Beside a job: it waits for the job's end.
	restarted := make(chan string, 1)
	before := leader.Postmaster()
	go func() {
		_, body, err := leader.REST("POST", "/restart", "{}")
		restarted <- fmt.Sprint(body, err)
	}()
	l.Until(10*time.Second, "the restart to begin", func() string {
		if pid := leader.Postmaster(); pid == before {
			return "postmaster as before"
		}
		return ""
	})
	done[leader] = handOvers(leader)
	send(t, leader, syscall.SIGUSR2)
	if got := <-restarted; !strings.Contains(got, "restarted successfully") {
		t.Errorf("the restart beside a hand-over: %s", got)
	}
	over(leader)

	// During a switchover: after it.
	next := c.Others(leader, standby)[0]
	done[leader] = handOvers(leader)
	l.Until(30*time.Second, "both standbys to stream after the restart", func() string {
		n, err := leader.Query("select count(*) from pg_stat_replication where state = 'streaming'")
		if n != "2" {
			return fmt.Sprint(n, err)
		}
		return ""
	})
	go leader.REST("POST", "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": %q}`, leader.Name, next.Name))
	l.Until(20*time.Second, "the key to change hands", func() string {
		if c.Leader() == leader {
			return leader.Name + " leads"
		}
		return ""
	})
	send(t, leader, syscall.SIGUSR2)
	over(leader)
	if now := c.WaitHealthy(40 * time.Second); now != next {
		t.Errorf("%s leads, not %s", now.Name, next.Name)
	}

	// Killed while the next program is being asked: the guard bridges.
	pid := next.Postmaster()
	next.InstallText("#!/bin/sh\nsleep 60\n", 0o755)
	send(t, next, syscall.SIGUSR2)
	l.Until(10*time.Second, "the check to begin", func() string {
		if !strings.Contains(next.AgentLog(), "hand-over: checking") {
			return "not in the log"
		}
		return ""
	})
	next.KillAgent()
	next.Install(lab.Binary(t))
	next.Start()
	if now := c.WaitHealthy(30 * time.Second); now != next {
		t.Errorf("%s leads after the agent was killed", now.Name)
	}
	sameServer(t, next, pid)
	w.Advance(10 * time.Second)
	if rows := w.Lost(next); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

// replaceable is a healthy cluster whose members have programs of their own.
func replaceable(t *testing.T, l *lab.Lab) *lab.Cluster {
	t.Helper()
	e := l.StartEtcd(3)
	c := l.NewCluster(e, lab.Options{})
	for _, m := range c.Members {
		m.OwnProgram()
	}
	c.Start()
	return c
}

// edit changes the member's configuration file.
func edit(t *testing.T, m *lab.Member, change func(string) string) {
	t.Helper()
	text, err := os.ReadFile(m.Config())
	if err == nil {
		err = os.WriteFile(m.Config(), []byte(change(string(text))), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, m *lab.Member, s syscall.Signal) {
	t.Helper()
	if err := m.Agent().Signal(s); err != nil {
		t.Fatal(err)
	}
}

// handOvers is how many the member's process has seen; -1: it does not say.
func handOvers(m *lab.Member) int {
	_, body, err := m.REST("GET", "/pgha/v1/handover", "")
	var d struct{ Handovers int }
	if err != nil || json.Unmarshal([]byte(body), &d) != nil {
		return -1
	}
	return d.Handovers
}

func awaitHandOvers(l *lab.Lab, m *lab.Member, want int) {
	l.Until(40*time.Second, fmt.Sprintf("hand-over %d of %s", want, m.Name), func() string {
		if n := handOvers(m); n < want {
			return fmt.Sprintf("%d", n)
		}
		return ""
	})
}

func mustStatus(t *testing.T, m *lab.Member) lab.Status {
	t.Helper()
	s, err := m.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checks are a load balancer's: GET /primary every 50 ms on a new connection.
type checks struct {
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	n       int
	slowest time.Duration
	bad     string // the first answer that was not 200
}

func startChecks(t *testing.T, m *lab.Member) *checks {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	k := &checks{cancel: cancel}
	t.Cleanup(func() { k.stop() })
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: m.Dial}}
	k.wait.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			began := time.Now()
			r, err := client.Get("http://" + m.Addr + ":8008/primary")
			took := time.Since(began)
			k.n++
			k.slowest = max(k.slowest, took)
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
				r.Body.Close()
				if err == nil && r.StatusCode != http.StatusOK {
					err = errors.New(r.Status)
				}
			}
			if err != nil && k.bad == "" {
				k.bad = fmt.Sprintf("check %d, after %v: %v", k.n, took.Round(time.Millisecond), err)
			}
		}
	})
	return k
}

// stop ends the checks; calling it again changes nothing.
func (k *checks) stop() string {
	k.cancel()
	k.wait.Wait()
	return fmt.Sprintf("%d checks, the slowest %v", k.n, k.slowest.Round(time.Millisecond))
}
