package rest

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/postgres"
)

// series is one of Patroni's metrics.
type series struct {
	name string
	help string
	kind prometheus.ValueType
	// value; false: the series is absent.
	value func(*Status, clock.Instant) (float64, bool)
}

// patroniSeries in output order (contract: metrics.md section 2). Three
// positions are declared counters although they may fall: dashboards apply
// irate to them.
var patroniSeries = []series{
	{"patroni_version", "Patroni semver without periods.", prometheus.GaugeValue, always(func(*Status, clock.Instant) float64 { return versionValue() })},
	{"patroni_postgres_running", "Value is 1 if Postgres is running, 0 otherwise.", prometheus.GaugeValue, flag(func(s *Status) bool { return s.State == postgres.StateRunning })},
	{"patroni_postmaster_start_time", "Epoch seconds since Postgres started.", prometheus.GaugeValue, server(func(v *Facts) float64 { return epoch(v.PostmasterStart) })},
	{"patroni_primary", "Value is 1 if this node is the primary, 0 otherwise.", prometheus.GaugeValue, flag(func(s *Status) bool { return s.shownRole() == postgres.RolePrimary })},
	{"patroni_xlog_location", "Current location of the Postgres transaction log, 0 if this node is not the primary.", prometheus.CounterValue, server(func(v *Facts) float64 { return primaryOnly(v, v.Location) })},
	{"patroni_standby_leader", "Value is 1 if this node is the standby_leader, 0 otherwise.", prometheus.GaugeValue, flag(func(s *Status) bool { return s.shownRole() == postgres.RoleStandbyLeader })},
	{"patroni_replica", "Value is 1 if this node is a replica, 0 otherwise.", prometheus.GaugeValue, flag(func(s *Status) bool { return s.shownRole() == postgres.RoleReplica })},
	{"patroni_sync_standby", "Value is 1 if this node is a sync standby, 0 otherwise.", prometheus.GaugeValue, flag(func(s *Status) bool { return s.syncStandby(config.SyncOn) })},
	{"patroni_quorum_standby", "Value is 1 if this node is a quorum standby, 0 otherwise.", prometheus.GaugeValue, flag(func(s *Status) bool { return s.syncStandby(config.SyncQuorum) })},
	{"patroni_xlog_received_location", "Current location of the received Postgres transaction log, 0 if this node is not a replica.", prometheus.CounterValue, server(func(v *Facts) float64 { return standbyOnly(v, v.received()) })},
	{"patroni_xlog_replayed_location", "Current location of the replayed Postgres transaction log, 0 if this node is not a replica.", prometheus.CounterValue, server(func(v *Facts) float64 { return standbyOnly(v, v.Replayed) })},
	{"patroni_xlog_replayed_timestamp", "Current timestamp of the replayed Postgres transaction log, 0 if null.", prometheus.GaugeValue, server(func(v *Facts) float64 { return epoch(v.ReplayedAt) })},
	{"patroni_xlog_paused", "Value is 1 if the Postgres xlog is paused, 0 otherwise.", prometheus.GaugeValue, server(func(v *Facts) float64 { return number(v.InRecovery && v.ReplayPaused) })},
	{"patroni_postgres_streaming", "Value is 1 if Postgres is streaming, 0 otherwise.", prometheus.GaugeValue, replicating(replicationStreaming)},
	{"patroni_postgres_in_archive_recovery", "Value is 1 if Postgres is replicating from archive, 0 otherwise.", prometheus.GaugeValue, replicating(replicationArchive)},
	{"patroni_postgres_server_version", "Version of Postgres (if running), 0 otherwise.", prometheus.GaugeValue, server(func(v *Facts) float64 { return float64(v.Version) })},
	{"patroni_cluster_unlocked", "Value is 1 if the cluster is unlocked, 0 if locked.", prometheus.GaugeValue, flag((*Status).unlocked)},
	{"patroni_failsafe_mode_is_active", "Value is 1 if failsafe mode is active, 0 if inactive.", prometheus.GaugeValue, always(func(s *Status, now clock.Instant) float64 { return number(s.failsafeActive(now)) })},
	{"patroni_failsafe_mode_enabled", "Value is 1 if failsafe mode is enabled, 0 if disabled.", prometheus.GaugeValue, flag(func(s *Status) bool { return s.Config.FailsafeMode })},
	{"patroni_failsafe_member", "Value is 1 if this node is in the failsafe map, 0 otherwise.", prometheus.GaugeValue, flag(func(s *Status) bool { _, in := s.Failsafe[s.Name]; return in })},
	{"patroni_postgres_timeline", "Postgres timeline of this node (if running), 0 otherwise.", prometheus.GaugeValue, server(func(v *Facts) float64 { return float64(v.Timeline) })},
	{"patroni_dcs_last_seen", "Epoch timestamp when DCS was last contacted successfully by Patroni.", prometheus.GaugeValue, always(func(s *Status, _ clock.Instant) float64 { return float64(unixSeconds(s.DCSLastSeen)) })},
	{"patroni_pending_restart", "Value is 1 if the node needs a restart, 0 otherwise.", prometheus.GaugeValue, flag(func(s *Status) bool { return s.PendingRestart })},
	{"patroni_is_paused", "Value is 1 if auto failover is disabled, 0 otherwise.", prometheus.GaugeValue, flag(func(s *Status) bool { return s.Config.Pause })},
	{stateMetric, "Numeric representation of Postgres state.", prometheus.GaugeValue, always(func(s *Status, _ clock.Instant) float64 { return stateIndex(s.State) })},
	{"patroni_failover_priority", "Failover priority of this node, 0 if it must not become leader.", prometheus.GaugeValue, always(func(s *Status, _ clock.Instant) float64 { return float64(config.FailoverPriority(s.Tags)) })},
}

