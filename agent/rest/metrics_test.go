package rest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"pgha/internal/clock"
	"pgha/internal/postgres"
)

// samples reads Patroni's sample lines of a scrape, in order.
func samples(t *testing.T, text string) (names []string, values map[string]string) {
	t.Helper()
	values = map[string]string{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "pgha_") {
			continue
		}
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, labels, _ := strings.Cut(series, "{")
		if labels != `scope="shop",name="db1"}` && labels != `scope="shop",name="db2"}` {
			t.Errorf("labels of %s", line)
		}
		names = append(names, name)
		values[name] = value
	}
	return names, values
}

// TestMetrics is the table of metrics.md section 3 for a leader, a standby
// with replay paused in maintenance, and a stopped standby.
func TestMetrics(t *testing.T) {
	standby := replica(clock.Now())
	standby.Config.Pause, standby.Server.ReplayPaused = true, true
	standby.Server.ReplayedAt = time.Unix(1795431990, 736995000)
	stopped := replica(clock.Now())
	stopped.State, stopped.Server, stopped.Config.Pause = postgres.StateStopped, nil, true
	lost := primary(clock.Now())
	lost.Cluster, lost.FailsafeUntil, lost.Config.FailsafeMode = nil, clock.Now().Add(time.Minute), true
	lost.Failsafe = map[string]string{"db1": "x"}
	lost.Tags = map[string]any{"nofailover": true}

	for _, tc := range []struct {
		name   string
		status *Status
		lines  int
		want   map[string]string
	}{
		{"leader", primary(clock.Now()), 26, map[string]string{
			"patroni_version": "040105", "patroni_postgres_running": "1", "patroni_postmaster_start_time": "1927857906.789012",
			"patroni_primary": "1", "patroni_xlog_location": "5368709120", "patroni_replica": "0", "patroni_xlog_received_location": "0",
			"patroni_xlog_replayed_timestamp": "0", "patroni_postgres_streaming": "0", "patroni_postgres_server_version": "170005",
			"patroni_cluster_unlocked": "0", "patroni_postgres_timeline": "3", "patroni_dcs_last_seen": "1927958706",
			"patroni_is_paused": "0", "patroni_postgres_state": "5", "patroni_failover_priority": "1", "patroni_failsafe_mode_enabled": "0",
		}},
		{"standby", standby, 26, map[string]string{
			"patroni_primary": "0", "patroni_replica": "1", "patroni_xlog_location": "0", "patroni_xlog_received_location": "5368709120",
			"patroni_xlog_replayed_location": "5368709120", "patroni_xlog_replayed_timestamp": "1795431990.736995", "patroni_xlog_paused": "1",
			"patroni_postgres_streaming": "1", "patroni_postgres_in_archive_recovery": "0", "patroni_is_paused": "1",
		}},
		{"stopped", stopped, 24, map[string]string{
			"patroni_postgres_running": "0", "patroni_postmaster_start_time": "0", "patroni_replica": "1", "patroni_xlog_replayed_location": "0",
			"patroni_postgres_server_version": "0", "patroni_postgres_timeline": "0", "patroni_postgres_state": "12",
		}},
		{"DCS lost, failsafe", lost, 26, map[string]string{
			"patroni_cluster_unlocked": "1", "patroni_failsafe_mode_is_active": "1", "patroni_failsafe_mode_enabled": "1",
			"patroni_failsafe_member": "1", "patroni_failover_priority": "0",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, url := start(t, &testAgent{status: tc.status}, nil)
			code, body := ask(t, http.MethodGet, url+"/metrics/", "")
			names, values := samples(t, body)
			if code != 200 || len(names) != tc.lines {
				t.Errorf("%d, %d samples, want %d:\n%s", code, len(names), tc.lines, body)
			}
			for name, want := range tc.want {
				if values[name] != want {
					t.Errorf("%s: %q, want %q", name, values[name], want)
				}
			}
			for i, m := range patroniSeries {
				if len(names) == len(patroniSeries) && names[i] != m.name {
					t.Errorf("line %d is %s, want %s", i, names[i], m.name)
				}
			}
			// What Prometheus itself makes of it.
			parser := expfmt.NewTextParser(model.LegacyValidation)
			if _, err := parser.TextToMetricFamilies(strings.NewReader(body)); err != nil {
				t.Errorf("not parseable: %v\n%s", err, body)
			}
		})
	}
}

func TestMetricsText(t *testing.T) {
	a := well()
	a.status.Scope = "a\"b\\c\nd"
	s, url := start(t, a, nil)
	own := prometheus.NewGauge(prometheus.GaugeOpts{Name: "pgha_test_ratio", Help: "Only here."})
	s.Registry().MustRegister(own)
	_, body := ask(t, http.MethodGet, url+"/metrics", "")
	const beginning = "# HELP patroni_version Patroni semver without periods.\n# TYPE patroni_version gauge\n" +
		`patroni_version{scope="a\"b\\c\nd",name="db1"} 040105` + "\n# HELP patroni_postgres_running "
	const state = "# HELP patroni_postgres_state Numeric representation of Postgres state.\n" +
		"# Values: 0=initdb, 1=initdb_failed, 2=custom_bootstrap, 3=custom_bootstrap_failed, 4=creating_replica, 5=running, 6=starting, 7=bootstrap_starting, 8=start_failed, 9=restarting, 10=restart_failed, 11=stopping, 12=stopped, 13=stop_failed, 14=crashed\n" +
		"# TYPE patroni_postgres_state gauge\npatroni_postgres_state{"
	if !strings.HasPrefix(body, beginning) || !strings.Contains(body, state) || !strings.Contains(body, "\npgha_test_ratio 0\n") {
		t.Errorf("scrape:\n%s", body)
	}
}

// TestMetricsLint permits what Patroni's names force on us and nothing else.
func TestMetricsLint(t *testing.T) {
	s, url := start(t, well(), ownEverything)
	ask(t, http.MethodGet, url+"/primary", "") // so that requests are counted
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	permitted := map[string]string{
		"patroni_xlog_location":          `counter metrics should have "_total" suffix`,
		"patroni_xlog_received_location": `counter metrics should have "_total" suffix`,
		"patroni_xlog_replayed_location": `counter metrics should have "_total" suffix`,
	}
	for _, p := range problems {
		if permitted[p.Metric] != p.Text {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestEveryStateHasItsNumber is the table of rest-api.md 3.1.
func TestEveryStateHasItsNumber(t *testing.T) {
	for i, text := range []postgres.State{"initializing new cluster", "initdb failed", "running custom bootstrap script",
		"custom bootstrap failed", "creating replica", "running", "starting", "starting after custom bootstrap", "start failed",
		"restarting", "restart failed", "stopping", "stopped", "stop failed", "crashed"} {
		if got := stateIndex(text); got != float64(i) {
			t.Errorf("%s is %v, want %d", text, got, i)
		}
	}
	if got := stateIndex("unknown"); got != -1 {
		t.Errorf("unknown is %v", got)
	}
}
