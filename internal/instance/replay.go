package instance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/postgres"
)

// ReplayBlocked names a parameter that the primary has raised above this
// standby's running value, which pauses the replay; empty: none, so that the
// pause is an operator's. pg_control has the primary's values as replayed.
func (s *Server) ReplayBlocked(ctx context.Context) (string, error) {
	control, err := s.ControlData(ctx)
	if err != nil {
		return "", fmt.Errorf("why replay is paused: %w", err)
	}
	blocked := ""
	err = s.withLocal(ctx, func(c *pgx.Conn) error {
		for _, name := range slices.Sorted(maps.Keys(control.Settings)) {
			primary, err := strconv.Atoi(control.Settings[name])
			if err != nil {
				continue // wal_level and the like
			}
			var here int
			if err := c.QueryRow(ctx, "SELECT coalesce((SELECT setting FROM pg_settings WHERE name = $1 AND vartype = 'integer'), '-1')::int", name).Scan(&here); err != nil {
				return err
			}
			if here >= 0 && here < primary {
				blocked = fmt.Sprintf("%s is %d, on the primary %d", name, here, primary)
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("why replay is paused: %w", err)
	}
	return blocked, nil
}

// ResumeReplay lets a standby go on whose replay is paused because the
// primary raised a parameter it has lower: it then shuts down, and the next
// start takes the values of pg_control (contract: config.md 6.3).
func (s *Server) ResumeReplay(ctx context.Context) error {
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SELECT pg_wal_replay_resume()")
		return err
	})
	if err != nil {
		return fmt.Errorf("resume replay: %w", err)
	}
	return nil
}

// History reads the local history file of a timeline. at is the file's
// modification time, when the timeline began. A file that is not there is no
// error: no entries.
func (s *Server) History(tl postgres.Timeline) (entries []postgres.HistoryEntry, at time.Time, err error) {
	name := filepath.Join(s.dataDir(), "pg_wal", fmt.Sprintf("%08X.history", uint32(tl)))
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read timeline history: %w", err)
	}
	if fi, err := os.Stat(name); err == nil {
		at = fi.ModTime()
	}
	return postgres.ParseHistory(string(b)), at, nil
}
