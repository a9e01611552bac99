package stories

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// streamsFrom waits until the member streams from that one, by the sender's
// own account.
func streamsFrom(t *testing.T, l *lab.Lab, c *lab.Cluster, m, from *lab.Member, within time.Duration) {
	t.Helper()
	l.Until(within, m.Name+" streams from "+from.Name, func() string {
		n, err := from.Query(fmt.Sprintf("SELECT count(*) FROM pg_stat_replication WHERE application_name = '%s' AND state = 'streaming'", m.Name))
		if err != nil || n != "1" {
			return fmt.Sprint(n, " ", err, "\n", c.State())
		}
		return ""
	})
}

// A cascade made at run time: the middle dies, its replica goes to the leader;
// the middle comes back, and so does the cascade.
func TestCascade(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w := c.StartWriter()
	leader := c.Leader()
	middle, last := c.Others(leader)[0], c.Others(leader)[1]
	pid := last.Postmaster()
	last.Retag(map[string]string{"replicatefrom": middle.Name})
	streamsFrom(t, l, c, last, middle, 30*time.Second)
	sameServer(t, last, pid)
	c.WaitHealthy(20 * time.Second)
	l.Until(10*time.Second, "topology shows the cascade", func() string {
		out, _ := leader.Ctl("topology")
		at := func(text string) int { return strings.Index(out, text) }
		if at("| "+leader.Name) < 0 || at("| + "+middle.Name) < at("| "+leader.Name) || at("|   + "+last.Name) < at("| + "+middle.Name) {
			return out
		}
		return ""
	})
	// Its slot on the leader is not in use and moves all the same.
	l.Until(20*time.Second, "the leader moves the slot of the last", func() string {
		row := slot(leader, last.Name)
		behind, err := leader.Query(fmt.Sprintf("SELECT (pg_current_wal_lsn() - restart_lsn < 1000000)::text FROM pg_replication_slots WHERE slot_name = '%s'", last.Name))
		if strings.Contains(row, " idle ") && behind == "true" {
			return ""
		}
		return fmt.Sprint(row, " ", behind, " ", err)
	})

	middle.Lose()
	streamsFrom(t, l, c, last, leader, ttl(c)+20*time.Second)
	sameServer(t, last, pid)
	w.Advance(10 * time.Second)
	middle.Return()
	streamsFrom(t, l, c, last, middle, 60*time.Second)
	c.WaitHealthy(30 * time.Second)

	// A switchover to the end of the chain, and the tag of a leader means nothing.
	ctl(t, leader, 0, []string{"switchover", "--candidate", last.Name, "--force"}, fmt.Sprintf("Successfully switched over to %q", last.Name))
	c.WaitHealthy(30 * time.Second)
	streamsFrom(t, l, c, middle, last, 20*time.Second)
	if rows := w.Lost(last); len(rows) > 0 {
		t.Errorf("%d rows lost by a switchover", len(rows))
	}
}

// Two members that name each other: one of them streams from the leader.
func TestReplicationCircle(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	leader := c.Leader()
	first, second := c.Others(leader)[0], c.Others(leader)[1]
	first.Retag(map[string]string{"replicatefrom": second.Name})
	streamsFrom(t, l, c, first, second, 30*time.Second)
	second.Retag(map[string]string{"replicatefrom": first.Name})
	streamsFrom(t, l, c, first, leader, 30*time.Second)
	streamsFrom(t, l, c, second, first, 30*time.Second)
	leader.MustQuery("CREATE TABLE round (n int)")
	for _, m := range []*lab.Member{first, second} {
		l.Until(10*time.Second, "the table on "+m.Name, func() string {
			n, err := m.Query("SELECT count(*) FROM pg_class WHERE relname = 'round'")
			if n != "1" {
				return fmt.Sprint(n, " ", err)
			}
			return ""
		})
	}
}

