package stories

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// allCallbacks configures one script for every callback.
func allCallbacks(script string) []string {
	return []string{"callbacks:", "  on_start: " + script, "  on_stop: " + script, "  on_restart: " + script,
		"  on_reload: " + script, "  on_role_change: " + script}
}

// recorder is a callback script that notes its arguments in the file calls.
func recorder(m *lab.Member) string {
	return m.Script("callback", fmt.Sprintf(`
echo "$@" >> %[1]s/calls
echo "heard of $1"
test -z "$NOTIFY_SOCKET$(env | grep ^PATRONI_)" || echo "dirty environment" >> %[1]s/calls
if test "$1" = on_stop; then sleep 1; echo "on_stop ended" >> %[1]s/calls; fi
if test "$1" = on_role_change -a -e %[1]s/hang; then
  sleep 1000 & echo $$ $! > %[1]s/hanging
  trap "" TERM
  wait
fi
`, m.Dir))
}

// calls are the noted calls, on_reload left out unless asked for: settings may
// be applied at any time.
func calls(m *lab.Member, reloads bool) []string {
	text, _ := os.ReadFile(filepath.Join(m.Dir, "calls"))
	var out []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); reloads || !strings.HasPrefix(line, "on_reload") {
			out = append(out, line)
		}
	}
	return out
}

// expectCalls waits for exactly these calls and forgets them.
func expectCalls(t *testing.T, l *lab.Lab, m *lab.Member, want ...string) {
	t.Helper()
	l.Until(15*time.Second, fmt.Sprintf("%s calls %q", m.Name, want), func() string {
		if got := calls(m, false); !slices.Equal(got, want) {
			return fmt.Sprintf("%q", got)
		}
		return ""
	})
	os.Remove(filepath.Join(m.Dir, "calls"))
}

// streamed waits until the primary sees a standby stream: the standby's own
// word may be from before a restart, and a switchover would be cancelled.
func streamed(t *testing.T, l *lab.Lab, primary *lab.Member) {
	t.Helper()
	l.Until(20*time.Second, "a standby streams from "+primary.Name, func() string {
		n, err := primary.Query("select count(*) from pg_stat_replication where state = 'streaming'")
		if err != nil || n == "0" {
			return fmt.Sprintf("%s, %v", n, err)
		}
		return ""
	})
}

// Every callback through a member's life. Contract: ha-behaviour.md 21.
func TestCallbacksThroughALife(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{Members: []string{"pg01", "pg02"},
		PostgreSQL: func(m *lab.Member) []string { return allCallbacks(recorder(m)) }})
	a := c.Leader()
	b := c.Others(a)[0]
	// The bootstrap itself is silent.
	expectCalls(t, l, a, "on_start primary pg-basic")
	expectCalls(t, l, b, "on_start replica pg-basic")

	if err := a.Agent().Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	l.Until(10*time.Second, "on_reload", func() string {
		if got := calls(a, true); !slices.Contains(got, "on_reload primary pg-basic") {
			return fmt.Sprintf("%q", got)
		}
		return ""
	})
	os.Remove(filepath.Join(a.Dir, "calls"))

	ctl(t, a, 0, words("restart pg-basic --force"))
	expectCalls(t, l, a, "on_restart primary pg-basic")
	expectCalls(t, l, b, "on_restart replica pg-basic")
	c.WaitHealthy(20 * time.Second)

	streamed(t, l, a)
	ctl(t, a, 0, words("switchover --candidate "+b.Name+" --force"))
	c.WaitHealthy(20 * time.Second)
	expectCalls(t, l, b, "on_role_change primary pg-basic")
	// on_role_change ends the on_stop that still sleeps, unless it was faster.
	got := calls(a, false)
	got = slices.DeleteFunc(got, func(s string) bool { return s == "on_stop ended" })
	if want := []string{"on_stop primary pg-basic", "on_role_change replica pg-basic"}; !slices.Equal(got, want) {
		t.Errorf("%s calls %q, want %q", a.Name, got, want)
	}
	os.Remove(filepath.Join(a.Dir, "calls"))

	// The agent waits for the last callback of a shutdown.
	a.Shutdown(20 * time.Second)
	expectCalls(t, l, a, "on_stop replica pg-basic", "on_stop ended")
	a.Start()
	c.WaitHealthy(20 * time.Second)
	expectCalls(t, l, a, "on_start replica pg-basic")

	// An agent that finds PostgreSQL running announces it once.
	if err := a.Agent().Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Agent().Wait(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	a.Start()
	c.WaitHealthy(20 * time.Second)
	expectCalls(t, l, a, "on_start replica pg-basic")
	if log := a.AgentLog(); !strings.Contains(log, "on_start: heard of on_start") {
		t.Errorf("the callback's output is not in the log of %s", a.Name)
	}
	for _, m := range c.Members {
		if got := calls(m, false); len(got) > 0 {
			t.Errorf("%s calls %q as well", m.Name, got)
		}
	}
}

