package sim

import (
	"context"
	"time"

	"pgha/agent/ha"
	"pgha/internal/postgres"
)

// Start implements agent.Server: the job runs in the agent, beside the loop.
func (c *control) Start(_ context.Context, spec ha.JobSpec) {
	if c.job != nil {
		panic("sim: a job is started while one runs")
	}
	c.job = &ha.Job{JobSpec: spec, Started: c.a.m.clock.Now()}
	c.a.tell("job: %s", spec.Name)
	if spec.Kind == ha.JobStop && c.a.m.s.opt.Plant == PlantEarlyRelease && c.a.m.s.etcd.leader() == c.a.m.name {
		c.a.m.s.etcd.remove("leader")
	}
	c.a.spawn(func(p *proc) {
		j := &job{c: c, p: p, d: c.a.m.db, spec: spec}
		p.sleep(c.a.m.s.dur(0, 5*time.Millisecond))
		r := j.run()
		r.JobSpec = spec
		c.a.tell("job: %s ended, ok=%t %s", spec.Name, r.OK, r.Err)
		c.job, c.finished = nil, &r
		c.a.Wake()
	})
	c.a.m.strike("a job began: " + string(spec.Kind))
}

// job is one long action under way.
type job struct {
	c    *control
	p    *proc
	d    *database
	spec ha.JobSpec
}

func failed(why string) ha.JobResult { return ha.JobResult{Err: why} }

func (j *job) run() ha.JobResult {
	switch j.spec.Kind {
	case ha.JobBootstrap:
		return j.bootstrap()
	case ha.JobUnbootstrap:
		j.stop(ha.StopImmediate)
		j.d.m.sweep()
		*j.d = database{m: j.d.m, data: ha.DataEmpty}
		j.c.role = postgres.RoleUninitialized
		return ha.JobResult{OK: true}
	case ha.JobClone:
		return j.clone()
	case ha.JobReinit:
		j.stop(ha.StopImmediate)
		return j.clone()
	case ha.JobStartPrimary:
		return j.start(true)
	case ha.JobStartStandby:
		return j.start(false)
	case ha.JobRestart, ha.JobFollow:
		j.c.become(postgres.StateRestarting)
		j.stop(ha.StopFast)
		return j.start(j.spec.Role == postgres.RolePrimary)
	case ha.JobCrashRecovery:
		return j.crashRecovery()
	case ha.JobPromote:
		return j.promote()
	case ha.JobRewind:
		return j.rewind()
	case ha.JobStop:
		return j.demote()
	}
	panic("sim: no such job: " + string(j.spec.Kind))
}

// canceled says whether the loop wants this job to end.
func (j *job) canceled() bool { return j.c.job != nil && j.c.job.Canceled }

// reach tells the loop how far the job has come.
func (j *job) reach(phase ha.Phase, checkpoint postgres.LSN) {
	next := *j.c.job
	next.Phase, next.CheckpointLSN = phase, checkpoint
	j.c.job = &next
	j.c.a.Wake()
	j.c.a.m.strike("a job reached " + string(phase))
}

// work takes a while; false when it was cancelled meanwhile.
func (j *job) work(d time.Duration) bool {
	end := j.c.a.m.clock.Now().Add(d)
	j.p.poll(50*time.Millisecond, end, j.canceled)
	return !j.canceled()
}

func (j *job) bootstrap() ha.JobResult {
	m := j.c.a.m
	j.d.data = ha.DataHalfBootstrapped
	j.c.become(postgres.StateInitializing)
	if !j.work(m.s.dur(300*time.Millisecond, 2*time.Second)) || m.s.chance(m.s.shape.slowServer/4) {
		return failed("initdb failed")
	}
	j.d.systemID, j.d.timeline = m.systemID(), 1
	j.d.append(0)
	sv := j.d.startServer(true, "")
	sv.boot = true
	j.c.role = postgres.RolePrimary
	j.c.become(postgres.StateStarting)
	if !j.ready(sv, 60*time.Second) {
		return failed("the new server does not start")
	}
	j.d.data = ha.DataPresent
	return ha.JobResult{OK: true}
}

