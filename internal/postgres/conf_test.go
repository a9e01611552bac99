package postgres

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestRenderConf(t *testing.T) {
	in := RenderInput{
		Version: 150000, BaseName: "postgresql", HbaFile: "/d/pg_hba.conf", IdentFile: "/d/pg_ident.conf",
		Parameters: map[string]string{
			"port": "5432", "archive_command": `cp '%p' C:\x`, "max_connections": "100",
			"restore_command": "never here", "log_line_prefix": "a\nb",
		},
		Recovery: map[string]string{"recovery_target_timeline": "latest", "standby_mode": "on",
			"primary_conninfo": `host=a user=o\'b`, "recovery_target": ""},
	}
	want := FileHeader + `
include 'postgresql.base.conf'
archive_command = 'cp ''%p'' C:\\x'
log_line_prefix = 'a\nb'
max_connections = '100'
port = '5432'
hba_file = '/d/pg_hba.conf'
ident_file = '/d/pg_ident.conf'

# recovery.conf
primary_conninfo = 'host=a user=o\\''b'
recovery_target = ''
recovery_target_timeline = 'latest'
`
	if got := RenderConf(in); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	own := RenderInput{CustomConf: "/etc/it's.conf", HbaFile: "/d/pg_hba.conf", Parameters: map[string]string{"HBA_file": "/etc/hba"}}
	if got := RenderConf(own); !strings.HasSuffix(got, "\ninclude '/etc/it''s.conf'\nHBA_file = '/etc/hba'\n") {
		t.Errorf("own hba_file: %s", got)
	}
	own.ForceHba = true
	if got := RenderConf(own); !strings.HasSuffix(got, ".conf'\nhba_file = '/d/pg_hba.conf'\n") {
		t.Errorf("forced hba_file: %s", got)
	}
}

func TestRenderHBA(t *testing.T) {
	want := FileHeader + "\nlocal all all trust\nhost all all all md5\n"
	if got := RenderHBA([]string{"local all all trust", "host all all all md5\n"}); got != want {
		t.Errorf("got %q", got)
	}
}

func TestRecoveryParameters(t *testing.T) {
	in := RecoveryInput{
		Version: 150000, Conninfo: "host=a", Slot: "b",
		Base: map[string]string{"Restore_Command": "cp", "recovery_target_time": "x", "recovery_target_timeline": "1",
			"trigger_file": "/t", "primary_conninfo": "host=evil", "standby_mode": "on", "pause_at_recovery_target": "on"},
		Overrides: map[string]string{"archive_cleanup_command": "rm", "recovery_min_apply_delay": ""},
	}
	want := map[string]string{
		"restore_command": "cp", "promote_trigger_file": "/t", "archive_cleanup_command": "rm",
		"recovery_target_timeline": "latest", "recovery_target": "", "recovery_target_name": "",
		"recovery_target_time": "", "recovery_target_xid": "", "recovery_target_lsn": "",
		"primary_conninfo": "host=a", "primary_slot_name": "b",
	}
	if got := RecoveryParameters(in); !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	in.Version, in.Conninfo = 160000, ""
	got := RecoveryParameters(in)
	for _, name := range []string{"promote_trigger_file", "primary_conninfo", "primary_slot_name"} {
		if _, ok := got[name]; ok {
			t.Errorf("%s on 16 without a source: %v", name, got)
		}
	}
}

func TestTranslateRecovery(t *testing.T) {
	got := TranslateRecovery(map[string]string{"standby_mode": "on", "pause_at_recovery_target": "true", "recovery_target_xid": "7"}, 150000)
	if want := map[string]string{"recovery_target_action": "pause", "recovery_target_xid": "7"}; !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for mode, want := range map[string]string{"on": "standby.signal", "off": "recovery.signal", "": "recovery.signal"} {
		if got := StandbySignal(map[string]string{"Standby_Mode": mode}); got != want {
			t.Errorf("standby_mode %q: %s", mode, got)
		}
	}
}

func TestStripRecoveryGUCs(t *testing.T) {
	auto := "# Do not edit\nwork_mem = '4MB'\nprimary_conninfo = 'host=a'\n Restore_Command 'x'\nrecovery_target_extra.x = '1'\nprimary_slot_name='x'"
	got, changed := StripRecoveryGUCs(auto)
	if want := "# Do not edit\nwork_mem = '4MB'\nrecovery_target_extra.x = '1'\n"; got != want || !changed {
		t.Errorf("got %q %v", got, changed)
	}
	if again, changed := StripRecoveryGUCs(got); again != got || changed {
		t.Errorf("second time: %q %v", again, changed)
	}
}

