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

// slot is one row of a member's pg_replication_slots, or "" when there is none:
// "name type active|idle restart_lsn".
func slot(m *lab.Member, name string) string {
	row, err := m.Query(fmt.Sprintf(`SELECT slot_name || ' ' || slot_type || CASE WHEN active THEN ' active ' ELSE ' idle ' END || COALESCE(restart_lsn::text, 'null')
		FROM pg_replication_slots WHERE slot_name = '%s' AND NOT temporary`, name))
	if err != nil {
		return err.Error()
	}
	return row
}

// waitSlot waits until the member has the slot, or has it not.
func waitSlot(t *testing.T, l *lab.Lab, m *lab.Member, name string, there bool) {
	t.Helper()
	l.Until(30*time.Second, fmt.Sprintf("slot %s on %s: %v", name, m.Name, there), func() string {
		row := slot(m, name)
		if strings.HasPrefix(row, name+" ") == there && (there || row == "") {
			return ""
		}
		return "it is " + row
	})
}

// distance is how many bytes a is ahead of b.
func distance(t *testing.T, m *lab.Member, a, b string) string {
	t.Helper()
	return m.MustQuery(fmt.Sprintf("SELECT pg_wal_lsn_diff('%s', '%s')::text", a, b))
}

// restartLSN of a slot that is there.
func restartLSN(t *testing.T, m *lab.Member, name string) string {
	t.Helper()
	return m.MustQuery(fmt.Sprintf("SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = '%s'", name))
}

// receive lets a client outside of the cluster take all WAL up to the primary's
// present position from the slot; the files end up in dir on that member.
func receive(t *testing.T, l *lab.Lab, m *lab.Member, name, dir string) {
	t.Helper()
	upTo := m.MustQuery("SELECT pg_current_wal_lsn()::text")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, code, err := m.Run(ctx, receiver(t, m, name, dir, "--no-loop", "--endpos="+upTo)...)
	if err != nil || code != 0 {
		t.Fatalf("pg_receivewal from %s up to %s: exit %d, %v\n%s", m.Name, upTo, code, err, out)
	}
	// Its last confirmation counts when the server has ended the session.
	l.Until(30*time.Second, "the session on slot "+name+" is over", func() string {
		active, err := m.Query("SELECT active::text FROM pg_replication_slots WHERE slot_name = '" + name + "'")
		if active == "false" {
			return ""
		}
		return fmt.Sprint("active: ", active, " ", err)
	})
}

func receiver(t *testing.T, m *lab.Member, name, dir string, more ...string) []string {
	return append([]string{filepath.Join(lab.PGBin(t, lab.PGVersion(t)), "pg_receivewal"), "-D", dir, "--slot=" + name, "--status-interval=1", "--synchronous",
		"-d", "host=" + m.Addr + " user=replicator password=andheretoo"}, more...)
}

