package rest

import (
	"strings"
	"time"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// Status is everything the server says about this member without asking
// anybody. The agent publishes a new value each cycle and whenever a fact
// changes; a published value, and all it points to, is never written again.
type Status struct {
	// At is when the facts in Server were asked for, also when the query
	// failed: a frozen PostgreSQL is not asked again by every client.
	At clock.Instant

	Scope string
	Name  string
	// PghaVersion is this binary's version, for the document's key "pgha".
	PghaVersion string

	// State of PostgreSQL; postgres.StateUnknown when it is running and the
	// status query failed.
	State postgres.State
	// Role as the agent has it in memory: what is shown when PostgreSQL
	// cannot be asked.
	Role postgres.Role
	// Server is what PostgreSQL said of itself: nil unless State is running,
	// starting or restarting and the query succeeded.
	Server *Facts

	// Cluster is the last read of the DCS while it is valid: nil after a
	// failed read, or when it is older than the ttl.
	Cluster *dcs.Cluster
	// LastCluster is the last read that succeeded, however old; nil before
	// the first. Members stay known by it when the DCS is silent (rulings 29).
	LastCluster *dcs.Cluster
	// DCSLastSeen is when a read of the DCS last succeeded; zero: never.
	DCSLastSeen time.Time
	// Config is the dynamic configuration in force: of Cluster, or the last
	// known good one.
	Config config.Dynamic

	// LeaseUntil is the instant until which this member holds the leader key
	// for certain; zero when it does not. The agent clears it as soon as a read
	// shows another leader, when the key is released, and on demotion. In
	// failsafe mode each accepted round moves it.
	LeaseUntil clock.Instant
	// FailsafeUntil is the instant until which failsafe mode counts as
	// confirmed: on the primary by its own round, elsewhere by POST /failsafe.
	FailsafeUntil clock.Instant
	// Failsafe is the last known map of member name to api_url; nil: none.
	Failsafe map[string]string
	// NextTick is when the loop runs next at the latest.
	NextTick clock.Instant

	// Tags are those in force, with what a running restart merged into them;
	// ConfiguredTags those of the configuration. Both as published (false
	// defaults left out); nil when empty.
	Tags           map[string]any
	ConfiguredTags map[string]any

	// SystemID is empty while there is no data directory.
	SystemID             postgres.SystemID
	PendingRestart       bool
	PendingRestartReason map[string]dcs.ParameterChange
	ScheduledRestart     *dcs.ScheduledRestart
	// WatchdogFailed: a watchdog is required and not healthy.
	WatchdogFailed bool
	// Protection is the state of each part that fences this member, by name,
	// e.g. guard: "parent", gate: "no: not permitted"; nil: not known yet.
	Protection map[string]string
	// Probes are the health probes, in a fixed order; nil: not known.
	Probes []Probe
	// LogQueue is the number of log records waiting; LogLost of those dropped.
	LogQueue, LogLost int
}

// Facts is what one status query told about PostgreSQL.
type Facts struct {
	PostmasterStart time.Time
	Version         int // server_version_num, 150018
	InRecovery      bool
	// Timeline is 0 when unknown.
	Timeline postgres.Timeline

	// Location is the flushed position of a primary.
	Location postgres.LSN
	// The following are of a server in recovery. Received is the position the
	// WAL receiver has written, else the last received one, else Replayed.
	Received postgres.LSN
	Replayed postgres.LSN
	// ReplayedAt is the commit time of the last replayed transaction; zero: none.
	ReplayedAt   time.Time
	ReplayPaused bool
	// ReplicationState is "streaming", "in archive recovery" or empty.
	ReplicationState string
	// UpstreamEnd is the upstream's end of WAL as the WAL receiver knows it
	// (latest_end_lsn); 0: unknown. It is never shown.
	UpstreamEnd postgres.LSN

	// Replication are the WAL senders, in the server's order.
	Replication []Sender
	// Slots are the replication slots on this server. Never shown, measured.
	Slots []Slot
}

// Sender is one row of pg_stat_replication.
type Sender struct {
	User            string
	ApplicationName string
	ClientAddr      string // empty: unix socket
	State           string
	SyncState       string
	SyncPriority    int
}

const (
	replicationStreaming = "streaming"
	replicationArchive   = "in archive recovery"
)

// shownRole is the role of documents and checks (contract: rest-api.md 3.2).
func (s *Status) shownRole() postgres.Role {
	role := s.Role
	if role == postgres.RoleMaster {
		role = postgres.RolePrimary
	}
	switch {
	case s.Server == nil:
		return role
	case !s.Server.InRecovery:
		return postgres.RolePrimary
	case s.Config.StandbyCluster != nil && role == postgres.RoleStandbyLeader:
		return role
	}
	return postgres.RoleReplica
}

// holdsLease says whether the leader key is ours at the instant.
func (s *Status) holdsLease(now clock.Instant) bool { return now.Before(s.LeaseUntil) }

func (s *Status) failsafeActive(now clock.Instant) bool { return now.Before(s.FailsafeUntil) }

// unlocked: nobody holds the leader key as far as this member can see.
func (s *Status) unlocked() bool { return s.Cluster == nil || s.Cluster.Leader == nil }

// syncStandby says whether this member is a standby listed in /sync while the
// mode is the one given.
func (s *Status) syncStandby(mode config.SyncMode) bool {
	return s.Server != nil && s.shownRole() == postgres.RoleReplica && s.Cluster != nil &&
		s.Config.SynchronousMode == mode && inSync(s.Cluster, s.Name)
}

// inSync says whether the member is listed as a standby in /sync. Names are
// compared without case, as PostgreSQL does.
func inSync(c *dcs.Cluster, name string) bool {
	for _, standby := range c.Sync.Standbys {
		if strings.EqualFold(standby, name) {
			return true
		}
	}
	return false
}

// leaderLSN is how far the leader is known to be; 0 when unknown.
func (s *Status) leaderLSN() postgres.LSN {
	var end postgres.LSN
	if s.Cluster != nil {
		end = s.Cluster.Status.Optime
	}
	if s.Server != nil {
		end = max(end, s.Server.UpstreamEnd)
	}
	return end
}

// runsAsPrimary is the agent's own view, for what must not wait for a query.
func (s *Status) runsAsPrimary() bool {
	running := s.State == postgres.StateRunning || s.State == postgres.StateUnknown
	return running && s.Role.IsPrimary()
}

// received is Received with its fallback.
func (s *Facts) received() postgres.LSN {
	if s.Received == 0 {
		return s.Replayed
	}
	return s.Received
}
