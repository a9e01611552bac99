package postgres

import (
	"maps"
	"strings"
	"testing"
)

func TestCheckParameters(t *testing.T) {
	described := ParseDescribeConfig(captured(t, "pg15_describe_config.txt"))
	cases := []struct {
		name, value string
		kept        string // empty: left out
		finding     bool
	}{
		{"work_mem", "4MB", "4MB", false},
		{"work_mem", "1", "64", true},
		{"work_mem", "9TB", "2147483647", true},
		{"work_mem", "lots", "", true},
		{"work_mem", "4ms", "", true},
		{"max_connections", "0", "1", true},
		{"random_page_cost", "1.1", "1.1", false},
		{"random_page_cost", "-1", "0", true},
		{"statement_timeout", "1min", "1min", false},
		{"wal_buffers", "-1", "-1", false},
		{"fsync", "True", "True", false},
		{"fsync", "maybe", "", true},
		{"synchronous_commit", "yes", "yes", false},
		{"synchronous_commit", "remote_apply", "remote_apply", false},
		{"synchronous_commit", "always", "", true},
		{"ssl_max_protocol_version", "tlsv1.3", "tlsv1.3", false},
		{"wal_level", "Hot_Standby", "Hot_Standby", false},
		{"log_min_messages", "debug", "debug", false},
		{"default_transaction_isolation", "read committed", "read committed", false},
		{"TIMEZONE", "UTC", "UTC", false},
		{"zero_damaged_pages", "on", "on", false},
		{"send_abort_for_crash", "on", "", true}, // from 16 on
		{"pg_stat_statements.max", "whatever", "whatever", false},
		{"no_such_thing", "1", "", true},
	}
	for _, c := range cases {
		params := map[string]string{c.name: c.value}
		kept, findings := CheckParameters(params, 150018, described)
		want := map[string]string{}
		if c.kept != "" {
			want[c.name] = c.kept
		}
		if !maps.Equal(kept, want) || (len(findings) > 0) != c.finding {
			t.Errorf("%s = %q: kept %v, findings %+v", c.name, c.value, kept, findings)
		}
	}
	if kept, findings := CheckParameters(map[string]string{"no_such_thing": "1"}, 150018, nil); len(kept) != 1 || len(findings) != 0 {
		t.Errorf("without the server's list: %v %v", kept, findings)
	}
}

// Every built-in default of a real server passes its own check, in the unit
// pg_settings tells.
func TestBuiltInDefaultsPass(t *testing.T) {
	described := ParseDescribeConfig(captured(t, "pg15_describe_config.txt"))
	for line := range strings.Lines(captured(t, "pg15_boot_values.txt")) {
		f := strings.Split(strings.TrimRight(line, "\n"), "|") // name, vartype, unit, boot_val
		name, unit, value := f[0], f[2], f[3]
		info, ok := described[name]
		if !ok {
			if info, ok = developerOption(name, 150018); !ok && name != "transaction_isolation" && name != "data_directory_mode" {
				t.Errorf("%s: neither described nor a developer's option", name)
			}
		}
		if ok && info.Type != f[1] {
			t.Errorf("%s: type %s, want %s", name, info.Type, f[1])
		}
		if parameterUnits[name] != unit {
			t.Errorf("%s: unit %q, want %q", name, parameterUnits[name], unit)
		}
		if got, message, ok := checkValue(info, value); !ok || message != "" || got != value {
			t.Errorf("%s: default %q: %q %s", name, value, got, message)
		}
		if _, listed := enumValues[name]; info.Type == "enum" && !listed {
			t.Errorf("%s: values unknown", name)
		}
	}
}

func TestUnknownUnit(t *testing.T) {
	info := SettingInfo{Name: "from_a_later_version", Type: "integer", Min: "0", Max: "10"}
	if got, message, ok := checkValue(info, "64MB"); got != "64MB" || message != "" || !ok {
		t.Errorf("%q %q %v", got, message, ok)
	}
	if _, _, ok := checkValue(info, "64 apples"); ok {
		t.Error("apples accepted")
	}
}

func TestDefaultWalBuffers(t *testing.T) {
	small := ControlData{WALSegmentSize: 1 << 20, WALBlockSize: 8192}
	for _, c := range []struct {
		shared  int64
		control ControlData
		want    int64
	}{{16384, ControlData{}, 512}, {128, ControlData{}, 8}, {1 << 20, ControlData{}, 2048}, {16384, small, 128}} {
		if got := DefaultWalBuffers(c.shared, c.control); got != c.want {
			t.Errorf("%d: %d, want %d", c.shared, got, c.want)
		}
	}
}
