package agent

import (
	"context"
	"errors"

	"pgha/internal/guard/client"
	"pgha/internal/instance"
)

var _ instance.TreeKiller = (*launcher)(nil)

// Kill has the guard send SIGKILL to everything of PostgreSQL. A guard that is
// gone has done so already.
func (l *launcher) Kill(ctx context.Context) error {
	c, _ := l.current()
	if c == nil {
		return instance.ErrNotLaunched
	}
	if err := c.Kill(ctx); err != nil && !errors.Is(err, client.ErrNoGuard) {
		return err
	}
	return nil
}

// Fenced asks the guard whether what is left can run (rulings 12).
func (l *launcher) Fenced(ctx context.Context) bool {
	c, _ := l.current()
	if c == nil {
		return false
	}
	state, err := c.State(ctx)
	return err == nil && state.Fenced
}
