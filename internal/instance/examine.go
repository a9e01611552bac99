package instance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgha/internal/postgres"
)

// Divergence is the outcome of an examination.
type Divergence struct {
	Verdict postgres.Verdict
	Why     string // one sentence
	// Own is this server's position, LeaderTimeline and History the leader's
	// answers; zero when not asked.
	Own            postgres.Position
	LeaderTimeline postgres.Timeline
	History        []postgres.HistoryEntry
	// Split: own history and the leader's differ although the timeline number
	// is the same. Verdict is Needed then, but pg_rewind goes by the number
	// and would see nothing to do: only a clone mends it (pitfalls 16).
	Split bool
	// LeaderEnd is the leader's flushed position.
	LeaderEnd postgres.LSN
}

var (
	// ErrLeaderInRecovery: the leader is not a primary yet (pitfalls 111).
	ErrLeaderInRecovery = errors.New("the leader is still in recovery")
	// ErrOtherSystem: the leader belongs to another cluster.
	ErrOtherSystem = errors.New("the leader has another system identifier")
)

// Examine says whether this server's history has left the leader's (contract:
// ha-behaviour.md 16.2). An error, or the verdict Undecided, means that
// nothing is known: ask again later. Errors: ErrLeaderInRecovery,
// ErrOtherSystem.
func (s *Server) Examine(ctx context.Context, leader Source) (Divergence, error) {
	own, err := s.ownPosition(ctx)
	if err != nil {
		return Divergence{}, fmt.Errorf("examine divergence: %w", err)
	}
	if own == (postgres.Position{}) {
		return Divergence{Why: "own position is unknown"}, nil
	}
	d := Divergence{Own: own}
	if err := s.askLeader(ctx, leader, &d); err != nil {
		if errors.Is(err, ErrLeaderInRecovery) {
			s.log.Info("Leader is still in_recovery and therefore can't be used for rewind")
		}
		return d, fmt.Errorf("examine divergence from %s: %w", leader.label(), err)
	}
	d.Verdict, d.Why = postgres.Diverged(own, d.LeaderTimeline, d.History)
	if own.Timeline == d.LeaderTimeline {
		s.compareBranches(&d)
	}
	if d.Verdict == postgres.NeedCheckpointEnd {
		if err := s.atCheckpointEnd(ctx, &d); err != nil {
			return d, fmt.Errorf("examine divergence: %w", err)
		}
	}
	s.sayExamined(leader, d)
	return d, nil
}

// sayExamined logs what was compared in Patroni's words, and what came of it.
func (s *Server) sayExamined(leader Source, d Divergence) {
	s.log.Info(fmt.Sprintf("Local timeline=%d lsn=%s", d.Own.Timeline, d.Own.LSN))
	s.log.Info(fmt.Sprintf("primary_timeline=%d", d.LeaderTimeline))
	if len(d.History) > 0 {
		var rows []string
		for _, e := range d.History {
			rows = append(rows, strings.TrimSpace(fmt.Sprintf("%d %s %s", e.Timeline, e.Switch, e.Reason)))
		}
		s.log.Info("primary: history=" + strings.Join(rows, "; "))
	}
	s.log.Info("divergence examined", "leader", leader.label(), "rewind", d.Verdict, "why", d.Why)
}

// ownPosition asks the running server, or pg_control when it is stopped or
// still starting. The zero position: no decision possible.
func (s *Server) ownPosition(ctx context.Context) (postgres.Position, error) {
	_, running := s.findPostmaster()
	if running {
		pos, err := s.livePosition(ctx)
		if err == nil {
			return pos, nil
		}
		if st, _ := s.State(); st != postgres.StateStarting && readinessOf(err) != ReadyRejecting {
			return postgres.Position{}, fmt.Errorf("own position: %w", err)
		}
		// It is starting, perhaps for ever, on a diverged directory
		// (pitfalls 101, 115).
	}
	data, err := s.ControlData(ctx)
	if err != nil {
		return postgres.Position{}, err
	}
	pos, _ := data.StoppedPosition()
	return pos, nil
}