// A callback that hangs delays nothing, and is killed with its children by the
// next one.
func TestHangingCallback(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Members: []string{"pg01", "pg02"},
		PostgreSQL: func(m *lab.Member) []string { return allCallbacks(recorder(m)) }})
	w, p := c.StartWriter(), c.StartProber()
	a := c.Leader()
	b := c.Others(a)[0]
	for _, m := range c.Members {
		if err := os.WriteFile(filepath.Join(m.Dir, "hang"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asked := time.Now()
	ctl(t, a, 0, words("switchover --candidate "+b.Name+" --force"))
	w.Advance(10 * time.Second)
	if gap := w.Gap(asked); gap > 3*time.Second {
		t.Errorf("write gap %v", gap)
	}
	c.WaitHealthy(20 * time.Second)
	var pids []int
	l.Until(10*time.Second, "the callback hangs on "+b.Name, func() string {
		text, _ := os.ReadFile(filepath.Join(b.Dir, "hanging"))
		for _, f := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(f)
			pids = append(pids, pid)
		}
		return map[bool]string{true: "", false: "no pids yet"}[len(pids) == 2]
	})
	for _, pid := range pids {
		if !lab.Running(pid) {
			t.Errorf("process %d of the hanging callback is gone already", pid)
		}
	}
	// A demotion is the next event.
	streamed(t, l, b)
	asked = time.Now()
	ctl(t, b, 0, words("switchover --candidate "+a.Name+" --force"))
	w.Advance(10 * time.Second)
	if gap := w.Gap(asked); gap > 3*time.Second {
		t.Errorf("write gap %v with a hanging callback", gap)
	}
	l.Until(5*time.Second, "the hanging callback and its child are killed", func() string {
		for _, pid := range pids {
			if lab.Running(pid) {
				return fmt.Sprintf("%d runs", pid)
			}
		}
		return ""
	})
	c.WaitHealthy(20 * time.Second)
	nothingLost(t, w, p, a)
}

// A primary that does not come back says so, so that an address can leave.
func TestFailedPrimaryIsAnnounced(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Members: []string{"pg01", "pg02"},
		PostgreSQL: func(m *lab.Member) []string { return allCallbacks(recorder(m)) }})
	a := c.Leader()
	expectCalls(t, l, a, "on_start primary pg-basic")
	// PostgreSQL cannot start without this directory.
	if err := os.Rename(filepath.Join(a.DataDir(), "pg_xact"), filepath.Join(a.Dir, "pg_xact")); err != nil {
		t.Fatal(err)
	}
	a.KillPostgres()
	c.WaitLeader(30*time.Second, a)
	l.Until(10*time.Second, "on_role_change demoted", func() string {
		if got := calls(a, false); !slices.Contains(got, "on_role_change demoted pg-basic") {
			return fmt.Sprintf("%q", got)
		}
		return ""
	})
}

// pre_promote forbids one candidate: the key goes on to another member, and
// nothing is lost. Contract: ha-behaviour.md 8.
func TestPrePromoteForbids(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{PostgreSQL: func(m *lab.Member) []string {
		return []string{"pre_promote: " + m.Script("pre_promote", fmt.Sprintf("echo asked >> %[1]s/asked\ntest ! -e %[1]s/forbid || { echo 'fenced by hand'; exit 9; }\n", m.Dir))}
	}})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	refuser := c.Others(old)[0]
	if err := os.WriteFile(filepath.Join(refuser.Dir, "forbid"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	old.REST("POST", "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": %q}`, old.Name, refuser.Name))
	next := c.WaitHealthy(40 * time.Second)
	if next == refuser {
		t.Errorf("%s leads although its pre_promote failed", refuser.Name)
	}
	log := refuser.AgentLog()
	for _, want := range []string{"exit status 9", "fenced by hand", "Releasing the leader key voluntarily because the pre-promote script failed",
		"Promotion cancelled because the pre-promote script failed"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log of %s does not say %q", refuser.Name, want)
		}
	}
	nothingLost(t, w, p, next)
}

// A slow pre_promote: the key is renewed meanwhile, for longer than a ttl, and
// nobody else is promoted.
func TestSlowPrePromote(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Members: []string{"pg01", "pg02", "pg03"}, PostgreSQL: func(m *lab.Member) []string {
		return []string{"pre_promote: sleep 14"}
	}})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	candidate := c.Others(old)[0]
	asked := time.Now()
	old.REST("POST", "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": %q}`, old.Name, candidate.Name))
	next := c.WaitLeader(60*time.Second, old) // by what its PostgreSQL says
	if next != candidate {
		t.Errorf("%s leads, asked for %s", next.Name, candidate.Name)
	}
	if took := time.Since(asked); took < 14*time.Second {
		t.Errorf("promoted after %v, before pre_promote ended", took)
	}
	c.WaitHealthy(30 * time.Second)
	nothingLost(t, w, p, next)
}

// before_stop hangs while etcd is gone: it is ended in time for PostgreSQL to
// be stopped cleanly while the lease lasts.
func TestHangingBeforeStop(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{TTL: 20, LoopWait: 2, RetryTimeout: 5, Members: []string{"pg01", "pg02"},
		PostgreSQL: func(m *lab.Member) []string {
			return []string{"before_stop: " + m.Script("before_stop", "echo $$ >> "+m.Dir+"/asked\nsleep 1000\n")}
		}})
	w, p := c.StartWriter(), c.StartProber()
	a := c.Leader()
	for _, m := range c.Etcd.Members {
		m.Kill()
	}
	l.Until(25*time.Second, "PostgreSQL is stopped", func() string {
		if a.Postmaster() != 0 && !strings.Contains(a.AgentLog(), "before_stop failed") {
			return "it runs"
		}
		return ""
	})
	if log := a.AgentLog(); !strings.Contains(log, "it took longer than it may") || strings.Contains(log, "the guard acted") {
		t.Errorf("before_stop was not ended by the agent in time:\n%s", log)
	}
	if text, err := os.ReadFile(filepath.Join(a.Dir, "asked")); err != nil || len(strings.Fields(string(text))) != 1 {
		t.Errorf("before_stop ran %q times: %v", text, err)
	}
	for _, m := range c.Etcd.Members {
		m.Start()
	}
	c.Etcd.WaitHealthy(20 * time.Second)
	nothingLost(t, w, p, c.WaitHealthy(60*time.Second))
}
