package rest

import (
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/postgres"
)

// Live are facts of the moment that no published status holds. The agent
// fills it at each scrape, without waiting for anybody.
type Live struct {
	// GuardPID is the guard's process; 0: none is alive.
	GuardPID int
	// GuardArmed: it holds a deadline. GuardDeadline is that instant.
	GuardArmed    bool
	GuardDeadline clock.Instant
	// GuardBeside: the guard was put beside a PostgreSQL that somebody else
	// had started: it is not its parent.
	GuardBeside bool
	// Unguarded: PostgreSQL runs and no guard is alive.
	Unguarded bool
	// WatchdogActive: the watchdog device counts down and is fed by renewals.
	WatchdogActive bool
	// Gate: a gate before PostgreSQL's port lets clients pass while the lease lasts.
	Gate bool
	// LogQueued and LogLost are the log's records waiting and dropped.
	LogQueued int
	LogLost   uint64
}

// OwnMetrics are the sources of pgha's own series beyond the Backend. The
// zero value is fit for use.
type OwnMetrics struct {
	// Recorder counts events; nil: one that only REST counts in.
	Recorder *Recorder
	// Live, Certificates and MasterAlias are asked at each scrape (the files
	// of Certificates are read elsewhere, about every 10 s). All may be nil.
	Live func() Live
	// Certificates are the files whose end is watched: certificates and CAs.
	Certificates func() []string
	// MasterAlias: emit patroni_master as well (pgha.metrics.master_alias).
	MasterAlias func() bool
	// Revision is the commit the binary was built from.
	Revision string
}

// ownCollector shows a Status and the live facts as pgha's own series.
type ownCollector struct {
	status       func() *Status
	clock        clock.Clock
	own          OwnMetrics
	version      string
	certificates *certificates
}

// Describe sends nothing: what is there depends on the facts.
func (*ownCollector) Describe(chan<- *prometheus.Desc) {}

// sink collects series of one scrape.
type sink struct{ out chan<- prometheus.Metric }

// gauge takes label names and values in turn.
func (k sink) gauge(name, help string, value float64, labels ...string) {
	k.sample(prometheus.GaugeValue, name, help, value, labels...)
}

func (k sink) sample(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	k.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
}

// Collect writes the series of one scrape.
func (c *ownCollector) Collect(out chan<- prometheus.Metric) {
	s, now, k := c.status(), c.clock.Now(), sink{out}
	c.identity(k, s)
	leadership(k, s, now)
	if c.own.Live != nil {
		live(k, c.own.Live(), now)
	}
	probes(k, s.Probes)
	replication(k, s, c.clock.Wall())
	for file, end := range c.certificates.ends() {
		k.gauge("pgha_certificate_not_after_seconds", "When the first certificate of the file ends, unix time.", epoch(end), "file", file)
	}
	if c.own.MasterAlias != nil && c.own.MasterAlias() {
		k.gauge("patroni_master", "Old name of patroni_primary (pgha.metrics.master_alias).", number(s.shownRole() == postgres.RolePrimary))
	}
}

func (c *ownCollector) identity(k sink, s *Status) {
	k.gauge("pgha_build_info", "The binary: always 1.", 1, "version", c.version, "revision", c.own.Revision, "goversion", runtime.Version())
	server := ""
	if s.Server != nil {
		server = fmt.Sprint(s.Server.Version)
	}
	k.gauge("pgha_member_info", "The member: always 1.", 1, "version", s.PghaVersion, "patroni_version", api.PatroniVersion, "server_version", server,
		"role", string(s.shownRole()), "state", string(s.State), "system_identifier", string(s.SystemID))
	for name, value := range s.Tags {
		k.gauge("pgha_member_tag", "A tag of the member: always 1.", 1, "tag", name, "value", fmt.Sprint(value))
	}
	k.gauge("pgha_nofailover", "Value is 1 if the member never becomes leader, 0 otherwise.", number(config.NoFailover(s.Tags)))
	k.gauge("pgha_noloadbalance", "Value is 1 if the tag noloadbalance is set, 0 otherwise.", number(truth(s.Tags["noloadbalance"])))
}

