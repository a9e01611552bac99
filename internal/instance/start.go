package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgha/internal/postgres"
)

// StartResult is how a start ended.
type StartResult string

const (
	// StartReady: the server accepts connections.
	StartReady StartResult = "ready"
	// StartPending: the postmaster runs but was not ready in time; the state
	// stays "starting" and Observe notices when it is ready.
	StartPending StartResult = "still starting"
	// StartFailed: see the error.
	StartFailed StartResult = "failed"
)

var (
	// ErrRecoveryFiles: a start as primary was asked for, but a signal file
	// would make the server enter recovery.
	ErrRecoveryFiles = errors.New("the data directory has a standby.signal or recovery.signal")
	// ErrWouldBePrimary: a start as standby was asked for without recovery
	// parameters on a directory without signal file; it would accept writes.
	ErrWouldBePrimary = errors.New("the data directory has no standby.signal: the server would start as primary")
	// ErrHalfRewound: pg_rewind left the directory half changed (rulings 58).
	ErrHalfRewound = errors.New("pg_rewind did not finish on this data directory: rewind again or clone")
	// ErrHalfCloned: a clone was cut short, by the end of the agent for one.
	ErrHalfCloned = errors.New("the data directory is the beginning of a copy: clone again")
	// ErrStartTimeout: the caller's time limit passed before the server was
	// ready, or nothing opened the port in time.
	ErrStartTimeout = errors.New("timed out waiting for PostgreSQL to start")
)

// StartOptions is how to start.
type StartOptions struct {
	// Role becomes the role in memory; empty: primary or replica, as the
	// signal files say.
	Role postgres.Role
	// Recovery, when not nil, makes the start one of a standby: recovery
	// parameters and standby.signal are written first. Nil leaves the
	// directory's kind as it is.
	Recovery *Follow
	// Timeout is the caller's own limit; zero: pg_ctl_timeout. A server not
	// ready within the caller's own limit counts as failed, within
	// pg_ctl_timeout as StartPending.
	Timeout time.Duration
}

// Start starts the server and waits until it accepts connections (contract:
// ha-behaviour.md 1, "postmaster start"). A server found running is left
// alone: StartReady or StartPending by what it answers. The error is not nil
// exactly for StartFailed. When ctx ends while a primary starts, the
// postmaster is stopped again at once: the lease it was started under is
// gone. A standby is left starting.
func (s *Server) Start(ctx context.Context, o StartOptions) (StartResult, error) {
	defer s.begin("start")()
	if _, running := s.findPostmaster(); running {
		s.log.Error("PostgreSQL is running already, not started again")
		s.mu.Lock()
		s.setState(postgres.StateStarting)
		s.mu.Unlock()
		return s.waitReady(ctx, o, process{})
	}
	r, err := s.startOnce(ctx, o)
	if err != nil && ctx.Err() == nil && s.restoreRules(err) {
		return s.startOnce(ctx, o)
	}
	return r, err
}

