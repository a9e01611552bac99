package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// paused sets maintenance mode, or ends it, with patronictl and waits until
// every member of both kinds has acknowledged it.
func paused(t *testing.T, l *lab.Lab, c *lab.Cluster, on bool) {
	t.Helper()
	verb, want := "pause", "'pause' request sent, waiting until it is recognized by all nodes\n"
	if !on {
		verb, want = "resume", "'resume' request sent, waiting until it is recognized by all nodes\n"
	}
	r := c.Members[0].Patronictl(verb, "--wait")
	if r.Code != 0 || !strings.HasPrefix(r.Stdout, want) {
		t.Fatalf("patronictl %s: %+v", verb, r)
	}
	// The tool waits for one loop_wait only; a loaded machine may take longer.
	l.Until(30*time.Second, verb+" to be acknowledged by everybody", func() string {
		for _, m := range c.Members {
			if (key(t, c, "members/"+m.Name)["pause"] == true) != on {
				return m.Name + " has not"
			}
		}
		return ""
	})
}

// replaceAll replaces the agents in maintenance mode, PostgreSQL untouched.
func replaceAll(t *testing.T, l *lab.Lab, c *lab.Cluster, to lab.Kind) {
	t.Helper()
	pids := map[*lab.Member]int{}
	for _, m := range c.Members {
		pids[m] = m.Postmaster()
		guide(t, m, "systemctl stop "+m.Kind().String())
		guide(t, m, "systemctl start "+to.String())
		sameServer(t, m, pids[m])
	}
	// Longer than a lease: nobody may end a server that has a new agent.
	l.Never(ttl(c)+2*time.Second, "a server whose agent was replaced in pause", func() string {
		for m, pid := range pids {
			if now := m.Postmaster(); now != pid {
				return fmt.Sprintf("PostgreSQL of %s was %d, is %d", m.Name, pid, now)
			}
		}
		return ""
	})
	for m, pid := range pids {
		sameServer(t, m, pid)
	}
}

// Adoption: in maintenance mode Patroni is stopped and PostgreSQL kept
// running; pgha takes it over as it stands, puts a guard beside it and says
// so, and the next restart makes the guard its parent. And back.
func TestMixedAdoptARunningPostmaster(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Patroni: []string{"pg01", "pg02", "pg03"}})
	w, p := c.StartWriter(), c.StartProber()
	leader := c.Leader()
	from := time.Now()
	done(t, guide(t, leader, "patronictl -c "+guideConfig+" pause --wait"), "'pause' request sent")
	replaceAll(t, l, c, lab.Pgha)
	if now := c.Leader(); now != leader {
		t.Errorf("the leader key is %v's", now)
	}
	done(t, guide(t, leader, "pgha ctl -c "+guideConfig+" resume --wait"), "'resume' request sent")
	if now := c.WaitHealthy(30 * time.Second); now != leader {
		t.Errorf("%s leads after the change of agents, was %s", now.Name, leader.Name)
	}
	if gap := w.Gap(from); gap > 2*time.Second+slack {
		t.Errorf("write gap %v although PostgreSQL was not touched", gap)
	}
	for _, m := range c.Members {
		if !strings.Contains(m.AgentLog(), "PostgreSQL was started by somebody else: a guard was put beside it") {
			t.Errorf("%s does not say that its guard is not its server's parent:\n%s", m.Name, m.AgentLog())
		}
		if m.Guard() != 0 {
			t.Errorf("%s: the guard cannot have become a running server's parent", m.Name)
		}
	}
	for _, m := range c.Members {
		restart := "pgha ctl -c " + guideConfig + " restart pg-basic " + m.Name + " --force"
		done(t, guide(t, m, restart), "Success: restart on member "+m.Name)
		l.Until(10*time.Second, m.Name+" to run under a guard", func() string {
			if m.Guard() == 0 {
				return "no guard"
			}
			return ""
		})
	}
	c.WaitHealthy(30 * time.Second)
	w.Advance(20 * time.Second)

	// And back to Patroni, PostgreSQL untouched.
	from = time.Now()
	paused(t, l, c, true)
	replaceAll(t, l, c, lab.Patroni)
	paused(t, l, c, false)
	c.WaitHealthy(60 * time.Second)
	if gap := w.Gap(from); gap > 2*time.Second+slack {
		t.Errorf("back: write gap %v although PostgreSQL was not touched", gap)
	}
	for _, m := range c.Members {
		guard := m.Guard()
		if r := m.Patronictl("restart", "pg-basic", m.Name, "--force"); !strings.Contains(r.Stdout, "Success: restart on member "+m.Name) {
			t.Errorf("%+v", r)
		}
		l.Until(10*time.Second, "the old guard of "+m.Name+" to end", func() string {
			if guard != 0 && lab.Running(guard) {
				return fmt.Sprint("guard ", guard, " is still there")
			}
			return ""
		})
	}
	nothingLost(t, w, p, c.WaitHealthy(30*time.Second))
}

// Two agents of different kinds on one machine: the second is refused, by the
// port or by the name check, and changes nothing (operations contract G.4).
func TestMixedSecondAgentIsRefused(t *testing.T) {
	l := long(t)
	c, ours, theirs := pair(t, l, lab.Options{})
	before := map[*lab.Member]int{ours: ours.Postmaster(), theirs: theirs.Postmaster()}
	leader := c.Leader()
	r := ours.PatroniOnce(20 * time.Second)
	if r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, "already a node named") {
		t.Errorf("patroni beside pgha: %+v", r)
	}
	r = theirs.PghaOnce(20 * time.Second)
	if r.Code != 2 || !strings.Contains(r.Stderr, "restapi.listen: listen tcp "+theirs.Addr+":8008: bind: address already in use") {
		t.Errorf("pgha beside patroni: %+v", r)
	}
	// On another port it gets as far as the name check.
	theirs.Edit("listen: "+theirs.Addr+":8008", "listen: "+theirs.Addr+":8009")
	r = theirs.PghaOnce(20 * time.Second)
	if r.Code != 3 || !strings.Contains(r.Stderr, "there is already a node named 'pg02' running") {
		t.Errorf("pgha beside patroni, on another port: %+v", r)
	}
	if now := c.WaitHealthy(10 * time.Second); now != leader {
		t.Errorf("%s leads, was %s", now.Name, leader.Name)
	}
	for m, pid := range before {
		sameServer(t, m, pid)
	}
}
