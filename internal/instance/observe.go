package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/clock"
	"pgha/internal/postgres"
)

// Observation is what one look at the server found. Facts that could not be
// had in time are zero; nothing in it is older than the call, except where
// said.
type Observation struct {
	At clock.Instant

	DataDir    DataDirState
	DataDirErr error // why it is unreadable or unknown
	// RecoveryFiles: a start would enter recovery instead of accepting writes.
	RecoveryFiles bool
	// HalfRewound: pg_rewind began to change the directory and did not
	// finish; only a further rewind or a clone makes it usable (rulings 58).
	HalfRewound bool
	// HalfCloned: a clone was cut short before pg_control came, which is
	// copied last: the directory is worth nothing and may be removed.
	HalfCloned bool
	SystemID   postgres.SystemID // empty: unusable control data
	// Control is read only when no postmaster runs.
	Control    *postgres.ControlData
	ControlErr error

	Alive           bool // the postmaster process runs, in whatever condition
	PID             int
	PostmasterStart time.Time // of its pid file: whole seconds
	// SingleUser: what runs is a single-user server, which cannot be asked or
	// stopped as a postmaster.
	SingleUser bool

	State      postgres.State
	StateSince clock.Instant
	Role       postgres.Role

	Ready    Readiness
	Row      *Row  // nil when the query failed or nobody could be asked
	QueryErr error // why Row is nil, when a postmaster runs
}

// Primary says whether the server accepts writes, as far as can be known: the
// query's answer, else a living postmaster with the role primary (contract:
// ha-behaviour.md 2, "monitoring query").
func (o *Observation) Primary() bool {
	if o.Row != nil {
		return !o.Row.InRecovery
	}
	return o.Alive && o.Role == postgres.RolePrimary
}

// diskFacts are the facts that need the data directory's file system.
type diskFacts struct {
	dir        DataDirState
	dirErr     error
	recovery   bool
	rewound    bool
	cloned     bool
	sysID      postgres.SystemID
	control    *postgres.ControlData
	controlErr error
	postmaster process
	alive      bool
	single     bool
}

// diskWatch lets one look at the file system be under way at a time: on a
// hung file system it never returns, and a second one would hang too
// (pitfalls 100).
type diskWatch struct {
	mu      sync.Mutex
	running chan struct{} // closed when the look under way is over
	last    diskFacts
}

// Observe collects one cycle's facts. It returns when ctx ends at the latest,
// also when the postmaster is frozen or the file system hangs. It moves the
// state in memory as the facts demand, unless a deed is under way: a running
// server that died has crashed, a starting one that answers runs.
func (s *Server) Observe(ctx context.Context) Observation {
	o := Observation{At: s.clock.Now(), Ready: ReadyUnknown}
	d, err := s.lookAtDisk(ctx)
	o.DataDir, o.DataDirErr = d.dir, d.dirErr
	o.RecoveryFiles, o.HalfRewound, o.HalfCloned = d.recovery, d.rewound, d.cloned
	o.SystemID, o.Control, o.ControlErr = d.sysID, d.control, d.controlErr
	o.SingleUser = d.single
	p, alive := d.postmaster, d.alive
	if err != nil {
		// The file system does not answer; the process table does.
		o.DataDir, o.DataDirErr = DataDirUnknown, err
		s.mu.Lock()
		p = s.postmaster
		s.mu.Unlock()
		alive = p.alive()
	}
	o.Alive = alive
	if alive {
		o.PID = p.pid
		s.mu.Lock()
		o.PostmasterStart = s.pmStart
		s.mu.Unlock()
		if !o.SingleUser {
			o.Row, o.QueryErr = s.monitor(ctx)
			o.Ready = readinessOf(o.QueryErr)
			if o.Row != nil {
				o.PostmasterStart = o.Row.PostmasterStart
				s.adoptLate(ctx)
			}
		}
	}
	s.settle(&o)
	return o
}

// lookAtDisk starts a look at the file system, or joins the one under way,
// and waits for it until ctx ends.
func (s *Server) lookAtDisk(ctx context.Context) (diskFacts, error) {
	w := &s.disk
	w.mu.Lock()
	done := w.running
	if done == nil {
		done = make(chan struct{})
		w.running = done
		// Owned by diskWatch: it ends by itself, and no second one starts
		// before. Its own bound is pg_controldata's.
		go func() {
			facts := s.readDisk(context.WithoutCancel(ctx))
			w.mu.Lock()
			w.last, w.running = facts, nil
			w.mu.Unlock()
			close(done)
		}()
	}
	w.mu.Unlock()
	// Half of the time at most: a server on hung storage may still answer.
	wait, cancel := ctx, context.CancelFunc(func() {})
	if at, ok := ctx.Deadline(); ok {
		wait, cancel = context.WithTimeout(ctx, time.Until(at)/2)
	}
	defer cancel()
	select {
	case <-done:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.last, nil
	case <-wait.Done():
		return diskFacts{dir: DataDirUnknown}, fmt.Errorf("look at the data directory: the file system does not answer: %w", wait.Err())
	}
}

