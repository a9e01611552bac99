package ha

import (
	"fmt"
	"log/slog"
)

// Code names a reason. A `reason=` in any log line or journal record is one
// of these constants.
type Code string

// Reasons of the cycle's result, grouped as contract: ha-behaviour.md 23 has
// them. The sentences people's log rules match are in Reason.String.
const (
	// 23.1: with a lock, PostgreSQL running.
	Leading               Code = "leading"
	Following             Code = "following"
	PausedIdle            Code = "paused_idle"
	PromotedWithLock      Code = "promoted_with_lock"
	WaitingForPromotion   Code = "waiting_for_promotion_in_pause"
	ReleasedNotPrimary    Code = "released_not_primary"
	PausedRenewFailed     Code = "paused_renew_failed"
	DemotedRenewFailed    Code = "demoted_renew_failed"
	NotPromotingNoRenew   Code = "not_promoting_renew_failed"
	DemotedNoLock         Code = "demoted_no_lock"
	SwitchoverDemoting    Code = "switchover_demoting"
	SwitchoverHandingOver Code = "switchover_handing_over"
	SwitchoverCanceled    Code = "switchover_canceled"
	WatchdogDemoting      Code = "watchdog_demoting"
	WatchdogNotPromoting  Code = "watchdog_not_promoting"
	// 23.2: without a lock.
	AcquiredAsPrimary    Code = "acquired_as_primary"
	PromotedByAcquiring  Code = "promoted_by_acquiring"
	DemotedAfterLosing   Code = "demoted_after_losing_race"
	FollowingAfterLosing Code = "following_after_losing_race"
	DemotedNotHealthiest Code = "demoted_not_healthiest"
	NotHealthiest        Code = "not_healthiest"
	NotAllowedPrimary    Code = "not_allowed_primary"
	NotAllowed           Code = "not_allowed"
	PausedPrimaryNoLock  Code = "paused_primary_without_lock"
	// 23.3: bootstrap, recovery, starting, jobs, pause, DCS.
	Bootstrapping         Code = "bootstrapping"
	InitializeLost        Code = "initialize_lost"
	Cloning               Code = "cloning"
	WaitingForBootstrap   Code = "waiting_for_bootstrap"
	Initialized           Code = "initialized"
	BootstrapFailed       Code = "bootstrap_failed"
	ReleasedDataEmpty     Code = "released_data_empty"
	DataUnreachable       Code = "data_unreachable"
	PausedDataEmpty       Code = "paused_data_empty"
	SystemIDInvalid       Code = "system_id_invalid"
	SystemIDMismatch      Code = "system_id_mismatch"
	ReleasedMismatch      Code = "released_system_id_mismatch"
	WaitForPrimary        Code = "wait_for_primary_first"
	WaitUpstream          Code = "wait_for_upstream"
	CrashFailover         Code = "crash_failover"
	StartingPrimary       Code = "starting_primary_after_failure"
	StartingReadOnly      Code = "starting_read_only_with_lock"
	StartingSecondary     Code = "starting_as_secondary"
	ReleasedStartFailed   Code = "released_start_failed"
	ReleasedPromoteFailed Code = "released_promote_failed"
	PrePromoteFailed      Code = "pre_promote_failed"
	BootstrapRecovering   Code = "bootstrap_recovering"
	PostBootstrapping     Code = "post_bootstrapping"
	StartFailed           Code = "start_failed"
	StartingLostLock      Code = "starting_lost_lock"
	StartingTimeout       Code = "starting_timeout"
	StartingStuck         Code = "starting_timeout_no_candidate"
	Starting              Code = "starting"
	RenewedDuring         Code = "renewed_during_job"
	JobInProgress         Code = "job_in_progress"
	LostBeforePromote     Code = "lost_before_promote"
	LostDuring            Code = "lost_during_job"
	RecoveryTimeout       Code = "crash_recovery_timeout"
	PausedStopped         Code = "paused_stopped"
	ReleasedPausedStopped Code = "released_paused_stopped"
	DemotedNoDCS          Code = "demoted_no_dcs"
	NoDCS                 Code = "no_dcs"
	FailsafeLeading       Code = "failsafe_leading"
	RidingThrough         Code = "riding_through_dcs_silence"
	Restarting            Code = "restart_initiated"
	Rewinding             Code = "rewinding"
	Reinitializing        Code = "reinitializing_diverged"
	ReinitAfterRewind     Code = "reinitializing_failed_rewind"
	CrashRecovering       Code = "crash_recovering"
	Changing              Code = "changing_source"
	// pgha's own.
	DemotedUnwell     Code = "demoted_cannot_serve_writes"
	AwaitingDisk      Code = "awaiting_disk"
	WaitingCheckpoint Code = "waiting_leader_checkpoint"
	WaitingLeader     Code = "waiting_leader_promotion"
	WaitingNewLeader  Code = "waiting_new_leader"
	StayStopped       Code = "stay_stopped_after_failed_rewind"
	RetryLater        Code = "retry_later"
	Unsupported       Code = "unsupported_configuration"
	Stepping          Code = "stepping" // an intermediate step of a cycle
	ShuttingDown      Code = "shutting_down"
	ShutdownDone      Code = "shutdown_done"
	ShutdownPaused    Code = "shutdown_paused"
	ShutdownFailed    Code = "shutdown_failed"
	Detached          Code = "detached"
	Superseded        Code = "superseded"
	TwinFound         Code = "twin_found"
	StoppingRequest   Code = "stopping_on_request"
	BumpLimit         Code = "too_many_steps"
)

