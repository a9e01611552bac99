package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/clock"
	"pgha/internal/postgres"
)

// ErrStopFailed: the server could not be told to stop, or survived.
var ErrStopFailed = errors.New("PostgreSQL could not be stopped")

// StopOptions is how to stop.
type StopOptions struct {
	Mode StopMode // empty: fast
	// Checkpoint writes a checkpoint first, so that the shutdown's own is short.
	Checkpoint bool
	// Timeout of each stage: after it a fast or smart stop becomes immediate,
	// after twice that everything is killed. Zero: no limit.
	Timeout time.Duration
	// HookUntil says until when before_stop may run; it is asked again and
	// again, because a lease that is renewed meanwhile moves it. Nil or a zero
	// instant: no limit but hookLimit.
	HookUntil func() clock.Instant
	// Restarting keeps the state "restarting" instead of stopping, stopped.
	Restarting bool
	// OnShutDown is called as soon as pg_control says "shut down", usually
	// before the postmaster has exited: archiver and walsenders may still be
	// busy. Called at most once, from another goroutine, and waited for.
	OnShutDown func(postgres.ControlData)
	// OnSafe is called exactly once, when no client can write any more: no
	// session is left, or the server is stopped. Not called when Stop fails.
	OnSafe func()
}

// Stop stops the server and waits until the postmaster is gone (contract:
// ha-behaviour.md 14, "stop sequence"). A server that is not running is a
// success. Errors: ErrStopFailed; ctx's when it ends first, the server then
// goes on stopping.
func (s *Server) Stop(ctx context.Context, o StopOptions) error {
	defer s.begin("stop")()
	if o.Mode == "" {
		o.Mode = StopFast
	}
	w := &stopWatch{s: s, o: o}
	p, running := s.findPostmaster()
	if !running {
		w.safe()
		s.stopState(o, postgres.StateStopped)
		return nil
	}
	dir := s.dataDir()
	if f, _ := look(ctx, func() (f pidFile) { f, _ = readPidFile(dir); return f }); f.pid < 0 {
		s.stopState(o, postgres.StateStopFailed)
		return fmt.Errorf("%w: process %d is a single-user server", ErrStopFailed, p.pid)
	}
	if st, _ := s.State(); o.Checkpoint && st != postgres.StateStarting {
		if err := s.Checkpoint(ctx); err != nil {
			s.log.Warn("checkpoint before the stop", "err", err)
		}
	}
	s.stopState(o, postgres.StateStopping)
	s.beforeStop(ctx, o)
	s.closeSessions()
	w.key, w.deaf = w.control(ctx)
	if err := s.signalStop(ctx, p, o.Mode); err != nil {
		s.stopState(o, postgres.StateStopFailed)
		return err
	}
	defer w.wait()
	if err := w.untilGone(ctx, p); err != nil {
		s.stopState(o, postgres.StateStopFailed)
		return err
	}
	w.shutDownSeen(ctx)
	w.safe()
	s.mu.Lock()
	s.serverVer = 0
	s.mu.Unlock()
	s.stopState(o, postgres.StateStopped)
	return nil
}

func (s *Server) stopState(o StopOptions, st postgres.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Restarting && st != postgres.StateStopFailed {
		st = postgres.StateRestarting
	}
	s.setState(st)
}

// signalStop has the launcher signal the postmaster, or does it for a server
// the launcher does not know. A process that is gone is no error.
func (s *Server) signalStop(ctx context.Context, p process, mode StopMode) error {
	err := s.launcher.Signal(ctx, mode)
	if errors.Is(err, ErrNotLaunched) {
		err = signalProcess(p.pid, mode.Signal())
	}
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return fmt.Errorf("%w: signal postmaster %d: %w", ErrStopFailed, p.pid, err)
}

// stopWatch follows one stop.
type stopWatch struct {
	s      *Server
	o      StopOptions
	key    controlKey // pg_control's beginning as last looked at
	isSafe bool
	closed bool          // the postmaster takes no new session any more
	blind  bool          // it was said that the sessions cannot be listed
	deaf   bool          // the data directory does not answer: it is not looked at any more
	seen   bool          // OnShutDown has been called, or never will be
	done   chan struct{} // OnShutDown has returned
}

// safe calls OnSafe once.
func (w *stopWatch) safe() {
	if !w.isSafe && w.o.OnSafe != nil {
		w.o.OnSafe()
	}
	w.isSafe = true
}

