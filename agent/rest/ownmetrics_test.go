package rest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// ownEverything gives a server every source of pgha's own series, and has
// each event counted once.
func ownEverything(o *Options) {
	r := NewRecorder()
	r.Expect(Known{Ops: []string{"load"}, Promotions: []string{"switchover"}, Demotions: []string{"switchover_demoting"},
		Failovers: []string{"leader_lost"}, Switchovers: []string{"handed_over"}})
	r.Cycle(20*time.Millisecond, true, "leading")
	r.Renewed(5 * time.Millisecond)
	r.DCSRequest("load", time.Millisecond, true)
	r.Promoted("switchover")
	r.PromotionFailed()
	r.Demoting("switchover_demoting")
	r.FailedOver("leader_lost")
	r.SwitchedOver("handed_over")
	r.Failsafe(true, 3*time.Second)
	r.Phase("switchover", "shutdown", 200*time.Millisecond)
	r.RoleChanged(time.Unix(1927958706, 500000000))
	o.Metrics = OwnMetrics{Recorder: r, Revision: "0123456789ab", MasterAlias: func() bool { return true },
		Live: func() Live {
			return Live{GuardPID: 77, GuardArmed: true, GuardDeadline: clock.Now().Add(20 * time.Second), WatchdogActive: true, Gate: true, LogQueued: 3, LogLost: 2}
		}}
}

// gathered is every sample of pgha's own by "name{labels}" without scope and
// name, which every one of them must carry.
func gathered(t *testing.T, s *Server) map[string]float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if label(m, "scope") == "" || label(m, "name") == "" {
				t.Errorf("%s lacks scope or name", f.GetName())
			}
			out[f.GetName()+labels(m)] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func labels(m *dto.Metric) string {
	var own []string
	for _, l := range m.GetLabel() {
		if l.GetName() != "scope" && l.GetName() != "name" {
			own = append(own, l.GetName()+"="+l.GetValue())
		}
	}
	if own == nil {
		return ""
	}
	return "{" + strings.Join(own, ",") + "}"
}

func TestOwnSeries(t *testing.T) {
	leader := primary(clock.Now())
	leader.Server.Slots = []Slot{{Name: "db2", Type: "physical", Restart: 5368709120 - 4096}, {Name: "ahead", Type: "physical", Restart: 5368709121}, {Name: "unused", Type: "physical"}}
	leader.Cluster.Failover = &dcs.Failover{ScheduledAt: time.Unix(1927960000, 0)}
	leader.Tags = map[string]any{"noloadbalance": true}

	standby := replica(clock.Now())
	standby.Server.Received, standby.Server.Replayed = 5368709120-1000, 5368709120-3000
	standby.Server.UpstreamEnd = 5368709120
	standby.Tags = map[string]any{"nofailover": true, "dc": "south"}
	standby.ScheduledRestart = &dcs.ScheduledRestart{Schedule: time.Unix(1927970000, 0)}

	stopped := replica(clock.Now())
	stopped.State, stopped.Server = postgres.StateStopped, nil

	for _, tc := range []struct {
		name   string
		status *Status
		want   map[string]float64
		absent []string
	}{
		{"leader", leader, map[string]float64{
			"pgha_leader_lock_held": 1, "pgha_scheduled_switchover_timestamp_seconds": 1927960000, "pgha_scheduled_restart_timestamp_seconds": 0,
			"pgha_slot_retained_bytes{slot=db2,type=physical}": 4096, "pgha_slot_retained_bytes{slot=ahead,type=physical}": 0,
			"pgha_noloadbalance": 1, "pgha_nofailover": 0, "pgha_guard_pid": 77, "pgha_guard_armed": 1, "pgha_watchdog_active": 1, "pgha_gate_active": 1, "pgha_postgres_unguarded": 0,
			"pgha_log_lost_records_total": 2, "pgha_decisions_total{reason=leading}": 1, "pgha_loop_overruns_total": 1,
			"pgha_dcs_errors_total{op=load}": 1, "pgha_dcs_request_duration_seconds{op=load}": 1,
			"pgha_failovers_total{reason=leader_lost}": 1, "pgha_last_role_change_timestamp_seconds": 1927958706.5,
			"pgha_last_phase_duration_seconds{operation=switchover,phase=shutdown}": 0.2, "patroni_master": 1,
			"pgha_failsafe_entries_total": 1, "pgha_failsafe_seconds_total": 3,
		}, []string{"pgha_replication_lag_bytes{kind=receive}", "pgha_slot_retained_bytes{slot=unused,type=physical}"}},
		{"standby", standby, map[string]float64{
			"pgha_leader_lock_held": 0, "pgha_lease_remaining_seconds": 0,
			"pgha_replication_lag_bytes{kind=receive}": 1000, "pgha_replication_lag_bytes{kind=replay}": 3000,
			"pgha_nofailover": 1, "pgha_member_tag{tag=dc,value=south}": 1, "pgha_scheduled_restart_timestamp_seconds": 1927970000, "patroni_master": 0,
		}, nil},
		{"stopped", stopped, map[string]float64{
			"pgha_member_info{patroni_version=4.1.5,role=replica,server_version=,state=stopped,system_identifier=7500000000000000001,version=}": 1,
		}, []string{"pgha_replication_lag_bytes{kind=replay}", "pgha_replication_lag_seconds"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := start(t, &testAgent{status: tc.status}, ownEverything)
			have := gathered(t, s)
			for name, want := range tc.want {
				if got, there := have[name]; !there || got != want {
					t.Errorf("%s: %v (there: %v), want %v", name, got, there, want)
				}
			}
			for _, name := range tc.absent {
				if got, there := have[name]; there {
					t.Errorf("%s is there: %v", name, got)
				}
			}
		})
	}
}

