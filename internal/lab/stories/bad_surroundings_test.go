package stories

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// etcd asks for a password and gets a wrong one.
func TestWrongEtcdPassword(t *testing.T) {
	l := short(t)
	e := l.StartEtcd(1)
	c := l.NewCluster(e, lab.Options{Members: []string{"pg01"}})
	m := c.Members[0]
	e.EnableAuth("right")
	for _, b := range []badInput{
		{name: "wrong", edit: swap("  protocol: http\n", "  protocol: http\n  username: root\n  password: wrong\n")},
		{name: "none", edit: swap("  protocol: http\n", "  protocol: http\n  # no password\n")},
	} {
		t.Run(b.name, func(t *testing.T) {
			m.Configure()
			rewrite(t, m, b.edit)
			out, code := runBad(t, m, b)
			checkRefusal(t, out, code, 2, "etcd", "etcd3.username", e.Members[0].ClientURL())
			ctl(t, m, 1, []string{"list"}, "Error: ", e.Members[0].ClientURL()+": ", "\nHint: check etcd3.username")
			if _, err := os.Stat(m.DataDir()); err == nil {
				t.Error("a data directory was made")
			}
		})
	}
}

// etcd is not there: the agent keeps trying and says so every 10 s with the
// cause; SIGTERM ends it with code 4 (rulings 51).
func TestUnreachableEtcdAtTheStart(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(1)
	c := l.NewCluster(e, lab.Options{Members: []string{"pg01"}})
	m := c.Members[0]
	e.Members[0].Kill()
	m.Start()
	started := time.Now()
	l.Until(40*time.Second, "three lines about etcd", func() string {
		lines := strings.Count(m.AgentLog(), "waiting on etcd")
		if lines >= 3 {
			return ""
		}
		return fmt.Sprintf("%d lines\n%s", lines, m.AgentLog())
	})
	if took := time.Since(started); took < 18*time.Second {
		t.Errorf("three lines within %v: every 10 s was promised", took)
	}
	if !strings.Contains(m.AgentLog(), "connection refused") {
		t.Errorf("no cause in\n%s", m.AgentLog())
	}
	if err := m.Agent().Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code, err := m.Agent().Wait(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	checkRefusal(t, m.AgentLog(), code, 4, "etcd", "connection refused")
}

// What a running cluster refuses a new agent, and what it survives itself.
func TestAgentsThatDoNotBelong(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	e := l.StartEtcd(1)
	c := l.NewCluster(e, lab.Options{})
	pg01, pg02, pg03 := c.Members[0], c.Members[1], c.Members[2]

	// A wrong type in bootstrap.dcs is a finding, the default is used.
	rewrite(t, pg01, set("ttl", "abc"))
	pg01.StartWith("agent", pg01.Config()) // positional, as `patroni FILE`
	c.WaitLeader(40 * time.Second)
	if log := pg01.AgentLog(); !strings.Contains(log, "bootstrap.dcs.ttl: expected an integer, got text") {
		t.Errorf("nothing about ttl: abc in\n%s", log)
	}
	// No file at all, the configuration in the environment.
	text, err := os.ReadFile(pg02.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(pg02.Config(), pg02.Config()+".away"); err != nil {
		t.Fatal(err)
	}
	pg02.StartEnv([]string{"PATRONI_CONFIGURATION=" + string(text)}, "agent")
	c.WaitHealthy(60*time.Second, pg03)
	os.Rename(pg02.Config()+".away", pg02.Config())

	t.Run("duplicate name", func(t *testing.T) {
		rewrite(t, pg03, set("name", "pg01"))
		defer pg03.Configure()
		out, code := runBad(t, pg03, badInput{})
		checkRefusal(t, out, code, 3, "pg01", "running", pg01.Addr+":8008", "another name")
	})
	t.Run("second agent on one data directory", func(t *testing.T) {
		pid := pg01.Postmaster()
		out, code := runBad(t, pg01, badInput{})
		checkRefusal(t, out, code, 3, "another agent", fmt.Sprint(pg01.Agent().Pid), "stop the other agent")
		sameServer(t, pg01, pid)
	})
	t.Run("another cluster's data", func(t *testing.T) { foreignData(t, c, pg03) })
	t.Run("unsupported settings", func(t *testing.T) { unsupportedArrives(t, l, c, pg01, pg02) })
}

func foreignData(t *testing.T, c *lab.Cluster, m *lab.Member) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	initdb := filepath.Join(lab.PGBin(t, lab.PGVersion(t)), "initdb")
	if out, code, err := m.Run(ctx, initdb, "-N", "-U", "postgres", "-D", m.DataDir()); err != nil || code != 0 {
		t.Fatalf("initdb: %d %v\n%s", code, err, out)
	}
	defer os.RemoveAll(m.DataDir())
	before, leader := treeOf(t, m.DataDir()), c.Leader()
	out, code := runBad(t, m, badInput{})
	checkRefusal(t, out, code, 3, "system ID mismatch", m.Name, "different cluster")
	if now := treeOf(t, m.DataDir()); now != before {
		t.Errorf("changed on disk: %s", difference(before, now))
	}
	if c.Leader() != leader {
		t.Error("the leader has changed")
	}
	if key, there, err := c.Etcd.Get(c.Key("members/" + m.Name)); err != nil || there {
		t.Errorf("it has become a member, so the leader keeps WAL for it: %s %v", key, err)
	}
}

// unsupportedArrives: by edit-config while running: keep running, do not
// race, say so; refused at the next start; started again once it is gone.
func unsupportedArrives(t *testing.T, l *lab.Lab, c *lab.Cluster, leader, replica *lab.Member) {
	pid := leader.Postmaster()
	if out, code := leader.Ctl("edit-config", "-s", "synchronous_mode=true", "--force"); code != 0 {
		t.Fatalf("edit-config: %d\n%s", code, out)
	}
	l.Until(10*time.Second, "list says that it is not supported", func() string {
		out, _ := leader.Ctl("list")
		if strings.Contains(out, "synchronous_mode") && strings.Contains(out, "not supported") {
			return ""
		}
		return out
	})
	replica.Shutdown(20 * time.Second)
	out, code := runBad(t, replica, badInput{})
	checkRefusal(t, out, code, 2, "synchronous_mode", "not supported", "edit-config")
	sameServer(t, leader, pid)
	if c.Leader() != leader {
		t.Error("the leader has changed")
	}
	if out, code := leader.Ctl("edit-config", "-s", "synchronous_mode=null", "--force"); code != 0 {
		t.Fatalf("edit-config: %d\n%s", code, out)
	}
	replica.Start()
	c.WaitHealthy(30*time.Second, c.Member("pg03"))
}

func rewrite(t *testing.T, m *lab.Member, edit func(string) string) {
	t.Helper()
	text, err := os.ReadFile(m.Config())
	if err != nil {
		t.Fatal(err)
	}
	edited := edit(string(text))
	if edited == string(text) {
		t.Fatal("the edit changes nothing")
	}
	if err := os.WriteFile(m.Config(), []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
}
