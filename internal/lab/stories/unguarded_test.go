package stories

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// `pgha.guard: false`: PostgreSQL runs as a child of the agent, which stops it
// itself when the lease ends. It is said and shown, and nothing else changes:
// a switchover, a restart of the agent, a hand-over.
func TestWithoutAGuard(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(3)
	c := l.NewCluster(e, lab.Options{})
	for _, m := range c.Members {
		edit(t, m, func(text string) string { return text + "\npgha:\n  guard: false\n" })
	}
	c.Start()
	leader := c.Leader()
	if part := protection(t, leader)["guard"]; part != "no: pgha.guard is false" {
		t.Errorf("GET /patroni: pgha.protection.guard is %q", part)
	}
	ctl(t, leader, 0, words("list"), "no guard: outside the promise")
	if n := strings.Count(leader.AgentLog(), "protection: guard"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	w, p := c.StartWriter(), c.StartProber()

	pid := leader.Postmaster()
	send(t, leader, syscall.SIGUSR2)
	awaitHandOvers(l, leader, 1)
	c.WaitHealthy(20 * time.Second)
	sameServer(t, leader, pid)

	next := c.Others(leader)[0]
	ctl(t, leader, 0, words("switchover pg-basic --force --candidate "+next.Name))
	if now := c.WaitHealthy(40 * time.Second); now != next {
		t.Fatalf("%s leads, not %s", now.Name, next.Name)
	}

	// etcd is silent: the agent ends the primary before the lease ends.
	at := time.Now()
	for _, m := range c.Etcd.Members {
		m.Kill()
	}
	l.Until(ttl(c)+slack, "no member accepts writes", func() string {
		for _, m := range c.Members {
			if v, err := m.Query("select pg_is_in_recovery()"); err == nil && v == "f" {
				return m.Name + " is writable"
			}
		}
		return ""
	})
	t.Logf("no member accepts writes %v after etcd was lost, ttl %v", time.Since(at).Round(10*time.Millisecond), ttl(c))
	for _, m := range c.Etcd.Members {
		m.Start()
	}
	c.Etcd.WaitHealthy(20 * time.Second)
	now := c.WaitHealthy(60 * time.Second)
	w.Advance(10 * time.Second)
	if rows := w.Lost(now); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

// A guard cannot be started: PostgreSQL runs without one, said with what is
// left; once the cause is gone the next restart brings the guard back.
func TestGuardCannotStart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the lab's user is this one: nothing is refused to it that it may undo")
	}
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	leader := c.Leader()
	m := c.Others(leader)[0]
	if part := protection(t, m)["guard"]; part != "parent" {
		t.Errorf("at first: guard %q", part)
	}
	state := m.DataDir() + ".pgha"
	if err := os.Chmod(state, 0o500); err != nil {
		t.Fatal(err)
	}
	ctl(t, m, 0, words("restart pg-basic --force "+m.Name), "Success: restart on member "+m.Name)
	c.WaitHealthy(30 * time.Second)
	if part := protection(t, m)["guard"]; !strings.HasPrefix(part, "no: ") {
		t.Errorf("with a state directory that is read-only: guard %q", part)
	}
	if !strings.Contains(m.AgentLog(), "protection: guard: no: ") {
		t.Error("the log does not say it")
	}
	if err := os.Chmod(state, 0o700); err != nil {
		t.Fatal(err)
	}
	ctl(t, m, 0, words("restart pg-basic --force "+m.Name), "Success: restart on member "+m.Name)
	c.WaitHealthy(30 * time.Second)
	l.Until(10*time.Second, "a guard again", func() string {
		if part := protection(t, m)["guard"]; part != "parent" {
			return part
		}
		return ""
	})
}

// protection is pgha.protection of GET /patroni.
func protection(t *testing.T, m *lab.Member) map[string]string {
	t.Helper()
	code, body, err := m.REST("GET", "/patroni", "")
	var d struct {
		Pgha struct{ Protection map[string]string }
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &d)
	}
	if err != nil || code != 200 {
		t.Fatal(fmt.Sprint(code, " ", body, " ", err))
	}
	return d.Pgha.Protection
}