// ready waits for the server; false when it is gone, late, or the job cancelled.
func (j *job) ready(sv *server, limit time.Duration) bool {
	end := j.c.a.m.clock.Now().Add(limit)
	j.p.poll(20*time.Millisecond, end, func() bool { return sv.dead || sv.ready || j.canceled() })
	return !sv.dead && sv.ready
}

func (j *job) clone() ha.JobResult {
	m := j.c.a.m
	if j.d.run != nil {
		return failed("PostgreSQL runs on the directory that is to be replaced")
	}
	m.sweep()
	j.c.become(postgres.StateCreatingReplica)
	*j.d = database{m: m, data: ha.DataEmpty}
	j.c.role = postgres.RoleUninitialized
	from := m.s.machineNamed(j.spec.Source.Name)
	for range 4 {
		sv := from.db.run
		if sv == nil || !sv.ready || sv.stopping || sv.stuck() || !m.s.net.both(m.at, from.at) {
			j.c.become(postgres.StateStopped)
			return ha.JobResult{Err: "pg_basebackup: no connection to " + from.name, Unreachable: true}
		}
		if !j.work(m.s.dur(50*time.Millisecond, 800*time.Millisecond)) {
			j.c.become(postgres.StateStopped)
			return failed("cancelled")
		}
	}
	j.d.copyFrom(from.db)
	j.c.role = postgres.RoleReplica
	j.c.become(postgres.StateStopped)
	return j.start(false)
}

// start starts PostgreSQL. As a primary only while the lease permits it.
func (j *job) start(primary bool) ha.JobResult {
	m := j.c.a.m
	if j.d.run != nil {
		return failed("already running")
	}
	if primary && !m.mayOpen() {
		j.c.become(postgres.StateStartFailed)
		return failed("the guard refuses: no lease")
	}
	m.sweep()
	source := ""
	if j.spec.Source != nil && !primary {
		source = j.spec.Source.Name
	}
	sv := j.d.startServer(primary, source)
	j.c.become(postgres.StateStarting)
	j.c.timeout = j.spec.Timeout
	j.c.role = postgres.RoleReplica
	if primary {
		j.c.role = postgres.RolePrimary
		if !sv.guard.permits() {
			sv.exit("started too late")
		}
	}
	limit := j.spec.Timeout
	if limit == 0 {
		limit = time.Minute
	}
	if m.s.chance(m.s.shape.slowServer / 10) {
		sv.after(m.s.dur(0, 100*time.Millisecond), func() { sv.exit("does not start") })
	}
	switch {
	case j.ready(sv, limit):
		j.c.become(postgres.StateRunning)
		return ha.JobResult{OK: true}
	case j.canceled() && !sv.dead:
		sv.exit("start cancelled")
		fallthrough
	case sv.dead:
		j.c.become(postgres.StateStartFailed)
		return failed("postmaster is not running")
	}
	return ha.JobResult{OK: j.spec.Timeout == 0, StillStarting: true}
}

// mayOpen is the guard's question before a writable start.
func (m *machine) mayOpen() bool {
	g := guard{actor: actor{m: m}, until: m.holdUntil, ttl: m.holdTTL, paused: m.holdPaused}
	return g.permits()
}

func (j *job) crashRecovery() ha.JobResult {
	m := j.c.a.m
	m.sweep()
	if !j.work(m.s.dur(50*time.Millisecond, 2*time.Second)) {
		return failed("cancelled")
	}
	j.d.append(0)
	j.d.control, j.d.checkpointed = ha.ControlShutDown, true
	return ha.JobResult{OK: true}
}

