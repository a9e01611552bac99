package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/guard/client"
	"pgha/internal/instance"
	"pgha/internal/postgres"
)

// machine is the production Server: PostgreSQL through internal/instance,
// its guard through launcher, and the one job at a time.
type machine struct {
	jobRunner
	inst     *instance.Server
	launcher *launcher
	log      *slog.Logger
	clock    clock.Clock
	wake     func()
	dataDir  string
	marker   string // file that says "a bootstrap is under way"
	settings *settings
	announce *announcer
	// safePoint is called when a stop has left no client that could write.
	safePoint func()
	gate      *gateKeeper
	// background is what jobs and tasks run under: the agent's life.
	background context.Context

	mu         sync.Mutex
	last       instance.Observation
	streamedAt clock.Instant
	superseded bool
	mute       bool // PostgreSQL runs and does not answer: said once
	history    []postgres.HistoryEntry
	historyTL  postgres.Timeline
	checkpoint checkpointTask
	rewindFact rewindFact
	restartTTL time.Duration // limit given with a restart request
	// markerLook and backupLabel look at files without waiting for the disk.
	markerLook, backupLabel *fileLook
	// health is what the probes say; nil in tests.
	health func() ha.Health
}

var _ Server = (*machine)(nil)

// Observe looks at PostgreSQL and turns what it sees into a decision's facts.
func (m *machine) Observe(ctx context.Context) ha.Local {
	o := m.inst.Observe(ctx)
	o.State = pausedState(o.State, m.settings.Current().Pause)
	m.mu.Lock()
	if fails := o.Alive && o.State == postgres.StateRunning && o.QueryErr != nil; fails != m.mute {
		if m.mute = fails; fails {
			m.log.Warn("Failed to determine PostgreSQL state from the connection, falling back to cached role", "err", o.QueryErr)
		} else if o.Row != nil {
			m.log.Info("PostgreSQL answers again")
		}
	}
	m.last = o
	if o.Row != nil && o.Row.Streaming {
		m.streamedAt = m.clock.Now()
	}
	streamedAt, superseded := m.streamedAt, m.superseded
	m.mu.Unlock()
	m.announceSeen(o)
	l := ha.Local{
		Data: m.data(o), SystemID: o.SystemID, Alive: o.Alive, Superseded: superseded,
		State: o.State, StateSince: o.StateSince, Role: o.Role,
		InRecovery: !o.Primary(), RecoverySignal: o.RecoveryFiles, StreamedAt: streamedAt,
		StartTimeout: m.restartTTL,
	}
	if m.health != nil {
		l.Health = m.health()
	}
	if r := o.Row; r != nil {
		l.Queried, l.Timeline, l.Location, l.Streaming = true, r.Timeline, r.Position(), r.Streaming
		l.Slots = physicalSlots(r)
		for _, w := range r.Senders {
			l.Feeds = append(l.Feeds, w.ApplicationName)
		}
		if r.InRecovery && r.ReplayPaused {
			m.unblockReplay(ctx)
		}
		if !r.InRecovery {
			l.HistoryFile = m.historyOf(r.Timeline)
			m.checkpoint.ensure(m, r.Timeline)
		}
	}
	if c := o.Control; c != nil {
		l.Control, l.CheckpointLSN = ha.ControlState(c.State), c.CheckpointLSN
	}
	l.HalfRewound, l.Unfenced = o.HalfRewound, m.launcher.unfenced()
	if o.DataDir == instance.DataDirUnknown {
		return l // the disk does not answer: nothing below would either
	}
	if v, err := m.inst.Version(ctx); err == nil {
		l.MajorVersion = v.Major()
	}
	l.BackupLabel = m.backupLabel.there()
	l.RewindUsable, l.RewindUnusable = m.rewindUsable(ctx)
	return l
}

// unblockReplay lets a standby end whose replay stands still because the
// primary raised a parameter (PostgreSQL 14 and later pause there): the next
// start takes pg_control's values (contract: config.md 6.3). An operator's
// pause is left alone.
func (m *machine) unblockReplay(ctx context.Context) {
	if m.settings.Current().Pause || m.job() != nil {
		return
	}
	why, err := m.inst.ReplayBlocked(ctx)
	if err == nil && why != "" {
		m.log.Warn("replay is paused because a parameter is too low here: resuming it, PostgreSQL ends and is started again with the primary's value", "why", why)
		err = m.inst.ResumeReplay(ctx)
	}
	if err != nil {
		m.log.Warn("resume replay", "err", err)
	}
}