func TestCommandLineOptions(t *testing.T) {
	got := CommandLineOptions(map[string]string{
		"port": "5432", "wal_keep_size": "128MB", "max_connections": "100", "work_mem": "4MB", "cluster_name": "a b", "Hot_Standby": "on",
	})
	want := []string{"--cluster_name=a b", "--hot_standby=on", "--max_connections=100", "--port=5432"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for name, want := range map[string]bool{"PORT": true, "wal_keep_segments": true, "wal_keep_size": true, "work_mem": false} {
		if IsControlledGUC(name) != want {
			t.Errorf("controlled %s: want %v", name, want)
		}
	}
}

func TestStandbyMinimums(t *testing.T) {
	control := ParseControlData(captured(t, "pg15_control_shutdown.txt")) // max_connections 50
	delete(control.Settings, "max_wal_senders")
	params := map[string]string{"max_connections": "30", "max_worker_processes": "16", "max_wal_senders": "3", "max_locks_per_transaction": "64"}
	adjusted, pending, missing := StandbyMinimums(params, control)
	want := map[string]string{"max_connections": "50", "max_worker_processes": "16", "max_wal_senders": "3", "max_locks_per_transaction": "64"}
	if !maps.Equal(adjusted, want) || params["max_connections"] != "30" {
		t.Errorf("adjusted %v, params %v", adjusted, params)
	}
	if want := map[string]Change{"max_connections": {"50", "30"}}; !maps.Equal(pending, want) {
		t.Errorf("pending %v", pending)
	}
	if !slices.Equal(missing, []string{"max_wal_senders"}) {
		t.Errorf("missing %v", missing)
	}
}

func TestPostmasterOpts(t *testing.T) {
	got := ParsePostmasterOpts(captured(t, "pg15_postmaster.opts"))
	want := map[string]string{"port": "5499", "cluster_name": "a", "max_connections": "50", "work_mem": "4MB"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	got = ParsePostmasterOpts(`/bin/postgres "-D" "/d" "--config-file=/d/postgresql.conf" "--cluster_name=a "b" c" "-c" "x.y=1=2"` + "\n")
	if want := map[string]string{"config_file": "/d/postgresql.conf", "cluster_name": `a "b" c`, "x.y": "1=2"}; !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got := ParsePostmasterOpts("/bin/postgres\n"); len(got) != 0 {
		t.Errorf("no options: %v", got)
	}
	args := SingleUserArgs(`/bin/postgres "-D" "/d" "--port=1" "--archive_mode=off"`, "/d")
	if want := []string{"--single", "-D", "/d", "-c", "archive_command=false", "-c", "archive_mode=on", "-c", "port=1", "template1"}; !slices.Equal(args, want) {
		t.Errorf("got %q", args)
	}
}

func TestFilterOptions(t *testing.T) {
	cases := []struct {
		tool     Tool
		version  Version
		option   string
		rejected bool
	}{
		{ToolInitDB, 150000, "--data-checksums", false},
		{ToolInitDB, 150000, "--encoding=UTF8", false},
		{ToolInitDB, 150000, "--no-sync", false},
		{ToolInitDB, 150000, "--nosync", true},
		{ToolInitDB, 150000, "--pgdata=/x", true},
		{ToolInitDB, 150000, "--pgd=/x", true}, // an abbreviation getopt accepts
		{ToolInitDB, 150000, "-D", true},
		{ToolInitDB, 150000, "--", true},
		{ToolBaseBackup, 150000, "--max-rate=100M", false},
		{ToolBaseBackup, 150000, "--checkpoint=fast", false},
		{ToolBaseBackup, 150000, "--waldir=/wal", false},
		{ToolBaseBackup, 150000, "--wal-method=none", true},
		{ToolBaseBackup, 140000, "--compress=9", true},
		{ToolBaseBackup, 140000, "--compress=server-gzip", true},
		{ToolBaseBackup, 150000, "--compress=server-gzip", false},
		{ToolBaseBackup, 150000, "--compress=gzip", true},
		{ToolBaseBackup, 150000, "--comp=gzip", true},
		{ToolRewind, 150000, "--debug", false},
		{ToolRewind, 150000, "--no-sync", false},
		{ToolRewind, 150000, "--dry-run", true},
		{ToolRewind, 150000, "--restore-target-wal", true},
	}
	for _, c := range cases {
		kept, rejected := FilterOptions(c.tool, []string{c.option}, c.version)
		if len(kept)+len(rejected) != 1 || (len(rejected) == 1) != c.rejected {
			t.Errorf("%s %s on %s: kept %q, rejected %q", c.tool, c.option, c.version, kept, rejected)
		}
		if c.rejected && (rejected[0].Option != c.option || rejected[0].Reason == "") {
			t.Errorf("%s %s: %+v", c.tool, c.option, rejected)
		}
	}
}

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
		strings.Repeat("x", 70): strings.Repeat("x", 63),
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

func TestDescribeConfig(t *testing.T) {
	table := ParseDescribeConfig(captured(t, "pg15_describe_config.txt"))
	if len(table) != 307 {
		t.Errorf("%d settings", len(table))
	}
	want := SettingInfo{Name: "archive_timeout", Context: "sighup", Group: "Write-Ahead Log / Archiving", Type: "integer",
		Reset: "0", Min: "0", Max: "1073741823", Short: "Sets the amount of time to wait before forcing a switch to the next WAL file."}
	if got := table["archive_timeout"]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if table["timezone"].Name != "TimeZone" {
		t.Errorf("TimeZone: %+v", table["timezone"])
	}
}

func TestCompareSetting(t *testing.T) {
	cases := []struct {
		vartype, unit, wanted, actual string
		want                          bool
	}{
		{"bool", "", "True", "on", true}, {"bool", "", "f", "off", true}, {"bool", "", "1", "off", false}, {"bool", "", "x", "on", false},
		{"integer", "", "100", "100", true}, {"integer", "", " 100 ", "100", true}, {"integer", "", "0x64", "100", true}, {"integer", "", "0x1b", "27", true},
		{"integer", "8kB", "128MB", "16384", true}, {"integer", "8kB", "16384", "128MB", true}, {"integer", "8kB", "1GB", "131072", true},
		{"integer", "MB", "1.5GB", "1536", true}, {"integer", "16MB", "1GB", "64", true}, {"integer", "kB", "4 MB", "4096", true},
		{"integer", "ms", "1min", "60000", true}, {"integer", "s", "5min", "300", true}, {"integer", "min", "1d", "1440", true},
		{"integer", "ms", "1MB", "1048576", false}, {"integer", "kB", "4mb", "4096", false}, {"integer", "", "10MB", "10", false},
		{"integer", "kB", "-1", "-1", true}, {"integer", "8kB", "1kB", "0", true},
		{"real", "", "0.10", "0.1", true}, {"real", "ms", "2", "2ms", true}, {"real", "ms", "500us", "0.5", true}, {"real", "", "1e1", "10", true}, {"real", "", "1", "2", false},
		{"enum", "", "Logical", "logical", true}, {"enum", "", "hot_standby", "replica", true}, {"enum", "", "True", "on", true}, {"enum", "", "off", "on", false},
		{"string", "", "a", "A", false}, {"string", "", "a", "a", true},
	}
	for _, c := range cases {
		if got := CompareSetting(c.vartype, c.unit, c.wanted, c.actual); got != c.want {
			t.Errorf("%s (%s): %q and %q: %v", c.vartype, c.unit, c.wanted, c.actual, got)
		}
	}
}

func TestHumanValue(t *testing.T) {
	for _, c := range [][3]string{
		{"16384", "8kB", "128MB"}, {"4096", "kB", "4MB"}, {"1536", "MB", "1536MB"}, {"64", "16MB", "1GB"}, {"1", "8kB", "8kB"},
		{"60000", "ms", "1min"}, {"300", "s", "5min"}, {"1440", "min", "1d"}, {"0.5", "ms", "500us"}, {"90", "s", "90s"},
		{"-1", "kB", "-1"}, {"0", "s", "0"}, {"100", "", "100"}, {"text", "kB", "text"}, {"logical", "", "logical"},
	} {
		if got := HumanValue(c[0], c[1]); got != c[2] {
			t.Errorf("%s of %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func FuzzCompareSetting(f *testing.F) {
	f.Add("integer", "8kB", "128MB")
	f.Fuzz(func(t *testing.T, vartype, unit, value string) {
		if !CompareSetting(vartype, unit, value, value) {
			t.Errorf("%q differs from itself", value)
		}
		if n, ok := ParseInteger(value, unit); ok && n > 0 && n < 1<<40 && !CompareSetting("integer", unit, value, HumanValue(value, unit)) && n != 0 {
			whole, _ := parseNumber(value, unit)
			if whole == float64(n) {
				t.Errorf("%q of %q reads otherwise as %q", value, unit, HumanValue(value, unit))
			}
		}
	})
}