// wait waits for OnShutDown.
func (w *stopWatch) wait() {
	if w.done != nil {
		<-w.done
	}
}

// untilGone waits for the postmaster and escalates when Timeout is over.
func (w *stopWatch) untilGone(ctx context.Context, p process) error {
	mode, since := w.o.Mode, w.s.clock.Now()
	var killing killWatch
	for p.alive() {
		w.s.resume(p, mode)
		if !w.isSafe && w.sessionsGone(ctx, p) {
			w.safe()
		}
		if mode != StopImmediate {
			w.shutDownSeen(ctx)
		}
		if w.over(since) {
			if mode == StopImmediate { // a kill may wait for the kernel: keep looking
				if killing.due(ctx, w.s, p) {
					return nil
				}
			} else {
				w.s.log.Warn("Timeout during postmaster stop, aborting Postgres.", "pid", p.pid)
				mode, since = StopImmediate, w.s.clock.Now()
				if err := w.s.signalStop(ctx, p, mode); err != nil {
					return err
				}
			}
		}
		if !pause(ctx, poll/2) && p.alive() {
			return fmt.Errorf("stop PostgreSQL: %w", context.Cause(ctx))
		}
	}
	return nil
}

func (w *stopWatch) over(since clock.Instant) bool {
	return w.o.Timeout > 0 && w.s.clock.Now().Sub(since) >= w.o.Timeout
}

// diskPatience is how long a stop waits for a file. A hung disk holds readers
// in the kernel, where no context reaches; PostgreSQL has to be told to stop,
// and killed when it does not, all the same.
const diskPatience = 2 * time.Second

// look runs f, which reads files, and waits for it at most diskPatience. ok is
// false when it did not come back: it is left behind.
func look[T any](ctx context.Context, f func() T) (value T, ok bool) {
	seen := make(chan T, 1)
	go func() { seen <- f() }()
	timer := time.NewTimer(diskPatience)
	defer timer.Stop()
	select {
	case value = <-seen:
		return value, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return value, false
}

// control is pg_control's beginning, zero when it cannot be read; deaf says
// that the disk does not answer.
func (w *stopWatch) control(ctx context.Context) (key controlKey, deaf bool) {
	dir := w.s.dataDir()
	key, ok := look(ctx, func() controlKey {
		key, err := peekControl(dir)
		if err != nil {
			return controlKey{}
		}
		return key
	})
	return key, !ok
}

// shutDownSeen looks at pg_control and reports a finished shutdown.
func (w *stopWatch) shutDownSeen(ctx context.Context) {
	if w.seen || w.deaf || w.o.OnShutDown == nil {
		return
	}
	key, deaf := w.control(ctx)
	if w.deaf = deaf; deaf || key == (controlKey{}) || key == w.key {
		return
	}
	w.key = key
	data, err := w.s.ControlData(ctx)
	if err != nil {
		w.s.log.Warn("stop: control data", "err", err)
		return
	}
	switch data.State {
	case postgres.ClusterShutDown:
		w.seen, w.done = true, make(chan struct{})
		// Another goroutine: a slow DCS must not delay the escalation. Stop
		// waits for it.
		go func() {
			defer close(w.done)
			w.o.OnShutDown(data)
		}()
	case postgres.ClusterShutDownInRecovery:
		w.seen = true
	}
}

// Checkpoint writes a checkpoint, however long it takes within ctx.
func (s *Server) Checkpoint(ctx context.Context) error {
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "SET statement_timeout = 0"); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "CHECKPOINT")
		return err
	})
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// Kill ends the postmaster and its children at once, with SIGKILL: the last
// resort when nothing else may be waited for.
func (s *Server) Kill() {
	if p, ok := s.findPostmaster(); ok {
		killTree(p)
	}
}

// ErrStarting: PostgreSQL was executed a moment ago and can take no signal yet.
var ErrStarting = errors.New("PostgreSQL is just being started")

// signalReload makes the server read its configuration again. A postmaster
// that has not written its pid file yet may have no signal handlers, and would
// die of the signal.
func (s *Server) signalReload() error {
	p, running := s.findPostmaster()
	if !running {
		return fmt.Errorf("reload: %w", ErrNotRunning)
	}
	if f, err := readPidFile(s.dataDir()); err != nil || f.pid != p.pid {
		return fmt.Errorf("reload: %w", ErrStarting)
	}
	if err := signalProcess(p.pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("reload: signal postmaster %d: %w", p.pid, err)
	}
	return nil
}
