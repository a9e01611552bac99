// Package instance controls one PostgreSQL on this machine: it starts, stops,
// promotes, follows, rewinds, clones and asks. It does what it is told and
// never decides about leadership; what it refuses, it refuses because the
// data directory would be damaged or could accept writes by mistake
// (contract: ha-behaviour.md 1, 3 to 5, 14 to 17; config.md 4 to 6).
package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/postgres"
)

// poll is the step of every wait for a process or file.
const poll = 20 * time.Millisecond

// Options is what a Server is made of.
type Options struct {
	// Local is the local configuration: identity, paths, credentials.
	Local *config.Local
	// Launcher starts and signals the postmaster.
	Launcher Launcher
	// Sweep, when set, ends whatever an earlier postmaster left running on
	// the data directory. It runs before every start; its error prevents it.
	Sweep func(ctx context.Context, dataDir string) error
	// Own, when set, is called for every TCP socket to the own server, before
	// it connects (net.Dialer.Control).
	Own   func(network, address string, c syscall.RawConn) error
	Clock clock.Clock
	Log   *slog.Logger
}

// Server is the PostgreSQL of this member. Deeds (Start, Stop, Promote,
// Follow, BaseBackup, Rewind, ...) exclude each other by the caller's care:
// one job at a time. Observe, Status and the accessors may run beside them.
type Server struct {
	launcher Launcher
	sweep    func(context.Context, string) error
	own      func(network, address string, c syscall.RawConn) error
	clock    clock.Clock
	log      *slog.Logger

	mu    sync.Mutex // guards everything below
	local *config.Local
	eff   config.Effective
	dyn   config.Dynamic

	state      postgres.State
	stateSince clock.Instant
	role       postgres.Role
	deed       string // the deed under way; state belongs to it then

	postmaster process // remembered; found again by postmaster.pid when gone
	pmStart    time.Time
	settingsOf process // whose settings are known: started by us, or read
	address    localAddress
	listening  string           // listen_addresses of the running server; empty: not known
	serverVer  postgres.Version // of the running server, from its own answer

	recovery map[string]string          // recovery parameters in force; nil: not known
	custom   *customBootstrap           // a custom bootstrap is under way; replaced, never changed
	pending  map[string]postgres.Change // why a restart is pending
	adopted  map[string]string          // settings of a server found running
	control  controlCache
	tools    toolCache
	check    confCheck
	refused  map[string]string // rule files: content the server could not read, by path

	busySlots map[string]clock.Instant // slots in use that nobody knows: when that was said

	heartbeat session // the monitoring connection
	rest      session // the REST status connection
	disk      diskWatch
}

// New returns a Server that has not looked at anything yet: the first Observe
// or Adopt does. Errors: ErrUnsupportedVersion is not among them, the version
// is checked by Version.
func New(o Options) (*Server, error) {
	if o.Local == nil || o.Launcher == nil {
		return nil, errors.New("instance: local configuration and launcher are required")
	}
	if !filepath.IsAbs(o.Local.PostgreSQL.DataDir) {
		return nil, fmt.Errorf("postgresql.data_dir %q: an absolute path is required", o.Local.PostgreSQL.DataDir)
	}
	s := &Server{launcher: o.Launcher, sweep: o.Sweep, own: o.Own, clock: o.Clock, log: o.Log, local: o.Local}
	if s.clock == nil {
		s.clock = clock.System{}
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.state, s.role = postgres.StateStopped, postgres.RoleUninitialized
	s.stateSince = s.clock.Now()
	s.heartbeat = newSession("Patroni heartbeat")
	s.rest = newSession("Patroni restapi")
	return s, nil
}

// Configure sets the values used from now on. It changes no file and signals
// nobody: ApplyConfig and Reload do.
func (s *Server) Configure(eff config.Effective, dyn config.Dynamic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eff, s.dyn = eff, dyn
}

// SetLocal replaces the local configuration after a reload. Paths must not
// change: the caller compares them.
func (s *Server) SetLocal(l *config.Local) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local = l
}

