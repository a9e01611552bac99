// Package ha holds the decisions: what one member of a cluster should do
// next, and why. It is pure: no clock, no disk, no network, no randomness, no
// log. The shell (package agent) observes, asks Decide, does what it says,
// and asks again; the simulator (agent/sim) runs the same code over modelled
// machines.
//
// One file is one situation; decide.go is the order they are looked at in.
// Section numbers in comments are those of contract: ha-behaviour.md.
package ha

import (
	"time"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// Input is everything a decision may depend on, as one immutable value.
type Input struct {
	// Now is this machine's suspend-aware clock; Wall its civil time (for
	// schedules only).
	Now  clock.Instant
	Wall time.Time
	// Self is this member's name.
	Self string
	// Settings are the dynamic settings in force.
	Settings Settings
	Tags     config.Tags
	// CanBootstrap: the own configuration has a bootstrap section.
	CanBootstrap bool

	// Cluster is nil when the DCS could not be read in this cycle.
	Cluster *dcs.Cluster
	// Lease is the own lease's id as last granted; 0 before the first.
	Lease dcs.LeaseID
	// LeaderUntil is local leadership: the leader key is certainly ours
	// until then, counted from when the confirming request was sent. Zero:
	// not ours.
	LeaderUntil clock.Instant
	// Term is what the lead before LeaderUntil is a part of: the ttl, or the
	// watchdog's countdown; zero: the ttl.
	Term time.Duration

	Local Local
	// Watchdog is the state of the machine's watchdog device. WatchdogFailed: it
	// is required and cannot be used, so this member is not to lead (20).
	Watchdog       Watchdog
	WatchdogFailed bool
	// Peers are answers of other members' REST APIs, sorted by name; nil when
	// not asked in this cycle.
	Peers []Peer
	// Job is the one long action under way; nil when none.
	Job *Job
	// Finished is the job that ended since the last cycle; nil when none.
	Finished *JobResult
	// Request is an operator's request that waits for an answer; nil when none.
	Request *Request
	// Shutdown is set once the agent has been told to end.
	Shutdown Shutdown

	// Failsafe is what is known of failsafe mode.
	Failsafe Failsafe

	// Twin: another living agent has this member's name, and is to stay.
	Twin bool
	// Memory is what the previous decision left behind.
	Memory Memory
	// Tried is what this cycle has done so far.
	Tried Tried
}

// Settings are what decisions need of the configuration.
type Settings struct {
	config.Dynamic
	// RemoveOnRewindFailure and RemoveOnDiverged permit deleting the data
	// directory (postgresql.remove_data_directory_on_*).
	RemoveOnRewindFailure bool
	RemoveOnDiverged      bool
	// ClonesLeaderless: a replica method can work while nobody leads
	// (postgresql.<method>.no_leader).
	ClonesLeaderless bool
}

// DataDir is what the data directory holds.
type DataDir int

const (
	// DataPresent: usable control data.
	DataPresent DataDir = iota
	// DataEmpty: missing, or nothing but dot files and lost+found.
	DataEmpty
	// DataForeign: not empty, but without usable control data.
	DataForeign
	// DataUnreadable: the directory itself could not be looked at.
	DataUnreadable
	// DataHalfBootstrapped: a bootstrap by this member did not come to the
	// point where it leads; see leftovers for what that means.
	DataHalfBootstrapped
)

// Local is this member's PostgreSQL as observed at the start of the cycle.
type Local struct {
	Data     DataDir
	SystemID postgres.SystemID

	// Alive: the postmaster process exists (and is no zombie).
	Alive bool
	// Unfenced: watchdog.mode is required and PostgreSQL runs without a guard:
	// nobody would end it in time, so it must not lead.
	Unfenced bool
	// Superseded: the guard serves a newer agent; this one has to end.
	Superseded bool
	// State and Role as remembered (contract: dcs-layout.md 1.2).
	State      postgres.State
	StateSince clock.Instant
	Role       postgres.Role

	// InRecovery: by query, or when that failed: not (alive and role primary).
	InRecovery bool
	// Queried: the facts below come from a query of this cycle.
	Queried  bool
	Timeline postgres.Timeline
	// Location is the position to compare with: flushed on a primary, else
	// the largest of received, written and replayed. Zero: unknown.
	Location postgres.LSN
	// Streaming: the WAL receiver streams now. StreamedAt: when it was last
	// seen to; zero: never.
	Streaming  bool
	StreamedAt clock.Instant
	// Slots are the positions of physical slots that exist.
	Slots map[string]postgres.LSN
	// Feeds are who streams from here, by application_name: a member's name.
	Feeds []string
	// HistoryFile holds the entries of the running timeline's history file; nil unless primary.
	HistoryFile []postgres.HistoryEntry

	// Health is what the probes say.
	Health Health

	// Control is pg_control's story of a stopped server.
	Control ControlState
	// ControlTimeline and CheckpointLSN belong to it.
	CheckpointLSN postgres.LSN
	// RecoverySignal: standby.signal or recovery.signal is there.
	RecoverySignal bool
	// BackupLabel: backup_label is there.
	BackupLabel bool
	// HalfRewound: a pg_rewind began to change the data and did not finish
	// (rulings 58).
	HalfRewound bool
	// RewindUsable: pg_rewind is wanted, present, and the data permit it.
	RewindUsable bool
	// RewindUnusable says why not, for people; empty when usable.
	RewindUnusable string
	// StartTimeout is the limit given with a restart request; 0: none.
	StartTimeout time.Duration
	// MajorVersion of the data directory.
	MajorVersion int
}

// Running says whether the server is up and accepts connections.
func (l Local) Running() bool { return l.Alive && l.State == postgres.StateRunning }

// Primary says whether the server accepts writes.
func (l Local) Primary() bool { return l.Alive && !l.InRecovery }

// ControlState is pg_control's cluster state, as pg_controldata prints it.
type ControlState string

const (
	ControlUnknown        ControlState = ""
	ControlProduction     ControlState = "in production"
	ControlShutDown       ControlState = "shut down"
	ControlShutDownStdby  ControlState = "shut down in recovery"
	ControlShuttingDown   ControlState = "shutting down"
	ControlCrashRecovery  ControlState = "in crash recovery"
	ControlArchiveRecover ControlState = "in archive recovery"
)

// unclean says whether the data belong to a primary that was not shut down.
func (c ControlState) unclean() bool {
	return c == ControlProduction || c == ControlShuttingDown || c == ControlCrashRecovery
}

// Peer is another member's answer.
type Peer struct {
	Name string
	// Answered: a usable answer came in time. Nothing below counts otherwise.
	Answered bool
	// Primary: it accepts writes.
	Primary bool
	// Running: its PostgreSQL is up.
	Running bool
	// Streaming: its WAL receiver streams. Known of pgha members only.
	Streaming      bool
	Location       postgres.LSN
	Timeline       postgres.Timeline
	NoFailover     bool
	Priority       int
	WatchdogFailed bool
	// Unwell is a failing health probe of its own, in its words; empty: none.
	Unwell string
	// Pgha: it is a pgha member (key hand-over is possible).
	Pgha bool
	// Fault says why Answered is false.
	Fault string
}

// Shutdown is how the agent was told to end.
type Shutdown int

const (
	// ShutdownNone: go on.
	ShutdownNone Shutdown = iota
	// ShutdownStop: stop PostgreSQL, hand the key over (SIGTERM, SIGINT).
	ShutdownStop
	// ShutdownDetach: end, leave PostgreSQL to its guard (SIGUSR1).
	ShutdownDetach
)

// RequestKind is what an operator asked for.
type RequestKind int

const (
	RequestRestart RequestKind = iota + 1
	RequestReinit
)

// Request is one operator's request that the loop must decide on. The
// answer is given by the Answer action, or by the job that it starts.
type Request struct {
	ID   uint64
	Kind RequestKind
	// Restart filters; zero values: not given.
	Role           postgres.Role
	BelowVersion   int // server_version_num; restart only if the running one is lower
	PendingOnly    bool
	Timeout        time.Duration
	PendingRestart bool // fact: a restart is pending now
	ServerVersion  int  // fact: the running version
	Force          bool // reinit: cancel the running job first
	FromLeader     bool // reinit: clone from the leader
	Scheduled      bool // it is the scheduled restart whose time has come
}

// Outcome is how an attempt of this cycle ended.
type Outcome int

const (
	NotTried Outcome = iota
	Done
	// Refused: a definite no: the guard of a write failed, the lock is lost.
	Refused
	// Failed: no answer, or an unknown outcome.
	Failed
)

// Tried is what the present cycle has done, with outcomes. It is reset at the
// start of each cycle.
type Tried struct {
	Touched    bool
	Initialize Outcome // claiming, or writing the system identifier
	Config     Outcome
	Register   Outcome
	Renew      Outcome
	Acquire    Outcome
	Release    Outcome
	HandOver   Outcome
	Failover   Outcome // clearing or rewriting the failover key
	Watchdog   Outcome // activating it
	History    bool
	Slots      bool
	Reloaded   int // how often the cluster was read again
	Canceled   bool
	Follow     FollowOutcome
	Examine    ExamineOutcome
	// ExamineWhy is the examination's reason, for people.
	ExamineWhy string
	// Upstream is what the server in primary_conninfo answered; UpstreamAt is
	// its address.
	Upstream   UpstreamOutcome
	UpstreamAt string
	Answered   bool
	// Failsafe is the round of this cycle; nil: nobody was asked. Extended:
	// leadership was extended by it.
	Failsafe *FailsafeRound
	Extended bool
}

// UpstreamOutcome is what the server in primary_conninfo answered.
type UpstreamOutcome int

const (
	UpstreamNotAsked UpstreamOutcome = iota
	UpstreamDead                     // nobody there, or nobody of this cluster
	UpstreamIdle                     // a standby that receives from nobody
	UpstreamPrimary                  // it is a primary
	UpstreamFed                      // a standby that receives WAL: a primary lives behind it
	UpstreamUnclear                  // somebody is there and does not answer the question
)

// FollowOutcome is what became of a Follow action.
type FollowOutcome int

const (
	FollowNotTried FollowOutcome = iota
	FollowSame                   // nothing to change
	FollowChanged                // changed by reload
	FollowRestart                // needs a restart of the server
	FollowFailed
)

// ExamineOutcome is what an examination for divergence found.
type ExamineOutcome int

const (
	NotExamined ExamineOutcome = iota
	ExamineSame                // our history is part of the leader's
	ExamineDiverged
	ExamineUndecided // could not tell now
	// ExamineSplit: two histories under the same timeline number. pg_rewind
	// goes by the number and would see nothing to do (pitfall 16).
	ExamineSplit
)