const (
	versionMetric = "patroni_version"
	stateMetric   = "patroni_postgres_state"
)

// stateNames by index; the numbers are fixed, new states go to the end.
var stateNames = []struct {
	state postgres.State
	name  string
}{
	{postgres.StateInitializing, "initdb"},
	{postgres.StateInitFailed, "initdb_failed"},
	{postgres.StateCustomBootstrap, "custom_bootstrap"},
	{postgres.StateCustomBootstrapFailed, "custom_bootstrap_failed"},
	{postgres.StateCreatingReplica, "creating_replica"},
	{postgres.StateRunning, "running"},
	{postgres.StateStarting, "starting"},
	{postgres.StateBootstrapStarting, "bootstrap_starting"},
	{postgres.StateStartFailed, "start_failed"},
	{postgres.StateRestarting, "restarting"},
	{postgres.StateRestartFailed, "restart_failed"},
	{postgres.StateStopping, "stopping"},
	{postgres.StateStopped, "stopped"},
	{postgres.StateStopFailed, "stop_failed"},
	{postgres.StateCrashed, "crashed"},
}

func stateIndex(state postgres.State) float64 {
	for i, s := range stateNames {
		if s.state == state {
			return float64(i)
		}
	}
	return -1
}

// versionText is 4.1.5 as 040105: two digits a part.
func paddedVersion() string {
	var b strings.Builder
	for part := range strings.SplitSeq(api.PatroniVersion, ".") {
		fmt.Fprintf(&b, "%02s", part)
	}
	return b.String()
}

func versionValue() float64 {
	var n float64
	for _, digit := range paddedVersion() {
		n = n*10 + float64(digit-'0')
	}
	return n
}

func always(f func(*Status, clock.Instant) float64) func(*Status, clock.Instant) (float64, bool) {
	return func(s *Status, now clock.Instant) (float64, bool) { return f(s, now), true }
}

func flag(f func(*Status) bool) func(*Status, clock.Instant) (float64, bool) {
	return func(s *Status, _ clock.Instant) (float64, bool) { return number(f(s)), true }
}

// server is 0 while PostgreSQL cannot be asked.
func server(f func(*Facts) float64) func(*Status, clock.Instant) (float64, bool) {
	return func(s *Status, _ clock.Instant) (float64, bool) {
		if s.Server == nil {
			return 0, true
		}
		return f(s.Server), true
	}
}

// replicating is absent while PostgreSQL cannot be asked.
func replicating(state string) func(*Status, clock.Instant) (float64, bool) {
	return func(s *Status, _ clock.Instant) (float64, bool) {
		if s.Server == nil {
			return 0, false
		}
		return number(s.Server.InRecovery && s.Server.ReplicationState == state), true
	}
}

func primaryOnly(v *Facts, at postgres.LSN) float64 {
	if v.InRecovery {
		return 0
	}
	return float64(at)
}

func standbyOnly(v *Facts, at postgres.LSN) float64 {
	if !v.InRecovery {
		return 0
	}
	return float64(at)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func epoch(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

// collector shows a Status as Patroni's metrics.
type collector struct {
	status func() *Status
	clock  clock.Clock
}

// Describe sends nothing: labels depend on the status, and the registry then
// checks each collection instead.
func (collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(out chan<- prometheus.Metric) {
	s, now := c.status(), c.clock.Now()
	for _, m := range patroniSeries {
		value, present := m.value(s, now)
		if !present {
			continue
		}
		desc := prometheus.NewDesc(m.name, m.help, []string{"scope", "name"}, nil)
		out <- prometheus.MustNewConstMetric(desc, m.kind, value, s.Scope, s.Name)
	}
}

func newRegistry(b Backend, clk clock.Clock) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{status: b.Snapshot, clock: clk})
	return registry
}

func (s *Server) getMetrics(c *call) answer {
	// The collector reads the snapshot, which this makes young enough.
	s.fresh(c.r.Context(), checkAge)
	families, err := s.registry.Gather()
	if err != nil {
		s.log.Error("collect metrics", "err", err) // what could be gathered is shown
	}
	return answer{code: http.StatusOK, contentType: "text/plain", body: exposition(families)}
}