// Reason is why a decision was taken: a code and its facts.
type Reason struct {
	Code Code
	// Self is the member that decides.
	Self string
	// Member is the other member it speaks of; empty: none.
	Member string
	// Name is a job's or action's name.
	Name string
	// Detail is a cause in words.
	Detail string
	// Seconds is a number of seconds that the sentence shows.
	Seconds int
}

// sentences are the exact texts of contract: ha-behaviour.md 23, where they
// hold no facts.
var sentences = map[Code]string{
	PromotedWithLock:      "promoted self to leader because I had the session lock",
	WaitingForPromotion:   "waiting to become primary after promote...",
	ReleasedNotPrimary:    "removed leader lock because postgres is not running as primary",
	PausedRenewFailed:     "continue to run as primary after failing to update leader lock in DCS",
	DemotedRenewFailed:    "demoted self because failed to update leader lock in DCS",
	NotPromotingNoRenew:   "not promoting because failed to update leader lock in DCS",
	DemotedNoLock:         "demoting self because I do not have the lock and I was a leader",
	WatchdogDemoting:      "Demoting self because watchdog could not be activated",
	WatchdogNotPromoting:  "Not promoting self because watchdog could not be activated",
	AcquiredAsPrimary:     "acquired session lock as a leader",
	PromotedByAcquiring:   "promoted self to leader by acquiring session lock",
	DemotedAfterLosing:    "demoted self after trying and failing to obtain lock",
	FollowingAfterLosing:  "following new leader after trying and failing to obtain lock",
	DemotedNotHealthiest:  "demoting self because i am not the healthiest node",
	NotHealthiest:         "following a different leader because i am not the healthiest node",
	NotAllowedPrimary:     "demoting self because I am not allowed to become primary",
	NotAllowed:            "following a different leader because I am not allowed to promote",
	PausedPrimaryNoLock:   "continue to run as primary without lock",
	Bootstrapping:         "trying to bootstrap a new cluster",
	InitializeLost:        "failed to acquire initialize lock",
	WaitingForBootstrap:   "waiting for leader to bootstrap",
	Initialized:           "initialized a new cluster",
	BootstrapFailed:       "Failed to bootstrap cluster",
	ReleasedDataEmpty:     "released leader key voluntarily as data dir empty and currently leader",
	PausedDataEmpty:       "running with empty data directory",
	SystemIDInvalid:       "data dir for the cluster is not empty, but system ID is invalid; consider doing reinitialize",
	ReleasedMismatch:      "released leader key voluntarily due to the system ID mismatch",
	CrashFailover:         "stopped PostgreSQL to fail over after a crash",
	StartingPrimary:       "starting primary after failure",
	StartingReadOnly:      "starting as readonly because i had the session lock",
	StartingSecondary:     "starting as a secondary",
	PrePromoteFailed:      "Promotion cancelled because the pre-promote script failed",
	BootstrapRecovering:   "waiting for end of recovery after bootstrap",
	PostBootstrapping:     "running post_bootstrap",
	ReleasedPromoteFailed: "removed leader key after PostgreSQL ended during its promotion",
	ReleasedStartFailed:   "removed leader key after trying and failing to start postgres",
	StartFailed:           "failed to start postgres",
	StartingLostLock:      "stopped PostgreSQL while starting up because leader key was lost",
	StartingTimeout:       "stopped PostgreSQL because of startup timeout",
	StartingStuck:         "primary start has timed out, but continuing to wait because failover is not possible",
	LostBeforePromote:     "lost leader before promote",
	RecoveryTimeout:       "terminated crash recovery because of startup timeout",
	PausedStopped:         "postgres is not running",
	ReleasedPausedStopped: "removed leader lock because postgres is not running",
	DemotedNoDCS:          "demoted self because DCS is not accessible and I was a leader",
	FailsafeLeading:       "continue to run as a leader because failsafe mode is enabled and all members are accessible",
	NoDCS:                 "DCS is not accessible",
	Restarting:            "restart initiated",
	Reinitializing:        "reinitializing due to diverged timelines",
	ReinitAfterRewind:     "reinitializing due to failed rewind",
	CrashRecovering:       "doing crash recovery in a single user mode",
	Changing:              "changing primary_conninfo and restarting",
	ShutdownPaused:        "Leader key is not deleted and Postgresql is not stopped due paused state",
	ShutdownFailed:        "PostgreSQL shutdown failed, leader key not removed.",
	ShutdownDone:          "PostgreSQL is stopped, shutting down",
	ShuttingDown:          "stopping PostgreSQL before shutting down",
	SwitchoverCanceled:    "switchover cancelled: no candidate has received everything; starting as the primary again",
	Superseded:            "a newer agent has taken this PostgreSQL over; this one ends",
	Detached:              "detached: PostgreSQL goes on under its guard within the lease",
}

