package agent

import (
	"context"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// The loop's world. Production implements these on this machine; agent/sim
// models them. They are exported for that second user only.

// Server is PostgreSQL on this machine, with its guard. Calls come from the
// loop alone.
type Server interface {
	// Observe looks at the data directory, the process and the database, and
	// returns within ctx whatever state they are in.
	Observe(ctx context.Context) ha.Local
	// Job is the long action under way; nil when none.
	Job() *ha.Job
	// Finished returns the result of the job that ended, once.
	Finished() *ha.JobResult
	// Start begins a job; its end wakes the loop. Never called while one runs.
	Start(ctx context.Context, spec ha.JobSpec)
	// Cancel asks the running job to end.
	Cancel()
	// Follow compares the running standby's source with the wanted one (nil:
	// nobody) and changes it if a reload suffices.
	Follow(ctx context.Context, source *dcs.Member) ha.FollowOutcome
	// Examine compares histories with the leader's.
	Examine(ctx context.Context, leader dcs.Member) (ha.ExamineOutcome, string)
	// AskUpstream asks the server in primary_conninfo whether it is a primary;
	// at is its address.
	AskUpstream(ctx context.Context) (outcome ha.UpstreamOutcome, at string)
	// SyncSlots brings replication slots to what is wanted.
	SyncSlots(ctx context.Context, a ha.SyncSlots)
	// SetRole corrects the remembered role; announce calls on_role_change.
	SetRole(role postgres.Role, announce bool)
	// Hold extends the guard's deadline: the leader key is certainly ours
	// until then. It returns before the next step that relies on it.
	Hold(ctx context.Context, until clock.Instant, ttl time.Duration)
	// Unhold disarms the guard: this member runs no primary, or the cluster is
	// paused and operators act by hand. Called every cycle that it is so.
	Unhold(ctx context.Context, paused bool)
}

// Peers asks other members.
type Peers interface {
	// Ask asks all in parallel and returns their answers by name. The member
	// named slow is waited for only 300 ms after all others have answered.
	Ask(ctx context.Context, members []dcs.Member, slow string) []ha.Peer
	// AskFailsafe asks all in parallel to leave leading to this primary for a
	// ttl, and returns by ctx's end what each said.
	AskFailsafe(ctx context.Context, members []dcs.Member, note FailsafeNote) []ha.FailsafeAnswer
}

// SettingsSource knows the dynamic configuration.
type SettingsSource interface {
	// Current returns the settings in force.
	Current() ha.Settings
	// Learn takes what was just read from the DCS (nil: the key is absent)
	// and returns the settings in force from now on.
	Learn(raw *dcs.Config) ha.Settings
	// Document is the dynamic configuration to write when the key is absent.
	Document() []byte
	// Changed says whether Apply has something to do.
	Changed() bool
	// Apply brings PostgreSQL in line with a changed configuration.
	Apply(ctx context.Context)
}

// Sleeper is where the loop waits.
type Sleeper interface {
	// Sleep returns at the instant, or earlier when woken since the last Sleep.
	Sleep(ctx context.Context, until clock.Instant)
	// Wake ends the present sleep, or the next one at once.
	Wake()
}