// data says what the data directory is good for.
func (m *machine) data(o instance.Observation) ha.DataDir {
	if m.markerLook.there() && m.job() == nil {
		return ha.DataHalfBootstrapped
	}
	switch o.DataDir {
	case instance.DataDirMissing, instance.DataDirEmpty:
		return ha.DataEmpty
	case instance.DataDirUnreadable, instance.DataDirUnknown:
		return ha.DataUnreadable
	}
	if o.HalfCloned {
		return ha.DataEmpty // a copy that was cut short: the next one begins by removing it
	}
	if !o.SystemID.Valid() {
		return ha.DataForeign
	}
	return ha.DataPresent
}

// rewindUsable is section 16.1's "usable", with the reason for people.
func (m *machine) rewindUsable(ctx context.Context) (bool, string) {
	if !m.settings.Effective().UsePgRewind {
		return false, "postgresql.use_pg_rewind is not set"
	}
	m.mu.Lock()
	cached := m.rewindFact
	m.mu.Unlock()
	age := rewindFactAge
	if !cached.usable {
		age = rewindNoAge
	}
	if !cached.at.IsZero() && m.clock.Now().Sub(cached.at) < age {
		return cached.usable, cached.why
	}
	cached.at = m.clock.Now()
	cached.usable, cached.why = m.inst.RewindUsable(ctx)
	m.mu.Lock()
	m.rewindFact = cached
	m.mu.Unlock()
	return cached.usable, cached.why
}

// How long the answer to "can pg_rewind be used" is kept, because asking runs
// programs. A no may be that of a data directory that was just being made.
const (
	rewindFactAge = 30 * time.Second
	rewindNoAge   = 2 * time.Second
)

type rewindFact struct {
	at     clock.Instant
	usable bool
	why    string
}

// physicalSlots are the positions the leader publishes.
func physicalSlots(r *instance.Row) map[string]postgres.LSN {
	out := map[string]postgres.LSN{}
	for _, s := range r.Slots {
		if s.Type == "physical" {
			out[s.Name] = s.RestartLSN
		}
	}
	return out
}

// historyOf reads the timeline history of the running primary, once a timeline.
func (m *machine) historyOf(tl postgres.Timeline) []postgres.HistoryEntry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if tl <= 1 || tl == m.historyTL {
		return m.history
	}
	text, err := os.ReadFile(filepath.Join(m.dataDir, "pg_wal", fmt.Sprintf("%08X.history", uint32(tl))))
	if err != nil {
		return nil // written a moment after the promotion: the next cycle has it
	}
	m.history, m.historyTL = postgres.ParseHistory(string(text)), tl
	return m.history
}

// follow builds what a standby follows; nil source: nobody.
func (m *machine) follow(source *dcs.Member) (*instance.Follow, error) {
	if source == nil {
		return &instance.Follow{}, nil
	}
	src, err := instance.SourceFromURL(source.Name, source.ConnURL)
	if err != nil {
		return nil, err
	}
	return &instance.Follow{Source: &src, Slot: m.inst.OwnSlot()}, nil
}

// Follow points the running standby at its source, if it is not already.
func (m *machine) Follow(ctx context.Context, source *dcs.Member) ha.FollowOutcome {
	f, err := m.follow(source)
	if err != nil {
		m.log.Error("follow", "err", err)
		return ha.FollowFailed
	}
	check, err := m.inst.NeedsFollow(ctx, f)
	switch {
	case err != nil:
		m.log.Warn("compare the recovery settings with the running server", "err", err)
		return ha.FollowFailed
	case !check.Differs:
		return ha.FollowSame
	case check.Restart:
		m.log.Info("the recovery settings need a restart", "why", check.Why)
		return ha.FollowRestart
	}
	role := m.inst.Role()
	restart, err := m.inst.Follow(ctx, f)
	switch {
	case err != nil:
		m.log.Warn("change the recovery settings", "err", err)
		return ha.FollowFailed
	case restart:
		return ha.FollowRestart
	case m.announce.turns(role):
		m.announce.say(onRoleChange, postgres.RoleReplica)
	default:
		m.announce.say(onReload, role)
	}
	return ha.FollowChanged
}

