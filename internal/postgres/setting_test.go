package postgres

import (
	"reflect"
	"testing"
)

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
