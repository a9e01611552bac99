package stories

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// A permanent slot goes with the cluster through changes of leader between the
// kinds: each kind's standby moves its own copy to where the slot's user is,
// and after a switchover in either direction the user goes on without a gap.
func TestMixedPermanentSlot(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Patroni: []string{"pg02"}, DCS: []string{"slots:", "  backup:", "    type: physical"},
		Parameters: []string{"wal_keep_size: 0", "max_wal_size: 64MB", "min_wal_size: 32MB"}})
	ours, theirs := c.Member("pg01"), c.Member("pg02")
	leads(t, c, ours)
	w, p := c.StartWriter(), c.StartProber()
	dir := filepath.Join(ours.Dir, "wal")
	if _, code, err := ours.Run(context.Background(), "/bin/mkdir", dir); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	for _, m := range c.Members {
		waitSlot(t, l, m, "backup", true)
	}
	more := func(leader *lab.Member) {
		for range 3 {
			leader.MustQuery("SELECT pg_switch_wal()::text")
			w.Advance(10 * time.Second)
		}
	}
	// The user has to be beyond the youngest member's beginning once.
	more(ours)
	receive(t, l, ours, "backup", dir)
	for _, next := range []*lab.Member{theirs, ours} {
		leader := c.Leader()
		confirmed := restartLSN(t, leader, "backup")
		more(leader) // the user is away
		leader.MustQuery("CHECKPOINT")
		for _, m := range c.Others(leader) {
			l.Until(40*time.Second, m.Name+" ("+m.Kind().String()+") has moved its slot to where the user is", func() string {
				behind, err := m.Query("SELECT pg_wal_lsn_diff('" + confirmed + "', restart_lsn)::text FROM pg_replication_slots WHERE slot_name = 'backup'")
				if behind == "0" {
					return ""
				}
				return fmt.Sprint(behind, " bytes behind ", err)
			})
		}
		leads(t, c, next)
		w.Advance(20 * time.Second)
		if at := restartLSN(t, next, "backup"); distance(t, next, at, confirmed) != "0" {
			t.Errorf("the slot of %s (%s) is at %s, its user at %s", next.Name, next.Kind(), at, confirmed)
		}
		next.MustQuery("SELECT pg_switch_wal()::text")
		receive(t, l, next, "backup", dir) // refuses a gap
		t.Logf("%s (%s) to %s (%s): the slot's user goes on at %s", leader.Name, leader.Kind(), next.Name, next.Kind(), confirmed)
	}
	nothingLost(t, w, p, c.Leader())
}

// Cascades of members of different kinds: the last streams from the middle, the
// leader keeps and moves its slot all the same, both tools draw the same tree.
// The middle is lost: its replica goes to the leader, and back when it returns.
func TestMixedCascade(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c := healthyCluster(t, l, lab.Options{Patroni: []string{"pg02"}})
	for _, chain := range [][3]string{
		{"pg01", "pg02", "pg03"}, // pgha, Patroni, pgha
		{"pg02", "pg01", "pg03"}, // Patroni, pgha, pgha
		{"pg01", "pg03", "pg02"}, // pgha, pgha, Patroni
	} {
		leader, middle, last := c.Member(chain[0]), c.Member(chain[1]), c.Member(chain[2])
		leads(t, c, leader)
		pid := last.Postmaster()
		last.Retag(map[string]string{"replicatefrom": middle.Name})
		streamsFrom(t, l, c, last, middle, 40*time.Second)
		c.WaitHealthy(30 * time.Second)
		same(t, leader, "", "topology")
		l.Until(30*time.Second, "the leader moves the slot of the last", func() string {
			row := slot(leader, last.Name)
			behind, err := leader.Query(fmt.Sprintf("SELECT (pg_current_wal_lsn() - restart_lsn < 1000000)::text FROM pg_replication_slots WHERE slot_name = '%s'", last.Name))
			if strings.Contains(row, " idle ") && behind == "true" {
				return ""
			}
			return fmt.Sprint(row, " ", behind, " ", err)
		})
		if row := slot(middle, last.Name); !strings.Contains(row, " active ") {
			t.Errorf("%s (%s) has for %s: %q", middle.Name, middle.Kind(), last.Name, row)
		}
		middle.Lose()
		streamsFrom(t, l, c, last, leader, ttl(c)+30*time.Second)
		middle.Return()
		streamsFrom(t, l, c, last, middle, 60*time.Second)
		sameServer(t, last, pid)
		c.WaitHealthy(30 * time.Second)
		last.Retag(map[string]string{"replicatefrom": ""})
		streamsFrom(t, l, c, last, leader, 40*time.Second)
		t.Logf("%s (%s) - %s (%s) - %s (%s)", leader.Name, leader.Kind(), middle.Name, middle.Kind(), last.Name, last.Kind())
	}
}
