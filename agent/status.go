package agent

import (
	"context"
	"sync"
	"time"

	"pgha/agent/ha"
	"pgha/agent/rest"
	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/instance"
	"pgha/internal/logging"
	"pgha/internal/postgres"
)

// statusRefresh bounds a status query for REST (contract: rest-api.md 18, row 7).
const statusRefresh = 2 * time.Second

// publisher holds what REST shows: the loop's last view, and the server facts
// of the last query, whoever asked for it.
type publisher struct {
	inst     *instance.Server
	settings *settings
	clock    clock.Clock
	version  string
	// promises are what this member agreed to; nil in tests.
	promises *Promises
	// protection is shown as it is at the moment; nil in tests.
	protection *protection
	watchdog   *machineWatchdog // nil in tests
	// probes are shown as they are at the moment; nil in tests.
	probes func() []rest.Probe
	// log is where the agent's records go; nil in tests.
	log *logging.Output

	mu        sync.Mutex
	view      View
	status    *rest.Status
	changed   chan struct{}
	scheduled *dcs.ScheduledRestart
	asking    chan struct{} // closed when the status query under way is over
}

func newPublisher(inst *instance.Server, s *settings, c clock.Clock, version string) *publisher {
	p := &publisher{inst: inst, settings: s, clock: c, version: version, changed: make(chan struct{})}
	local := s.Local()
	p.status = &rest.Status{At: c.Now(), Scope: local.Scope, Name: local.Name, PghaVersion: version,
		State: postgres.StateStopped, Role: postgres.RoleUninitialized, Config: s.Current().Dynamic}
	return p
}

// publish takes a cycle's view and the observation behind it.
func (p *publisher) publish(v View, o instance.Observation) {
	server := serverFacts(o.Row)
	p.mu.Lock()
	p.view = v
	p.status = p.compose(v, o.State, o.Role, server, o.At)
	p.announce()
	p.mu.Unlock()
}

// announce wakes those who wait for a change. Called with mu held.
func (p *publisher) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// compose builds what REST shows. Called with mu held.
func (p *publisher) compose(v View, state postgres.State, role postgres.Role, server *rest.Facts, at clock.Instant) *rest.Status {
	local := p.settings.Local()
	shown := pausedState(state, v.Settings.Pause)
	if state == postgres.StateRunning && server == nil {
		shown = postgres.StateUnknown
	}
	s := &rest.Status{
		At: at, Scope: local.Scope, Name: local.Name, PghaVersion: p.version,
		State: shown, Role: role, Server: server,
		LastCluster: v.Cluster, DCSLastSeen: v.DCSSeen, Config: v.Settings.Dynamic,
		LeaseUntil: v.LeaderUntil, NextTick: v.NextCycle,
		Tags: local.Tags.Published, ConfiguredTags: local.Tags.Published,
		SystemID: v.Local.SystemID, ScheduledRestart: p.scheduled, Failsafe: v.Failsafe,
	}
	if !v.ClusterLost && v.Cluster != nil && p.clock.Now().Sub(v.At) < v.Settings.TTL {
		s.Cluster = v.Cluster
	}
	s.WatchdogFailed = s.WatchdogFailed || v.Local.Unfenced
	s.FailsafeUntil = failsafeUntil(v.Memory, v.Settings.TTL, p.sender())
	s.PendingRestart, s.PendingRestartReason = pendingOf(p.inst.Pending())
	if p.protection != nil {
		s.Protection = p.protection.shown()
	}
	if p.watchdog != nil {
		s.WatchdogFailed = s.WatchdogFailed || p.watchdog.failed.Load()
	}
	if p.probes != nil {
		s.Probes = p.probes()
	}
	if p.log != nil {
		s.LogQueue, s.LogLost = p.log.Queued(), int(p.log.Lost())
	}
	return s
}

// pausedState: in pause an operator stops and starts PostgreSQL, and an end
// is no crash (contract: ha-behaviour.md 2 step 7, 12).
func pausedState(state postgres.State, paused bool) postgres.State {
	if paused && state == postgres.StateCrashed {
		return postgres.StateStopped
	}
	return state
}

