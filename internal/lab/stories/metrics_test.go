package stories

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"pgha/internal/lab"
)

// scrape is a member's /metrics as Prometheus parses it.
type scrape map[string]*dto.MetricFamily

func scraped(t *testing.T, m *lab.Member) (scrape, string) {
	t.Helper()
	code, body, err := m.REST("GET", "/metrics", "")
	if err != nil || code != 200 {
		t.Fatalf("GET /metrics of %s: %d %v", m.Name, code, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v\n%s", m.Name, err, body)
	}
	return families, body
}

// value of a series whose labels contain those ("reason", "leader_lost", ...).
// ok is false when there is none.
func (s scrape) value(name string, labels ...string) (v float64, ok bool) {
	f := s[name]
	if f == nil {
		return 0, false
	}
	for _, m := range f.GetMetric() {
		all := true
		for i := 0; i < len(labels); i += 2 {
			found := false
			for _, l := range m.GetLabel() {
				found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
			}
			all = all && found
		}
		if all {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()), true
		}
	}
	return 0, false
}

// is fails unless the series have those values.
func (s scrape) is(t *testing.T, who string, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if got, ok := s.value(name); !ok || got != v {
			t.Errorf("%s: %s is %v (there: %v), want %v", who, name, got, ok, v)
		}
	}
}

// lintExceptions are names that Patroni gave; they stay.
var lintExceptions = map[string]string{
	"patroni_xlog_location":          `counter metrics should have "_total" suffix`,
	"patroni_xlog_received_location": `counter metrics should have "_total" suffix`,
	"patroni_xlog_replayed_location": `counter metrics should have "_total" suffix`,
}

func lint(t *testing.T, who, body string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if lintExceptions[p.Metric] != p.Text {
			t.Errorf("%s: %s: %s", who, p.Metric, p.Text)
		}
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		check := exec.Command(promtool, "check", "metrics")
		check.Stdin = strings.NewReader(body)
		out, err := check.CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if name, _, _ := strings.Cut(line, " "); lintExceptions[name] == "" {
				t.Errorf("%s: promtool: %v %s", who, err, line)
			}
		}
	}
}

// A monitoring system scrapes every member, in every role: the values are
// Patroni's, pgha's own series are those of docs/metrics.md, a change of
// leader is counted where it happened and its phases are measured.
func TestMetrics(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	leader := c.Leader()
	replica, candidate := c.Others(leader)[0], c.Others(leader)[1]

	s, body := scraped(t, leader)
	lint(t, "leader", body)
	s.is(t, "leader", map[string]float64{
		"patroni_version": 40105, "patroni_postgres_running": 1, "patroni_primary": 1, "patroni_replica": 0, "patroni_standby_leader": 0,
		"patroni_xlog_received_location": 0, "patroni_xlog_replayed_location": 0, "patroni_xlog_paused": 0, "patroni_postgres_streaming": 0,
		"patroni_cluster_unlocked": 0, "patroni_is_paused": 0, "patroni_postgres_state": 5, "patroni_postgres_timeline": 1,
		"pgha_leader_lock_held": 1, "pgha_guard_armed": 1, "pgha_postgres_unguarded": 0, "pgha_nofailover": 0,
	})
	if left, _ := s.value("pgha_guard_remaining_seconds"); left <= 0 || left > ttl(c).Seconds() {
		t.Errorf("%v s left at the guard", left)
	}
	if pid, _ := s.value("pgha_guard_pid"); int(pid) != leader.Guard() {
		t.Errorf("guard %v, is %d", pid, leader.Guard())
	}
	for _, m := range c.Others(leader) {
		if _, ok := s.value("pgha_slot_retained_bytes", "slot", m.Name); !ok {
			t.Errorf("no series of the slot of %s", m.Name)
		}
	}
	if n, _ := s.value("pgha_lease_renewal_duration_seconds"); n == 0 {
		t.Error("no renewal was measured")
	}
	if n, _ := s.value("pgha_dcs_request_duration_seconds", "op", "load"); n == 0 {
		t.Error("no read of the DCS was measured")
	}

	s, body = scraped(t, replica)
	lint(t, "replica", body)
	s.is(t, "replica", map[string]float64{
		"patroni_primary": 0, "patroni_replica": 1, "patroni_xlog_location": 0, "patroni_postgres_streaming": 1, "patroni_postgres_state": 5,
		"pgha_leader_lock_held": 0, "pgha_lease_remaining_seconds": 0, "pgha_guard_armed": 0, "pgha_guard_remaining_seconds": 0,
	})
	if lag, ok := s.value("pgha_replication_lag_bytes", "kind", "replay"); !ok || lag > 1<<20 {
		t.Errorf("lag %v (there: %v)", lag, ok)
	}

	switchedOver(t, l, c, leader, candidate)
	stoppedInPause(t, l, c, replica)
	asDocumented(t, c)
}