// A member without a stream lives from the archive, says so, has no slot, and
// does not lead unless it is named.
func TestNostreamMember(t *testing.T) {
	l := long(t)
	archive := filepath.Join(l.Dir, "archive")
	if err := os.Mkdir(archive, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(archive, 0o777); err != nil {
		t.Fatal(err)
	}
	c := healthyCluster(t, l, lab.Options{Parameters: []string{`archive_mode: "on"`, "archive_command: cp %p " + archive + "/%f",
		"restore_command: cp " + archive + "/%f %p"}})
	leader := c.Leader()
	other, quiet := c.Others(leader)[0], c.Others(leader)[1]
	quiet.Retag(map[string]string{"nostream": "true"})
	l.Until(30*time.Second, quiet.Name+" lives from the archive", func() string {
		s, err := quiet.Status()
		if err != nil || s.ReplicationState != "in archive recovery" {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	})
	waitSlot(t, l, leader, quiet.Name, false)
	waitSlot(t, l, other, quiet.Name, false)
	l.Until(10*time.Second, "list shows it", func() string {
		if out, _ := leader.Ctl("list"); !strings.Contains(out, "in archive recovery") {
			return out
		}
		return ""
	})
	leader.MustQuery("CREATE TABLE archived (n int)")
	leader.MustQuery("SELECT pg_switch_wal()::text")
	l.Until(30*time.Second, "a table arrives by the archive", func() string {
		n, err := quiet.Query("SELECT count(*) FROM pg_class WHERE relname = 'archived'")
		if n != "1" {
			return fmt.Sprint(n, " ", err)
		}
		return ""
	})
	code, body, err := leader.REST("POST", "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": %q}`, leader.Name, quiet.Name))
	if want := "switchover is not possible: no good candidates have been found (" + quiet.Name + ": not streaming)"; code != 412 || body != want {
		t.Errorf("%d %q %v, want 412 %q", code, body, err, want)
	}
	// Nobody else is left: it does not take over by itself, ...
	other.Shutdown(30 * time.Second)
	leader.Lose()
	l.Until(ttl(c)+slack+10*time.Second, "nobody leads", func() string {
		if now := c.Leader(); now != nil {
			return now.Name + " leads"
		}
		return ""
	})
	l.Never(8*time.Second, "a nostream member must not lead by itself", func() string {
		if now := c.Leader(); now != nil {
			return now.Name + " leads"
		}
		return ""
	})
	// ... but when it is named.
	ctl(t, quiet, 0, []string{"failover", "--candidate", quiet.Name, "--force"}, fmt.Sprintf("Successfully failed over to %q", quiet.Name))
	if now := c.WaitLeader(20 * time.Second); now != quiet {
		t.Errorf("%s leads", now.Name)
	}
}

// failover_priority decides between members with the same position.
func TestFailoverPriority(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	for round := range 2 {
		leader := c.Leader()
		low, high := c.Others(leader)[round], c.Others(leader)[1-round]
		low.Retag(map[string]string{"failover_priority": "5"})
		high.Retag(map[string]string{"failover_priority": "50"})
		l.Until(20*time.Second, "the tags are published and both have everything", func() string {
			out, _ := leader.Ctl("list", "--format", "json")
			for _, m := range []*lab.Member{low, high} {
				lag, err := leader.Query(fmt.Sprintf("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::text FROM pg_stat_replication WHERE application_name = '%s'", m.Name))
				if err != nil || lag != "0" {
					return fmt.Sprint(m.Name, " lags ", lag, " ", err)
				}
			}
			if !strings.Contains(out, `"failover_priority": 50`) || !strings.Contains(out, `"failover_priority": 5}`) && !strings.Contains(out, `"failover_priority": 5,`) {
				return out
			}
			return ""
		})
		leader.Lose()
		if now := c.WaitLeader(ttl(c)+20*time.Second, leader); now != high {
			t.Errorf("%s leads, %s has the higher priority\n%s", now.Name, high.Name, low.AgentLog())
		}
		leader.Return()
		c.WaitHealthy(90 * time.Second)
		for _, m := range []*lab.Member{low, high} {
			m.Retag(map[string]string{"failover_priority": ""})
		}
	}
}

// A new copy comes from the member that offers itself, not from the leader; if
// that one is dead, from the leader after all.
func TestCloneFrom(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w := c.StartWriter()
	leader := c.Leader()
	source, fresh := c.Others(leader)[0], c.Others(leader)[1]
	source.Retag(map[string]string{"clonefrom": "true"})
	l.Until(10*time.Second, "the tag is published", func() string {
		if value, _, err := c.Etcd.Get(c.Key("members/" + source.Name)); err != nil || !strings.Contains(value, `"clonefrom":true`) {
			return fmt.Sprint(value, err)
		}
		return ""
	})
	ctl(t, leader, 0, []string{"reinit", "pg-basic", "--force", "--wait", fresh.Name}, "Reinitialize is completed on: "+fresh.Name)
	c.WaitHealthy(40 * time.Second)
	if want := "replica '" + source.Name + "'"; !strings.Contains(fresh.AgentLog(), want) {
		t.Errorf("the log of %s has no %q:\n%s", fresh.Name, want, fresh.AgentLog())
	}
	// A whole new member, while the source dies: its key outlives it.
	fresh.Shutdown(30 * time.Second)
	if out, code, err := fresh.Run(context.Background(), "/bin/rm", "-rf", fresh.DataDir()); err != nil || code != 0 {
		t.Fatal(out, code, err)
	}
	source.Lose()
	fresh.Start()
	c.WaitHealthy(120*time.Second, source)
	log := fresh.AgentLog()
	if !strings.Contains(log, "trying to bootstrap from leader '"+leader.Name+"'") {
		t.Errorf("not from the leader:\n%s", log)
	}
	t.Logf("tried the dead source first: %v", strings.Contains(log, "trying to bootstrap from replica '"+source.Name+"'"))
	w.Advance(10 * time.Second)
}
