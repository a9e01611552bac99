package instance

import (
	"context"
	"fmt"
	"time"

	"pgha/internal/postgres"
)

// reloadWait bounds the wait until a reload has reached the sessions.
const reloadWait = 2 * time.Second

// Applied is what ApplyConfig did.
type Applied struct {
	Changed  bool // a file was rewritten
	Reloaded bool // the server was told
	// Pending: parameters that wait for a restart, with old and new value.
	Pending map[string]postgres.Change
	// BadRules are the mistakes in a new pg_hba.conf or pg_ident.conf, one
	// text each: the file was not put in place, the old one stays.
	BadRules []string
}

// ApplyConfig writes the files that differ from the configuration, reloads
// when one did or force is set, and computes what waits for a restart
// (contract: config.md 6.1, 6.2). On a server that is not running the files
// are written only when forced: the next start does it anyway. Nothing is done
// while the data directory is being made, up to the end of a custom bootstrap:
// what follows does it.
func (s *Server) ApplyConfig(ctx context.Context, force bool) (Applied, error) {
	switch st, _ := s.State(); {
	case s.customNow() != nil, st == postgres.StateCreatingReplica, st == postgres.StateInitializing, st == postgres.StateCustomBootstrap:
		return Applied{}, nil
	}
	_, running := s.findPostmaster()
	if !running && !force {
		return Applied{}, nil
	}
	var a Applied
	var err error
	before := s.rulesInPlace(force)
	if a.Changed, err = s.WriteFiles(ctx); err != nil {
		return a, fmt.Errorf("apply configuration: %w", err)
	}
	if !running {
		return a, fmt.Errorf("apply configuration: reload: %w", ErrNotRunning)
	}
	if a.Changed {
		a.BadRules = s.takeBackBadRules(ctx, before)
	}
	if a.Changed || force {
		if err := s.reloadAndWait(ctx); err != nil {
			return a, fmt.Errorf("apply configuration: %w", err)
		}
		a.Reloaded = true
		if len(a.BadRules) == 0 {
			s.saveConfig() // rules that the server has taken are good to start with
		}
	}
	if a.Pending, err = s.computePending(ctx); err != nil {
		return a, fmt.Errorf("apply configuration: %w", err)
	}
	s.mu.Lock()
	s.pending = a.Pending
	s.mu.Unlock()
	return a, nil
}

// Reload rewrites the files and makes the server read them, also when nothing
// changed, so that hand edits vanish (pitfalls 157).
func (s *Server) Reload(ctx context.Context) error {
	_, err := s.ApplyConfig(ctx, true)
	return err
}

// reloadAndWait signals the postmaster and waits until a session has seen the
// new configuration. A server that cannot be asked is only signalled.
func (s *Server) reloadAndWait(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, reloadWait)
	defer cancel()
	c, err := s.connectLocal(wait, "Patroni")
	if err != nil {
		return s.signalReload()
	}
	defer closeConn(c)
	var before, now time.Time
	const loaded = "SELECT pg_conf_load_time()"
	if err := c.QueryRow(wait, loaded).Scan(&before); err != nil {
		return s.signalReload()
	}
	if err := s.signalReload(); err != nil {
		return err
	}
	for {
		if err := c.QueryRow(wait, loaded).Scan(&now); err != nil || now.After(before) {
			return nil // reloaded, or not to be known in time
		}
		if !pause(wait, poll/2) {
			return nil
		}
	}
}
