package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"pgha/agent/ha"
	"pgha/internal/instance"
	"pgha/internal/postgres"
)

// Start begins the one long action. What each kind does is one method below;
// all of them only carry out what a decision has settled.
func (m *machine) Start(_ context.Context, spec ha.JobSpec) {
	work := map[ha.JobKind]func(context.Context, ha.JobSpec, *jobProgress) error{
		ha.JobBootstrap:     m.bootstrap,
		ha.JobUnbootstrap:   m.unbootstrap,
		ha.JobClone:         m.clone,
		ha.JobReinit:        m.reinit,
		ha.JobStartPrimary:  m.startPrimary,
		ha.JobStartStandby:  m.startStandby,
		ha.JobFollow:        m.restart,
		ha.JobRestart:       m.restart,
		ha.JobCrashRecovery: m.crashRecover,
		ha.JobPromote:       m.promote,
		ha.JobRewind:        m.rewind,
		ha.JobStop:          m.stopServer,
	}[spec.Kind]
	m.start(m.background, spec, func(ctx context.Context, p *jobProgress) ha.JobResult {
		err := work(ctx, spec, p)
		r := ha.JobResult{OK: err == nil}
		if err != nil {
			r.Err = err.Error()
			m.noteEpoch(err)
			r.Unreachable = errors.Is(err, errLeaderGone)
			r.StillStarting = errors.Is(err, errStillStarting)
			r.PrePromoteFailed = errors.Is(err, errPrePromote)
		}
		if spec.Kind == ha.JobStop && err == nil {
			r.CheckpointLSN = m.shutdownCheckpoint(ctx)
		}
		return r
	})
}

// errLeaderGone: a rewind could not be done now, for the source's sake or
// before it began.
var errLeaderGone = errors.New("not possible at the moment")

// errStillStarting: the start's time is over, the server is still at it.
var errStillStarting = errors.New("postgres is still starting")

// bootstrap makes a new cluster on this machine. The marker file tells a
// later agent that it did not come to its end.
func (m *machine) bootstrap(ctx context.Context, _ ha.JobSpec, p *jobProgress) error {
	if err := os.WriteFile(m.marker, []byte("a bootstrap is under way; without an agent running, it was cut short\n"), 0o600); err != nil {
		return fmt.Errorf("mark the bootstrap: %w", err)
	}
	m.announce.hush(true) // until the cluster has a leader: see Hold
	b := m.settings.Local().Bootstrap
	if err := m.inst.InitDB(ctx, b); err != nil {
		return err
	}
	m.launcher.allowUnguarded(true)
	defer m.launcher.allowUnguarded(false)
	m.settings.SetRole(postgres.RolePrimary) // the files are those of what it becomes
	waiting := func() { p.reach(ha.PhaseRecovering, 0) }
	if err := m.inst.StartBootstrapped(ctx, waiting); err != nil {
		return err
	}
	p.reach(ha.PhasePostBootstrap, 0)
	return m.inst.PostBootstrap(ctx, b)
}

func (m *machine) unbootstrap(ctx context.Context, _ ha.JobSpec, _ *jobProgress) error {
	m.announce.hush(true)
	if err := m.stop(ctx, instance.StopOptions{Mode: instance.StopImmediate, Timeout: m.settings.Current().RetryTimeout}); err != nil {
		return err
	}
	if err := m.inst.MoveDataDirAside(ctx); err != nil {
		return err
	}
	m.announce.hush(false)
	return os.Remove(m.marker)
}

// clone makes a replica's data by the configured methods; without a source by
// those that need no leader.
func (m *machine) clone(ctx context.Context, spec ha.JobSpec, _ *jobProgress) error {
	o := instance.ReplicaOptions{BaseBackupOnly: spec.BaseBackupOnly, Progress: m.reportCopy(spec.Name)}
	if spec.Source != nil {
		src, err := instance.SourceFromURL(spec.Source.Name, spec.Source.ConnURL)
		if err != nil {
			return err
		}
		o.From = &src
	}
	return m.inst.CreateReplica(ctx, o)
}

func (m *machine) reinit(ctx context.Context, spec ha.JobSpec, p *jobProgress) error {
	if err := m.stop(ctx, instance.StopOptions{Mode: instance.StopImmediate, Timeout: m.settings.Current().RetryTimeout}); err != nil {
		return err
	}
	return m.clone(ctx, spec, p)
}

func (m *machine) startPrimary(ctx context.Context, spec ha.JobSpec, _ *jobProgress) error {
	return m.startAs(ctx, spec, onStart)
}

func (m *machine) startStandby(ctx context.Context, spec ha.JobSpec, _ *jobProgress) error {
	return m.startAs(ctx, spec, onStart)
}