func (s *Server) livePosition(ctx context.Context) (postgres.Position, error) {
	var inRecovery bool
	var replayed postgres.LSN
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT pg_is_in_recovery(), COALESCE(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0)::bigint`).
			Scan(&inRecovery, &replayed)
	})
	if err != nil {
		return postgres.Position{}, err
	}
	if !inRecovery { // a running primary is demoted before it is examined
		return postgres.Position{}, nil
	}
	id, err := s.identifyLocal(ctx)
	if err != nil {
		return postgres.Position{}, err
	}
	return postgres.Position{Timeline: id.timeline, LSN: replayed, InRecovery: true}, nil
}

// compareBranches looks behind equal timeline numbers: two members that were
// promoted apart from each other may have taken the same one. Their histories
// then differ, or ours goes beyond what the leader has; a follower can only
// have what its leader flushed. Equal histories prove nothing more.
func (s *Server) compareBranches(d *Divergence) {
	own, _, err := s.History(d.Own.Timeline)
	switch {
	case err != nil || len(own) == 0 && d.Own.Timeline > 1:
		return // our own file is gone: nothing to compare
	case !slices.EqualFunc(own, d.History, func(a, b postgres.HistoryEntry) bool {
		return a.Timeline == b.Timeline && a.Switch == b.Switch
	}):
		d.Split, d.Why = true, fmt.Sprintf("timeline %d began elsewhere on the leader", d.Own.Timeline)
	case d.LeaderEnd != 0 && d.Own.LSN > d.LeaderEnd:
		d.Split, d.Why = true, fmt.Sprintf("own position %s is beyond the leader's %s on the same timeline %d", d.Own.LSN, d.LeaderEnd, d.Own.Timeline)
	}
	if d.Split {
		d.Verdict = postgres.Needed
	}
}

// askLeader fills in the leader's timeline and, when it is newer than our
// own, its history.
func (s *Server) askLeader(ctx context.Context, leader Source, d *Divergence) error {
	if err := s.LeaderReady(ctx, leader); err != nil {
		return err
	}
	c, err := s.connectReplication(ctx, leader)
	if err != nil {
		return err
	}
	defer closeConn(c)
	id, err := identifySystem(ctx, c)
	if err != nil {
		return err
	}
	if own, err := s.SystemID(ctx); err != nil {
		return err
	} else if own.Valid() && own != id.systemID {
		return fmt.Errorf("%w: %s, own %s", ErrOtherSystem, id.systemID, own)
	}
	d.LeaderTimeline, d.LeaderEnd = id.timeline, id.position
	if d.Own.Timeline > id.timeline || d.Own.Timeline == id.timeline && id.timeline == 1 {
		return nil
	}
	d.History, err = timelineHistory(ctx, c, id.timeline)
	return err
}

func timelineHistory(ctx context.Context, c *pgconn.PgConn, tl postgres.Timeline) ([]postgres.HistoryEntry, error) {
	row, err := replicationRow(ctx, c, "TIMELINE_HISTORY "+strconv.Itoa(int(tl)), 2)
	if err != nil {
		return nil, err
	}
	return postgres.ParseHistory(row[1]), nil
}

// LeaderReady asks over SQL whether the leader is a primary. Errors:
// ErrLeaderInRecovery.
func (s *Server) LeaderReady(ctx context.Context, leader Source) error {
	c, err := s.connectSource(ctx, leader)
	if err != nil {
		return err
	}
	defer closeConn(c)
	var inRecovery bool
	if err := c.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&inRecovery); err != nil {
		return fmt.Errorf("ask %s: %w", leader.label(), err)
	}
	if inRecovery {
		return fmt.Errorf("%s: %w", leader.label(), ErrLeaderInRecovery)
	}
	return nil
}

// CheckpointLeader runs a checkpoint on the leader, for one that does not
// publish whether it had one since its promotion (contract: ha-behaviour.md
// 16.3 step 3). It needs the superuser's rights there.
func (s *Server) CheckpointLeader(ctx context.Context, leader Source) error {
	c, err := s.connectSource(ctx, leader)
	if err != nil {
		return err
	}
	defer closeConn(c)
	if _, err = c.Exec(ctx, "SET statement_timeout = 0"); err == nil {
		_, err = c.Exec(ctx, "CHECKPOINT")
	}
	if err != nil {
		return fmt.Errorf("checkpoint on %s: %w", leader.label(), err)
	}
	return nil
}

// atCheckpointEnd decides by where the own shutdown checkpoint ends.
func (s *Server) atCheckpointEnd(ctx context.Context, d *Divergence) error {
	point, ok := postgres.SwitchPoint(d.History, d.Own.Timeline)
	if !ok {
		return errors.New("the switch point vanished from the history")
	}
	res, err := s.waldump(ctx, d.Own.Timeline, d.Own.LSN, 2)
	if err != nil {
		return err
	}
	end, ok := postgres.CheckpointEnd(res.stdout, res.stderr)
	if !ok {
		data, err := s.ControlData(ctx)
		if err != nil {
			return err
		}
		end, ok = postgres.CheckpointEndByLength(res.stdout, data)
	}
	d.Verdict, d.Why = postgres.DivergedAtCheckpoint(end, ok, point)
	return nil
}

// waldump prints records from a position. Its exit code says nothing: at the
// end of the WAL it always complains.
func (s *Server) waldump(ctx context.Context, tl postgres.Timeline, from postgres.LSN, n int) (toolResult, error) {
	res, err := runTool(ctx, tool{path: s.program("pg_waldump"), parsed: true, args: []string{
		"-p", filepath.Join(s.dataDir(), "pg_wal"), "-t", strconv.Itoa(int(tl)), "-s", from.String(), "-n", strconv.Itoa(n)}})
	if err != nil && (ctx.Err() != nil || res.code < 0) {
		return res, err
	}
	return res, nil
}

// ShutdownOptime is the position a former primary publishes when it releases
// the leader key after a shutdown whose control data is given (contract:
// ha-behaviour.md 14, "early release").
func (s *Server) ShutdownOptime(ctx context.Context, data postgres.ControlData) postgres.LSN {
	at, err := s.waldump(ctx, data.Timeline, data.CheckpointLSN, 1)
	if err != nil {
		return data.CheckpointLSN
	}
	before, ok := postgres.RecordBefore(data.CheckpointLSN, at.stdout)
	if !ok {
		return data.CheckpointLSN
	}
	prev, err := s.waldump(ctx, data.Timeline, before, 1)
	if err != nil {
		return data.CheckpointLSN
	}
	return postgres.ShutdownOptime(data.CheckpointLSN, at.stdout, prev.stdout)
}
