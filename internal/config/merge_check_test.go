package config

import (
	"strings"
	"testing"

	"pgha/internal/postgres"
)

// PostgreSQL's rules, per version, on every way by which a value arrives.
// Contract: config.md 5.3.
func TestMergeChecksParameters(t *testing.T) {
	described := map[string]postgres.SettingInfo{"vendor_option": {Name: "vendor_option"}}
	for _, c := range []struct {
		name, local, dynamic string
		server               ServerFacts
		parameter, want      string // want: its value; empty: left out
		finding              string // empty: none
	}{
		{"clamped", "", `{"postgresql":{"parameters":{"work_mem":"1kB"}}}`, ServerFacts{MajorVersion: 15}, "work_mem", "64", "postgresql.parameters.work_mem: 1kB is too small"},
		{"local", "  parameters: {log_statement: everything}\n", `{}`, ServerFacts{MajorVersion: 15}, "log_statement", "", `patroni.yml:8: postgresql.parameters.log_statement: left out: "everything" is not one of`},
		{"boolean of YAML", "  parameters: {synchronous_commit: on}\n", `{}`, ServerFacts{MajorVersion: 15}, "synchronous_commit", "on", ""},
		{"version not known", "", `{"postgresql":{"parameters":{"work_mem":"1kB"}}}`, ServerFacts{}, "work_mem", "1kB", ""},
		{"newer than the server", "", `{"postgresql":{"parameters":{"transaction_timeout":"1s"}}}`, ServerFacts{MajorVersion: 15, Described: described}, "transaction_timeout", "", "unexpected parameter"},
		{"newer, the server is not asked", "", `{"postgresql":{"parameters":{"transaction_timeout":"1s"}}}`, ServerFacts{MajorVersion: 15}, "transaction_timeout", "1s", ""},
		{"vendor's", "", `{"postgresql":{"parameters":{"vendor_option":"1s"}}}`, ServerFacts{MajorVersion: 15, Described: described}, "vendor_option", "1s", ""},
		{"extension's", "", `{"postgresql":{"parameters":{"x.y":"1s"}}}`, ServerFacts{MajorVersion: 15, Described: described}, "x.y", "1s", ""},
		{"role's own", "", `{"postgresql":{"parameters_replica":{"max_standby_streaming_delay":"-5"}}}`, ServerFacts{MajorVersion: 15, Role: "replica"}, "max_standby_streaming_delay", "-1", "postgresql.parameters_replica.max_standby_streaming_delay: -5 is too small"},
		{"controlled", "", `{"postgresql":{"parameters":{"max_connections":"24"}}}`, ServerFacts{MajorVersion: 15, Described: described}, "max_connections", "100", "24 is not accepted, 100 is used"},
		{"another place", "", `{"postgresql":{"parameters":{"data_directory":"/x"}}}`, ServerFacts{MajorVersion: 15}, "data_directory", "", ""},
		{"null", "", `{"postgresql":{"parameters":{"work_mem":null}}}`, ServerFacts{MajorVersion: 15}, "work_mem", "", ""},
	} {
		e := merged(t, c.local, c.dynamic, c.server)
		said := ""
		for _, f := range e.Findings {
			said += f.String() + "\n"
		}
		if e.Parameters[c.parameter] != c.want || (said == "") != (c.finding == "") || !strings.Contains(said, c.finding) {
			t.Errorf("%s: %q, want %q; findings %q", c.name, e.Parameters[c.parameter], c.want, said)
		}
	}
}

func TestMergeChecksRecovery(t *testing.T) {
	e := merged(t, "", `{"postgresql":{"recovery_conf":{"recovery_min_apply_delay":"soon","restore_command":"cp x y","trigger_file":"t"}}}`, ServerFacts{MajorVersion: 17})
	if _, there := e.Recovery["recovery_min_apply_delay"]; there || e.Recovery["restore_command"] == "" || e.Recovery["trigger_file"] != "t" ||
		len(e.Findings) != 1 || e.Findings[0].Path != "postgresql.recovery_conf.recovery_min_apply_delay" {
		t.Errorf("%v %+v", e.Recovery, e.Findings)
	}
	e = merged(t, "", `{"postgresql":{"parameters":{"recovery_target_action":"explode"}}}`, ServerFacts{MajorVersion: 17})
	if len(e.Findings) != 1 || e.Findings[0].Path != "postgresql.parameters.recovery_target_action" {
		t.Errorf("%+v", e.Findings)
	}
}
