package instance

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"pgha/internal/postgres"
)

// nudgeAfter is how long a promotion may take before the startup process is
// woken again, and from then on how often.
//
// The startup process of PostgreSQL 13 to 18 can miss the promotion's wake-up
// when its WAL receiver dies in the same moment, as it does in every
// switchover: it resets its latch, finds the receiver gone and sleeps for
// wal_retrieve_retry_interval (5 s) before it looks for the request. A reload
// sets the latch once more.
const nudgeAfter = 100 * time.Millisecond

// Promote ends recovery and returns once pg_control says "in production". It
// does not look at the leader key: the launcher checks the lease right before
// and after the act. The role is promoted from the signal on, primary at the
// end. When ctx ends in between, the promotion is not undone: the role stays
// promoted until a query says otherwise. A server already promoted or primary
// is a success. sent, when not nil, is called once the promotion has been
// asked for, which a server that is promoted already never is. Errors:
// ErrNotRunning; the launcher's; ctx's.
func (s *Server) Promote(ctx context.Context, sent func()) error {
	defer s.begin("promote")()
	p, running := s.findPostmaster()
	if !running {
		return fmt.Errorf("promote: %w", ErrNotRunning)
	}
	if r := s.Role(); r == postgres.RolePrimary {
		return nil
	}
	dir := s.dataDir()
	standby, err := inRecoveryByFiles(dir)
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	// Without signal files an earlier promotion is under way or over: it is
	// only waited for. The zero key makes the loop look at once.
	var key controlKey
	if standby {
		key, _ = peekControl(dir)
		err := s.launcher.Promote(ctx)
		if errors.Is(err, ErrNotLaunched) && ctx.Err() == nil {
			s.log.Warn("promoting a postmaster that was started by somebody else: no lease stands behind it")
			err = promotePostmaster(dir, p.pid)
		}
		if err != nil {
			return fmt.Errorf("promote: %w", err)
		}
	}
	s.SetRole(postgres.RolePromoted)
	if standby && sent != nil {
		sent()
	}
	nudge := s.clock.Now().Add(nudgeAfter)
	for {
		if now, err := peekControl(dir); err == nil && now != key {
			key = now
			if data, err := s.ControlData(ctx); err == nil && data.State == postgres.ClusterInProduction {
				s.SetRole(postgres.RolePrimary)
				return nil
			}
		}
		if !p.alive() {
			return fmt.Errorf("promote: %w: the postmaster ended during the promotion", ErrNotRunning)
		}
		if s.clock.Now().After(nudge) {
			_ = signalProcess(p.pid, syscall.SIGHUP) // a postmaster that is gone is noticed above
			nudge = s.clock.Now().Add(nudgeAfter)
		}
		if !pause(ctx, poll/2) {
			return fmt.Errorf("promote: wait for the end of recovery: %w", context.Cause(ctx))
		}
	}
}
