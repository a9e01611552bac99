package agent

// The operator's programs around what this machine does: pre_promote, the time
// that before_stop has, and which callbacks a look at PostgreSQL calls for.
// What runs callbacks is callbacks.go, what they mean announce.go.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/instance"
	"pgha/internal/postgres"
)

// errPrePromote: the operator's script forbids the promotion.
var errPrePromote = errors.New("pre_promote failed")

// prePromote runs the operator's last word before a promotion. The leader key
// is ours and is renewed meanwhile; the guard looks at the lease again when it
// promotes. A script that was cancelled has not failed: what it says no longer
// counts (7).
func (m *machine) prePromote(ctx context.Context) error {
	command := m.settings.Effective().PrePromote
	if role := m.inst.Role(); command == "" || role == postgres.RolePrimary || role == postgres.RolePromoted {
		return nil
	}
	settings := m.settings.Current()
	hctx, cancel := context.WithTimeout(ctx, max(settings.PrimaryStartTimeout, settings.TTL))
	defer cancel()
	m.log.Info("running pre_promote", "command", command)
	_, err := m.inst.RunHook(hctx, command)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("pre_promote: %w", context.Cause(ctx))
	case hctx.Err() != nil && err != nil:
		return fmt.Errorf("%w: it did not end within primary_start_timeout", errPrePromote)
	case err != nil:
		return fmt.Errorf("%w: %w", errPrePromote, err)
	}
	return nil
}

// announceSeen calls for the callbacks that a look at PostgreSQL means: a
// server that became ready without a job of ours being there to see it.
func (m *machine) announceSeen(o instance.Observation) {
	switch {
	case o.Row != nil && o.State == postgres.StateRunning:
		m.announce.ready(o.PID, roleOf(o))
	case !o.Alive && m.job() == nil:
		m.announce.gone()
	}
}

// struck: the guard has stopped PostgreSQL because the lease ran out. A stop
// of ours that was under way says so itself.
func (m *machine) struck() {
	if j := m.job(); j == nil || j.Kind != ha.JobStop {
		m.announce.say(onStop, m.inst.Role())
	}
}

// roleOf is the role that callbacks are told of a running server.
func roleOf(o instance.Observation) postgres.Role {
	if o.Primary() {
		return postgres.RolePrimary
	}
	return postgres.RoleReplica
}

// hooksUntil is until when a hook may hold a stop up: halfway between the
// instant at which a clean step-down begins and the guard's own stop (rulings
// 2). Zero: no lease stands behind this PostgreSQL.
func (l *launcher) hooksUntil() clock.Instant {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until.IsZero() {
		return 0
	}
	return l.until.Add(-(max(3*time.Second, l.ttl/5) + max(2*time.Second, l.ttl/10)) / 2)
}

// onStruck sets what is called when a guard has ended PostgreSQL.
func (l *launcher) onStruck(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.struck = f
}
