package postgres

import (
	"maps"
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

// What was written is read back, and nothing but the recovery section.
func TestRecoverySection(t *testing.T) {
	want := map[string]string{"primary_conninfo": `host=a password=it''s \ "n`, "primary_slot_name": "b",
		"restore_command": "cp /a/%f \\\n'%p'", "recovery_target_xid": ""}
	text := RenderConf(RenderInput{Version: 150000, Parameters: map[string]string{"port": "5432", "cluster_name": "x"}, Recovery: want})
	if got := RecoverySection(text); !maps.Equal(got, want) {
		t.Errorf("got %q\nwant %q\nfrom %s", got, want, text)
	}
	if got := RecoverySection(RenderConf(RenderInput{Version: 150000})); got != nil {
		t.Errorf("got %q from a primary's file", got)
	}
}
