package config

import (
	"strings"
	"testing"
)

// PostgreSQL's own parameters, without knowing the version: unknown names with
// the nearest one, bad values with what holds. Contract: config.md 5.3.
func TestLintParameters(t *testing.T) {
	for _, c := range []struct{ settings, path, message, corrected string }{
		{"parameters: {shared_bufers: 1GB}", "parameters.shared_bufers", "did you mean shared_buffers?", "shared_buffers: 1GB"},
		{"parameters: {Work_Mem: 8MB, timezone: UTC}", "", "", ""},
		{"parameters: {work_mem: 1kB}", "parameters.work_mem", "1kB is too small, the minimum 64 (unit kB) is used", "work_mem: '64'"},
		{"parameters: {work_mem: 1mb}", "parameters.work_mem", `left out: "1mb" is not a number (unit kB)`, ""},
		{"parameters: {log_statement: everything}", "parameters.log_statement", `left out: "everything" is not one of none, ddl, mod, all`, ""},
		{"parameters: {fsync: perhaps}", "parameters.fsync", `left out: "perhaps" is not a boolean`, ""},
		{"parameters: {wholly_unknown: 1}", "parameters.wholly_unknown", "PostgreSQL 13 to 18 have no such parameter: left out, unless the installed server has it", ""},
		{"parameters: {my.own: 1, transaction_timeout: 1s, vacuum_cleanup_index_scale_factor: 0.1}", "", "", ""}, // an extension's; 17 on; 13 only
		{"parameters_replica: {hot_standby_feedbak: on}", "parameters_replica.hot_standby_feedbak", "did you mean hot_standby_feedback?", "hot_standby_feedback: on"},
		{"recovery_conf: {restore_command: cp, trigger_file: x, recovery_min_apply_delay: soon}", "recovery_conf.recovery_min_apply_delay", `"soon" is not a number (unit ms)`, ""},
		{"recovery_conf: {restore_comand: cp}", "recovery_conf.restore_comand", "did you mean restore_command?", "restore_command: cp"},
	} {
		for place, document := range map[string]struct {
			remarks []Remark
			prefix  string
		}{
			"local":     {LintText([]byte("postgresql: {"+c.settings+"}\n"), "f.yml"), "postgresql."},
			"bootstrap": {LintText([]byte("bootstrap: {dcs: {postgresql: {"+c.settings+"}}}\n"), "f.yml"), "bootstrap.dcs.postgresql."},
			"dynamic":   {LintDynamic([]byte("postgresql: {"+c.settings+"}\n"), "config"), "postgresql."},
		} {
			said := printRemarks(document.remarks)
			if c.path == "" {
				if said != "" {
					t.Errorf("%s: %s: %s", place, c.settings, said)
				}
				continue
			}
			if len(document.remarks) != 1 || document.remarks[0].Path != document.prefix+c.path || document.remarks[0].Line != 1 ||
				!strings.Contains(said, c.message) || !strings.HasSuffix(document.remarks[0].Corrected, c.corrected+"\n") && c.corrected != "" ||
				c.corrected == "" && document.remarks[0].Corrected != "" {
				t.Errorf("%s: %s: want %q and %q, got\n%s", place, c.settings, c.message, c.corrected, said)
			}
		}
	}
}

// When a changed parameter takes effect is PostgreSQL's to say.
func TestExplainTellsWhenParametersTakeEffect(t *testing.T) {
	doc := mustParse(t, `{"postgresql":{"parameters":{"shared_buffers":"1GB","work_mem":"8MB","log_connections":"on","wal_keep_size":"1GB",
		"my.own":"1","wal_level":"replica","archive_mode":"on","shared_bufers":"1"}}}`)
	local, err := loadText(t, "scope: s\n")
	if err != nil {
		t.Fatal(err)
	}
	layers := Layers{Local: local, Dynamic: doc, From: "DCS"}
	for name, want := range map[string]Takes{"shared_buffers": AtServerRestart, "archive_mode": AtServerRestart, "wal_level": AtServerRestart,
		"port": AtServerRestart, "cluster_name": AtServerRestart, "work_mem": AtReload, "wal_keep_size": AtReload, "log_connections": AtNewSessions, "my.own": ""} {
		if r := explained(t, layers, "postgresql.parameters."+name); r.Takes != want {
			t.Errorf("%s: %q, want %q", name, r.Takes, want)
		}
	}
	if r := explained(t, layers, "postgresql.parameters.shared_bufers"); len(r.Notes) != 1 || !strings.Contains(r.Notes[0].Why, "did you mean shared_buffers?") {
		t.Errorf("a name that PostgreSQL does not have: %+v", r)
	}
}
