package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

func TestOperatorsChangeMembers(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	m := c.Leader()
	a, b := c.Others(m)[0], c.Others(m)[1]

	// Restart, asked and not asked.
	pid, other := a.Postmaster(), b.Postmaster()
	out, code := answered(t, m, "\nn\n", "restart", "pg-basic", a.Name)
	expect(t, out, code, 1, "+ Cluster: pg-basic", "When should the restart take place (e.g. ", "[now]: ",
		"Are you sure you want to restart members "+a.Name+"? [y/N]: ", "Error: Aborted restart")
	sameServer(t, a, pid)
	out, code = answered(t, m, "\ny\n\n", "restart", "pg-basic", a.Name)
	expect(t, out, code, 0, "Restart if the PostgreSQL version is less than provided (e.g. 9.5.2)", "Success: restart on member "+a.Name)
	if now := a.Postmaster(); now == pid || now == 0 {
		t.Errorf("PostgreSQL of %s was %d, is %d", a.Name, pid, now)
	}
	sameServer(t, b, other)
	out = ctl(t, m, 0, words("restart pg-basic -r replica --force"), "Success: restart on member "+a.Name, "Success: restart on member "+b.Name)
	if strings.Contains(out, "restart on member "+m.Name) {
		t.Errorf("the leader was restarted:\n%s", out)
	}
	c.WaitHealthy(20 * time.Second)
	ctl(t, m, 1, words("restart pg-basic nosuch --force"), "Error: No 'any' among provided members")
	ctl(t, m, 0, words("restart pg-basic --pending --force"))
	ctl(t, m, 1, words("restart pg-basic --pg-version x --force"), "Error: ")
	// The leader in place: same leader, writers go on.
	ctl(t, m, 0, words("restart pg-basic --force "+m.Name), "Success: restart on member "+m.Name)
	w.Advance(20 * time.Second)
	if now := c.WaitHealthy(20 * time.Second); now != m {
		t.Errorf("%s leads after a restart of %s", now.Name, m.Name)
	}

	// Scheduled and flushed; scheduled and done.
	at := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05+00:00")
	ctl(t, m, 0, []string{"restart", "pg-basic", a.Name, "--scheduled", at, "--force"}, "Success: restart scheduled on member "+a.Name)
	l.Until(10*time.Second, "list shows the scheduled restart", func() string {
		out, _ := m.Ctl("list")
		if strings.Contains(out, "Scheduled restart") && strings.Contains(out, at) {
			return ""
		}
		return out
	})
	out, code = answered(t, m, "n\n", "flush", "pg-basic", a.Name, "restart")
	expect(t, out, code, 1, "Are you sure you want to flush members "+a.Name+"? [y/N]: ")
	ctl(t, m, 0, []string{"flush", "pg-basic", a.Name, "restart", "--force"}, "Success: flush scheduled restart for member "+a.Name)
	l.Until(5*time.Second, "the member key shows no scheduled restart", func() string {
		out, _ := m.Ctl("list")
		if !strings.Contains(out, "Scheduled restart") {
			return ""
		}
		return out
	})
	ctl(t, m, 0, []string{"flush", "pg-basic", a.Name, "restart", "--force"}, "No scheduled restart for member "+a.Name)
	pid = a.Postmaster()
	soon := time.Now().Add(4 * time.Second).UTC().Format("2006-01-02T15:04:05+00:00")
	ctl(t, m, 0, []string{"restart", "pg-basic", a.Name, "--scheduled", soon, "--force"}, "Success: restart scheduled on member "+a.Name)
	l.Until(20*time.Second, "the scheduled restart happens", func() string {
		if now := a.Postmaster(); now != pid && now != 0 {
			return ""
		}
		return "still the old PostgreSQL"
	})
	c.WaitHealthy(20 * time.Second)

	// Reload.
	out, code = answered(t, m, "y\n", "reload", "pg-basic")
	expect(t, out, code, 0, "Are you sure you want to reload members pg01, pg02, pg03? [y/N]: ",
		"Reload request received for member pg01 and will be processed within 2 seconds")
	ctl(t, m, 0, words("reload pg-basic --force "+b.Name), "Reload request received for member "+b.Name)

	// Reinit.
	out, code = answered(t, m, b.Name+"\nn\n", "reinit", "pg-basic")
	expect(t, out, code, 1, "Which member do you want to reinitialize [", "Are you sure you want to reinitialize members "+b.Name+"? [y/N]: ")
	ctl(t, m, 1, words("reinit pg-basic --force "+m.Name), "Error: No replica among provided members")
	ctl(t, m, 0, words("reinit pg-basic --force --wait "+b.Name), "Success: reinitialize for member "+b.Name,
		"Waiting for reinitialize to complete on: "+b.Name, "Reinitialize is completed on: "+b.Name)
	c.WaitHealthy(30 * time.Second)

	// Pause.
	ctl(t, m, 0, words("pause --wait"), "'pause' request sent, waiting until it is recognized by all nodes", "Success: cluster management is paused")
	ctl(t, m, 1, words("pause"), "Error: Cluster is already paused")
	ctl(t, m, 0, words("list"), " Maintenance mode: on")
	ctl(t, m, 1, []string{"switchover", "--scheduled", at, "--force"}, "Error: Can't schedule switchover in the paused state")
	ctl(t, m, 1, []string{"restart", "pg-basic", a.Name, "--scheduled", at, "--force"}, "Error: Can't schedule restart in the paused state")
	ctl(t, m, 0, words("switchover --force"), "Switchover failed, details: 400, Switchover is possible only to a specific candidate in a paused state")
	ctl(t, m, 0, words("resume --wait"), "'resume' request sent, waiting until it is recognized by all nodes", "Success: cluster management is resumed")
	ctl(t, m, 1, words("resume"), "Error: Cluster is not paused")
	if now := c.WaitHealthy(20 * time.Second); now != m {
		t.Errorf("%s leads", now.Name)
	}
	if rows := w.Lost(m); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

func TestOperatorsChangeTheLeader(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{NoFailover: []string{"pg03"}})
	w, p := c.StartWriter(), c.StartProber()
	m := c.Leader()
	a := c.Member("pg01")
	if a == m {
		a = c.Member("pg02")
	}

	// Refused: nothing moves.
	pid := m.Postmaster()
	ctl(t, m, 1, []string{"switchover", "--candidate", m.Name, "--force"}, "Current cluster topology", "Error: Member "+m.Name+" is already the leader of cluster pg-basic")
	ctl(t, m, 1, words("switchover --candidate nosuch --force"), "Error: Member nosuch does not exist in cluster pg-basic or is tagged as nofailover")
	ctl(t, m, 1, words("switchover --candidate pg03 --force"), "Error: Member pg03 does not exist in cluster pg-basic or is tagged as nofailover")
	ctl(t, m, 1, []string{"switchover", "--leader", a.Name, "--force"}, "Error: Member "+a.Name+" is not the leader of cluster pg-basic")
	ctl(t, m, 1, words("switchover --scheduled someday --force"), "Error: Unable to parse scheduled timestamp (someday). It should be in an unambiguous format (e.g. ISO 8601)")
	ctl(t, m, 1, words("failover --force"), "Error: Failover could be performed only to a specific candidate")
	ctl(t, m, 1, []string{"failover", "--candidate", m.Name, "--force"}, "Error: Member "+m.Name+" is already the leader of cluster pg-basic")
	for body, want := range map[string]string{
		fmt.Sprintf(`{"leader": %q, "candidate": %q}`, m.Name, m.Name): "400 Switchover target and source are the same",
		fmt.Sprintf(`{"leader": %q}`, a.Name):                          "412 leader name does not match",
		fmt.Sprintf(`{"leader": %q, "candidate": "nosuch"}`, m.Name):   "412 candidate does not exists",
		`{"candidate": "pg01"}`:                                        "400 Switchover could be performed only from a specific leader",
	} {
		code, answer, err := m.REST("POST", "/switchover", body)
		if got := fmt.Sprint(code, " ", answer); err != nil || got != want {
			t.Errorf("POST /switchover %s: %s %v, want %s", body, got, err, want)
		}
	}
	out, code := answered(t, m, "\n\n\nn\n", "switchover")
	expect(t, out, code, 1, "Primary ["+m.Name+"]: ", "Candidate ['"+a.Name+"'] []: ", "When should the switchover take place (e.g. ",
		"Are you sure you want to switchover cluster pg-basic, demoting current leader "+m.Name+"? [y/N]: ", "Error: Aborting switchover")
	sameServer(t, m, pid)

	// Asked, to any; the history tells.
	out, code = answered(t, m, "\n\n\ny\n", "switchover")
	expect(t, out, code, 0, fmt.Sprintf("Successfully switched over to %q", a.Name))
	if now := c.WaitHealthy(20 * time.Second); now != a {
		t.Fatalf("%s leads", now.Name)
	}
	l.Until(10*time.Second, "history names the new leader", func() string {
		out, _ := m.Ctl("history")
		if strings.Contains(out, a.Name) {
			return ""
		}
		return out
	})

	// Scheduled and flushed.
	at := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05+00:00")
	ctl(t, m, 0, []string{"switchover", "--scheduled", at, "--candidate", m.Name, "--force"}, "Switchover scheduled", "Switchover scheduled at: "+at, "from: "+a.Name, "to: "+m.Name)
	ctl(t, m, 0, words("flush pg-basic switchover"), "Success: scheduled switchover deleted")
	ctl(t, m, 0, words("flush pg-basic switchover"), "No pending scheduled switchover")
	// Scheduled and done.
	soon := time.Now().Add(4 * time.Second).UTC().Format("2006-01-02T15:04:05+00:00")
	ctl(t, m, 0, []string{"switchover", "--scheduled", soon, "--candidate", m.Name, "--force"}, "Switchover scheduled")
	c.WaitLeader(20*time.Second, a, c.Member("pg03"))
	if now := c.WaitHealthy(20 * time.Second); now != m {
		t.Errorf("%s leads", now.Name)
	}
	// Failover to a candidate.
	ctl(t, m, 0, []string{"failover", "--candidate", a.Name, "--force"}, fmt.Sprintf("Successfully failed over to %q", a.Name))
	if now := c.WaitHealthy(20 * time.Second); now != a {
		t.Errorf("%s leads", now.Name)
	}
	w.Advance(10 * time.Second)
	if rows := w.Lost(a); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
	removed(t, l, c, a)
}

