package postgres

import (
	"reflect"
	"testing"
)

func TestParseHistory(t *testing.T) {
	got := ParseHistory(captured(t, "pg15.history"))
	want := []HistoryEntry{{1, 0x9000A0, "no recovery target specified"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = ParseHistory("# comment\n\n1\t0/5000000\treason one\n2 1/00A00000\n x y z\n3\t0\tno position\n")
	want = []HistoryEntry{{1, 0x5000000, "reason one"}, {2, 0x100A00000, ""}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSwitchPoint(t *testing.T) {
	history := []HistoryEntry{{1, 100, ""}, {3, 300, ""}}
	for tl, want := range map[Timeline]LSN{1: 100, 2: 0, 3: 300, 4: 0} {
		if got, ok := SwitchPoint(history, tl); got != want || ok != (want != 0) {
			t.Errorf("timeline %d: %d %v, want %d", tl, got, ok, want)
		}
	}
}

// The rows of ha-behaviour.md 16.2, "compare" and "own TL row found".
func TestDiverged(t *testing.T) {
	history := []HistoryEntry{{1, 0x5000000, ""}, {3, 0x7000000, ""}}
	cases := []struct {
		name     string
		own      Position
		leaderTL Timeline
		history  []HistoryEntry
		want     Verdict
	}{
		{"own timeline higher", Position{5, 0x100, true}, 4, history, Needed},
		{"equal", Position{4, 0x9000000, false}, 4, nil, NotNeeded},
		{"standby before the switch", Position{1, 0x4FFFFFF, true}, 4, history, NotNeeded},
		{"standby at the switch", Position{1, 0x5000000, true}, 4, history, NotNeeded},
		{"standby beyond the switch", Position{1, 0x5000001, true}, 4, history, Needed},
		{"ex-primary before the switch", Position{1, 0x4FFFF88, false}, 4, history, NeedCheckpointEnd},
		{"ex-primary at the switch", Position{1, 0x5000000, false}, 4, history, Needed},
		{"ex-primary beyond the switch", Position{1, 0x5000028, false}, 4, history, Needed},
		{"larger timeline first", Position{2, 0x1, true}, 4, history, Needed},
		{"own timeline missing at the end", Position{4, 0x1, true}, 5, history, Needed},
		{"no history", Position{1, 0x1, true}, 4, nil, Undecided},
		{"no leader timeline", Position{1, 0x1, true}, 0, nil, Undecided},
		{"no own timeline", Position{0, 0x1, true}, 4, history, Undecided},
		{"no own position", Position{1, 0, true}, 4, history, Undecided},
	}
	for _, c := range cases {
		if got, why := Diverged(c.own, c.leaderTL, c.history); got != c.want || why == "" {
			t.Errorf("%s: %s (%s), want %s", c.name, got, why, c.want)
		}
	}
}

func TestDivergedAtCheckpoint(t *testing.T) {
	if v, why := DivergedAtCheckpoint(0x9000A0, true, 0x9000A0); v != NotNeeded {
		t.Errorf("end is the switch point: %s (%s)", v, why)
	}
	if v, why := DivergedAtCheckpoint(0x9000A0, true, 0x9000A8); v != Needed {
		t.Errorf("end before the switch point: %s (%s)", v, why)
	}
	if v, why := DivergedAtCheckpoint(0, false, 0); v != Needed {
		t.Errorf("end unknown: %s (%s)", v, why)
	}
}

// A primary was shut down, its follower promoted: all files are from one real run.
func TestShutdownThenPromotionIsNoDivergence(t *testing.T) {
	own, ok := ParseControlData(captured(t, "pg15_control_shutdown.txt")).StoppedPosition()
	if !ok {
		t.Fatal("no position")
	}
	history := ParseHistory(captured(t, "pg15.history"))
	if v, why := Diverged(own, 2, history); v != NeedCheckpointEnd {
		t.Fatalf("%s (%s)", v, why)
	}
	end, ok := CheckpointEnd(captured(t, "pg15_checkpoint.out"), captured(t, "pg15_checkpoint.err"))
	point, _ := SwitchPoint(history, own.Timeline)
	if v, why := DivergedAtCheckpoint(end, ok, point); v != NotNeeded {
		t.Errorf("%s (%s)", v, why)
	}
}

func FuzzParseHistory(f *testing.F) {
	f.Add("1\t0/9000A0\tno recovery target specified\n", uint32(1))
	f.Fuzz(func(t *testing.T, content string, tl uint32) {
		history := ParseHistory(content)
		for _, e := range history {
			if e.Timeline == 0 {
				t.Errorf("timeline zero in %q", content)
			}
		}
		if v, _ := Diverged(Position{Timeline(tl), 1, true}, Timeline(tl)+1, history); v == NotNeeded && len(history) == 0 {
			t.Error("decided without history")
		}
	})
}

func FuzzParseLSN(f *testing.F) {
	f.Add("0/9000A0")
	f.Add("FFFFFFFF/00000001")
	f.Fuzz(func(t *testing.T, s string) {
		lsn, err := ParseLSN(s)
		if err != nil {
			return
		}
		if again, err := ParseLSN(lsn.String()); err != nil || again != lsn {
			t.Errorf("%q -> %s -> %v, %v", s, lsn, again, err)
		}
	})
}
