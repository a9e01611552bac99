package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard/client"
	"pgha/internal/instance"
)

// launcher starts postmasters under a guard of their own: one guard a
// postmaster life (design decision 5, rulings 1 to 5). It remembers the
// lease, so that a guard that is started later is armed before it starts
// anything.
type launcher struct {
	options client.Options
	log     *slog.Logger
	wake    func()

	mu    sync.Mutex
	guard *client.Client // nil: none alive
	gone  chan struct{}  // closed when guard is
	until clock.Instant  // the leader key is ours until then; zero: not ours
	armed bool           // the guard holds a deadline
	pid   int            // the postmaster last started or found; 0: none
	// promoting: the guard that was found had been told to promote.
	promoting bool
	// beside: the guard was put beside a postmaster that it had not started.
	beside bool
	ttl    time.Duration
	// unguarded permits one start as primary without a lease: the bootstrap
	// of a cluster that nobody else can have the data of.
	unguarded bool
	// paused: promotions are an operator's, without a deadline.
	paused bool
	// bare is the server that runs without a guard; nil: it has one, or none runs.
	bare *bareServer
	// off: pgha.guard is false. required: watchdog.mode is; nil: it is not.
	off      bool
	required func() bool
	shields  *protection // nil in tests
	exited   chan struct{}
	struck   func() // a guard has ended PostgreSQL; may be nil
	// standby is called when PostgreSQL was started as one; may be nil.
	standby func()
	news    func(code, text string) // the journal hears what the guard did; may be nil
}

var _ instance.Launcher = (*launcher)(nil)

func newLauncher(o client.Options, wake func()) *launcher {
	return &launcher{options: o, log: o.Log, wake: wake, exited: make(chan struct{}, 1)}
}

// Start starts a postmaster under a new guard, armed with the lease if there
// is one. A primary without a lease is refused by the guard. Only jobs call
// it, one at a time: mu is never held across a wait, because the loop needs
// it to extend the deadline.
func (l *launcher) Start(ctx context.Context, cmd instance.Command, primary bool) (int, error) {
	l.awaitDeparture(ctx)
	l.release()
	if l.off {
		return l.startBare(ctx, cmd, primary, guardOff)
	}
	c, err := l.spawn(ctx)
	if err != nil {
		if why := unguardable(err); why != "" {
			return l.startBare(ctx, cmd, primary, why)
		}
		return 0, fmt.Errorf("start a guard for PostgreSQL: %w", err)
	}
	until, ttl, mode := l.terms(primary)
	if primary && !until.IsZero() {
		// A standby starts unarmed: the deadline of a lease that is about to
		// end would only stop it. A renewal arms it before it is promoted.
		if err := c.Arm(ctx, until, ttl); err != nil {
			c.Close()
			return 0, fmt.Errorf("arm the guard before starting a primary: %w", err)
		}
	}
	pid, err := c.Start(ctx, client.Command{Path: cmd.Path, Args: append([]string{cmd.Path}, cmd.Args...), Env: cmd.Env, Dir: cmd.Dir}, mode)
	if err != nil {
		l.abandon(c)
		return 0, fmt.Errorf("start %s under the guard: %w", cmd.Path, err)
	}
	l.mu.Lock()
	l.take(c)
	l.pid, l.armed, l.beside = pid, primary && !until.IsZero(), false
	standby := l.standby
	renewed, ttl, behind := l.until, l.ttl, primary && l.until.After(until)
	l.mu.Unlock()
	l.describe(ctx, c)
	if standby != nil && !primary {
		standby()
	}
	if behind { // renewed while the guard was being started
		if err := l.hold(ctx, renewed, ttl); err != nil {
			l.log.Warn("extend the deadline of the guard just started; the next renewal does it", "err", err)
		}
	}
	return pid, nil
}

// departWait bounds the wait for the guard of a server that has ended.
const departWait = 5 * time.Second

// awaitDeparture waits for the guard of the last server: it is still there for
// a moment after the postmaster, until nothing of the tree is left. Left
// earlier it would look lost, and in the way of the next.
func (l *launcher) awaitDeparture(ctx context.Context) {
	l.mu.Lock()
	guard, gone := l.guard, l.gone
	l.mu.Unlock()
	if guard == nil {
		return
	}
	late := time.NewTimer(departWait)
	defer late.Stop()
	select {
	case <-gone:
	case <-late.C:
	case <-ctx.Done():
	}
}

// spawn starts a guard; one that has said its last word may need a moment to end.
func (l *launcher) spawn(ctx context.Context) (*client.Client, error) {
	start := clock.Now()
	for {
		c, err := client.Spawn(ctx, l.options)
		if !errors.Is(err, client.ErrGuardRunning) || clock.Now().Sub(start) > departWait {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// abandonWait bounds the end of a guard whose start did not come about.
const abandonWait = 5 * time.Second

// abandon ends a guard whose answer to a start was not heard: the server may
// be running.
func (l *launcher) abandon(c *client.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), abandonWait)
	defer cancel()
	if err := c.Kill(ctx); err != nil && !errors.Is(err, client.ErrNoGuard) {
		l.log.Warn("end a server whose start was given up", "err", err)
	}
	c.Close()
}

// terms are what a start is made under: the deadline in force and the mode
// that the guard checks it by.
func (l *launcher) terms(primary bool) (clock.Instant, time.Duration, client.Mode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mode := client.Standby
	switch {
	case primary && l.unguarded:
		mode = client.UnguardedBootstrap
	case primary && l.paused:
		mode = client.UnguardedPause
	case primary:
		mode = client.Primary
	}
	return l.until, l.ttl, mode
}

// Promote asks the guard, which checks the deadline right before and after.
func (l *launcher) Promote(ctx context.Context) error {
	c, paused := l.current()
	if b := l.bareNow(); b != nil {
		return l.promoteBare(ctx, b)
	}
	if c == nil {
		return instance.ErrNotLaunched
	}
	if paused {
		return c.PromoteUnguarded(ctx, client.UnguardedPause)
	}
	return c.Promote(ctx)
}

// Signal stops PostgreSQL through its parent.
func (l *launcher) Signal(ctx context.Context, mode instance.StopMode) error {
	c, _ := l.current()
	if b := l.bareNow(); b != nil {
		return b.signal(ctx, mode)
	}
	if c == nil {
		return instance.ErrNotLaunched
	}
	err := c.Stop(ctx, string(mode))
	if errors.Is(err, client.ErrNoGuard) {
		return os.ErrProcessDone
	}
	return err
}

// Exited receives after a postmaster ended, or may have.
func (l *launcher) Exited() <-chan struct{} { return l.exited }

func (l *launcher) current() (*client.Client, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guard, l.paused
}
