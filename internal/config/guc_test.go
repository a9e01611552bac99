package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseGUCInt(t *testing.T) {
	cases := []struct {
		text, unit string
		want       int64
		ok         bool
	}{
		{"10", "", 10, true}, {" -5 ", "", -5, true}, {"0x1F", "B", 31, true}, {"010", "", 8, true}, {"08", "", 0, false},
		{"1.5", "", 2, true}, {"2.5", "", 2, true}, {"1e3", "", 1000, true}, {".5MB", "B", 524288, true}, {"10MB", "B", 10 << 20, true},
		{"10 kB", "B", 10240, true}, {"10mb", "B", 0, false}, {"10KB", "B", 0, false}, {"1TB", "kB", 1 << 30, true},
		{"128MB", "8kB", 16384, true}, {"16MB", "MB", 16, true}, {"1min", "s", 60, true}, {"90s", "min", 2, true}, {"500ms", "s", 0, true},
		{"1d", "ms", 86400000, true}, {"1h", "", 0, false}, {"1MB", "s", 0, false}, {"1s", "B", 0, false}, {"", "B", 0, false},
		{"x", "B", 0, false}, {"1 2", "B", 0, false}, {"0b1", "B", 0, false}, {"1_0", "", 0, false}, {"9223372036854775807", "", 9223372036854775807, true},
		{"9223372036854775808", "", 0, false}, {"1e30", "", 0, false}, {"100000000TB", "B", 0, false}, {"0x", "", 0, false}, {"+7", "", 7, true},
		{"10", "0kB", 10, true}, {"10kB", "0kB", 0, false},
	}
	for _, c := range cases {
		if got, ok := ParseGUCInt(c.text, c.unit); got != c.want || ok != c.ok {
			t.Errorf("ParseGUCInt(%q, %q) = %d, %v", c.text, c.unit, got, ok)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"loop_wait", "retry_timeout", "ttl", "maximum_lag_on_failover"}
	for name, want := range map[string]string{
		"loopwait": "loop_wait", "lop_wiat": "loop_wait", "tll": "ttl", "ttls": "ttl", "retry_time": "retry_timeout", "xyz": "", "a": "",
		"maximum_lag_on_failovr": "maximum_lag_on_failover", "Loop_Wait": "loop_wait", "retrytimeout": "retry_timeout",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestSplitCommand(t *testing.T) {
	cases := []struct {
		line string
		want []string
	}{
		{"", nil}, {"a b  c", []string{"a", "b", "c"}}, {`a 'b c' "d \" e" f\ g`, []string{"a", "b c", `d " e`, "f g"}},
		{`"" ''`, []string{"", ""}}, {`a"b"c`, []string{"abc"}}, {`"a\b"`, []string{`a\b`}}, {`'a\'`, []string{`a\`}},
	}
	for _, c := range cases {
		if got, err := SplitCommand(c.line); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q %v", c.line, got, err)
		}
	}
	for _, bad := range []string{`a 'b`, `a "b`, `a\`} {
		if got, err := SplitCommand(bad); err == nil {
			t.Errorf("%s: %q", bad, got)
		}
	}
}

// No verb shows a secret, nor the configuration that holds it.
func TestSecretsStayHidden(t *testing.T) {
	l, err := loadText(t, "ctl: {authentication: {username: u, password: hunter2}}\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, value := range []any{l, l.Ctl, l.Ctl.Password} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") {
				t.Errorf("%s of %T shows the secret: %s", verb, value, text)
			}
		}
	}
	if l.Ctl.Password.Reveal() != "hunter2" {
		t.Error("Reveal must return the secret")
	}
}

// The tables hold together: kinds with entries, no name twice, notes for top keys.
func TestSchema(t *testing.T) {
	for _, root := range [][]Key{LocalSchema(), DynamicSchema()} {
		var walk func(keys []Key, path string)
		walk = func(keys []Key, path string) {
			seen := map[string]bool{}
			for _, k := range keys {
				at := path + "." + k.Name
				if seen[k.Name] {
					t.Errorf("%s: twice", at)
				}
				seen[k.Name] = true
				if len(k.Keys) > 0 && k.Kind != KindMap {
					t.Errorf("%s: entries below a %s", at, k.Kind)
				}
				if k.From == 0 || k.Kind == "" {
					t.Errorf("%s: no layer or kind", at)
				}
				walk(k.Keys, at)
			}
		}
		walk(root, "")
	}
}