// Examine compares histories with the leader's (16.2).
func (m *machine) Examine(ctx context.Context, leader dcs.Member) (ha.ExamineOutcome, string) {
	src, err := instance.SourceFromURL(leader.Name, leader.ConnURL)
	if err != nil {
		return ha.ExamineUndecided, err.Error()
	}
	d, err := m.inst.Examine(ctx, src)
	switch {
	case err != nil:
		m.log.Info("could not compare histories with the leader yet", "member", leader.Name, "err", err)
		return ha.ExamineUndecided, err.Error()
	case d.Split:
		return ha.ExamineSplit, d.Why
	case d.Verdict == postgres.Needed:
		return ha.ExamineDiverged, d.Why
	case d.Verdict == postgres.NotNeeded:
		return ha.ExamineSame, d.Why
	}
	return ha.ExamineUndecided, d.Why
}

// AskUpstream asks the server in primary_conninfo (rulings 16). What cannot be
// read is nobody: the question is asked where nobody else can answer it.
func (m *machine) AskUpstream(ctx context.Context) (ha.UpstreamOutcome, string) {
	up, err := m.inst.AskUpstream(ctx)
	if err != nil {
		m.log.Warn("whom did this standby follow", "err", err)
		return ha.UpstreamDead, ""
	}
	m.log.Info("asked the server that this standby followed", "address", up.At, "answer", string(up.State), "why", up.Why)
	switch up.State {
	case instance.UpstreamPrimary:
		return ha.UpstreamPrimary, up.At
	case instance.UpstreamFed:
		return ha.UpstreamFed, up.At
	case instance.UpstreamIdle:
		return ha.UpstreamIdle, up.At
	case instance.UpstreamUnclear:
		return ha.UpstreamUnclear, up.At
	}
	return ha.UpstreamDead, up.At
}

// SyncSlots brings replication slots to what is wanted.
func (m *machine) SyncSlots(ctx context.Context, a ha.SyncSlots) {
	slots := make([]instance.Slot, len(a.Want))
	for i, w := range a.Want {
		slots[i] = instance.Slot{Name: w.Name, Use: instance.SlotInactive, LSN: w.LSN}
		switch {
		case w.Logical:
			slots[i].Use = instance.SlotLogical
		case w.Active:
			slots[i].Use = instance.SlotActive
		case w.Retained:
			slots[i].Use = instance.SlotRetained
		}
	}
	if err := m.inst.SyncSlots(ctx, m.observation().Row, slots, a.Only); err != nil {
		m.log.Warn("bring the replication slots in order", "err", err)
	}
}

// SetRole corrects the remembered role.
func (m *machine) SetRole(role postgres.Role, announce bool) {
	m.inst.SetRole(role)
	if announce {
		m.announce.say(onRoleChange, role)
	}
}

// Job is the long action under way.
func (m *machine) Job() *ha.Job { return m.job() }

// Finished is the result of a job that ended, once.
func (m *machine) Finished() *ha.JobResult { return m.take() }

// Cancel asks the running job to end.
func (m *machine) Cancel() { m.cancelJob() }

// Hold extends the guard's deadline. With a confirmed leader key a bootstrap
// is over for good.
func (m *machine) Hold(ctx context.Context, until clock.Instant, ttl time.Duration) {
	// A guard that is gone has ended its PostgreSQL: nothing to extend.
	if err := m.launcher.hold(ctx, until, ttl); err != nil && !errors.Is(err, client.ErrNoGuard) {
		m.log.Error("extend the guard's deadline", "err", err)
		m.noteEpoch(err)
	}
	m.gate.open(until, ttl)
	if m.job() == nil {
		if m.markerLook.there() { // an unlink waits for a disk that hangs, even of nothing
			os.Remove(m.marker)
		}
		m.announce.hush(false)
		m.announceSeen(m.observation())
	}
}

// noteEpoch remembers that a newer agent has taken this PostgreSQL over: this
// one has to end (rulings 1).
func (m *machine) noteEpoch(err error) {
	if errors.Is(err, client.ErrStaleEpoch) {
		m.mu.Lock()
		m.superseded = true
		m.mu.Unlock()
	}
}

// Unhold disarms the guard.
func (m *machine) Unhold(ctx context.Context, paused bool) {
	if err := m.launcher.unhold(ctx, paused); err != nil {
		m.log.Warn("disarm the guard", "err", err)
	}
	m.gate.remove()
}

// observation is the last look, for what is published beyond decisions.
func (m *machine) observation() instance.Observation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}
