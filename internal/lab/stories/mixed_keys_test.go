package stories

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// mixedTrio is pg01 and pg03 under pgha, pg02 under Patroni.
func mixedTrio(t *testing.T, l *lab.Lab) *lab.Cluster {
	t.Helper()
	return healthyCluster(t, l, lab.Options{Patroni: []string{"pg02"}})
}

// slots of a server, by name.
func slots(t *testing.T, m *lab.Member, where string) []string {
	t.Helper()
	v := m.MustQuery("select coalesce(string_agg(slot_name, ',' order by slot_name), '') from pg_replication_slots where " + where)
	if v == "" {
		return nil
	}
	return strings.Split(v, ",")
}

// key is a JSON key of the scope.
func key(t *testing.T, c *lab.Cluster, name string) map[string]any {
	t.Helper()
	text, ok, err := c.Etcd.Get(c.Key(name))
	v := map[string]any{}
	if err != nil || ok && json.Unmarshal([]byte(text), &v) != nil {
		t.Fatalf("%s = %q (%v)", name, text, err)
	}
	return v
}

// What a leader of either kind publishes and keeps for the members of the
// other: slots, positions, history. Contract: dcs-layout.md 1.3, rest-api.md 3, 6.
func TestMixedKeysAndSlots(t *testing.T) {
	l := long(t)
	c := mixedTrio(t, l)
	w, p := c.StartWriter(), c.StartProber()
	theirs := c.Member("pg02")
	for _, leader := range []*lab.Member{theirs, c.Member("pg01"), theirs} {
		leads(t, c, leader)
		var want []string
		for _, m := range c.Others(leader) {
			want = append(want, m.Name)
		}
		c.WaitHealthy(30 * time.Second)
		l.Until(20*time.Second, fmt.Sprintf("%s (%s) keeps active slots %v", leader.Name, leader.Kind(), want), func() string {
			if now := slots(t, leader, "active"); !slices.Equal(now, want) {
				return fmt.Sprint(now)
			}
			return ""
		})
		l.Until(20*time.Second, "status with everybody's slot", func() string {
			status := key(t, c, "status")
			at, _ := status["slots"].(map[string]any)
			retain, _ := status["retain_slots"].([]any)
			if optime, ok := status["optime"].(float64); !ok || optime == 0 || len(at) != 3 || len(retain) != 3 {
				return fmt.Sprint(status)
			}
			return ""
		})
		// A Patroni replica keeps slots for the others as the leader's /status
		// says, and moves them on.
		if leader != theirs {
			other := c.Others(leader, theirs)[0]
			l.Until(30*time.Second, "Patroni's replica keeps a slot of "+other.Name+" that moves on", func() string {
				v, err := theirs.Query(fmt.Sprintf("select pg_wal_lsn_diff(pg_last_wal_replay_lsn(), restart_lsn) < 1000000 from pg_replication_slots where slot_name = '%s'", other.Name))
				if v == "t" {
					return ""
				}
				return fmt.Sprint(v, " ", err, " ", slots(t, theirs, "true"))
			})
		}
		sameAnswers(t, l, c)
		t.Logf("leader %s (%s): slots %v", leader.Name, leader.Kind(), slots(t, leader, "true"))
	}
	var rows [][]any
	text, _, _ := c.Etcd.Get(c.Key("history"))
	if err := json.Unmarshal([]byte(text), &rows); err != nil || len(rows) < 2 {
		t.Fatalf("history %q: %v", text, err)
	}
	for i, row := range rows {
		if len(row) != 5 || row[0] != float64(i+1) {
			t.Errorf("history row %d: %v", i, row)
		}
	}
	if last := rows[len(rows)-1]; last[4] != "pg02" {
		t.Errorf("last row of the history: %v", last)
	}
	nothingLost(t, w, p, c.Leader())
}

// sameAnswers: members of both kinds give the same document for what is read
// from etcd.
func sameAnswers(t *testing.T, l *lab.Lab, c *lab.Cluster) {
	t.Helper()
	for _, path := range []string{"/cluster", "/history", "/config"} {
		l.Until(20*time.Second, "the same answer of both kinds to GET "+path, func() string {
			_, ours, err := c.Member("pg03").REST("GET", path, "")
			_, theirs, err2 := c.Member("pg02").REST("GET", path, "")
			if err != nil || err2 != nil || ours != theirs {
				return fmt.Sprintf("%v %v\npgha:    %s\npatroni: %s", err, err2, ours, theirs)
			}
			return ""
		})
	}
}

