package postgres

import (
	"strings"
	"testing"
)

func TestCheckpointEndMessages(t *testing.T) {
	out := captured(t, "pg15_checkpoint.out")
	padded := strings.ReplaceAll(out, "redo 0/900028", "redo 0/00900028")
	cases := []struct {
		name, out, err string
		want           LSN
	}{
		{"15", out, captured(t, "pg15_checkpoint.err"), 0x9000A0},
		{"9.5", out, "pg_xlogdump: FATAL:  error in WAL record at 0/900028: invalid record length at 0/9000A0\n", 0x9000A0},
		{"16", out, "pg_waldump: error: error in WAL record at 0/900028: invalid record length at 0/9000A0: expected at least 24, got 0\n", 0x9000A0},
		{"19", padded, "pg_waldump: error: error in WAL record at 0/00900028: invalid record length at 0/009000A0: expected at least 24, got 0\n", 0x9000A0},
		{"recycled segment", out, "pg_waldump: error: error in WAL record at 0/900028: record with incorrect prev-link 0/12 at 0/9000A0\n", 0x9000A0},
		{"recycled segment, manager", out, "pg_waldump: error: error in WAL record at 0/900028: invalid resource manager ID 77 at 0/9000A0\n", 0x9000A0},
		{"more WAL follows", out + out, captured(t, "pg15_checkpoint.err"), 0},
		{"nothing printed", "", captured(t, "pg15_checkpoint.err"), 0},
		{"no complaint", out, "", 0},
		{"page missing", out, "pg_waldump: error: error in WAL record at 0/B03F88: unexpected pageaddr 0/404000 in log segment 00000002000000000000000B, offset 16384\n", 0},
		{"other record", captured(t, "pg15_switch.out"), captured(t, "pg15_checkpoint.err"), 0},
		{"end before start", out, "invalid record length at 0/900000: wanted 24, got 0", 0},
	}
	for _, c := range cases {
		if got, ok := CheckpointEnd(c.out, c.err); got != c.want || ok != (c.want != 0) {
			t.Errorf("%s: %s %v, want %s", c.name, got, ok, c.want)
		}
	}
}

// The computed end equals the one pg_waldump names, for real shutdown
// checkpoints at many places of a page. Where the record ends with its page
// pg_waldump names none.
func TestCheckpointEndByLength(t *testing.T) {
	control := ParseControlData(captured(t, "pg15_control_shutdown.txt"))
	blocks := strings.Split(captured(t, "pg15_checkpoint_ends.txt")+captured(t, "pg15_checkpoint_page_ends.txt"), "=== ")[1:]
	if len(blocks) < 10 {
		t.Fatalf("%d samples", len(blocks))
	}
	unnamed := 0
	for _, block := range blocks {
		computed, ok := CheckpointEndByLength(block, control)
		if !ok {
			t.Errorf("not computed: %s", block)
		}
		named, ok := CheckpointEnd(block, block)
		if !ok {
			unnamed++
			if computed%8192 != 0 {
				t.Errorf("%s is no page end, but no end was named: %s", computed, block)
			}
			continue
		}
		if computed != named {
			t.Errorf("computed %s, named %s: %s", computed, named, block)
		}
	}
	if unnamed != 1 {
		t.Errorf("%d samples end with a page, want 1", unnamed)
	}
}

func TestRecordEnd(t *testing.T) {
	cases := []struct {
		start  LSN
		length int
		want   LSN
	}{
		{0x900028, 114, 0x9000A0},
		{0x903F88, 114, 0x904000},             // ends with its page
		{0x903F90, 114, 0x904000 + 24 + 8},    // continues on the next
		{0x9FFF90, 114, 0xA00000 + 40 + 8},    // continues in the next segment
		{0x9FFF88, 114, 0xA00000},             // ends with its segment
		{0x903F88, 120 + 8168, 0x906000},      // fills the next page
		{0x903F88, 120 + 8176, 0x906000 + 32}, // 8 bytes more
	}
	for _, c := range cases {
		if got, ok := recordEnd(c.start, c.length, 8192, 1<<20); got != c.want || !ok {
			t.Errorf("%s + %d: %s %v, want %s", c.start, c.length, got, ok, c.want)
		}
	}
	if _, ok := recordEnd(0x900028, 114, 0, 0); ok {
		t.Error("computed without sizes")
	}
}

func TestShutdownOptime(t *testing.T) {
	checkpoint, atSwitch := captured(t, "pg15_checkpoint.out"), captured(t, "pg15_switch.out")
	if before, ok := RecordBefore(0x900028, checkpoint); before != 0x85AEF8 || !ok {
		t.Errorf("record before: %s %v", before, ok)
	}
	if _, ok := RecordBefore(0x900030, checkpoint); ok {
		t.Error("another position's record was taken")
	}
	if got := ShutdownOptime(0x900028, checkpoint, atSwitch); got != 0x85AEF8 {
		t.Errorf("after a switch: %s", got)
	}
	for name, before := range map[string]string{
		"nothing": "", "checkpoint": checkpoint,
		"other place": strings.Replace(atSwitch, "lsn: 0/0085AEF8", "lsn: 0/0085AF00", 1),
	} {
		if got := ShutdownOptime(0x900028, checkpoint, before); got != 0x900028 {
			t.Errorf("%s before: %s", name, got)
		}
	}
}

func FuzzWaldump(f *testing.F) {
	f.Add(captured(f, "pg15_checkpoint.out"), captured(f, "pg15_checkpoint.err"))
	control := ParseControlData(captured(f, "pg15_control_shutdown.txt"))
	f.Fuzz(func(t *testing.T, stdout, stderr string) {
		if end, ok := CheckpointEnd(stdout, stderr); ok && end <= ParseWALRecords(stdout)[0].LSN {
			t.Errorf("end %s is not after its record", end)
		}
		CheckpointEndByLength(stdout, control)
		ShutdownOptime(1, stdout, stderr)
	})
}