func (j *job) promote() ha.JobResult {
	m := j.c.a.m
	if j.canceled() {
		return failed("cancelled")
	}
	sv := j.d.run
	if sv == nil || !sv.ready || sv.stuck() {
		return failed("PostgreSQL does not run")
	}
	if !j.work(m.s.dur(0, m.s.shape.prePromote)) {
		return failed("cancelled")
	}
	if m.s.shape.prePromote > 0 && m.s.chance(0.2) {
		return ha.JobResult{Err: "pre_promote failed", PrePromoteFailed: true}
	}
	if sv.dead || sv.stuck() {
		return failed("PostgreSQL does not run")
	}
	j.reach(ha.PhasePromoting, 0)
	j.p.sleep(m.s.dur(0, 2*time.Millisecond))
	by := m.clock.Now().Add(10 * time.Second)
	if sv.guard.dead || !sv.guard.ask(j.p, by, true, "promote", sv.guard.promote) {
		return failed("the guard did not promote")
	}
	j.c.role = postgres.RolePromoted
	j.p.poll(20*time.Millisecond, m.clock.Now().Add(m.s.shape.loop), func() bool { return sv.dead || sv.primary || j.canceled() })
	if sv.dead || !sv.primary {
		return failed("promotion not confirmed in time")
	}
	m.strike("the promotion is over")
	j.c.role = postgres.RolePrimary
	return ha.JobResult{OK: true}
}

func (j *job) rewind() ha.JobResult {
	m := j.c.a.m
	from := m.s.machineNamed(j.spec.Source.Name)
	j.stop(ha.StopFast)
	m.sweep()
	if !j.work(m.s.dur(50*time.Millisecond, time.Second)) {
		return failed("cancelled")
	}
	if !from.servesTo(m) {
		return ha.JobResult{Err: "no connection to " + from.name, Unreachable: true}
	}
	if j.d.half && m.s.chance(0.5) {
		return failed("the data are damaged")
	}
	j.d.half = true
	half := m.s.dur(50*time.Millisecond, time.Second)
	if !m.s.opt.Calm && m.s.chance(0.3) { // on real data a rewind is long, and so a likely moment for the agent to die
		m.s.after(half/2, func() { m.killAgent(m.s.dur(0, 2*m.s.shape.ttl)) })
	}
	if !j.work(half) {
		return failed("cancelled")
	}
	if !from.servesTo(m) {
		return ha.JobResult{Err: "connection to " + from.name + " lost", Unreachable: true}
	}
	j.d.copyFrom(from.db)
	return ha.JobResult{OK: true}
}

// stop stops PostgreSQL and waits until it is down.
func (j *job) stop(mode ha.StopMode) {
	sv := j.d.run
	if sv == nil {
		return
	}
	j.c.become(postgres.StateStopping)
	if mode == ha.StopImmediate {
		sv.after(j.c.a.m.s.dur(time.Millisecond, 20*time.Millisecond), func() { sv.exit("immediate stop") })
	} else {
		sv.run(sv.stopFast)
	}
	j.awaitEnd(sv, mode, func() bool {
		if sv.shutDown && sv.primary && j.spec.Kind == ha.JobStop && j.c.job.Phase == ha.PhaseRunning {
			j.reach(ha.PhaseShutDown, j.d.location()-recordLen)
		}
		return sv.dead
	})
	j.c.become(postgres.StateStopped)
}

func (j *job) demote() ha.JobResult {
	if j.spec.Checkpoint {
		j.p.sleep(j.c.a.m.s.dur(time.Millisecond, 300*time.Millisecond))
	}
	j.stop(j.spec.Mode)
	j.c.become(postgres.StateStopped)
	if j.c.role == postgres.RolePrimary || j.c.role == postgres.RolePromoted {
		j.c.role = postgres.RoleDemoted
	}
	r := ha.JobResult{OK: true}
	if j.d.control == ha.ControlShutDown && j.d.checkpointed {
		r.CheckpointLSN = j.d.location() - recordLen
	}
	return r
}