// The seconds left fall between two scrapes without anything published.
func TestLeaseAndGuardCountDown(t *testing.T) {
	leader := primary(clock.Now())
	leader.LeaseUntil = clock.Now().Add(10 * time.Second)
	s, _ := start(t, &testAgent{status: leader}, ownEverything)
	first := gathered(t, s)["pgha_lease_remaining_seconds"]
	second := gathered(t, s)["pgha_lease_remaining_seconds"]
	if first <= 0 || first > 10 || second >= first {
		t.Errorf("%v s left, then %v", first, second)
	}
}

// Whatever clients send, the number of series stays bounded.
func TestRequestsAreCountedInClasses(t *testing.T) {
	agent := well()
	agent.do = func(Request) Result { return Result{Code: http.StatusOK} }
	s, url := start(t, agent, nil)
	for _, r := range []struct{ method, path, class string }{
		{"GET", "/", "path=primary"}, {"OPTIONS", "/", "path=primary"}, {"HEAD", "/master", "path=primary"},
		{"GET", "/replica?lag=1MB&tag_x=y", "path=replica"}, {"GET", "/api/standby-leader", "path=standby_leader"},
		{"GET", "/patroni", "path=patroni"}, {"GET", "/cluster", "path=cluster"}, {"GET", "/liveness", "path=liveness"},
		{"GET", "/asynchronous", "path=async"}, {"GET", "/read-only-sync", "path=read_only"},
		{"GET", "/" + strings.Repeat("x", 100), "path=unknown"}, {"GET", "/nonsense", "path=unknown"}, {"DELETE", "/nothing", "path=unknown"},
		{"POST", "/restart", "path=restart"}, {"DELETE", "/switchover", "path=switchover"},
	} {
		code, _ := ask(t, r.method, url+r.path, "")
		name := fmt.Sprintf("pgha_rest_requests_total{code=%d,%s}", code, r.class)
		if have := gathered(t, s); have[name] == 0 {
			t.Errorf("%s %s: %s is not counted", r.method, r.path, name)
		}
	}
	if n := testutil.CollectAndCount(s.recorder.requests); n > 14 {
		t.Errorf("%d series of 13 classes", n)
	}
}

func TestCertificateEnds(t *testing.T) {
	dir := t.TempDir()
	early, late := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC)
	both, none := filepath.Join(dir, "both.crt"), filepath.Join(dir, "none.crt")
	write := func(file string, text []byte) {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(both, append(certificate(t, late), certificate(t, early)...))
	write(none, []byte("no certificate"))
	s, _ := start(t, well(), func(o *Options) {
		o.Metrics.Certificates = func() []string { return []string{both, none, filepath.Join(dir, "missing")} }
	})
	name := "pgha_certificate_not_after_seconds{file=" + both + "}"
	have := gathered(t, s)
	if have[name] != float64(early.Unix()) {
		t.Errorf("%v, want %v", have[name], early.Unix())
	}
	for other := range have {
		if strings.HasPrefix(other, "pgha_certificate") && other != name {
			t.Errorf("unexpected %s", other)
		}
	}
	write(both, certificate(t, late)) // renewed
	s.maintainOnce(t.Context(), "")
	if have := gathered(t, s); have[name] != float64(late.Unix()) {
		t.Errorf("after the renewal: %v", have[name])
	}
}

// certificate is a self-signed one as PEM.
func certificate(t *testing.T, end time.Time) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "db1"}, NotBefore: end.AddDate(-1, 0, 0), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