// Snapshot returns the latest published status.
func (p *publisher) Snapshot() *rest.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	if p.view.Cluster != nil && s.Cluster != nil && p.clock.Now().Sub(p.view.At) > p.view.Settings.TTL {
		stale := *s
		stale.Cluster = nil
		s = &stale
	}
	if until := failsafeUntil(p.view.Memory, p.view.Settings.TTL, p.sender()); until.After(s.FailsafeUntil) {
		fresh := *s
		fresh.FailsafeUntil = until
		s = &fresh
	}
	return s
}

// sender is the primary that this member agreed with; nil: none.
func (p *publisher) sender() *ha.FailsafeSender {
	if p.promises == nil {
		return nil
	}
	return p.promises.Sender()
}

// lastView is the loop's last published view.
func (p *publisher) lastView() View {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view
}

// Changed is closed when a new status is published.
func (p *publisher) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Refresh returns a status at most maxAge old. One query serves all who ask
// at the same time.
func (p *publisher) Refresh(ctx context.Context, maxAge time.Duration) *rest.Status {
	s := p.Snapshot()
	if p.clock.Now().Sub(s.At) <= maxAge {
		return s
	}
	p.mu.Lock()
	done := p.asking
	if done == nil {
		done = make(chan struct{})
		p.asking = done
		go p.query(done) // bounded by statusRefresh
	}
	p.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return p.Snapshot()
}

// query asks PostgreSQL once and publishes the answer.
func (p *publisher) query(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), statusRefresh)
	defer cancel()
	at := p.clock.Now()
	state, _ := p.inst.State()
	var server *rest.Facts
	if state == postgres.StateRunning || state == postgres.StateStarting || state == postgres.StateRestarting {
		if row, err := p.inst.Status(ctx); err == nil {
			server = serverFacts(row)
		}
	}
	p.mu.Lock()
	p.status = p.compose(p.view, state, p.inst.Role(), server, at)
	p.asking = nil
	p.announce()
	p.mu.Unlock()
	close(done)
}

// schedule keeps (or, with nil, forgets) a restart for later.
func (p *publisher) schedule(r *dcs.ScheduledRestart) {
	p.mu.Lock()
	p.scheduled = r
	next := *p.status
	next.ScheduledRestart = r
	p.status = &next
	p.mu.Unlock()
}

func (p *publisher) scheduledRestart() *dcs.ScheduledRestart {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.scheduled
}

func pendingOf(changes map[string]postgres.Change) (bool, map[string]dcs.ParameterChange) {
	if len(changes) == 0 {
		return false, nil
	}
	out := map[string]dcs.ParameterChange{}
	for name, c := range changes {
		out[name] = dcs.ParameterChange{Old: c.Old, New: c.New}
	}
	return true, out
}

// serverFacts turns the monitoring row into what REST shows; nil stays nil.
func serverFacts(r *instance.Row) *rest.Facts {
	if r == nil {
		return nil
	}
	s := &rest.Facts{
		PostmasterStart: r.PostmasterStart, Version: int(r.Version), InRecovery: r.InRecovery,
		Timeline: r.Timeline, Location: r.Location, Received: max(r.Written, r.Received), Replayed: r.Replayed,
		ReplayedAt: r.ReplayedAt, ReplayPaused: r.ReplayPaused, ReplicationState: r.ReplicationState(), UpstreamEnd: r.LatestEnd,
	}
	for _, w := range r.Senders {
		s.Replication = append(s.Replication, rest.Sender{User: w.User, ApplicationName: w.ApplicationName,
			ClientAddr: orEmpty(w.ClientAddr), State: w.State, SyncState: w.SyncState, SyncPriority: w.SyncPriority})
	}
	for _, slot := range r.Slots {
		s.Slots = append(s.Slots, rest.Slot{Name: slot.Name, Type: slot.Type, Restart: slot.RestartLSN})
	}
	return s
}

// orEmpty reads a NULL text as the empty one.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