// State is the state in memory and since when it lasts.
func (s *Server) State() (postgres.State, clock.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.stateSince
}

// Role is the role in memory: what this member was told to be, not what the
// server answers.
func (s *Server) Role() postgres.Role {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.role
}

// SetRole sets the role in memory: a decision of the agent (demoted,
// standby_leader, primary after a promotion by hand, ...).
func (s *Server) SetRole(r postgres.Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.role = r
}

// SetState sets the state in memory, for the tables that let the agent do so
// (contract: ha-behaviour.md 2 step 7, paused).
func (s *Server) SetState(st postgres.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setState(st)
}

// setState wants s.mu.
func (s *Server) setState(st postgres.State) {
	if s.state != st {
		s.log.Debug("PostgreSQL state", "from", s.state, "to", st)
		s.state, s.stateSince = st, s.clock.Now()
	}
}

// begin marks a deed as under way: until end is called Observe leaves the
// state alone.
func (s *Server) begin(deed string) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.deed
	s.deed = deed
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.deed = before
	}
}

// Pending returns why a restart is pending; empty when none is.
func (s *Server) Pending() map[string]postgres.Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]postgres.Change, len(s.pending))
	for k, v := range s.pending {
		out[k] = v
	}
	return out
}

// RunningPort is the port that the server was started with, as its lock file
// says; zero when none has been seen.
func (s *Server) RunningPort() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address.port
}

// RunningListen is listen_addresses of the running server; empty: not known.
func (s *Server) RunningListen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listening
}

// values returns a consistent view of the configuration.
func (s *Server) values() (*config.Local, config.Effective, config.Dynamic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.local, s.eff, s.dyn
}

func (s *Server) dataDir() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return filepath.Clean(s.local.PostgreSQL.DataDir)
}

// configDir is where postgresql.conf, pg_hba.conf and pg_ident.conf live.
func (s *Server) configDir() string {
	l, _, _ := s.values()
	if l.PostgreSQL.ConfigDir != "" {
		return filepath.Clean(l.PostgreSQL.ConfigDir)
	}
	return filepath.Clean(l.PostgreSQL.DataDir)
}

// confFile is <config_dir>/<config_base_name>.conf.
func (s *Server) confFile() string {
	_, eff, _ := s.values()
	base := eff.ConfigBaseName
	if base == "" {
		base = "postgresql"
	}
	return filepath.Join(s.configDir(), base+".conf")
}

// program is the path of one of PostgreSQL's programs.
func (s *Server) program(name string) string {
	_, eff, _ := s.values()
	if n := eff.BinName[name]; n != "" {
		name = n
	}
	if eff.BinDir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(eff.BinDir, name)
}

// findPostmaster returns the running postmaster of the data directory. The
// remembered one is asked first; only when it is gone is the pid file read.
func (s *Server) findPostmaster() (process, bool) {
	s.mu.Lock()
	p := s.postmaster
	s.mu.Unlock()
	if p.alive() {
		return p, true
	}
	dir := s.dataDir()
	f, err := readPidFile(dir)
	if err != nil {
		return process{}, false
	}
	p, ok := postmasterOf(dir, f)
	if !ok {
		return process{}, false
	}
	s.remember(p, f)
	return p, true
}

// remember takes a process for the server from now on.
func (s *Server) remember(p process, f pidFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.postmaster == p && !s.pmStart.IsZero() && s.address.port != 0 {
		return
	}
	if s.postmaster != p {
		s.listening = ""
	}
	s.postmaster, s.pmStart = p, f.start
	if f.port != 0 {
		s.address = addressOf(f)
	}
}

// Alive says whether the postmaster runs, and under which pid.
func (s *Server) Alive() (pid int, alive bool) {
	p, ok := s.findPostmaster()
	return p.pid, ok
}

// readFileIfThere returns nil content for a missing file.
func readFileIfThere(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b, err
}