// A permanent slot goes with the cluster: every member has it, none ahead of
// what its user has confirmed, and after a switchover and a failover the user
// goes on where it was, from WAL that was kept for it.
func TestPermanentSlotSurvivesSwitchoverAndFailover(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{DCS: []string{"slots:", "  backup:", "    type: physical"}, Parameters: []string{"wal_keep_size: 0", "max_wal_size: 64MB", "min_wal_size: 32MB"}})
	w := c.StartWriter()
	leader := c.Leader()
	dir := filepath.Join(leader.Dir, "wal")
	if _, code, err := leader.Run(context.Background(), "/bin/mkdir", dir); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	for _, m := range c.Members {
		waitSlot(t, l, m, "backup", true)
	}
	// A member keeps WAL for a slot from where it made it: the user has to be
	// beyond the youngest member's beginning once.
	// How far pg_receivewal confirms before it ends is not in our hands.
	confirmed := ""
	l.Until(60*time.Second, "the user is beyond every member's beginning", func() string {
		leader.MustQuery("SELECT pg_switch_wal()::text")
		w.Advance(10 * time.Second)
		receive(t, l, leader, "backup", dir)
		confirmed = restartLSN(t, leader, "backup")
		for _, m := range c.Others(leader) {
			if ahead := distance(t, m, restartLSN(t, m, "backup"), confirmed); !strings.HasPrefix(ahead, "-") && ahead != "0" {
				return m.Name + " began " + ahead + " bytes behind it"
			}
		}
		return ""
	})

	for _, change := range []string{"switchover", "failover"} {
		// The user is away while much WAL is written and recycled.
		for range 4 {
			leader.MustQuery("SELECT pg_switch_wal()::text")
			w.Advance(10 * time.Second)
		}
		leader.MustQuery("CHECKPOINT")
		for _, m := range c.Others(leader) {
			if m.Postmaster() == 0 {
				continue
			}
			l.Until(30*time.Second, m.Name+" has moved its slot to where the user is", func() string {
				behind, err := m.Query("SELECT pg_wal_lsn_diff('" + confirmed + "', restart_lsn)::text FROM pg_replication_slots WHERE slot_name = 'backup'")
				if behind == "0" {
					return ""
				}
				return fmt.Sprint(behind, " bytes behind ", err)
			})
		}
		old := leader
		if change == "switchover" {
			ctl(t, old, 0, words("switchover --force"), "Successfully switched over to ")
			leader = c.WaitHealthy(30 * time.Second)
		} else {
			old.Lose()
			leader = c.WaitLeader(ttl(c)+20*time.Second, old)
		}
		w.Advance(30 * time.Second)
		if at := restartLSN(t, leader, "backup"); distance(t, leader, at, confirmed) != "0" {
			t.Errorf("after the %s the slot of %s is at %s, its user at %s", change, leader.Name, at, confirmed)
		}
		// Right on from there: pg_receivewal refuses a gap.
		leader.MustQuery("SELECT pg_switch_wal()::text")
		receive(t, l, leader, "backup", dir)
		confirmed = restartLSN(t, leader, "backup")
		t.Logf("%s: %s, then received up to %s from %s", change, old.Name, confirmed, leader.Name)
	}
	files, err := filepath.Glob(filepath.Join(dir, "0*"))
	if err != nil || len(files) < 10 {
		t.Errorf("only %d files received: %v %v", len(files), files, err)
	}
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Logf("%d rows lost by the failover without synchronous replication", len(rows))
	}
}

// A member that is away keeps its slot, and so its WAL, for member_slots_ttl,
// on every member; then the slot goes, and it is said.
func TestMemberSlotIsKeptForItsTime(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{DCS: []string{"member_slots_ttl: 20s"}, Parameters: []string{"wal_sender_timeout: 4s"}})
	leader := c.Leader()
	gone, stays := c.Others(leader)[0], c.Others(leader)[1]
	gone.Lose()
	l.Until(2*ttl(c)+slack, "its member key is gone", func() string {
		if v, err := c.View(); err != nil || v.Member(gone.Name) != nil {
			return fmt.Sprint("still a member ", err)
		}
		return ""
	})
	l.Until(slack, "its walsender has given up", func() string {
		if row := slot(leader, gone.Name); strings.Contains(row, " active ") {
			return row
		}
		return ""
	})
	for _, m := range []*lab.Member{leader, stays} {
		if row := slot(m, gone.Name); !strings.HasPrefix(row, gone.Name+" physical idle ") {
			t.Fatalf("slot of %s on %s: %q", gone.Name, m.Name, row)
		}
	}
	left := time.Now()
	l.Never(12*time.Second, "the slot must stay for now", func() string {
		if row := slot(leader, gone.Name); !strings.HasPrefix(row, gone.Name+" ") {
			return "it is " + row
		}
		return ""
	})
	waitSlot(t, l, leader, gone.Name, false)
	t.Logf("dropped %v after its member key", time.Since(left).Round(time.Second))
	waitSlot(t, l, stays, gone.Name, false)
	if want := "Replication slot '" + gone.Name + "' for absent cluster member is expired after 20 sec."; !strings.Contains(leader.AgentLog(), want) {
		t.Errorf("the log of %s has no %q", leader.Name, want)
	}
	// It comes back: cloned or not, it streams again, and has its slot.
	gone.Return()
	c.WaitHealthy(60 * time.Second)
	waitSlot(t, l, leader, gone.Name, true)
}