// switchedOver: who did what in a switchover.
func switchedOver(t *testing.T, l *lab.Lab, c *lab.Cluster, old, next *lab.Member) {
	t.Helper()
	if out, code := old.Ctl("switchover", "--candidate", next.Name, "--force"); code != 0 {
		t.Fatalf("switchover: %d\n%s", code, out)
	}
	c.WaitHealthy(20 * time.Second)
	var s scrape
	l.Until(20*time.Second, "the old leader's return measured", func() string { // by a pass of the loop
		s, _ = scraped(t, old)
		if _, ok := s.value("pgha_last_phase_duration_seconds", "phase", "rejoin"); !ok {
			return "no phase rejoin"
		}
		return ""
	})
	expect := func(who string, s scrape, name string, labels ...string) {
		t.Helper()
		if v, ok := s.value(name, labels...); !ok || v < 1 {
			t.Errorf("%s: %s%v is %v (there: %v)", who, name, labels, v, ok)
		}
	}
	expect("old leader", s, "pgha_switchovers_total", "result", "handed_over")
	expect("old leader", s, "pgha_demotions_total", "reason", "switchover_demoting")
	expect("old leader", s, "pgha_last_role_change_timestamp_seconds")
	for _, phase := range []string{"prepare", "shutdown", "release", "rejoin"} {
		v, ok := s.value("pgha_last_phase_duration_seconds", "operation", "switchover", "phase", phase)
		if !ok || v < 0 || v > 30 {
			t.Errorf("phase %s: %v (there: %v)", phase, v, ok)
		}
		t.Logf("switchover, %s: %.3f s", phase, v)
	}
	s, _ = scraped(t, next)
	expect("new leader", s, "pgha_promotions_total", "reason", "switchover")
	v, ok := s.value("pgha_last_phase_duration_seconds", "operation", "switchover", "phase", "promotion")
	if !ok || v <= 0 || v > 30 {
		t.Errorf("promotion: %v (there: %v)", v, ok)
	}
	t.Logf("switchover, promotion: %.3f s", v)
	if v, _ := s.value("pgha_failovers_total", "reason", "leader_lost"); v != 0 {
		t.Errorf("a switchover is counted as a failover: %v", v)
	}
	if text := s["patroni_master"]; text != nil {
		t.Error("patroni_master without pgha.metrics.master_alias")
	}
}

// stoppedInPause is the third column of Patroni's table: a standby whose
// PostgreSQL an operator has stopped in maintenance.
func stoppedInPause(t *testing.T, l *lab.Lab, c *lab.Cluster, m *lab.Member) {
	t.Helper()
	if out, code := m.Ctl("pause", "--wait"); code != 0 {
		t.Fatalf("pause: %d\n%s", code, out)
	}
	m.StopPostgres()
	var s scrape
	var body string
	l.Until(20*time.Second, "the stop seen", func() string {
		s, body = scraped(t, m)
		if v, _ := s.value("patroni_postgres_state"); v != 12 {
			return fmt.Sprintf("patroni_postgres_state is %v", v)
		}
		return ""
	})
	lint(t, "stopped", body)
	s.is(t, "stopped", map[string]float64{
		"patroni_postgres_running": 0, "patroni_postmaster_start_time": 0, "patroni_primary": 0, "patroni_replica": 1, "patroni_postgres_server_version": 0,
		"patroni_postgres_timeline": 0, "patroni_is_paused": 1, "patroni_xlog_replayed_location": 0, "patroni_cluster_unlocked": 0,
	})
	for _, absent := range []string{"patroni_postgres_streaming", "patroni_postgres_in_archive_recovery", "pgha_replication_lag_bytes"} {
		if s[absent] != nil {
			t.Errorf("%s of a stopped PostgreSQL", absent)
		}
	}
	if out, code := m.Ctl("resume", "--wait"); code != 0 {
		t.Fatalf("resume: %d\n%s", code, out)
	}
	c.WaitHealthy(30 * time.Second)
}

// asDocumented compares docs/metrics.md with what the members show together:
// in both directions, but for what needs a configuration that is not there.
func asDocumented(t *testing.T, c *lab.Cluster) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	present := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(pgha_\\w+)` \\|[^|]*\\|[^|]*\\|[^|]*\\|([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		present[m[1]] = strings.TrimSpace(m[2])
	}
	for _, m := range c.Members {
		s, body := scraped(t, m)
		lint(t, m.Name, body)
		for name := range s {
			if strings.HasPrefix(name, "pgha_") && present[name] == "" {
				t.Errorf("%s shows %s, which docs/metrics.md does not have", m.Name, name)
			}
		}
		for name, when := range present {
			if when == "always" && s[name] == nil {
				t.Errorf("%s does not show %s", m.Name, name)
			}
		}
	}
	shown := func(name string) bool {
		for _, m := range c.Members {
			if s, _ := scraped(t, m); s[name] != nil {
				return true
			}
		}
		return false
	}
	for name, when := range present {
		if when != "with TLS" && when != "with tags" && !shown(name) {
			t.Errorf("no member shows %s (%s)", name, when)
		}
	}
}