// Maintenance mode: acknowledged by both kinds, whichever tool and leader.
func TestMixedPause(t *testing.T) {
	l := long(t)
	c := mixedTrio(t, l)
	w, p := c.StartWriter(), c.StartProber()
	for _, leader := range []*lab.Member{c.Member("pg01"), c.Member("pg02")} {
		leads(t, c, leader)
		pids := map[*lab.Member]int{}
		for _, m := range c.Members {
			pids[m] = m.Postmaster()
		}
		paused(t, l, c, true)
		same(t, leader, "", "list")
		same(t, leader, "", "pause")
		leader.KillAgent()
		l.Never(ttl(c)+3*time.Second, "in pause nothing may happen", func() string {
			for m, pid := range pids {
				if now := m.Postmaster(); now != pid {
					return fmt.Sprintf("PostgreSQL of %s was %d, is %d", m.Name, pid, now)
				}
			}
			if now := c.Leader(); now != nil && now != leader {
				return now.Name + " took the leader key"
			}
			return ""
		})
		leader.Start()
		c.WaitLeader(30 * time.Second)
		paused(t, l, c, false)
		if now := c.WaitHealthy(30 * time.Second); now != leader {
			t.Errorf("%s leads after resume, was %s", now.Name, leader.Name)
		}
		same(t, leader, "", "resume")
	}
	nothingLost(t, w, p, c.Leader())
}

// A setting that this version cannot serve arrives while it runs: pgha keeps
// running, does not race, says so, and goes on when it is taken back (rulings 26).
func TestMixedSynchronousModeArrives(t *testing.T) {
	l := long(t)
	c := mixedTrio(t, l)
	w, p := c.StartWriter(), c.StartProber()
	theirs := c.Member("pg02")
	for _, leader := range []*lab.Member{theirs, c.Member("pg01")} {
		leads(t, c, leader)
		pids := map[*lab.Member]int{}
		for _, m := range c.Members {
			pids[m] = m.Postmaster()
		}
		if r := theirs.Patronictl("edit-config", "-s", "synchronous_mode=true", "-s", "failsafe_mode=true", "--force"); !strings.Contains(r.Stdout, "Configuration changed") {
			t.Fatalf("%+v", r)
		}
		if leader == theirs {
			l.Until(30*time.Second, "Patroni names a synchronous standby", func() string {
				s := key(t, c, "sync")
				if s["leader"] != "pg02" || s["sync_standby"] == nil {
					return fmt.Sprint(s)
				}
				return ""
			})
		}
		for _, m := range c.Others(theirs) {
			l.Until(20*time.Second, m.Name+" to say that it does not race", func() string {
				if !strings.Contains(m.AgentLog(), "synchronous_mode: on is not supported yet (for synchronous commits set synchronous_standby_names") {
					return m.AgentLog()
				}
				return ""
			})
			// Below the table, which is patronictl's.
			l.Until(20*time.Second, "the note of "+m.Name+" in list", func() string {
				out := theirs.CtlInput("", "list").Stdout
				if !strings.Contains(out, "\n "+m.Name+": not racing for the leader key: synchronous_mode: on is not supported yet") {
					return out
				}
				return ""
			})
		}
		t.Log(theirs.CtlInput("", "list").Stdout)
		w.Advance(20 * time.Second)
		l.Never(5*time.Second, "while the setting holds", func() string {
			if now := c.Leader(); now != leader {
				return "the leader has changed"
			}
			return ""
		})
		if r := theirs.Patronictl("edit-config", "-s", "synchronous_mode=null", "-s", "failsafe_mode=null", "--force"); !strings.Contains(r.Stdout, "Configuration changed") {
			t.Fatalf("%+v", r)
		}
		c.WaitHealthy(30 * time.Second)
		for m, pid := range pids {
			sameServer(t, m, pid)
			if !m.Agent().Alive() {
				t.Errorf("the agent of %s has ended", m.Name)
			}
		}
	}
	leads(t, c, theirs)
	leads(t, c, c.Member("pg03"))
	nothingLost(t, w, p, c.Leader())
}