// removed: three questions while the cluster lives, two when it does not.
func removed(t *testing.T, l *lab.Lab, c *lab.Cluster, leader *lab.Member) {
	t.Helper()
	const sure = "Yes I am aware\n"
	out, code := answered(t, leader, "wrong\n", "remove", "pg-basic")
	expect(t, out, code, 1, "Please confirm the cluster name to remove: ", "Error: Cluster names specified do not match")
	out, code = answered(t, leader, "pg-basic\nyes\n", "remove", "pg-basic")
	expect(t, out, code, 1, `You are about to remove all information in DCS for pg-basic, please type: "Yes I am aware": `, `Error: You did not exactly type "Yes I am aware"`)
	out, code = answered(t, leader, "pg-basic\n"+sure+"pg03\n", "remove", "pg-basic")
	expect(t, out, code, 1, "This cluster currently is healthy. Please specify the leader name to continue: ", "Error: You did not specify the current leader of the cluster")
	for _, m := range c.Others(leader) {
		m.Shutdown(30 * time.Second)
	}
	leader.Shutdown(30 * time.Second)
	out, code = answered(t, leader, "pg-basic\n"+sure, "remove", "pg-basic")
	expect(t, out, code, 0)
	if left, err := c.Etcd.List("/service/pg-basic/"); err != nil || len(left) > 0 {
		t.Errorf("left in etcd: %v %v", left, err)
	}
}