func leadership(k sink, s *Status, now clock.Instant) {
	k.gauge("pgha_leader_lock_held", "Value is 1 if this member holds the leader key for certain, 0 otherwise.", number(s.holdsLease(now)))
	k.gauge("pgha_lease_remaining_seconds", "How long the leader key is certain to stay ours without another renewal; 0: it is not ours.", left(s.LeaseUntil, now))
	var switchover, restart time.Time
	if s.Cluster != nil && s.Cluster.Failover != nil && !s.Cluster.Failover.NoZone {
		switchover = s.Cluster.Failover.ScheduledAt
	}
	if s.ScheduledRestart != nil {
		restart = s.ScheduledRestart.Schedule
	}
	k.gauge("pgha_scheduled_switchover_timestamp_seconds", "When a switchover of the cluster is scheduled; 0: none is.", epoch(switchover))
	k.gauge("pgha_scheduled_restart_timestamp_seconds", "When a restart of PostgreSQL here is scheduled; 0: none is.", epoch(restart))
}

// live shows the second process that holds the lease's deadline, and the log.
func live(k sink, g Live, now clock.Instant) {
	remaining := 0.0
	if g.GuardArmed {
		remaining = left(g.GuardDeadline, now)
	}
	k.gauge("pgha_guard_pid", "Process of the guard; 0: none is alive.", float64(g.GuardPID))
	k.gauge("pgha_guard_armed", "Value is 1 if the guard holds a deadline, 0 otherwise.", number(g.GuardPID != 0 && g.GuardArmed))
	k.gauge("pgha_guard_remaining_seconds", "Time left until the end of the lease that the guard holds; 0: it holds none.", remaining)
	k.gauge("pgha_guard_beside", "Value is 1 if PostgreSQL was started by somebody else and the guard was put beside it, 0 otherwise.", number(g.GuardBeside))
	k.gauge("pgha_postgres_unguarded", "Value is 1 if PostgreSQL runs without a guard, 0 otherwise.", number(g.Unguarded))
	k.gauge("pgha_watchdog_active", "Value is 1 if the watchdog device is open and fed by this member's renewals, 0 otherwise.", number(g.WatchdogActive))
	k.gauge("pgha_gate_active", "Value is 1 if a gate before PostgreSQL's port lets clients pass only while the lease lasts, 0 otherwise.", number(g.Gate))
	k.gauge("pgha_log_queue_records", "Log records waiting to be written.", float64(g.LogQueued))
	k.sample(prometheus.CounterValue, "pgha_log_lost_records_total", "Log records dropped because the queue was full.", float64(g.LogLost))
}

// left is the time until the instant, in seconds, not below 0.
func left(until, now clock.Instant) float64 { return max(0, until.Sub(now).Seconds()) }

// replication shows lag on a standby, and what slots hold back. All of it is
// absent while PostgreSQL cannot be asked.
func replication(k sink, s *Status, wall time.Time) {
	v := s.Server
	if v == nil {
		return
	}
	end := v.Location
	if v.InRecovery {
		end = max(s.leaderLSN(), v.received(), v.Replayed)
		const help = "How far this standby is behind the leader's end of WAL as far as it is known here, by received and by replayed position."
		k.gauge("pgha_replication_lag_bytes", help, gapBytes(end, v.received()), "kind", "receive")
		k.gauge("pgha_replication_lag_bytes", help, gapBytes(end, v.Replayed), "kind", "replay")
		age := 0.0
		if v.Replayed < end && !v.ReplayedAt.IsZero() {
			age = max(0, wall.Sub(v.ReplayedAt).Seconds())
		}
		k.gauge("pgha_replication_lag_seconds", "Age of the last transaction replayed here while something is left to replay; 0: nothing is.", age)
		end = max(v.received(), v.Replayed) // what is here can be held back here
	}
	for _, slot := range v.Slots {
		if slot.Restart != 0 {
			k.gauge("pgha_slot_retained_bytes", "WAL that a replication slot here keeps from being removed.", gapBytes(end, slot.Restart), "slot", slot.Name, "type", slot.Type)
		}
	}
}

func gapBytes(end, at postgres.LSN) float64 {
	if at >= end {
		return 0
	}
	return float64(end - at)
}

// newOwn registers pgha's own series, each with the member's scope and name:
// joins with Patroni's series go by them.
func newOwn(registry *prometheus.Registry, o Options) (*Recorder, *certificates) {
	first := o.Backend.Snapshot()
	to := prometheus.WrapRegistererWith(prometheus.Labels{"scope": first.Scope, "name": first.Name}, registry)
	recorder := o.Metrics.Recorder
	if recorder == nil {
		recorder = NewRecorder()
	}
	recorder.register(to)
	files := &certificates{files: o.Metrics.Certificates}
	to.MustRegister(&ownCollector{status: o.Backend.Snapshot, clock: o.Clock, own: o.Metrics, version: o.Version, certificates: files})
	return recorder, files
}

// Slot is one replication slot on this server.
type Slot struct {
	Name string
	Type string // physical, logical
	// Restart is the oldest position it keeps; 0: none.
	Restart postgres.LSN
}
