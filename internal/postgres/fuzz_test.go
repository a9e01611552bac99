package postgres

import (
	"strings"
	"testing"
)

// Files and outputs of PostgreSQL, whole, cut off, or not PostgreSQL's.
func FuzzOutputs(f *testing.F) {
	for _, s := range []string{
		`/usr/lib/postgresql/15/bin/postgres "-D" "/data" "--port=5432" "-c" "work_mem=4MB" "--cluster-name=a b"`, "postgres", `x "`, `" "`,
		"shared_buffers\tpostmaster\tinteger\t8kB\t16384\n", "a\tb", "postgres (PostgreSQL) 15.18", "18beta1", "15\n", "\xff",
		"a\t\t\t\t\t\t\t\t\t\n\n", "9.6.24", "99999999999999999999.1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name := range ParsePostmasterOpts(text) {
			if name == "" {
				t.Fatalf("%q: a parameter without a name", text)
			}
		}
		args := SingleUserArgs(text, "/data")
		if last := args[len(args)-1]; args[0] != "--single" || last != "template1" {
			t.Fatalf("%q: %q", text, args)
		}
		ParseDescribeConfig(text)
		ParseControlData(text)
		for _, parse := range []func(string) (Version, error){ParseServerVersion, ParsePGVersionFile} {
			if v, err := parse(text); err == nil && (v.Major() < 1 || v < 0) {
				t.Fatalf("%q: version %d", text, v)
			}
		}
	})
}

// Whatever a member is called, its slot has a name that PostgreSQL accepts, and
// a configuration file holds any value on one line.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"pg-01.example.org", "Ünï", "", strings.Repeat("x", 100), "a\nb'c\\", "\xff\x00", "日本"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name := SlotName(s); s != "" && !ValidSlotName(name) {
			t.Fatalf("slot of %q: %q", s, name)
		}
		quoted := QuoteConf(s)
		inside := quoted[1 : len(quoted)-1]
		if strings.Contains(inside, "\n") || strings.Contains(strings.ReplaceAll(strings.ReplaceAll(inside, `\\`, ""), "''", ""), "'") {
			t.Fatalf("%q quoted: %s", s, quoted)
		}
	})
}

// postmaster.pid while it grows, and when it is something else.
func FuzzPidFile(f *testing.F) {
	whole := "4711\n/data\n1927958706\n5432\n/tmp\n127.0.0.1\n  5432001    131072\nready   \n"
	for i := 0; i <= len(whole); i += 7 {
		f.Add(whole[:i])
	}
	for _, s := range []string{"-4711\n", "0\n", "-9223372036854775808\n", "99999999999\n", "x\n", "1\n\n99999999999999999999\n-5\n", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := ParsePIDFile(text)
		if ok != (p.PID != 0) || p.PID > maxPID || p.PID < -maxPID || strings.Contains(p.Status, "\n") {
			t.Fatalf("%q: %+v, %v", text, p, ok)
		}
	})
}
