package sim

import (
	"context"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// control is what an agent has in its hands of PostgreSQL. It implements
// agent.Server over the model.
type control struct {
	a          *agentProcess
	state      postgres.State
	since      clock.Instant
	role       postgres.Role
	streamedAt clock.Instant
	timeout    time.Duration
	job        *ha.Job
	finished   *ha.JobResult
	probing    probing
}

// newControl attaches to what is there.
func newControl(a *agentProcess) *control {
	c := &control{a: a}
	d := a.m.db
	switch {
	case d.run != nil && d.run.primary:
		c.role = postgres.RolePrimary
	case d.run != nil && d.run.promoting: // its guard says so
		c.role = postgres.RolePromoted
	case d.run != nil || d.signal:
		c.role = postgres.RoleReplica
	case d.data != ha.DataPresent:
		c.role = postgres.RoleUninitialized
	default:
		c.role = postgres.RoleDemoted
	}
	c.become(postgres.StateStopped)
	if d.run != nil {
		c.become(postgres.StateStarting)
		if d.run.ready {
			c.become(postgres.StateRunning)
		}
	}
	return c
}

func (c *control) become(s postgres.State) {
	if c.state != s {
		c.state, c.since = s, c.a.m.clock.Now()
	}
}

// Observe implements agent.Server.
func (c *control) Observe(ctx context.Context) ha.Local {
	m, p := c.a.m, c.a.loop
	p.sleep(m.s.dur(time.Millisecond, 10*time.Millisecond))
	d := m.db
	queried := d.run != nil && d.run.ready && !d.run.stopping
	if d.run != nil && d.run.stuck() { // it answers nothing
		p.wait(deadlineOf(ctx), func() bool { return d.run == nil || !d.run.stuck() })
		queried = false
	}
	sv := d.run
	c.settle(sv)
	l := ha.Local{
		Data: d.data, Alive: sv != nil, State: c.state, StateSince: c.since, Role: c.role,
		RecoverySignal: d.signal, HalfRewound: d.half && m.s.opt.Plant != PlantHalfRewind, RewindUsable: m.s.shape.rewind,
		StartTimeout: c.timeout, MajorVersion: 17, InRecovery: true, Control: d.control,
	}
	if !l.RewindUsable {
		l.RewindUnusable = "wal_log_hints is off"
	}
	if d.data == ha.DataPresent {
		l.SystemID = d.systemID
	}
	if d.control == ha.ControlShutDown && d.checkpointed {
		l.CheckpointLSN = d.location() - recordLen
	}
	if sv != nil {
		l.InRecovery = c.role != postgres.RolePrimary
	}
	if sv != nil && sv == d.run && queried && sv.ready && !sv.stopping {
		l.Queried, l.InRecovery = true, !sv.primary
		l.Timeline, l.Location = d.timeline, d.location()
		if sv.primary {
			l.HistoryFile = append([]postgres.HistoryEntry(nil), d.history...)
		}
		for _, o := range m.s.nodes {
			if o.db.run != nil && o.db.run.up != nil && o.db.run.up.from == sv {
				l.Feeds = append(l.Feeds, o.name)
			}
		}
		if l.Streaming = sv.up != nil; l.Streaming {
			c.streamedAt = m.clock.Now()
		}
	}
	l.StreamedAt, l.Health = c.streamedAt, c.health(sv)
	if m.s.opt.Plant == PlantPromotionForgotten && l.Role == postgres.RolePromoted {
		l.Role = postgres.RoleReplica
	}
	p.sleep(m.s.dur(time.Millisecond, 10*time.Millisecond)) // the facts age a little
	return l
}

// settle brings the remembered state in line with the process.
func (c *control) settle(sv *server) {
	switch {
	case sv == nil && (c.state == postgres.StateRunning || c.state == postgres.StateStarting) && c.job == nil:
		c.become(postgres.StateCrashed)
	case sv != nil && sv.ready && !sv.stopping && c.state == postgres.StateStarting:
		c.become(postgres.StateRunning)
		c.timeout = 0
	}
	if sv != nil && sv.ready && sv.primary && c.role == postgres.RolePromoted && c.job == nil {
		c.role = postgres.RolePrimary
	}
}

// Job implements agent.Server.
func (c *control) Job() *ha.Job { return c.job }

// Finished implements agent.Server.
func (c *control) Finished() *ha.JobResult {
	f := c.finished
	c.finished = nil
	return f
}

// Cancel implements agent.Server.
func (c *control) Cancel() {
	if c.job == nil {
		return
	}
	next := *c.job
	next.Canceled = true
	c.job = &next
}

// Follow implements agent.Server.
func (c *control) Follow(_ context.Context, source *dcs.Member) ha.FollowOutcome {
	c.a.loop.sleep(c.a.m.s.dur(0, 3*time.Millisecond))
	sv := c.a.m.db.run
	if sv == nil || sv.primary || sv.stuck() {
		return ha.FollowFailed
	}
	name := ""
	if source != nil {
		name = source.Name
	}
	switch {
	case sv.source == name:
		return ha.FollowSame
	case c.a.m.s.shape.followNeedsRestart:
		return ha.FollowRestart
	}
	sv.source, c.a.m.db.source = name, name
	sv.disconnect()
	sv.receive()
	return ha.FollowChanged
}

// Examine implements agent.Server.
func (c *control) Examine(_ context.Context, leader dcs.Member) (ha.ExamineOutcome, string) {
	m := c.a.m
	c.a.loop.sleep(m.s.dur(time.Millisecond, 20*time.Millisecond))
	from := m.s.machineNamed(leader.Name)
	if !from.servesTo(m) || m.db.run != nil && (!m.db.run.ready || m.db.run.stuck()) {
		return ha.ExamineUndecided, ""
	}
	return m.db.examine(from.db)
}

// servesTo says whether this member is a running primary that the other can connect to.
func (m *machine) servesTo(o *machine) bool {
	sv := m.db.run
	return sv != nil && sv.primary && sv.ready && !sv.stopping && !sv.stuck() && m.s.net.both(m.at, o.at)
}

// AskUpstream implements agent.Server.
func (c *control) AskUpstream(context.Context) (ha.UpstreamOutcome, string) {
	m := c.a.m
	c.a.loop.sleep(m.s.dur(time.Millisecond, 20*time.Millisecond))
	from := m.s.machineNamed(m.db.source)
	switch {
	case from == nil || from.db.run == nil || !from.db.run.ready || from.db.run.stuck() || !m.s.net.both(m.at, from.at):
		return ha.UpstreamDead, m.db.source
	case from.db.run.primary:
		return ha.UpstreamPrimary, from.name
	case from.db.run.up != nil:
		return ha.UpstreamFed, from.name + ":5432"
	}
	return ha.UpstreamIdle, from.name
}

// SyncSlots implements agent.Server. Slots keep WAL, and WAL is never removed here.
func (c *control) SyncSlots(context.Context, ha.SyncSlots) {
	c.a.loop.sleep(c.a.m.s.dur(0, 2*time.Millisecond))
}

// SetRole implements agent.Server.
func (c *control) SetRole(r postgres.Role, _ bool) { c.role = r }

// toGuard asks the guard of what runs here, as long as the call may.
func (c *control) toGuard(ctx context.Context, what string, do func(g *guard)) {
	c.a.loop.sleep(c.a.m.s.dur(50*time.Microsecond, time.Millisecond))
	if sv := c.a.m.db.run; sv != nil && !sv.guard.dead {
		sv.guard.ask(c.a.loop, deadlineOf(ctx), false, what, func(answer func(bool)) {
			do(sv.guard)
			answer(true)
		})
	}
}

// Hold implements agent.Server.
func (c *control) Hold(ctx context.Context, until clock.Instant, ttl time.Duration) {
	m := c.a.m
	if m.s.opt.Plant == PlantUnarmedAcquire && m.s.etcd.leader() != m.name {
		return
	}
	m.strike("the lease was confirmed")
	m.holdUntil, m.holdTTL, m.holdPaused = until, ttl, false
	c.toGuard(ctx, armRequest, func(g *guard) { g.arm(until, ttl) })
	m.strike("the guard's deadline was extended")
}

// Unhold implements agent.Server.
func (c *control) Unhold(ctx context.Context, paused bool) {
	m := c.a.m
	m.holdUntil, m.holdPaused = 0, paused
	if paused {
		m.s.checks.disarms(m)
	}
	c.toGuard(ctx, "disarm", func(g *guard) {
		if paused || !g.server.primary && !g.writable {
			g.disarm(paused)
		}
	})
}
