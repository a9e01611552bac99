package postgres

import (
	"slices"
	"strings"
	"testing"
)

func TestVersions(t *testing.T) {
	for in, want := range map[string]Version{
		captured(t, "pg15_version.txt"):                           150018,
		"postgres (PostgreSQL) 18beta1":                           180000,
		"pg_rewind (PostgreSQL) 17.2":                             170002,
		"16.4 (Debian 16.4-1.pgdg120+1)":                          160004,
		"postgres (PostgreSQL) 9.6.24":                            90624,
		"postgres (EnterpriseDB 15) (PostgreSQL) 15.3 (Debian 1)": 150003,
	} {
		if got, err := ParseServerVersion(in); got != want || err != nil {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "postgres", "postgres (PostgreSQL) devel", "0.1"} {
		if got, err := ParseServerVersion(in); err == nil {
			t.Errorf("%q: %d", in, got)
		}
	}
	if v, err := ParsePGVersionFile("15\n"); v != 150000 || err != nil || v.Major() != 15 {
		t.Errorf("PG_VERSION: %d %v", v, err)
	}
	if _, err := ParsePGVersionFile("x"); err == nil {
		t.Error("PG_VERSION x accepted")
	}
	got := []string{Version(150018).String(), Version(90624).String(), Version(170000).String()}
	if want := []string{"15.18", "9.6.24", "17.0"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestSegmentNames(t *testing.T) {
	cases := []struct {
		tl      Timeline
		lsn     LSN
		segsize int64
		want    string
	}{
		{1, 0x900028, 1 << 20, "000000010000000000000009"}, // as pg_controldata says
		{2, 0x1_0A000000, 16 << 20, "00000002000000010000000A"},
		{0x1F, 0xFF_FF000000, 0, "0000001F000000FF000000FF"},
		{1, 0x3_C0000000, 1 << 30, "000000010000000300000003"},
	}
	for _, c := range cases {
		got := SegmentName(c.tl, c.lsn, c.segsize)
		tl, ok := TimelineOfSegment(got)
		if got != c.want || tl != c.tl || !ok {
			t.Errorf("%s: got %s, timeline %d", c.want, got, tl)
		}
	}
	for name, want := range map[string]Timeline{
		"00000002.history": 2, "000000010000000000000009.partial": 1, "000000010000000000000009.ready": 1,
		"00000003.history.ready": 3, "00000002": 0, "archive_status": 0, "00000002000000000000000": 0, "zz0000010000000000000009": 0,
	} {
		if got, _ := TimelineOfSegment(name); got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func TestSlotName(t *testing.T) {
	for in, want := range map[string]string{
		"Node-1.example": "node_1_example", "a b": "au0032b", "é": "u0233", "日": "u26085",
		strings.Repeat("x", 70): strings.Repeat("x", 63), "İ": "iu0775", // as Python lowers it
	} {
		if got := SlotName(in); got != want || !ValidSlotName(got) {
			t.Errorf("%q: %q", in, got)
		}
	}
	for _, in := range []string{"", "A", "a-b", strings.Repeat("x", 64)} {
		if ValidSlotName(in) {
			t.Errorf("%q is valid", in)
		}
	}
}
