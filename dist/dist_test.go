// Package dist holds no code: files to install, and the tests that they are
// what they claim to be.
package dist

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tool runs a checker where it is installed, and says so where it is not.
func tool(t *testing.T, argv ...string) {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Logf("%s is not installed: not checked by it", argv[0])
		return
	}
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil || strings.Contains(strings.ToLower(string(out)), "unknown") {
		t.Errorf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

var units = []string{"pgha.service", "pgha@.service"}

// What a restart of the agent must not do to PostgreSQL, what tools edit, and
// what has to survive a reboot.
func TestUnits(t *testing.T) {
	for _, unit := range units {
		text := read(t, unit)
		for _, line := range []string{"Type=notify", "KillMode=process", "Delegate=yes", "OOMPolicy=continue", "LimitMEMLOCK=infinity",
			"KillSignal=SIGTERM", "Restart=on-failure", "StartLimitIntervalSec=0", "User=postgres"} {
			if !regexp.MustCompile("(?m)^" + line + "$").MatchString(text) {
				t.Errorf("%s: no line %s", unit, line)
			}
		}
		// The Canonical charm edits Restart=<word> by a regular expression.
		if n := len(regexp.MustCompile(`(?m)^\s*#?\s*Restart=`).FindAllString(text, -1)); n != 1 {
			t.Errorf("%s: %d lines Restart=, want one", unit, n)
		}
		for _, never := range []string{
			`RestartPreventExitStatus=.*\b2\b`, // how a crashed Go program ends
			`RuntimeDirectory=`,                // empty after a reboot, the note of a half bootstrap lost
			`OOMScoreAdjust=`,                  // PostgreSQL's backends would inherit it
		} {
			if regexp.MustCompile("(?m)^" + never).MatchString(text) {
				t.Errorf("%s: a line %s", unit, never)
			}
		}
	}
}

func TestUnitsAreValid(t *testing.T) {
	for _, unit := range units {
		// A program that is there, or the verification ends with that.
		copied := filepath.Join(t.TempDir(), unit)
		if err := os.WriteFile(copied, []byte(strings.ReplaceAll(read(t, unit), "/usr/bin/pgha", "/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
		tool(t, "systemd-analyze", "verify", "--man=no", copied)
	}
}

// Both units say the same.
func TestUnitsAgree(t *testing.T) {
	settings := func(file string) string {
		var lines []string
		for line := range strings.Lines(read(t, file)) {
			if key, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") && key != "Description" && key != "ExecStart" && key != "StateDirectory" {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	if one, many := settings(units[0]), settings(units[1]); one != many {
		t.Errorf("%s:\n%s%s:\n%s", units[0], one, units[1], many)
	}
}

// Every series that a rule reads exists: pgha's by docs/metrics.md, Patroni's
// by the server's own table.
func TestAlerts(t *testing.T) {
	const file = "prometheus/alerts.yml"
	known := read(t, "../docs/metrics.md") + read(t, "../agent/rest/metrics.go")
	rules := read(t, file)
	exprs := regexp.MustCompile(`(?m)^ +expr: (.+)$`).FindAllStringSubmatch(rules, -1)
	if len(exprs) < 15 || len(exprs) != strings.Count(rules, "- alert: ") {
		t.Fatalf("%d expressions for %d alerts", len(exprs), strings.Count(rules, "- alert: "))
	}
	for _, e := range exprs {
		series := regexp.MustCompile(`\b(pgha|patroni)_\w+`).FindAllString(e[1], -1)
		if len(series) == 0 {
			t.Errorf("reads no series: %s", e[1])
		}
		for _, name := range series {
			name = strings.TrimSuffix(name, "_bucket")
			if !strings.Contains(known, "`"+name+"`") && !strings.Contains(known, `"`+name+`"`) {
				t.Errorf("%s does not exist: %s", name, e[1])
			}
		}
	}
	tool(t, "promtool", "check", "rules", file)
}

func TestHAProxyConfiguration(t *testing.T) {
	tool(t, "haproxy", "-c", "-f", "haproxy.cfg")
}
