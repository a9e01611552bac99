package stories

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// pair is a cluster of one pgha member (pg01) and one Patroni member (pg02).
func pair(t *testing.T, l *lab.Lab, o lab.Options) (c *lab.Cluster, ours, theirs *lab.Member) {
	t.Helper()
	o.Members, o.Patroni = []string{"pg01", "pg02"}, []string{"pg02"}
	c = healthyCluster(t, l, o)
	return c, c.Member("pg01"), c.Member("pg02")
}

// leads makes m the leader of a healthy cluster, if it is not already.
func leads(t *testing.T, c *lab.Cluster, m *lab.Member) {
	t.Helper()
	old := c.WaitHealthy(60 * time.Second)
	if old == m {
		return
	}
	if r := m.Patronictl("switchover", "--candidate", m.Name, "--force"); !strings.Contains(r.Stdout, "Successfully switched over") {
		t.Fatalf("patronictl switchover to %s: %+v", m.Name, r)
	}
	if now := c.WaitHealthy(60 * time.Second); now != m {
		t.Fatalf("%s leads, asked for %s", now.Name, m.Name)
	}
}

// move is one planned change of leader to m by some means; the cluster must be
// healthy under m afterwards, and nothing is rewound.
func move(t *testing.T, c *lab.Cluster, w *lab.Writer, m *lab.Member, how string, ask func(old *lab.Member) string) {
	t.Helper()
	old := c.WaitHealthy(60 * time.Second)
	asked := time.Now()
	answer := ask(old)
	if want := fmt.Sprintf("Successfully (switched|failed) over to %q", m.Name); !regexp.MustCompile(want).MatchString(answer) {
		t.Fatalf("%s, %s to %s: no %s in:\n%s", how, old.Kind(), m.Kind(), want, answer)
	}
	if now := c.WaitHealthy(60 * time.Second); now != m {
		t.Fatalf("%s, %s to %s: %s leads", how, old.Kind(), m.Kind(), now.Name)
	}
	w.Advance(10 * time.Second)
	t.Logf("%s, %s to %s: write gap %v", how, old.Kind(), m.Kind(), w.Gap(asked).Round(time.Millisecond))
	if strings.Contains(old.AgentLog(), "running pg_rewind") {
		t.Errorf("%s, %s to %s: %s was rewound after a planned change", how, old.Kind(), m.Kind(), old.Name)
	}
}