// Slots that nobody knows go, those that ignore_slots names stay, those in use
// stay as long as they are used; permanent ones come and go with the
// configuration, on every member; broken entries are named and do no harm.
func TestForeignSlots(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{DCS: []string{"ignore_slots:", "  - name: foreign", "    type: physical"}, Parameters: []string{"wal_level: logical"}})
	leader := c.Leader()
	replica := c.Others(leader)[0]
	for _, m := range []*lab.Member{leader, replica} {
		m.MustQuery("SELECT pg_create_physical_replication_slot('foreign', true)::text")
	}
	leader.MustQuery("SELECT pg_create_physical_replication_slot('busy', true)::text")
	dir := filepath.Join(leader.Dir, "busy")
	if _, code, err := leader.Run(context.Background(), "/bin/mkdir", dir); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	user := leader.Host.Start("receivewal", receiver(t, leader, "busy", dir)...)
	l.Until(10*time.Second, "the slot is in use", func() string {
		if row := slot(leader, "busy"); !strings.Contains(row, " active ") {
			return row
		}
		return ""
	})
	for _, m := range []*lab.Member{leader, replica} {
		m.MustQuery("SELECT pg_create_physical_replication_slot('unknown', true)::text")
	}
	leader.MustQuery("SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')::text")
	for _, m := range []*lab.Member{leader, replica} {
		waitSlot(t, l, m, "unknown", false)
	}
	waitSlot(t, l, leader, "cdc", false)
	if row := slot(leader, "busy"); !strings.Contains(row, " active ") {
		t.Errorf("the slot in use: %q", row)
	}
	l.Until(10*time.Second, "it is said that the slot in use is left", func() string {
		if strings.Contains(leader.AgentLog(), "Unable to drop replication slot 'busy', slot is active") {
			return ""
		}
		return "not said"
	})
	if n := strings.Count(leader.AgentLog(), "Unable to drop replication slot 'busy'"); n != 1 {
		t.Errorf("said %d times", n)
	}
	user.Kill()
	waitSlot(t, l, leader, "busy", false)

	patch(t, leader, `{"slots": {"extra": null, "Bad Name": {}, "odd": {"type": "odd"}}}`)
	for _, m := range c.Members {
		waitSlot(t, l, m, "extra", true)
	}
	for _, line := range []string{"slots.Bad Name: not a name for a slot", `slots.odd: Bad value for slot, skipped: type "odd" is neither physical nor logical`} {
		if !strings.Contains(leader.AgentLog(), line) {
			t.Errorf("the log has no %q", line)
		}
	}
	patch(t, leader, `{"slots": null, "permanent_slots": {"later": {"type": "physical"}}}`)
	for _, m := range c.Members {
		waitSlot(t, l, m, "later", true)
		waitSlot(t, l, m, "extra", false)
	}

	// A logical one is refused: said, and nothing else happens.
	pid := leader.Postmaster()
	patch(t, leader, `{"permanent_slots": {"later": {"type": "physical"}, "cdc": {"type": "logical", "database": "postgres", "plugin": "test_decoding"}}}`)
	l.Until(10*time.Second, "list tells of the logical slot", func() string {
		out, _ := leader.Ctl("list", "--extended")
		if code, body, _ := leader.REST("GET", "/cluster", ""); strings.Contains(out+body+leader.AgentLog(), "logical failover slots are not supported yet") {
			_ = code
			return ""
		}
		return out
	})
	leader.MustQuery("SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')::text")
	l.Never(3*time.Duration(c.LoopWait)*time.Second, "a logical slot that the configuration names is left alone", func() string {
		if row := slot(leader, "cdc"); !strings.HasPrefix(row, "cdc logical ") {
			return "it is " + row
		}
		return ""
	})
	sameServer(t, leader, pid)
	for _, m := range []*lab.Member{leader, replica} {
		if row := slot(m, "foreign"); !strings.HasPrefix(row, "foreign physical ") {
			t.Errorf("the ignored slot of %s: %q", m.Name, row)
		}
	}
	c.WaitHealthy(10 * time.Second)
}
