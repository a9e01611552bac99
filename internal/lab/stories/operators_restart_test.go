package stories

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// The whole cluster restarted again and again: every one succeeds, the leader
// stays.
func TestOperatorsRestartEverythingRepeatedly(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	m := c.Leader()
	for range 6 {
		out := ctl(t, m, 0, words("restart pg-basic --force"))
		if strings.Count(out, "Success: restart on member") != 3 {
			t.Errorf("a restart failed:\n%s", out)
		}
	}
	if now := c.WaitHealthy(20 * time.Second); now != m {
		t.Errorf("%s leads", now.Name)
	}
	if rows := w.Lost(m); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

// SIGUSR1 ends the agent and leaves PostgreSQL under its guard; the next agent
// takes it over as it is (rulings 49).
func TestOperatorsDetachAnAgent(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	leader := c.Leader()
	for _, m := range c.Members {
		pid := m.Postmaster()
		if err := m.Agent().Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if code, err := m.Agent().Wait(10 * time.Second); err != nil || code != 0 {
			t.Fatalf("agent of %s: exit code %d %v after SIGUSR1", m.Name, code, err)
		}
		m.Start()
		c.WaitHealthy(20 * time.Second)
		sameServer(t, m, pid)
		if strings.Contains(m.AgentLog(), "guard of PostgreSQL died") {
			t.Errorf("%s: a false alarm about the guard that was left on purpose", m.Name)
		}
	}
	if now := c.WaitHealthy(20 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}