// Every planned way to change the leader, between the two kinds, both ways.
func TestMixedPlannedChangesOfLeader(t *testing.T) {
	l := long(t)
	c, ours, theirs := pair(t, l, lab.Options{})
	leads(t, c, ours)
	w, p := c.StartWriter(), c.StartProber()
	type way struct {
		how string
		ask func(old, to *lab.Member) string
	}
	said := func(r lab.Result) string { return r.Stdout + r.Stderr }
	rest := func(m *lab.Member, path, body string) string {
		code, text, err := m.REST("POST", path, body)
		return fmt.Sprint(code, " ", text, " ", err)
	}
	ways := []way{
		{"patronictl switchover", func(old, to *lab.Member) string {
			return said(old.Patronictl("switchover", "--candidate", to.Name, "--force"))
		}},
		{"pgha ctl switchover", func(old, to *lab.Member) string {
			return said(to.CtlInput("", "switchover", "--candidate", to.Name, "--force"))
		}},
		{"patronictl switchover to any", func(old, to *lab.Member) string {
			return said(to.Patronictl("switchover", "--force"))
		}},
		{"POST /switchover to the leader", func(old, to *lab.Member) string {
			return rest(old, "/switchover", fmt.Sprintf(`{"leader": %q}`, old.Name))
		}},
		{"POST /switchover to the candidate", func(old, to *lab.Member) string {
			return rest(to, "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": %q}`, old.Name, to.Name))
		}},
		{"patronictl failover", func(old, to *lab.Member) string {
			return said(old.Patronictl("failover", "--candidate", to.Name, "--force"))
		}},
		{"pgha ctl failover", func(old, to *lab.Member) string {
			return said(old.CtlInput("", "failover", "--candidate", to.Name, "--force"))
		}},
	}
	for _, way := range ways {
		for _, m := range []*lab.Member{theirs, ours} {
			move(t, c, w, m, way.how, func(old *lab.Member) string { return way.ask(old, m) })
		}
	}
	nothingLost(t, w, p, c.Leader())
}

func scheduled(t *testing.T, r lab.Result) {
	t.Helper()
	if r.Code != 0 || !strings.Contains(r.Stdout, "Switchover scheduled") {
		t.Fatalf("not scheduled: %+v", r)
	}
}

// A scheduled switchover, asked for by either tool, carried out by either kind.
func TestMixedScheduledSwitchover(t *testing.T) {
	l := long(t)
	c, ours, theirs := pair(t, l, lab.Options{})
	leads(t, c, ours)
	w, p := c.StartWriter(), c.StartProber()
	for _, m := range []*lab.Member{theirs, ours} {
		old := c.Others(m)[0]
		// One far away: both tools show it, and either takes it back.
		far := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		scheduled(t, old.Patronictl("switchover", "--candidate", m.Name, "--scheduled", far.Format(time.RFC3339), "--force"))
		same(t, old, "", "list")
		same(t, old, "", "topology")
		if r := old.CtlInput("", "flush", "pg-basic", "switchover"); r.Stdout != "Success: scheduled switchover deleted\n" {
			t.Errorf("pgha ctl flush: %+v", r)
		}
		scheduled(t, old.CtlInput("", "switchover", "--candidate", m.Name, "--scheduled", far.Format(time.RFC3339), "--force"))
		if r := old.Patronictl("flush", "pg-basic", "switchover"); r.Stdout != "Success: scheduled switchover deleted\n" {
			t.Errorf("patronictl flush: %+v", r)
		}
		// And one that comes.
		at := time.Now().Add(15 * time.Second).UTC().Truncate(time.Second)
		scheduled(t, old.CtlInput("", "switchover", "--candidate", m.Name, "--scheduled", at.Format(time.RFC3339), "--force"))
		next := c.WaitLeader(30*time.Second, old)
		if next != m {
			t.Fatalf("%s leads, asked for %s", next.Name, m.Name)
		}
		if early := time.Until(at); early > 500*time.Millisecond {
			t.Errorf("%v before its time", early)
		}
		c.WaitHealthy(60 * time.Second)
	}
	nothingLost(t, w, p, c.Leader())
}

// The machine of the leader is lost; the other kind takes over, and the lost
// one comes back as a replica. Both ways, with the user's own synchronous path.
func TestMixedLeaderLost(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	o := syncPath
	o.Patroni = []string{"pg02", "pg03"}
	c := healthyCluster(t, l, o)
	w, p := c.StartWriter(), c.StartProber()
	for range 3 {
		old := c.WaitHealthy(60 * time.Second)
		w.Advance(20 * time.Second)
		lost := time.Now()
		old.Lose()
		next := c.WaitLeader(ttl(c)+10*time.Second, old)
		w.Advance(20 * time.Second)
		t.Logf("%s lost (%s), %s took over (%s): write gap %v", old.Name, old.Kind(), next.Name, next.Kind(), w.Gap(lost).Round(time.Millisecond))
		old.Return()
	}
	now := c.WaitHealthy(60 * time.Second)
	nothingLost(t, w, p, now)
}

// Two members only: who is left must take over, whatever kind it is.
func TestMixedFailoverBothWays(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c, ours, theirs := pair(t, l, lab.Options{})
	w := c.StartWriter() // one for both: a second would begin with the same ids
	for _, old := range []*lab.Member{ours, theirs} {
		leads(t, c, old)
		w.Advance(20 * time.Second)
		lost := time.Now()
		old.Lose()
		next := c.WaitLeader(ttl(c)+10*time.Second, old)
		w.Advance(20 * time.Second)
		t.Logf("%s lost (%s), %s took over (%s): write gap %v", old.Name, old.Kind(), next.Name, next.Kind(), w.Gap(lost).Round(time.Millisecond))
		old.Return()
		c.WaitHealthy(60 * time.Second)
	}
	t.Logf("%d rows lost (asynchronous)", len(w.Lost(c.Leader())))
}

// The agent of a pgha leader is killed: its guard stops PostgreSQL cleanly
// before the lease ends, and the Patroni member takes over with every row.
func TestMixedAgentOfLeaderKilled(t *testing.T) {
	l := long(t)
	c, ours, theirs := pair(t, l, lab.Options{})
	leads(t, c, ours)
	w, p := c.StartWriter(), c.StartProber()
	killed := time.Now()
	ours.KillAgent()
	if now := c.WaitLeader(ttl(c)+15*time.Second, ours); now != theirs {
		t.Fatalf("%s leads", now.Name)
	}
	w.Advance(20 * time.Second)
	t.Logf("write gap %v", w.Gap(killed).Round(time.Millisecond))
	ours.Start()
	c.WaitHealthy(60 * time.Second)
	if strings.Contains(ours.AgentLog(), "running pg_rewind") {
		t.Errorf("%s was rewound although its guard stopped it cleanly", ours.Name)
	}
	nothingLost(t, w, p, theirs)
}

// In maintenance mode a switchover to a named member of the other kind works,
// both ways, and is the only thing that moves the leader.
func TestMixedSwitchoverInPause(t *testing.T) {
	l := long(t)
	c, ours, theirs := pair(t, l, lab.Options{})
	leads(t, c, ours)
	w, p := c.StartWriter(), c.StartProber()
	paused(t, l, c, true)
	for _, m := range []*lab.Member{theirs, ours} {
		move(t, c, w, m, "patronictl switchover in pause", func(old *lab.Member) string {
			r := old.Patronictl("switchover", "--candidate", m.Name, "--force")
			return r.Stdout + r.Stderr
		})
	}
	paused(t, l, c, false)
	nothingLost(t, w, p, c.WaitHealthy(30*time.Second))
}
