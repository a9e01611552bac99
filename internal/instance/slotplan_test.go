package instance

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgha/internal/clock"
)

// TestSlotPlan is ha-behaviour.md 17.3, row by row.
func TestSlotPlan(t *testing.T) {
	const at = 0x5000000
	physical := func(change func(*SlotRow)) SlotRow {
		s := SlotRow{Name: "s", Type: "physical", RestartLSN: at, WALStatus: "reserved"}
		if change != nil {
			change(&s)
		}
		return s
	}
	logical := func(change func(*SlotRow)) SlotRow {
		s := SlotRow{Name: "s", Type: "logical", Database: "shop", Plugin: "pgoutput", Xmin: true, RestartLSN: at, WALStatus: "reserved"}
		if change != nil {
			change(&s)
		}
		return s
	}
	active, lost := func(s *SlotRow) { s.Active = true }, func(s *SlotRow) { s.WALStatus = "lost" }
	use := func(u SlotUse) []Slot { return []Slot{{Name: "s", Use: u}} }
	move := []Slot{{Name: "s", Use: SlotInactive, LSN: at + 0x100}}
	paused := slotRules{paused: true}
	for _, tc := range []struct {
		name  string
		rules slotRules
		want  []Slot
		slot  SlotRow
		row   Row
		deeds string
	}{
		{"missing", slotRules{}, use(SlotActive), SlotRow{}, Row{}, "create"},
		{"missing, in pause", paused, use(SlotInactive), SlotRow{}, Row{}, "create"},
		{"missing, logical", slotRules{}, use(SlotLogical), SlotRow{}, Row{}, ""},
		{"unknown", slotRules{}, nil, physical(nil), Row{}, "drop"},
		{"unknown, logical", slotRules{}, nil, logical(nil), Row{}, "drop"},
		{"unknown, on a standby", slotRules{}, nil, logical(nil), Row{InRecovery: true}, "drop"},
		{"unknown, in use", slotRules{}, nil, physical(active), Row{}, "busy"},
		{"unknown, in pause", paused, nil, physical(nil), Row{}, ""},
		{"unknown, lost, in pause", paused, nil, physical(lost), Row{}, ""},
		{"unknown, ignored by name", slotRules{ignore: []map[string]string{{"name": "s"}}}, nil, physical(nil), Row{}, ""},
		{"unknown, ignored by type and name", slotRules{ignore: []map[string]string{{"name": "s", "type": "physical"}}}, nil, physical(nil), Row{}, ""},
		{"unknown, other type ignored", slotRules{ignore: []map[string]string{{"name": "s", "type": "logical"}}}, nil, physical(nil), Row{}, "drop"},
		{"unknown, ignored by plugin and database", slotRules{ignore: []map[string]string{{"type": "logical", "plugin": "pgoutput", "database": "shop"}}}, nil, logical(nil), Row{}, ""},
		{"unknown, other database ignored", slotRules{ignore: []map[string]string{{"database": "other"}}}, nil, logical(nil), Row{}, "drop"},
		{"unknown, the second filter matches", slotRules{ignore: []map[string]string{{"name": "x"}, {"name": "s"}}}, nil, physical(nil), Row{}, ""},
		{"an empty filter matches all", slotRules{ignore: []map[string]string{{}}}, nil, logical(nil), Row{}, ""},
		{"slots not used, somebody else's", slotRules{only: []string{"b"}}, nil, physical(nil), Row{}, ""},
		{"slots not used, a member's", slotRules{only: []string{"b", "s"}}, nil, physical(nil), Row{}, "drop"},
		{"slots not used, nobody known", slotRules{only: []string{}}, nil, physical(nil), Row{}, ""},

		{"in use as expected", slotRules{}, use(SlotActive), physical(active), Row{}, ""},
		{"expected to be used, is not", slotRules{}, use(SlotActive), physical(nil), Row{}, ""},
		{"lost", slotRules{}, use(SlotActive), physical(lost), Row{}, "drop create"},
		{"lost, in pause", paused, use(SlotActive), physical(lost), Row{}, ""},
		{"lost, ignored", slotRules{ignore: []map[string]string{{"name": "s"}}}, use(SlotActive), physical(lost), Row{}, ""},
		{"of another type", slotRules{}, use(SlotActive), logical(nil), Row{}, "drop create"},
		{"of another type, in use", slotRules{}, use(SlotActive), logical(active), Row{}, "busy"},
		{"of another type, in pause and ignored", slotRules{paused: true, ignore: []map[string]string{{}}}, use(SlotActive), logical(nil), Row{}, "drop create"},
		{"permanent logical", slotRules{}, use(SlotLogical), logical(lost), Row{}, ""},

		{"moved", slotRules{}, move, physical(nil), Row{}, "to 0/5000100"},
		{"moved in pause", paused, move, physical(nil), Row{}, "to 0/5000100"},
		{"not moved beyond replay", slotRules{}, move, physical(nil), Row{InRecovery: true, Replayed: at + 0x80}, "to 0/5000080"},
		{"not moved back", slotRules{}, move, physical(func(s *SlotRow) { s.RestartLSN = at + 0x200 }), Row{}, ""},
		{"not moved while in use", slotRules{}, move, physical(active), Row{}, ""},
		{"position unknown", slotRules{}, use(SlotInactive), physical(nil), Row{}, ""},
		{"retained is moved", slotRules{}, []Slot{{Name: "s", Use: SlotRetained, LSN: at + 0x100}}, physical(nil), Row{}, "to 0/5000100"},
		{"xmin of nobody", slotRules{}, move, physical(func(s *SlotRow) { s.Xmin = true }), Row{}, "drop create"},
		{"xmin of nobody, in pause", paused, move, physical(func(s *SlotRow) { s.Xmin = true }), Row{}, "drop create"},
		{"xmin of an absent member", slotRules{}, use(SlotRetained), physical(func(s *SlotRow) { s.Xmin = true }), Row{}, ""},
		{"xmin of a user", slotRules{}, use(SlotActive), physical(func(s *SlotRow) { s.Xmin = true }), Row{}, ""},
		{"without reserved WAL", slotRules{}, use(SlotInactive), physical(func(s *SlotRow) { s.RestartLSN = 0 }), Row{}, "drop create"},

		{"failover slot of the server's", slotRules{}, nil, logical(func(s *SlotRow) { s.Failover, s.Synced = true, true }), Row{InRecovery: true}, ""},
		{"failover slot on a primary", slotRules{}, nil, logical(func(s *SlotRow) { s.Failover = true }), Row{}, ""},
		{"failover slot of a former primary", slotRules{}, nil, logical(func(s *SlotRow) { s.Failover = true }), Row{InRecovery: true}, "drop"},
	} {
		tc.rules.want = tc.want
		if tc.slot.Name != "" {
			tc.row.Slots = []SlotRow{tc.slot}
		}
		deeds, busy := tc.rules.plan(&tc.row)
		var got []string
		for _, d := range deeds {
			for _, part := range []struct {
				on   bool
				text string
			}{{d.drop, "drop"}, {d.create, "create"}, {d.to != 0, "to " + d.to.String()}} {
				if part.on {
					got = append(got, part.text)
				}
			}
			if d.name != "s" || d.drop && (d.kind != tc.slot.Type || d.why == "") {
				t.Errorf("%s: %+v", tc.name, d)
			}
		}
		if len(busy) > 0 {
			got = append(got, "busy")
		}
		if text := strings.Join(got, " "); text != tc.deeds {
			t.Errorf("%s: %q, want %q", tc.name, text, tc.deeds)
		}
	}
}

// stepClock stands until it is moved.
type stepClock struct {
	clock.System
	now clock.Instant
}

func (c *stepClock) Now() clock.Instant { return c.now }

// A slot that cannot be dropped is named at once, then seldom, and at once
// again when it comes back.
func TestBusySlotsAreSaidSeldom(t *testing.T) {
	var log strings.Builder
	c := &stepClock{now: clock.Instant(0).Add(time.Hour)}
	s := &Server{clock: c, log: slog.New(slog.NewTextHandler(&log, nil))}
	for i, step := range []struct {
		pass  time.Duration
		busy  []string
		lines int
	}{
		{0, []string{"x"}, 1}, {10 * time.Second, []string{"x"}, 1}, {time.Second, []string{"x", "y"}, 2},
		{time.Hour, []string{"x", "y"}, 4}, {time.Second, nil, 4}, {time.Second, []string{"x"}, 5},
	} {
		c.now = c.now.Add(step.pass)
		s.sayBusy(step.busy)
		if got := strings.Count(log.String(), "Unable to drop replication slot"); got != step.lines {
			t.Fatalf("step %d: %d lines, want %d\n%s", i, got, step.lines, log.String())
		}
	}
}