func (s *Server) startOnce(ctx context.Context, o StartOptions) (StartResult, error) {
	s.closeSessions()
	p, err := s.launch(ctx, o)
	if err != nil {
		s.mu.Lock()
		s.setState(postgres.StateStartFailed)
		s.mu.Unlock()
		return StartFailed, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return s.waitReady(ctx, o, p)
}

// launch prepares the files and has the postmaster started.
func (s *Server) launch(ctx context.Context, o StartOptions) (process, error) {
	dir := s.dataDir()
	if s.marked(markRewind) {
		return process{}, fmt.Errorf("%w (noted in %s)", ErrHalfRewound, s.markFile(markRewind))
	}
	if s.marked(markClone) {
		return process{}, fmt.Errorf("%w (noted in %s: remove the note if the directory was replaced by hand)", ErrHalfCloned, s.markFile(markClone))
	}
	if err := s.clearTree(ctx); err != nil {
		return process{}, err
	}
	primary, err := s.prepareRecovery(ctx, &o)
	if err != nil {
		return process{}, err
	}
	s.mu.Lock()
	s.role, s.pending, s.adopted, s.address, s.listening = o.Role, nil, nil, localAddress{}, ""
	s.control.timeline = 0
	s.setState(postgres.StateStarting)
	if s.custom != nil {
		s.setState(postgres.StateBootstrapStarting)
	}
	s.mu.Unlock()
	params, err := s.startParameters(ctx, primary)
	if err != nil {
		return process{}, err
	}
	// The files get the configured values; the larger ones a standby needs
	// stand on the command line, which wins.
	if _, err := s.WriteFiles(ctx); err != nil {
		return process{}, err
	}
	params = s.customStart(params)
	s.makeSocketDirs(params)
	cmd := Command{Path: s.program("postgres"), Dir: dir, Env: s.postmasterEnv()}
	cmd.Args = append([]string{"-D", dir, "--config-file=" + s.confFile()}, postgres.CommandLineOptions(params)...)
	// A targeted recovery (recovery.signal) ends in a primary by itself.
	_, err = os.Lstat(filepath.Join(dir, "standby.signal"))
	pid, err := s.launcher.Start(ctx, cmd, errors.Is(err, os.ErrNotExist))
	if err != nil {
		return process{}, err
	}
	p, err := identify(pid)
	if err != nil {
		return process{}, fmt.Errorf("postmaster %d: %w (%w)", pid, errEndedEarly, err)
	}
	s.mu.Lock()
	s.postmaster, s.pmStart, s.settingsOf = p, time.Time{}, p
	s.listening = params["listen_addresses"]
	s.mu.Unlock()
	return p, nil
}

// clearTree ends what an earlier postmaster left running: a backend that
// survived it could still write.
func (s *Server) clearTree(ctx context.Context) error {
	if s.sweep == nil {
		return nil
	}
	if err := s.sweep(ctx, s.dataDir()); err != nil {
		return fmt.Errorf("clear what an earlier server left: %w", err)
	}
	return nil
}

// prepareRecovery writes what makes the start a standby, and says whether the
// server is going to accept writes by itself. The files decide, not the
// caller's word: role and files that contradict each other are refused.
func (s *Server) prepareRecovery(ctx context.Context, o *StartOptions) (primary bool, err error) {
	dir := s.dataDir()
	if o.Recovery != nil && o.Role == postgres.RolePrimary {
		return false, fmt.Errorf("%w: recovery parameters were given for a primary", ErrRecoveryFiles)
	}
	if o.Recovery != nil {
		params, pgpass, err := s.wantedRecovery(ctx, o.Recovery)
		if err != nil {
			return false, err
		}
		if err := s.writePgpass(pgpass); err != nil {
			return false, err
		}
		s.setRecovery(params)
		if err := s.writeSignal(); err != nil {
			return false, err
		}
	}
	standby, err := inRecoveryByFiles(dir)
	if err != nil {
		return false, err
	}
	switch {
	case o.Role == "" && standby:
		o.Role = postgres.RoleReplica
	case o.Role == "":
		o.Role = postgres.RolePrimary
	case o.Role == postgres.RolePrimary && standby:
		return false, ErrRecoveryFiles
	case o.Role != postgres.RolePrimary && !standby:
		return false, ErrWouldBePrimary
	}
	if err := removeTrigger(dir); err != nil {
		return false, err
	}
	return !standby, nil
}

// startParameters are the parameters of the start: a standby gets at least
// what its primary had (contract: config.md 6.3).
func (s *Server) startParameters(ctx context.Context, primary bool) (map[string]string, error) {
	params := s.parameters()
	if primary {
		return params, nil
	}
	data, err := s.ControlData(ctx)
	if err != nil {
		return nil, err
	}
	adjusted, pending, missing := postgres.StandbyMinimums(params, data)
	if len(missing) > 0 {
		s.log.Warn("pg_control does not tell the primary's values, the configured ones are used", "parameters", strings.Join(missing, ", "))
	}
	s.mu.Lock()
	s.pending = pending
	s.mu.Unlock()
	return adjusted, nil
}

// postmasterEnv is the environment of the postmaster. A pid file left over
// from before a reboot may name a foreign process; PostgreSQL takes it for a
// running server unless told that the pid is its own grandparent's.
func (s *Server) postmasterEnv() []string {
	env := cleanEnv()
	_, eff, _ := s.values()
	if eff.KrbSrvName != "" {
		env = setEnv(env, "PGKRBSRVNAME="+eff.KrbSrvName)
	}
	dir := s.dataDir()
	if f, err := readPidFile(dir); err == nil && f.pid > 0 {
		if _, ours := postmasterOf(dir, f); !ours {
			if _, err := identify(f.pid); err == nil {
				env = setEnv(env, "PG_GRANDPARENT_PID="+strconv.Itoa(f.pid))
			}
		}
	}
	return env
}

// makeSocketDirs creates the socket directories that are missing; /run is
// empty after a reboot.
func (s *Server) makeSocketDirs(params map[string]string) {
	for _, d := range strings.Split(params["unix_socket_directories"], ",") {
		d = strings.TrimSpace(d)
		if d == "" || strings.HasPrefix(d, "@") {
			continue
		}
		if !filepath.IsAbs(d) {
			d = filepath.Join(s.dataDir(), d)
		}
		if err := os.MkdirAll(d, 0o755); err != nil {
			s.log.Warn("socket directory", "dir", d, "err", err)
		}
	}
}

// waitReady waits for the port and for readiness. The pid file's status line
// is watched, which costs nothing; a connection is tried only once it says
// that the server may answer.
func (s *Server) waitReady(ctx context.Context, o StartOptions, p process) (StartResult, error) {
	limit := o.Timeout
	if limit == 0 {
		_, eff, _ := s.values()
		limit = eff.PgCtlTimeout
	}
	deadline := s.clock.Now().Add(limit)
	if p.pid == 0 {
		p, _ = s.findPostmaster()
	}
	open := false
	for {
		f, err := readPidFile(s.dataDir())
		if err == nil && f.pid == p.pid {
			open = open || f.status != ""
			if f.status == "ready" && s.nowReady(ctx, p, f) {
				return StartReady, nil
			}
		}
		if !p.alive() {
			cause := errEndedEarly
			if open {
				cause = ErrNotRunning
			}
			return s.startFailed(fmt.Errorf("start PostgreSQL: %w", cause))
		}
		if ctx.Err() != nil {
			return s.startCancelled(ctx, p)
		}
		if !s.clock.Now().Before(deadline) {
			break
		}
		pause(ctx, poll)
	}
	switch {
	case !open && limit > 0:
		return StartFailed, fmt.Errorf("%w: nothing answers within %s", ErrStartTimeout, limit)
	case o.Timeout > 0:
		return StartFailed, fmt.Errorf("%w: not ready within %s", ErrStartTimeout, limit)
	}
	return StartPending, nil
}

// nowReady makes sure that the server answers and takes note of it.
func (s *Server) nowReady(ctx context.Context, p process, f pidFile) bool {
	s.remember(p, f)
	row, _, err := s.queryRow(ctx, s.heartbeat)
	if readinessOf(err) != ReadyAccepting {
		return false
	}
	s.mu.Lock()
	s.setState(postgres.StateRunning)
	s.mu.Unlock()
	s.saveConfig()
	if row != nil {
		s.log.Info("PostgreSQL accepts connections", "pid", p.pid, "in_recovery", row.InRecovery, "timeline", row.Timeline)
	}
	return true
}

func (s *Server) startFailed(err error) (StartResult, error) {
	s.mu.Lock()
	s.setState(postgres.StateStartFailed)
	s.mu.Unlock()
	return StartFailed, err
}

// startCancelled ends a primary whose start nobody may finish any more.
func (s *Server) startCancelled(ctx context.Context, p process) (StartResult, error) {
	cause := fmt.Errorf("start PostgreSQL: %w", context.Cause(ctx))
	if standby, err := inRecoveryByFiles(s.dataDir()); err == nil && standby {
		return StartFailed, cause
	}
	s.log.Warn("the start of a primary was cancelled, stopping it", "pid", p.pid)
	_ = syscall.Kill(p.pid, StopImmediate.Signal())
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), toolGrace)
	defer cancel()
	if !s.waitGone(stop, p) {
		killTree(p)
		s.waitGone(stop, p)
	}
	return s.startFailed(cause)
}

// waitGone waits until the process is gone, or false when ctx ends first.
func (s *Server) waitGone(ctx context.Context, p process) bool {
	for p.alive() {
		if !pause(ctx, poll) {
			return !p.alive()
		}
	}
	return true
}

// pause waits d, or less when ctx ends: false then.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
