package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"pgha/internal/postgres"
)

// callback is one of postgresql.callbacks.
type callback string

const (
	onStart      callback = "on_start"
	onStop       callback = "on_stop"
	onRestart    callback = "on_restart"
	onReload     callback = "on_reload"
	onRoleChange callback = "on_role_change"
	// onNothing announces a start silently: on_role_change stands for it.
	onNothing callback = ""
)

// callbacks runs the operator's callback programs beside the loop, which
// never waits for them (contract: ha-behaviour.md 21). One runs at a time: a
// newer one kills it with its children, or waits when it may not be killed.
// on_reload has a lane of its own and never ends another.
type callbacks struct {
	// command is the configured command line; empty: none. Asked at each call.
	command func(callback) string
	// run runs a command line until it ends or ctx does (killed then).
	run   func(ctx context.Context, command string, args []string, said func(string)) error
	scope string
	log   *slog.Logger

	roles, reloads callbackLane
}

// callbackLane holds what runs and the newest that waits for its end.
type callbackLane struct {
	mu     sync.Mutex
	next   *callbackRun
	cancel context.CancelFunc // kills what runs; nil: nothing does yet
	busy   bool               // work is under way
	idle   chan struct{}      // closed when it is over; nil: there never was any
	closed bool
}

type callbackRun struct {
	kind    callback
	command string
	role    postgres.Role
}

// errOvertaken is why a callback was killed.
var errOvertaken = errors.New("a newer callback was due, or the agent ended")

// call has a callback run, if one is configured. It returns at once.
func (c *callbacks) call(kind callback, role postgres.Role) {
	if role == postgres.RolePromoted {
		role = postgres.RolePrimary
	}
	command := c.command(kind)
	if command == "" {
		return
	}
	lane := &c.roles
	if kind == onReload {
		lane = &c.reloads
	}
	lane.mu.Lock()
	defer lane.mu.Unlock()
	if lane.closed {
		return
	}
	if lane.next != nil {
		c.log.Warn("callback "+string(lane.next.kind)+" is dropped: a newer one is due", "role", lane.next.role, "next", string(kind))
	}
	lane.next = &callbackRun{kind, command, role}
	if lane.cancel != nil {
		lane.cancel()
	}
	if !lane.busy {
		lane.busy, lane.idle = true, make(chan struct{})
		go c.work(lane) // ends when nothing waits; finish waits for it
	}
}

// work runs what waits in a lane until nothing does.
func (c *callbacks) work(lane *callbackLane) {
	for {
		lane.mu.Lock()
		r := lane.next
		lane.next, lane.cancel = nil, nil
		if r == nil {
			lane.busy = false
			close(lane.idle)
			lane.mu.Unlock()
			return
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		lane.cancel = func() { cancel(errOvertaken) }
		lane.mu.Unlock()
		c.runOne(ctx, *r)
		cancel(nil)
	}
}

func (c *callbacks) runOne(ctx context.Context, r callbackRun) {
	log := c.log.With("callback", string(r.kind), "role", string(r.role))
	log.Info("calling "+string(r.kind), "command", r.command)
	start, lines := time.Now(), 0
	err := c.run(ctx, r.command, []string{string(r.kind), string(r.role), c.scope}, func(line string) {
		if lines++; lines <= callbackLines {
			log.Info(string(r.kind) + ": " + line)
		}
	})
	took := time.Since(start).Round(time.Millisecond)
	if lines > callbackLines {
		log.Warn(string(r.kind)+" printed too much: only the first lines are in the log", "shown", callbackLines, "lines", lines)
	}
	switch {
	case ctx.Err() != nil && err != nil:
		log.Warn(string(r.kind)+" was ended", "why", context.Cause(ctx), "took", took)
	case err != nil:
		log.Error(string(r.kind)+" failed", "err", err, "took", took)
	default:
		log.Debug(string(r.kind)+" has ended", "took", took)
	}
}

// finish lets what runs or waits end until ctx does, then kills it: callbacks
// end with the agent. Later calls do nothing.
func (c *callbacks) finish(ctx context.Context) {
	for _, lane := range []*callbackLane{&c.roles, &c.reloads} {
		lane.mu.Lock()
		lane.closed = true
		idle := lane.idle
		lane.mu.Unlock()
		if idle == nil {
			continue
		}
		select {
		case <-idle:
			continue
		case <-ctx.Done():
		}
		lane.mu.Lock()
		lane.next = nil
		if lane.cancel != nil {
			lane.cancel()
		}
		lane.mu.Unlock()
		select {
		case <-idle:
		case <-time.After(callbackEnd):
			c.log.Warn("a callback that may not be killed is left behind")
		}
	}
}

const (
	// callbackGrace is how long the agent waits for its last callback, the
	// on_stop of a shutdown, before it ends.
	callbackGrace = 10 * time.Second
	// callbackLines is how much of one run's output is logged: a program that
	// floods it must not drown the agent's own lines.
	callbackLines = 200
	// callbackEnd bounds the wait for one that was killed.
	callbackEnd = time.Second
)