// String is the sentence: Patroni's where it has one.
func (r Reason) String() string {
	if s, ok := sentences[r.Code]; ok {
		if r.Code == BootstrapFailed && r.Detail != "" {
			return s + ": " + r.Detail // the line the agent ends with
		}
		if r.Code == ShutdownFailed {
			return s + r.Detail
		}
		return s
	}
	switch r.Code {
	case Leading:
		return fmt.Sprintf("no action. I am (%s), the leader with the lock", r.Self)
	case Following:
		return fmt.Sprintf("no action. I am (%s), a secondary, and following a leader (%s)", r.Self, r.Member)
	case PausedIdle:
		return fmt.Sprintf("no action. I am (%s)", r.Self)
	case SwitchoverDemoting:
		return r.Name + ": demoting myself"
	case SwitchoverHandingOver:
		return fmt.Sprintf("%s: waiting for %s to receive the shutdown checkpoint", r.Name, orAnybody(r.Member))
	case Cloning:
		return "trying to " + r.Name
	case DataUnreachable:
		return "data directory is not accessible: " + r.Detail
	case SystemIDMismatch:
		return fmt.Sprintf("system ID mismatch, node %s belongs to a different cluster: %s", r.Self, r.Detail)
	case Starting:
		return fmt.Sprintf("PostgreSQL is still starting up, %d seconds until timeout", r.Seconds)
	case RenewedDuring:
		return "updated leader lock during " + r.Name
	case JobInProgress:
		return r.Name + " in progress"
	case LostDuring:
		return "lost leader lock during " + r.Name
	case Rewinding:
		return "running pg_rewind from " + r.Member
	case RidingThrough:
		return fmt.Sprintf("DCS is not accessible; the leader key is certain for %d more seconds", r.Seconds)
	case WaitUpstream:
		return fmt.Sprintf("not racing for the leader key: waiting for the member running as primary (%s) to take it", r.Detail)
	case WaitForPrimary:
		return fmt.Sprintf("the cluster is not in the DCS and PostgreSQL here is a standby of a running primary; waiting for the member running as primary (%s) to register it", r.Detail)
	case TwinFound:
		return fmt.Sprintf("another agent named '%s' is running and writes this member's key; this one ends: give one of them another name", r.Member)
	case WaitingCheckpoint:
		return fmt.Sprintf("Waiting for checkpoint on %s before rewind", r.Member)
	case DemotedUnwell:
		return fmt.Sprintf("demoting self because PostgreSQL here cannot serve writes and %s can take over: %s", r.Member, r.Detail)
	case AwaitingDisk:
		return "not starting PostgreSQL until its disk can be written: " + r.Detail
	case WaitingLeader:
		return fmt.Sprintf("waiting for the leader (%s) to run as primary before comparing histories", r.Member)
	case WaitingNewLeader:
		return "waiting for a new leader after releasing the leader key"
	}
	if r.Detail != "" {
		return r.Detail
	}
	return string(r.Code)
}

// LogValue makes the constant appear as reason= in structured logs.
func (r Reason) LogValue() slog.Value { return slog.StringValue(string(r.Code)) }

func orAnybody(name string) string {
	if name == "" {
		return "a member"
	}
	return name
}