func (s *Server) readDisk(ctx context.Context) diskFacts {
	dir := s.dataDir()
	var f diskFacts
	f.postmaster, f.alive = s.findPostmaster()
	if f.alive {
		if pf, err := readPidFile(dir); err == nil {
			f.single = pf.pid < 0
		}
	}
	f.dir, f.dirErr = inspectDataDir(dir)
	f.rewound = s.marked(markRewind)
	if s.marked(markClone) && f.dir == DataDirPresent {
		_, err := peekControl(dir)
		f.cloned = errors.Is(err, os.ErrNotExist)
	}
	if f.dir != DataDirPresent {
		return f
	}
	var err error
	if f.recovery, err = inRecoveryByFiles(dir); err != nil {
		f.dir, f.dirErr = DataDirUnreadable, err
		return f
	}
	s.mu.Lock()
	cloning := s.state == postgres.StateCreatingReplica && s.deed != ""
	s.mu.Unlock()
	if cloning { // half a directory: pg_controldata would say nonsense
		return f
	}
	f.sysID, f.controlErr = s.SystemID(ctx)
	if !f.alive && f.controlErr == nil {
		if data, err := s.ControlData(ctx); err != nil {
			f.controlErr = err
		} else {
			f.control = &data
		}
	}
	return f
}

// monitor runs the monitoring query on the held connection, once more on a
// new one when the held one turned out to be broken.
func (s *Server) monitor(ctx context.Context) (*Row, error) {
	row, fresh, err := s.queryRow(ctx, s.heartbeat)
	if err != nil && !fresh && ctx.Err() == nil && !isStatementTimeout(err) {
		row, _, err = s.queryRow(ctx, s.heartbeat)
	}
	return row, err
}

// Status runs the monitoring query on a connection of its own, for REST: the
// loop and its clients must not wait for each other (pitfalls 217).
func (s *Server) Status(ctx context.Context) (*Row, error) {
	// The remembered postmaster only: no file is read here, so that hung
	// storage does not hang REST.
	s.mu.Lock()
	p := s.postmaster
	s.mu.Unlock()
	if !p.alive() {
		return nil, ErrNotRunning
	}
	row, _, err := s.queryRow(ctx, s.rest)
	return row, err
}

func (s *Server) queryRow(ctx context.Context, ses session) (row *Row, fresh bool, err error) {
	fresh = true // a failed connection attempt is as fresh as can be
	err = s.use(ctx, ses, func(c *pgx.Conn, isNew bool) error {
		fresh = isNew
		var err error
		row, err = readRow(ctx, c)
		return err
	})
	if err != nil {
		return nil, fresh, err
	}
	s.mu.Lock()
	s.serverVer = row.Version
	s.mu.Unlock()
	if row.InRecovery && row.Timeline == 0 {
		row.Timeline = s.replayTimeline(ctx, row)
	}
	return row, fresh, nil
}

// replayTimeline asks a standby without WAL receiver for its timeline. The
// answer is kept while nothing more is replayed.
func (s *Server) replayTimeline(ctx context.Context, row *Row) postgres.Timeline {
	key := timelineKey{row.PostmasterStartText, row.Replayed}
	s.mu.Lock()
	of, tl := s.control.timelineOf, s.control.timeline
	s.mu.Unlock()
	if tl != 0 && of == key {
		return tl
	}
	id, err := s.identifyLocal(ctx)
	if err != nil {
		s.log.Debug("timeline of the standby is unknown", "err", err)
		return 0
	}
	s.mu.Lock()
	s.control.timelineOf, s.control.timeline = key, id.timeline
	s.mu.Unlock()
	return id.timeline
}

// timelineKey is what a remembered timeline is valid for.
type timelineKey struct {
	postmaster string
	replayed   postgres.LSN
}

func (s *Server) identifyLocal(ctx context.Context) (identity, error) {
	c, err := s.connectReplication(ctx, s.localSource())
	if err != nil {
		return identity{}, err
	}
	defer closeConn(c)
	return identifySystem(ctx, c)
}

// settle moves the state in memory by the facts and completes the
// observation with it (contract: ha-behaviour.md 5.1, 6; pitfalls 104).
func (s *Server) settle(o *Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deed == "" {
		s.settleState(o)
	}
	if o.Row != nil && !o.Row.InRecovery && s.role == postgres.RolePromoted {
		s.role = postgres.RolePrimary
	}
	if !o.Alive && s.deed == "" {
		s.settleRole(o)
	}
	o.State, o.StateSince, o.Role = s.state, s.stateSince, s.role
}

func (s *Server) settleState(o *Observation) {
	switch {
	case !o.Alive && o.DataDirErr != nil && o.DataDir == DataDirUnknown && s.postmaster == (process{}):
		// Nothing is known: keep what was.
	case !o.Alive && s.state == postgres.StateStarting:
		s.setState(postgres.StateStartFailed)
	case !o.Alive && s.state == postgres.StateRunning:
		s.setState(postgres.StateCrashed)
	case o.Alive && (o.Row != nil || o.Ready == ReadyAccepting):
		s.setState(postgres.StateRunning)
	case o.Alive && o.Ready == ReadyRejecting:
		s.setState(postgres.StateStarting)
	case o.Alive && s.state != postgres.StateRunning && s.state != postgres.StateStopFailed:
		s.setState(postgres.StateStarting)
	}
}

// settleRole derives the role of a stopped server that nobody has given one.
func (s *Server) settleRole(o *Observation) {
	switch {
	case o.DataDir == DataDirEmpty || o.DataDir == DataDirMissing:
		s.role = postgres.RoleUninitialized
	case s.role != postgres.RoleUninitialized || !o.SystemID.Valid():
	case o.RecoveryFiles:
		s.role = postgres.RoleReplica
	default:
		s.role = postgres.RoleDemoted
	}
}

func isStatementTimeout(err error) bool { return hasCode(err, "57014") }

// ErrNotRunning is returned by what needs a running server.
var ErrNotRunning = errors.New("PostgreSQL is not running")
