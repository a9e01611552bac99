package ha

import (
	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// Memory is what must outlive a cycle. Decide receives it and returns the
// next one; nothing else remembers anything for a decision.
type Memory struct {
	// LastLed is the last cluster view that had a leader: its members are
	// asked in a race, and its leader is the former leader.
	LastLed *dcs.Cluster
	// UnlockedSince is the first cycle in which nobody held the key; zero
	// while somebody does.
	UnlockedSince clock.Instant

	// StrangerSince is since when the leader key names somebody who has no
	// member key; zero: it does not.
	StrangerSince clock.Instant

	// FailsafeSince is when failsafe mode began here, as the primary; zero: it
	// is not on. FailsafeSent is when the last round that everybody accepted
	// was sent.
	FailsafeSince, FailsafeSent clock.Instant
	// KeepListed: nobody is taken out of /failsafe before then.
	KeepListed clock.Instant
	// SenderDone is when the agreement was made (FailsafeSender.Heard) whose
	// primary was heard to be none any more.
	SenderDone clock.Instant

	Rewind RewindState
	// RewindWhy explains Rewind for people.
	RewindWhy string
	// Split: the histories differ under one timeline number.
	Split bool

	// CheckSince is when a stopped member began to wait for a comparison.
	CheckSince clock.Instant

	// Recovering: a start was attempted and must be judged (5.3).
	Recovering bool
	// CrashRecovered: single-user recovery was done in this episode (5.2).
	CrashRecovered bool
	// AcquireInDoubt: our request for the leader key got no answer; should the
	// key turn out to be ours, the peers' answers it was made on are old.
	AcquireInDoubt bool
	// PromoteFailed: the last promotion did not end well.
	PromoteFailed bool
	// PrePromoteFailed: pre_promote forbade the promotion, and the key has not
	// been given up for it yet. GaveWay is when it was; zero: never.
	PrePromoteFailed bool
	GaveWay          clock.Instant
	// FailedStarts counts starts that failed in a row.
	FailedStarts int
	// RetryAfter keeps failing starts and clones apart.
	RetryAfter clock.Instant

	// BadSource is the member from which the last clone failed; empty: none.
	BadSource string
	// FailedClones counts attempts to make this replica that failed in a row;
	// CloneWhy is the cause of the last one.
	FailedClones int
	CloneWhy     string

	// Demotion under way; nil when none.
	Demotion *Demotion
	// Returning: a step-down stopped PostgreSQL, and it has to come back as a
	// standby, in pause as well.
	Returning bool
	// StopAgain: PostgreSQL could not be stopped; not before then again.
	StopAgain clock.Instant
	// Released is when we gave the key up on purpose; zero: not lately.
	Released clock.Instant

	// BootstrapDone: the bootstrap job ended well; the cluster is to be
	// registered. BootstrapFailed: it is to be undone; BootstrapCleaned: its
	// data are out of the way.
	BootstrapDone, BootstrapFailed, BootstrapCleaned bool
	// BootstrapWhy is the cause of BootstrapFailed.
	BootstrapWhy string

	// Paused: the previous cycle was in pause.
	Paused bool

	// SlotSeen is, on the leader, when each member slot's member was last
	// there. Copied on write.
	SlotSeen map[string]clock.Instant
	// SlotClash is what was last said of members that share a slot name.
	SlotClash string
	// WALAt is how far the own log was flushed when last looked at as a
	// primary, WALMoved when that was last seen to change.
	WALAt    postgres.LSN
	WALMoved clock.Instant
	// WorrySaid is when the log last said what the probes find; zero: not yet.
	WorrySaid clock.Instant
	// WorryOut: it was that this member cannot serve writes.
	WorryOut bool
	// StopFailed: PostgreSQL could not be stopped for a shutdown.
	StopFailed bool
}

// RewindState is the divergence state machine (16.1).
type RewindState int

const (
	RewindInitial RewindState = iota
	// RewindCheck: whether we diverged must be examined.
	RewindCheck
	RewindNeed
	RewindNotNeed
	RewindSuccess
	RewindFailed
)

// pending says whether something of section 16 is still to be done.
func (s RewindState) pending() bool { return s == RewindCheck || s == RewindNeed }

// executed says whether a rewind ran since the last reset.
func (s RewindState) executed() bool { return s == RewindSuccess || s == RewindFailed }

// DemotionMode is how a primary steps down (14).
type DemotionMode string

const (
	DemoteOffline         DemotionMode = "offline"          // DCS unreachable: fast stop, start read-only
	DemoteGraceful        DemotionMode = "graceful"         // switchover: checkpoint, fast stop, hand over
	DemoteImmediate       DemotionMode = "immediate"        // crash, timeouts: immediate stop, release
	DemoteImmediateNoLock DemotionMode = "immediate-nolock" // lock lost: immediate stop
	DemoteUnwell          DemotionMode = "unwell"           // cannot serve writes: fast stop within bounds, release
)

// Demotion is a step-down under way.
type Demotion struct {
	Mode DemotionMode
	// Candidate is the member that a graceful demotion waits for; empty: any.
	Candidate string
	Since     clock.Instant
	// Stopped: the stop job has ended and PostgreSQL is down.
	Stopped bool
	// Down is when that was first seen.
	Down clock.Instant
	// Checkpoint is the shutdown checkpoint's position; zero until known.
	Checkpoint postgres.LSN
	// Timeline PostgreSQL was on; zero: unknown.
	Timeline postgres.Timeline
	// Released: the key was given up (or was not ours to begin with).
	Released bool
	// HandedTo is who got it in a hand-over; empty: it was deleted.
	HandedTo string
}
