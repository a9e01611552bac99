package stories

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// Mistakes of the tool's user: no cluster is needed to refuse them.
func TestCtlRefusesBadInput(t *testing.T) {
	l := short(t)
	e := l.StartEtcd(1)
	m := l.NewCluster(e, lab.Options{Members: []string{"pg01"}}).Members[0]
	run := func(wantCode int, args []string, want ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		out, code, err := m.Run(ctx, append([]string{m.Program()}, args...)...)
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		expect(t, out, code, wantCode, want...)
		if strings.Contains(out, "goroutine ") || strings.Contains(out, "panic") {
			t.Errorf("a stack trace:\n%s", out)
		}
	}
	run(0, words("agent --help"), "Exit codes: 0 ended as asked", "2 configuration", "3 refused for safety", "4 etcd unreachable")
	run(0, words("ctl --help"), "list", "switchover", "--config-file")
	run(0, words("ctl switchover --help"), "--candidate", "--scheduled")
	run(0, words("version"), "pgha")
	run(0, words("ctl"), "Usage:", "switchover")
	run(2, words("ctl -k"), "Error: Missing command.")
	run(2, words("ctl -h"), "Error: No such option: -h")
	run(1, words("ctl -c /nonexistent.yml list"), "Error: Provided config file /nonexistent.yml not existing or no read rights. Check the -c/--config-file parameter")
	broken := filepath.Join(m.Dir, "broken.yml")
	if err := os.WriteFile(broken, []byte("scope: a: b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(1, []string{"ctl", "-c", broken, "list"}, "Error: ", broken+":1:9")
	run(1, words("ctl list pg-basic"), "Error: Can not find suitable configuration of distributed configuration store",
		"No configuration was found: no -c, no PATRONI_* variables, none of ", "/etc/patroni/patroni.yml")
	run(0, []string{"ctl", "-c", m.Config(), "list", "-f", "json"}, "[]\n")
	run(0, []string{"ctl", "-c", m.Config(), "list"}, "+ Cluster: pg-basic (uninitialized) ")
	run(1, []string{"ctl", "-c", m.Config(), "switchover", "--force"}, "Error: This cluster has no leader")
	run(1, []string{"ctl", "-c", m.Config(), "restart", "pg-basic", "--force"}, "Error: pg-basic cluster doesn't have any members")
	run(1, []string{"ctl", "-c", m.Config(), "edit-config", "-s", "ttl=5", "--force"}, "Error: The config key does not exist in the cluster pg-basic")
	run(1, []string{"ctl", "-c", m.Config(), "pause"}, "Error: Can not find accessible cluster member")
	run(1, []string{"ctl", "-c", m.Config(), "dsn"}, "Error: Can not find a suitable member")
	e.Members[0].Kill()
	began := time.Now()
	run(1, []string{"ctl", "-c", m.Config(), "list"}, "Error: ", e.Members[0].ClientURL()+": ", "connection refused", "\nHint: is etcd running there?")
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("list with etcd away took %v", took)
	}
}

// Mistakes in the configuration of a live cluster: said, and survived.
func TestOperatorsMistakesOnALiveCluster(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	m := c.Leader()
	a, b := c.Others(m)[0], c.Others(m)[1]
	pid, other := m.Postmaster(), b.Postmaster()

	// A file that does not parse any more: the old configuration stays.
	good, err := os.ReadFile(m.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.Config(), []byte("scope: a: b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.Agent().Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	l.Until(10*time.Second, "the agent says why it did not reload", func() string {
		if strings.Contains(m.AgentLog(), "not reloaded") && strings.Contains(m.AgentLog(), m.Config()+":1:9") {
			return ""
		}
		return m.AgentLog()
	})
	if err := os.WriteFile(m.Config(), good, 0o644); err != nil {
		t.Fatal(err)
	}

	// Values that mean nothing, past every check.
	for _, bad := range []struct{ set, undo, said string }{
		{"ttl=abc", "ttl=10", "ttl"},
		{"postgresql.parameters=5", "postgresql.parameters={max_connections: 100}", "postgresql.parameters"},
		{"loop_wait=-3", "loop_wait=2", "loop_wait"},
		{"postgresql.parameters.work_mem=banana", "postgresql.parameters.work_mem=4MB", "work_mem"},
		{"maximum_lag_on_failover=lots", "maximum_lag_on_failover=1048576", "maximum_lag_on_failover"},
	} {
		ctl(t, m, 0, []string{"edit-config", "-q", "-s", bad.set, "--force"}, "Configuration changed")
		l.Until(15*time.Second, "the agent says something about "+bad.set, func() string {
			if strings.Contains(m.AgentLog(), bad.said) {
				return ""
			}
			return "nothing yet"
		})
		w.Advance(10 * time.Second)
		ctl(t, m, 0, []string{"edit-config", "-q", "-s", bad.undo, "--force"}, "Configuration changed")
	}
	if now := c.WaitHealthy(20 * time.Second); now != m {
		t.Errorf("%s leads", now.Name)
	}
	sameServer(t, m, pid)

	// A library that is not there: the restarted member does not start, says
	// so, and comes back by itself once the mistake is undone.
	ctl(t, m, 0, []string{"edit-config", "-q", "-p", "shared_preload_libraries=nosuch", "--force"}, "Configuration changed")
	l.Until(15*time.Second, "a restart is pending", func() string {
		out, _ := m.Ctl("list")
		if strings.Contains(out, "nosuch") {
			return ""
		}
		return out
	})
	ctl(t, m, 0, []string{"restart", "pg-basic", a.Name, "--force"}, "Failed: restart for member "+a.Name+", status code=503, (restart failed)")
	l.Until(15*time.Second, "list says that it does not start", func() string {
		out, _ := m.Ctl("list")
		if strings.Contains(out, "start failed") {
			return ""
		}
		return out
	})
	if log := a.AgentLog(); !strings.Contains(log, `could not access file "nosuch"`) {
		t.Errorf("PostgreSQL's own reason is not in the log:\n%s", log)
	}
	w.Advance(10 * time.Second)
	ctl(t, m, 0, []string{"edit-config", "-q", "-p", "shared_preload_libraries=null", "--force"}, "Configuration changed")
	if now := c.WaitHealthy(40 * time.Second); now != m {
		t.Errorf("%s leads", now.Name)
	}
	sameServer(t, m, pid)
	sameServer(t, b, other)

	// With an editor, as people do it.
	editor := filepath.Join(m.Dir, "editor")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed -i 's/^loop_wait: 2$/loop_wait: 1/' \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, code, err := m.Run(ctx, "/usr/bin/env", "EDITOR="+editor, m.Program(), "ctl", "-c", m.Config(), "edit-config", "--force")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, out, code, 0, "-loop_wait: 2\n+loop_wait: 1\n", "Configuration changed")
	if rows := w.Lost(m); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}
