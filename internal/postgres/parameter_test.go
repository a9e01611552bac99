package postgres

import (
	"maps"
	"strconv"
	"strings"
	"testing"
)

// One row per case of the config contract's 5.3, and PostgreSQL's own
// spellings.
func TestCheckParameters(t *testing.T) {
	described := ParseDescribeConfig(captured(t, "pg15_describe_config.txt"))
	described["vendor_option"] = SettingInfo{Name: "vendor_option", Type: "integer", Min: "0", Max: "10"}
	cases := []struct {
		name, value string
		kept        string // empty: left out
		finding     string // part of it; empty: none
	}{
		{"work_mem", "4MB", "4MB", ""},
		{"work_mem", "1", "64", "too small, the minimum 64 (unit kB)"},
		{"work_mem", "9TB", "2147483647", "too large"},
		{"work_mem", "lots", "", "not a number"},
		{"work_mem", "4ms", "", "not a number"},
		{"max_files_per_process", "1", "64", "too small"},
		{"random_page_cost", "1.1", "1.1", ""},
		{"random_page_cost", "-1", "0", "too small"},
		{"random_page_cost", "nan", "", "not a number"},
		{"statement_timeout", "1min", "1min", ""},
		{"statement_timeout", "-0.4", "-0.4", ""}, // rounds to 0
		{"checkpoint_timeout", "2d", "86400", "too large"},
		{"wal_buffers", "-1", "-1", ""},
		{"fsync", "True", "True", ""},
		{"fsync", "maybe", "", "not a boolean"},
		{"synchronous_commit", "yes", "yes", ""},
		{"synchronous_commit", "remote_apply", "remote_apply", ""},
		{"synchronous_commit", "always", "", "not one of local, remote_write"},
		{"ssl_max_protocol_version", "tlsv1.3", "tlsv1.3", ""},
		{"password_encryption", "on", "", "not one of md5"},
		{"log_min_messages", "debug", "debug", ""},
		{"log_statement", "debug", "", "not one of none"},
		{"default_transaction_isolation", "read committed", "read committed", ""},
		{"TIMEZONE", "UTC", "UTC", ""},
		{"zero_damaged_pages", "on", "on", ""},
		{"send_abort_for_crash", "on", "", "unexpected parameter"}, // from 16 on
		{"pg_stat_statements.max", "whatever", "whatever", ""},
		{"my-own.x", "1", "", "cannot hold that name"},
		{"my.own.x", "1", "", "cannot hold that name"},
		{"a b", "1", "", "cannot hold that name"},
		{"x = 1\ny", "1", "", "cannot hold that name"},
		{"vendor_option", "77", "77", ""}, // the server lists it, we have no rule
		{"no_such_thing", "1", "", "unexpected parameter"},
	}
	for _, c := range cases {
		params := map[string]string{c.name: c.value}
		kept, findings := CheckParameters(params, 150018, described)
		want := map[string]string{}
		if c.kept != "" {
			want[c.name] = c.kept
		}
		said := ""
		if len(findings) > 0 {
			said = findings[0].Message
		}
		if !maps.Equal(kept, want) || (said == "") != (c.finding == "") || !strings.Contains(said, c.finding) {
			t.Errorf("%s = %q: kept %v, findings %+v", c.name, c.value, kept, findings)
		}
	}
	if kept, findings := CheckParameters(map[string]string{"no_such_thing": "1"}, 150018, nil); len(kept) != 1 || len(findings) != 0 {
		t.Errorf("without the server's list: %v %v", kept, findings)
	}
}

// What a name or value is depends on the major version.
func TestRulesByVersion(t *testing.T) {
	for _, c := range []struct {
		name         string
		from, until  int
		value, notIn string // notIn: a value that the majors below from refuse
	}{
		{"transaction_timeout", 17, 18, "1s", ""},
		{"idle_session_timeout", 14, 18, "1s", ""},
		{"scram_iterations", 16, 18, "5000", ""},
		{"stats_temp_directory", 13, 14, "pg_stat_tmp", ""},
		{"old_snapshot_threshold", 13, 16, "1h", ""},
		{"promote_trigger_file", 13, 15, "promote", ""},
		{"force_parallel_mode", 13, 15, "on", ""},
		{"operator_precedence_warning", 13, 13, "on", ""},
		{"io_method", 18, 18, "worker", ""},
	} {
		for major := OldestGUCs; major <= NewestGUCs; major++ {
			_, ok := LookupGUC(c.name, Version(major*10000))
			if want := major >= c.from && major <= c.until; ok != want {
				t.Errorf("%s in %d: %v, want %v", c.name, major, ok, want)
			}
		}
	}
	if g, _ := LookupGUC("wal_compression", 130000); g.Type != "bool" {
		t.Errorf("wal_compression of 13: %+v", g)
	}
	if _, ok := LookupGUC("work_mem", 120000); ok {
		t.Error("rules for a version that is not supported")
	}
}

// Every built-in default of real servers passes its own check unchanged, with
// the type and unit that pg_settings tells.
func TestBuiltInDefaultsPass(t *testing.T) {
	for _, major := range []int{13, 15, 17, 18} {
		lines := 0
		for line := range strings.Lines(captured(t, "pg"+strconv.Itoa(major)+"_boot_values.txt")) {
			f := strings.Split(strings.TrimRight(line, "\n"), "|") // name, vartype, unit, boot_val
			lines++
			rule, ok := LookupGUC(f[0], Version(major*10000))
			if !ok || rule.Type != f[1] || rule.Unit != f[2] {
				t.Errorf("%d: %s: %v, rule %+v, want type %s unit %q", major, f[0], ok, rule, f[1], f[2])
				continue
			}
			if got, message, ok := rule.check(f[3], Version(major*10000)); !ok || message != "" || got != f[3] {
				t.Errorf("%d: %s: default %q: %q %s", major, f[0], f[3], got, message)
			}
		}
		if lines < 150 {
			t.Errorf("%d: only %d lines", major, lines)
		}
	}
	for name := range ParseDescribeConfig(captured(t, "pg15_describe_config.txt")) {
		if _, ok := LookupGUC(name, 150000); !ok {
			t.Errorf("%s: described by 15, but without a rule", name)
		}
	}
}

// The table is what the generator writes.
func TestTableIsWellFormed(t *testing.T) {
	seen := map[string]int{}
	for line := range strings.Lines(gucTable) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 9 {
			t.Fatalf("line %q: %d columns", line, len(f))
		}
		from, err1 := strconv.Atoi(f[1])
		to, err2 := strconv.Atoi(f[2])
		if err1 != nil || err2 != nil || from < OldestGUCs || to > NewestGUCs || from > to || from <= seen[f[0]] {
			t.Errorf("line %q: versions", line)
		}
		seen[f[0]] = to
	}
	if len(seen) < 380 {
		t.Errorf("%d parameters", len(seen))
	}
}
