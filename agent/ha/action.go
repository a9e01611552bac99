package ha

import (
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// Decision is what to do next, and why.
type Decision struct {
	Action Action
	// Reason explains the action; on Rest it is the cycle's one result line.
	Reason Reason
	// Says are further lines for the log, in order.
	Says []Line
	// Note is one line for people: why this member is not well. Empty: it is.
	Note string
	// Memory replaces Input.Memory.
	Memory Memory
}

// Line is one line for the log.
type Line struct {
	Level Level
	Text  string
}

// Level of a Line.
type Level int

const (
	Info Level = iota
	Warning
	Error
	Critical
)

// Action is one of the types below: a closed set.
type Action interface{ action() }

type (
	// Rest ends the cycle. The loop sleeps until woken, at most loop_wait.
	Rest struct {
		// Again shortens the sleep; zero: loop_wait.
		Again time.Duration
	}
	// Reload reads the cluster again. Briefly: within a second.
	Reload struct{ Briefly bool }
	// TouchMember writes the own member key now.
	TouchMember struct{}
	// ClaimInitialize creates the empty initialize key under our lease: the
	// bootstrap race (3.2).
	ClaimInitialize struct{}
	// UnclaimInitialize deletes the initialize key after a failed bootstrap.
	UnclaimInitialize struct{ Revision dcs.Revision }
	// PutSystemID writes the system identifier into initialize.
	PutSystemID struct {
		ID postgres.SystemID
		// Absent: the key must not exist; else Revision guards the write
		// when it is not zero.
		Absent   bool
		Revision dcs.Revision
	}
	// RegisterCluster ends a bootstrap: system identifier and dynamic
	// configuration in one transaction, guarded by our claim.
	RegisterCluster struct {
		ID       postgres.SystemID
		Revision dcs.Revision
	}
	// RestoreConfig writes the cached dynamic configuration to /config.
	RestoreConfig struct{ Revision dcs.Revision }
	// RenewLeader renews the lease and with it the leader key, extends the
	// guard's deadline, and writes status and /failsafe (nil: leave it).
	RenewLeader struct {
		Status   *dcs.Status
		Failsafe map[string]string
	}
	// AcquireLeader creates the leader key.
	AcquireLeader struct{}
	// ReleaseLeader gives the key up. Optime is published when not zero.
	ReleaseLeader struct{ Optime postgres.LSN }
	// HandOver gives the key to a candidate in one transaction (rulings 18).
	HandOver struct {
		To     dcs.Member
		Optime postgres.LSN
	}
	// ClearFailover writes {} over the failover request, guarded by Revision
	// when it is not zero.
	ClearFailover struct{ Revision dcs.Revision }
	// RewriteFailover keeps the candidate of a request, without its leader
	// (a paused cluster's new leader waits for it; 9.1).
	RewriteFailover struct{ Request dcs.Failover }
	// WriteHistory replaces the history key.
	WriteHistory struct{ Rows []dcs.HistoryRow }
	// AskPeers asks members' REST APIs in parallel. The member named Slow
	// (the leader that is gone) gets only 300 ms once all others answered.
	AskPeers struct {
		Members []dcs.Member
		Slow    string
		// Within limits the question below its usual 2 s; zero: that.
		Within time.Duration
	}
	// AskFailsafe asks members, all of them in parallel, to leave leading to
	// this primary for a ttl (POST /failsafe).
	AskFailsafe struct {
		Members []dcs.Member
		Slots   map[string]postgres.LSN
	}
	// ExtendLeadership counts on the leader key for a ttl from Sent, and
	// extends the guard's deadline with it (rulings 8).
	ExtendLeadership struct{ Sent clock.Instant }
	// Follow makes a running standby stream from Source; nil: from nobody.
	Follow struct{ Source *dcs.Member }
	// Examine compares our history with the leader's (16.2).
	Examine struct{ Leader dcs.Member }
	// AskUpstream asks the server that this standby's own files name as its
	// source whether it is a primary (rulings 16).
	AskUpstream struct{}
	// SyncSlots brings replication slots to what is wanted (17). With Only no
	// other slots than these are dropped: slots are not used, and whatever else
	// is there is somebody else's.
	SyncSlots struct {
		Want []SlotWant
		Only []string
	}
	// StartJob begins the one long action.
	StartJob struct{ Job JobSpec }
	// CancelJob asks the running job to end early; its end is still awaited.
	CancelJob struct{}
	// SetRole corrects the remembered role. Announce: it is a change that
	// on_role_change is called for.
	SetRole struct {
		Role     postgres.Role
		Announce bool
	}
	// ActivateWatchdog opens the watchdog device; refused: it is required and
	// cannot be had.
	ActivateWatchdog struct{}
	// Answer answers the operator's request.
	Answer struct {
		Code int
		Text string
	}
	// Exit ends the agent. PostgreSQL is left as it is.
	Exit struct{ Code int }
)

func (Rest) action()              {}
func (Reload) action()            {}
func (TouchMember) action()       {}
func (ClaimInitialize) action()   {}
func (UnclaimInitialize) action() {}
func (PutSystemID) action()       {}
func (RegisterCluster) action()   {}
func (RestoreConfig) action()     {}
func (RenewLeader) action()       {}
func (AcquireLeader) action()     {}
func (ReleaseLeader) action()     {}
func (HandOver) action()          {}
func (ClearFailover) action()     {}
func (RewriteFailover) action()   {}
func (WriteHistory) action()      {}
func (AskPeers) action()          {}
func (AskFailsafe) action()       {}
func (ExtendLeadership) action()  {}
func (Follow) action()            {}
func (Examine) action()           {}
func (AskUpstream) action()       {}
func (SyncSlots) action()         {}
func (StartJob) action()          {}
func (CancelJob) action()         {}
func (SetRole) action()           {}
func (ActivateWatchdog) action()  {}
func (Answer) action()            {}
func (Exit) action()              {}

// JobKind is what a job does.
type JobKind string

const (
	JobBootstrap     JobKind = "bootstrap"                                  // initdb, start, roles
	JobUnbootstrap   JobKind = "cleaning up after a failed bootstrap"       // stop, move the data aside
	JobClone         JobKind = "bootstrap from"                             // the replica methods
	JobReinit        JobKind = "reinitialize"                               // stop, then clone
	JobStartPrimary  JobKind = "starting primary after failure"             // crash recovery in place
	JobStartStandby  JobKind = "restarting after failure"                   // start as a standby
	JobCrashRecovery JobKind = "doing crash recovery in a single user mode" // 5.2
	JobPromote       JobKind = "promote"
	JobRestart       JobKind = "restart"
	JobFollow        JobKind = "changing primary_conninfo and restarting"
	JobRewind        JobKind = "running pg_rewind from"
	JobStop          JobKind = "demote" // stop PostgreSQL: demotion or shutdown
)

// StopMode is how PostgreSQL is stopped.
type StopMode string

const (
	StopFast      StopMode = "fast"
	StopImmediate StopMode = "immediate"
)

// JobSpec is a job to start. Which fields count depends on Kind.
type JobSpec struct {
	Kind JobKind
	// Name is the exact text that messages show for it (section 2).
	Name string
	// Source: clone, reinit, rewind and standby starts: where from; nil: nobody.
	// A clone without source runs the methods with no_leader only.
	Source *dcs.Member
	// BaseBackupOnly: clone and reinit leave the configured methods out.
	BaseBackupOnly bool
	// Timeout of a start; zero: pg_ctl_timeout.
	Timeout time.Duration
	// Mode and Checkpoint of a stop.
	Mode       StopMode
	Checkpoint bool
	// StopTimeout after which a fast stop becomes immediate; zero: none.
	StopTimeout time.Duration
	// Role to start with.
	Role postgres.Role
	// RequestID answers an operator's request when the job ends; zero: none.
	RequestID uint64
}

// Phase is how far a job has come, where decisions depend on it.
type Phase string

const (
	PhaseRunning Phase = ""
	// PhaseShutDown: pg_control says shut down; the postmaster may still be
	// there (archiver, WAL senders).
	PhaseShutDown Phase = "shut down"
	// PhasePromoting: the promotion can no longer be taken back.
	PhasePromoting Phase = "promoting"
	// PhaseRecovering: a bootstrapped server is still in recovery.
	PhaseRecovering Phase = "recovering"
	// PhasePostBootstrap: it is a primary and gets its roles.
	PhasePostBootstrap Phase = "post bootstrap"
)

// Job is a job under way.
type Job struct {
	JobSpec
	Started  clock.Instant
	Phase    Phase
	Canceled bool
	// Checkpoint position once Phase is PhaseShutDown.
	CheckpointLSN postgres.LSN
}

// JobResult is how a job ended.
type JobResult struct {
	JobSpec
	OK bool
	// Err is the cause in one line when not OK.
	Err string
	// Unreachable: a rewind or clone failed because its source was away.
	Unreachable bool
	// PrePromoteFailed: the operator's pre_promote forbade the promotion,
	// which was not begun.
	PrePromoteFailed bool
	// StillStarting: a start ran into its time limit; the server is still at it.
	StillStarting bool
	// CheckpointLSN of a stop that ended clean; zero otherwise.
	CheckpointLSN postgres.LSN
}

// SlotWant is one slot that a member must have.
type SlotWant struct {
	Name string
	// Active: its member should stream from here now. An inactive one is
	// moved forward to LSN.
	Active bool
	// Retained: its member is away and known from retain_slots only.
	Retained bool
	// Logical: a permanent logical slot, which is known but not served: a slot
	// of that name is left alone.
	Logical bool
	LSN     postgres.LSN
}
