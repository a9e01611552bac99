package agent

// Guards and postmasters that outlive an agent: taken over, and left.

import (
	"context"
	"errors"
	"fmt"

	"pgha/internal/clock"
	"pgha/internal/guard/client"
	"pgha/internal/instance"
)

// adopt connects to the guard that an earlier agent left. The result is the
// deadline it holds: until then the leader key may be ours.
func (l *launcher) adopt(ctx context.Context) (clock.Instant, error) {
	c, err := client.Connect(ctx, l.options.StateDir, l.options.Epoch)
	if errors.Is(err, client.ErrNoGuard) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("connect to the guard of the running PostgreSQL: %w", err)
	}
	state, err := c.State(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask the guard of the running PostgreSQL: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.take(c)
	if state.Armed {
		l.until, l.ttl, l.armed = state.Deadline, state.TTL, true
	}
	l.pid, l.beside = state.PID, state.Protection == client.ProtectionWalk
	l.promoting = state.Mode != client.Standby
	l.report(state)
	return l.until, nil
}

// release leaves the guard to itself: it keeps PostgreSQL within the lease,
// and ends with it.
func (l *launcher) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guard != nil {
		l.guard.Close()
		l.guard = nil
	}
}

// guardless says whether no guard is alive.
func (l *launcher) guardless() bool {
	c, _ := l.current()
	return c == nil
}

// adoptPostmaster puts a guard beside a postmaster that somebody else
// started: the process walk protects it, the parent-death signal cannot.
func (l *launcher) adoptPostmaster(ctx context.Context, inst *instance.Server) error {
	pid, alive := inst.Alive()
	if !alive {
		return errors.New("the postmaster has ended meanwhile")
	}
	if l.off {
		l.adoptBare(pid, guardOff)
		return nil
	}
	ticks, err := client.StartTicks(pid)
	if err != nil {
		return err
	}
	c, err := client.Spawn(ctx, l.options)
	if err != nil {
		l.adoptBare(pid, err.Error())
		return nil
	}
	if err := c.Adopt(ctx, pid, ticks); err != nil {
		c.Close()
		l.adoptBare(pid, err.Error())
		return nil
	}
	l.mu.Lock()
	l.take(c)
	l.pid, l.beside = pid, true
	l.mu.Unlock()
	l.describe(ctx, c)
	return nil
}