// startAs starts PostgreSQL in the role of the spec and calls for the callback
// that this means: on_role_change when a primary comes back as a standby, even
// if that fails (21).
func (m *machine) startAs(ctx context.Context, spec ha.JobSpec, as callback) error {
	o := instance.StartOptions{Role: postgres.RolePrimary, Timeout: spec.Timeout}
	turns := false
	if spec.Role != postgres.RolePrimary {
		f, err := m.follow(spec.Source)
		if err != nil {
			return err
		}
		o.Role, o.Recovery = postgres.RoleReplica, f
		if turns = m.announce.turns(m.inst.Role()); turns {
			as = onNothing
		}
	}
	m.announce.starting(as)
	m.settings.SetRole(o.Role)
	result, err := m.inst.Start(ctx, o)
	if turns {
		m.announce.say(onRoleChange, o.Role)
	}
	if pid, alive := m.inst.Alive(); alive && result == instance.StartReady {
		m.announce.ready(pid, o.Role)
	}
	if result == instance.StartPending {
		return errStillStarting
	}
	return err
}

// restart stops and starts as what the server was: also the way to a
// changed primary_conninfo where a reload does not do.
func (m *machine) restart(ctx context.Context, spec ha.JobSpec, _ *jobProgress) error {
	m.mu.Lock()
	m.restartTTL = spec.Timeout
	m.mu.Unlock()
	if err := m.stop(ctx, instance.StopOptions{Mode: instance.StopFast, Checkpoint: true, Restarting: true}); err != nil {
		return err
	}
	return m.startAs(ctx, spec, onRestart)
}

// stop stops PostgreSQL and announces it, unless it was down already or is
// about to be started again.
func (m *machine) stop(ctx context.Context, o instance.StopOptions) error {
	role := m.inst.Role()
	_, alive := m.inst.Alive()
	o.HookUntil = m.launcher.hooksUntil
	err := m.inst.Stop(ctx, o)
	if err == nil && alive && !o.Restarting {
		m.announce.say(onStop, role)
	}
	return err
}

func (m *machine) crashRecover(ctx context.Context, _ ha.JobSpec, _ *jobProgress) error {
	return m.inst.CrashRecover(ctx)
}

func (m *machine) promote(ctx context.Context, _ ha.JobSpec, p *jobProgress) error {
	if err := m.prePromote(ctx); err != nil {
		return err
	}
	p.reach(ha.PhasePromoting, 0)
	return m.inst.Promote(ctx, func() { m.announce.say(onRoleChange, postgres.RolePrimary) })
}

func (m *machine) rewind(ctx context.Context, spec ha.JobSpec, _ *jobProgress) error {
	src, err := instance.SourceFromURL(spec.Source.Name, spec.Source.ConnURL)
	if err != nil {
		return err
	}
	if err := m.stop(ctx, instance.StopOptions{Mode: instance.StopFast}); err != nil {
		return err
	}
	r, err := m.inst.Rewind(ctx, src)
	if r.Outcome == instance.RewindLeaderGone || err != nil && r.Outcome == "" {
		return errors.Join(errLeaderGone, err) // try again: nothing is decided
	}
	return err
}

func (m *machine) stopServer(ctx context.Context, spec ha.JobSpec, p *jobProgress) error {
	return m.stop(ctx, instance.StopOptions{
		Mode: instance.StopMode(spec.Mode), Checkpoint: spec.Checkpoint, Timeout: spec.StopTimeout,
		OnShutDown: func(c postgres.ControlData) { p.reach(ha.PhaseShutDown, c.CheckpointLSN) },
		OnSafe:     m.safePoint,
	})
}

// checkpointWait bounds the look at pg_control after a stop: a disk that hangs
// would keep the leader key from being given up.
const checkpointWait = 5 * time.Second

// shutdownCheckpoint is where the log of a cleanly stopped server ends.
func (m *machine) shutdownCheckpoint(ctx context.Context) postgres.LSN {
	c, err := m.inst.ControlDataWithin(ctx, checkpointWait)
	if err != nil || c.State != postgres.ClusterShutDown {
		return 0
	}
	return c.CheckpointLSN
}

// reportCopy logs how far a base backup has come, at most every 5 s.
func (m *machine) reportCopy(name string) func(done, total int64) {
	last := m.clock.Now()
	return func(done, total int64) {
		if m.clock.Now().Sub(last) < reportEvery {
			return
		}
		last = m.clock.Now()
		if total > 0 {
			m.log.Info(fmt.Sprintf("%s: %d of about %d MB (%d %%)", name, done>>20, total>>20, min(99, done*100/total)))
			return
		}
		m.log.Info(fmt.Sprintf("%s: %d MB", name, done>>20))
	}
}

const reportEvery = 5 * time.Second
