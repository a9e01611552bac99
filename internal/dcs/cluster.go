// Package dcs is a cluster as it is stored in the distributed configuration
// store: the keys below /<namespace>/<scope>/, their values, and what may be
// done to them (contract: dcs-layout.md). Two stores implement it: etcd v3
// (internal/dcs/etcd) and memory (internal/dcs/dcstest); both pass one
// conformance suite.
package dcs

import (
	"time"

	"pgha/internal/postgres"
)

// Revision is a store revision: the whole store's for a Cluster, the key's
// last change (etcd mod_revision) elsewhere. Zero means "key absent".
type Revision int64

// LeaseID names a lease in the store; zero is "none".
type LeaseID int64

// Cluster is everything one read of a scope returned. It is immutable: share
// it, never write to it.
type Cluster struct {
	// Revision of the store at which all of this was true together.
	Revision Revision
	// Initialize is nil when the key is absent. Present and empty while a
	// member bootstraps.
	Initialize *Initialize
	// Config is nil when the key is absent.
	Config *Config
	// Leader is nil when nobody holds the leader key (absent, or empty).
	Leader *Leader
	// Members by name, in byte order.
	Members []Member
	// Status is the zero value when the key is absent.
	Status Status
	// Failover is nil when there is no request (absent, empty, `{}`, damaged).
	Failover *Failover
	// FailoverRevision is the failover key's revision even when Failover is nil.
	FailoverRevision Revision
	// Sync is never nil; Leader in it is empty when the key is absent or damaged.
	Sync Sync
	// History is the timeline history, oldest first; nil when absent or damaged.
	History []HistoryRow
	// HistoryRaw is the key's exact text ("" when absent): the race needs to
	// tell `[]` from absent.
	HistoryRaw string
	// Failsafe maps member name to api_url; nil when absent or not an object.
	Failsafe map[string]string
	// Damaged says, one line a key, what could not be understood and how it
	// was read instead. For the log; nothing decides on it.
	Damaged []string
}

// Initialize is the key that tells whether a cluster exists.
type Initialize struct {
	// SystemID is the text of the key: empty while a member bootstraps.
	SystemID postgres.SystemID
	// Lease is non-zero while a pgha member bootstraps: the claim vanishes
	// with its member.
	Lease    LeaseID
	Revision Revision
}

// Config is the dynamic configuration as stored.
type Config struct {
	// Raw is the key's exact text. Key order in it matters to clients of GET /config.
	Raw []byte
	// Valid says whether Raw is a JSON object. When false the key counts as
	// absent for decisions, and its Revision still guards the next write.
	Valid    bool
	Revision Revision
}

// Leader is the owner of the leader key.
type Leader struct {
	Name     string
	Lease    LeaseID
	Revision Revision
}

// Member is one members/<name> key. Fields a damaged value lacks are zero.
type Member struct {
	Name     string
	Lease    LeaseID
	Revision Revision
	MemberData
}

// MemberData is the JSON of a member key (contract: dcs-layout.md 1.1).
// Encoding is done by EncodeMember, decoding (tolerant) by DecodeMember.
type MemberData struct {
	ConnURL  string
	APIURL   string
	ProxyURL string
	State    postgres.State
	Role     postgres.Role
	// Version is the Patroni version the member speaks for: dotted integers.
	Version string
	// CheckpointAfterPromote is non-nil while the leader's first checkpoint
	// after its promotion is outstanding. Readers look at presence only.
	CheckpointAfterPromote *bool
	// Tags as published; nil when none.
	Tags                 map[string]any
	PendingRestart       bool
	PendingRestartReason map[string]ParameterChange
	// Location is xlog_location: flushed on a primary, on a standby the
	// larger of received and replayed. Zero: unknown.
	Location         LSN
	Receive          LSN
	Replay           LSN
	ReplicationState string
	Timeline         postgres.Timeline
	ScheduledRestart *ScheduledRestart
	Pause            bool
	// Pgha is set by pgha members only: peers use it to tell a pgha candidate
	// (key hand-over, rulings 18) from a Patroni one.
	Pgha *PghaInfo
}

// LSN is postgres.LSN, named here because half of this package's fields have it.
type LSN = postgres.LSN

// PghaInfo is pgha's own object in a member key. Patroni ignores it.
type PghaInfo struct {
	// Version of the pgha binary.
	Version string `json:"version"`
	// Note is one line for `ctl list`: why the member is not well. Empty: nothing to say.
	Note string `json:"note,omitempty"`
}

// ParameterChange is why a parameter waits for a restart.
type ParameterChange struct {
	Old string `json:"old_value"`
	New string `json:"new_value"`
}

// ScheduledRestart is a restart waiting for its time.
type ScheduledRestart struct {
	Schedule            time.Time
	PostmasterStartTime string
	Role                string
	PostgresVersion     string
	Timeout             time.Duration
	RestartPending      bool
}

// Status is the leader's progress report.
type Status struct {
	// Optime is the leader's last LSN; zero when unknown.
	Optime      LSN
	Slots       map[string]LSN
	RetainSlots []string
	Revision    Revision
	// Raw is the exact text last read: a write of the same text is skipped.
	Raw string
}

// Failover is an operator's wish for another leader.
type Failover struct {
	// Leader set: a switchover away from it. Empty: a manual failover.
	Leader    string
	Candidate string
	// ScheduledAt is zero when the request is for now.
	ScheduledAt time.Time
	// NoZone: scheduled_at names no time zone. ScheduledAt means nothing then;
	// the leader refuses the request and clears the key.
	NoZone   bool
	Revision Revision
}

// Sync is the synchronous state (synchronous modes follow in a later issue; replicas
// obey a key that is there, rulings 11).
type Sync struct {
	Leader string
	Quorum int
	// Standbys by name, sorted.
	Standbys []string
	Revision Revision
}

// HistoryRow is one switch of timelines.
type HistoryRow struct {
	Timeline  postgres.Timeline // the one that ended
	Switch    LSN
	Reason    string
	Timestamp string // ISO 8601; empty in old rows
	NewLeader string // empty in old rows
}

// Member returns the member of that name, or nil.
func (c *Cluster) Member(name string) *Member {
	if c == nil {
		return nil
	}
	for i := range c.Members {
		if c.Members[i].Name == name {
			return &c.Members[i]
		}
	}
	return nil
}

// LeaderMember returns the member entry of the leader, or nil when there is
// no leader or its member key is gone.
func (c *Cluster) LeaderMember() *Member {
	if c == nil || c.Leader == nil {
		return nil
	}
	return c.Member(c.Leader.Name)
}

// Timeline is the cluster's timeline by its history: the last row's plus
// one; the exact text `[]` is 1; unknown is 0 (contract: dcs-layout.md 1.3).
func (c *Cluster) Timeline() postgres.Timeline {
	if n := len(c.History); n > 0 {
		return c.History[n-1].Timeline + 1
	}
	if c.HistoryRaw == "[]" {
		return 1
	}
	return 0
}
