package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// What operators type, against a live cluster with a writing client: texts and
// exit codes of contract: ctl.md sections 2 to 6.

// answered runs `pgha ctl ...` with these lines as its input.
func answered(t *testing.T, m *lab.Member, input string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	argv := append([]string{"/bin/sh", "-c", `input=$1; shift; printf "$input" | exec "$@"`, "sh", input, m.Program(), "ctl", "-c", m.Config()}, args...)
	out, code, err := m.Run(ctx, argv...)
	if err != nil {
		t.Fatalf("pgha ctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out, code
}

// expect fails unless the command printed all the texts and ended with that code.
func expect(t *testing.T, out string, code, wantCode int, want ...string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("exit code %d, want %d\n%s", code, wantCode, out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
}

// ctl runs a command without input and checks it.
func ctl(t *testing.T, m *lab.Member, wantCode int, args []string, want ...string) string {
	t.Helper()
	out, code := m.Ctl(args...)
	expect(t, out, code, wantCode, want...)
	return out
}

func words(s string) []string { return strings.Fields(s) }

func TestOperatorsLook(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	m := c.Leader()
	s, err := m.Status()
	if err != nil {
		t.Fatal(err)
	}
	title := "+ Cluster: pg-basic (" + s.SystemID + ") -"
	pretty := ctl(t, m, 0, words("list"), title, "| Member | Host", "| Receive LSN | Lag | Replay LSN | Lag |", "| Leader  | running   |", "| Replica | streaming |")
	if strings.Index(pretty, "| pg01 ") > strings.Index(pretty, "| pg02 ") || strings.Contains(pretty, "Maintenance") {
		t.Errorf("not as expected:\n%s", pretty)
	}
	var rows []map[string]any
	out := ctl(t, m, 0, words("list -f json"))
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 3 || strings.Count(out, "\n") != 1 {
		t.Fatalf("json: %v\n%s", err, out)
	}
	for _, row := range rows {
		_, lag := row["Receive Lag"]
		if row["Cluster"] != "pg-basic" || row["TL"] == nil || lag == (row["Role"] == "Leader") {
			t.Errorf("json row %v", row)
		}
	}
	out = ctl(t, m, 0, words("list -f yaml"), "- Cluster: pg-basic\n  Host: "+c.Members[0].Addr+"\n  Member: pg01\n")
	if !strings.HasSuffix(out, "\n\n") {
		t.Errorf("yaml ends without a blank line: %q", out)
	}
	if yml := ctl(t, m, 0, words("list -f yml")); len(yml) != len(out) {
		t.Errorf("yml is not yaml:\n%s", yml)
	}
	ctl(t, m, 0, words("list -f tsv"), "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag", "\npg-basic\tpg02\t")
	ctl(t, m, 0, words("list -e"), "| Pending restart |", "| Pending restart reason |", "| Scheduled restart |", "| Tags")
	if out := ctl(t, m, 0, words("list -t")); !regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n\+ Cluster`).MatchString(out) {
		t.Errorf("list -t:\n%s", out)
	}
	ctl(t, m, 2, words("list -f xml"), "Invalid value for '--format' / '-f': 'xml' is not one of 'pretty', 'tsv', 'json', 'yaml', 'yml'.")
	ctl(t, m, 0, words("list nosuch -f json"), "[]\n")
	if out := ctl(t, m, 0, words("topology"), title); strings.Count(out, "| + pg0") != 2 {
		t.Errorf("topology:\n%s", out)
	}
	ctl(t, m, 0, words("show-config"), "loop_wait: 2\n", "ttl: 10\n")
	ctl(t, m, 0, words("history"), "TL", "New Leader")
	ctl(t, m, 0, words("dsn"), "host="+m.Addr+" port=5432\n")
	ctl(t, m, 0, words("dsn -m pg03"), "host="+c.Member("pg03").Addr+" port=5432\n")
	ctl(t, m, 1, words("dsn -m pg09"), "Error: Can not find a suitable member")
	ctl(t, m, 1, words("dsn -m pg01 -r leader"), "Error: --role and --member are mutually exclusive options")
	ctl(t, m, 0, words("version"), "patronictl version ")
	ctl(t, m, 0, words("version pg-basic"), "pg01: Patroni 4.1.5 PostgreSQL "+fmt.Sprint(lab.PGVersion(t))+".", "pg03: Patroni ")
	ctl(t, m, 2, words("nosuch"), "Error: No such command 'nosuch'.")
	ctl(t, m, 2, words("restart"), "Error: Missing argument 'CLUSTER_NAME'.")
	ctl(t, m, 2, words("list --nosuch"), "Error: No such option: --nosuch")
	ctl(t, m, 0, words("--help"), "switchover", "edit-config")

	restReads(t, c, m)
	restFromOutside(t, c, m)
}

// restReads is contract: rest-api.md sections 4 and 6.
func restReads(t *testing.T, c *lab.Cluster, leader *lab.Member) {
	t.Helper()
	replica := c.Others(leader)[0]
	for _, r := range []struct {
		path             string
		leader, replica  int
		inLeader, inBoth string
	}{
		{"/primary", 200, 503, `"role": "primary"`, `"state": "running"`},
		{"/leader", 200, 503, "", `"patroni"`},
		{"/replica", 503, 200, "", `"state"`},
		{"/health", 200, 200, "", `"state": "running"`},
		{"/patroni", 200, 200, "", `"database_system_identifier"`},
		{"/cluster", 200, 200, "", `"scope": "pg-basic"`},
		{"/config", 200, 200, "", `"loop_wait": 2`},
		{"/history", 200, 200, "", "["},
		{"/liveness", 200, 200, "", ""},
		{"/readiness", 200, 200, "", ""},
	} {
		for _, m := range []*lab.Member{leader, replica} {
			want := r.replica
			if m == leader {
				want = r.leader
			}
			code, body, err := m.REST("GET", r.path, "")
			if err != nil || code != want || !strings.Contains(body, r.inBoth) || m == leader && !strings.Contains(body, r.inLeader) {
				t.Errorf("GET %s of %s: %d %v, want %d\n%s", r.path, m.Name, code, err, want, body)
			}
		}
	}
}

// restFromOutside: reading is free, changing is for the cluster's own machines
// (rulings 29). The last two are the talk's own attacks.
func restFromOutside(t *testing.T, c *lab.Cluster, m *lab.Member) {
	t.Helper()
	before, _, err := c.Etcd.Get(c.Key("config"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ method, path, body string }{
		{"PATCH", "/config", `{"ttl": 11}`},
		{"PUT", "/config", `{"ttl": 11}`},
		{"POST", "/restart", ""}, {"POST", "/reload", ""}, {"POST", "/reinitialize", ""},
		{"DELETE", "/restart", ""}, {"DELETE", "/switchover", ""},
		{"POST", "/failover", `{"candidate": "pg02"}`},
		{"POST", "/switchover", fmt.Sprintf(`{"leader": %q}`, m.Name)},
		{"PATCH", "/config", `{"postgresql": {"pg_hba": ["host all all 0.0.0.0/0 trust"]}}`},
	} {
		// The test's own machine is on the network, but no member.
		req, err := http.NewRequest(r.method, "http://"+m.Addr+":8008"+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", r.method, r.path, err)
			continue
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != 403 || !strings.Contains(string(body), "restapi.allowlist") {
			t.Errorf("%s %s from outside: %d %s", r.method, r.path, answer.StatusCode, body)
		}
	}
	if now, _, _ := c.Etcd.Get(c.Key("config")); now != before {
		t.Errorf("the configuration was changed from outside: %s", now)
	}
	if c.Leader() != m {
		t.Error("the leader was changed from outside")
	}
	if code, body, err := m.REST("PATCH", "/config", `{"maximum_lag_on_failover": 2097152}`); err != nil || code != 200 || !strings.Contains(body, `"maximum_lag_on_failover": 2097152`) {
		t.Errorf("PATCH /config from a member: %d %v %s", code, err, body)
	}
	for _, bad := range []struct {
		body string
		code int
	}{{"", 400}, {"[1]", 400}, {"{", 400}} {
		if code, body, err := m.REST("PATCH", "/config", bad.body); err != nil || code != bad.code {
			t.Errorf("PATCH /config with %q: %d %v %s", bad.body, code, err, body)
		}
	}
}

func TestOperatorsChangeTheConfiguration(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w := c.StartWriter()
	m := c.Leader()
	scratch := filepath.Join(m.Dir, "change.yml")

	out, code := answered(t, m, "n\n", "edit-config", "-s", "maximum_lag_on_failover=2000000")
	expect(t, out, code, 0, "--- \n+++ \n@@", "-maximum_lag_on_failover: 1048576\n+maximum_lag_on_failover: 2000000\n", "Apply these changes? [y/N]: ")
	out, code = answered(t, m, "", "edit-config", "-s", "maximum_lag_on_failover=2000000")
	expect(t, out, code, 1, "Aborted!")
	ctl(t, m, 0, words("show-config"), "maximum_lag_on_failover: 1048576\n")
	out, code = answered(t, m, "y\n", "edit-config", "-s", "maximum_lag_on_failover=2000000")
	expect(t, out, code, 0, "Configuration changed")
	ctl(t, m, 0, words("edit-config -s maximum_lag_on_failover=2000000 --force"), "Not changed")
	if out := ctl(t, m, 0, words("edit-config -q -s maximum_lag_on_failover=1000000 --force"), "Configuration changed"); strings.Contains(out, "@@") {
		t.Errorf("-q shows the difference:\n%s", out)
	}
	ctl(t, m, 1, words("edit-config -s ttl --force"), "Error: Invalid parameter setting ttl")
	out, code = answered(t, m, "check_timeline: true\n", "edit-config", "--apply", "-")
	expect(t, out, code, 0, "Use --force option to apply changes")
	out, code = answered(t, m, "check_timeline: true\n", "edit-config", "--apply", "-", "--force")
	expect(t, out, code, 0, "+check_timeline: true", "Configuration changed")
	if err := os.WriteFile(scratch, []byte("check_timeline: null\nmax_timelines_history: 5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctl(t, m, 0, []string{"edit-config", "--apply", scratch, "--force"}, "-check_timeline: true", "+max_timelines_history: 5", "Configuration changed")
	config := ctl(t, m, 0, words("show-config"), "max_timelines_history: 5")
	if err := os.WriteFile(scratch, []byte(strings.Replace(config, "max_timelines_history: 5\n", "", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	ctl(t, m, 0, []string{"edit-config", "--replace", scratch, "--force"}, "-max_timelines_history: 5", "Configuration changed")
	ctl(t, m, 1, words("edit-config --apply /nonexistent.yml --force"), "/nonexistent.yml")

	// A restart is pending on all members, with the reason, until it is done.
	ctl(t, m, 0, words("edit-config -p max_connections=120 --force"), "+    max_connections: 120", "Configuration changed")
	l.Until(15*time.Second, "all members wait for a restart", func() string {
		out, _ := m.Ctl("list", "-f", "json")
		if strings.Count(out, `"Pending restart": "*", "Pending restart reason": "max_connections: 100->120"`) == 3 {
			return ""
		}
		return out
	})
	ctl(t, m, 0, words("list"), "| Pending restart |", "max_connections: 100->120")
	// The leader first: the standbys have the lower value then, and go on.
	ctl(t, m, 0, []string{"restart", "pg-basic", m.Name, "--pending", "--force"}, "Success: restart on member "+m.Name)
	w.Advance(20 * time.Second)
	m.MustQuery("create table after_raise as select 1 as x")
	for _, r := range c.Others(m) {
		l.Until(30*time.Second, r.Name+" replays with the lower value", func() string {
			v, err := r.Query("select x from after_raise")
			if v == "1" {
				return ""
			}
			return fmt.Sprint(v, err)
		})
	}
	c.WaitHealthy(30 * time.Second)
	out, code = answered(t, m, "\ny\n\n", "restart", "pg-basic", "--pending")
	expect(t, out, code, 0)
	l.Until(20*time.Second, "nothing is pending", func() string {
		out, _ := m.Ctl("list", "-f", "json")
		if !strings.Contains(out, "Pending restart") && strings.Count(out, "streaming") == 2 {
			return ""
		}
		return out
	})
	for _, any := range c.Members {
		if v := any.MustQuery("show max_connections"); v != "120" {
			t.Errorf("max_connections of %s is %s", any.Name, v)
		}
	}
	if rows := w.Lost(c.WaitHealthy(10 * time.Second)); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
}
