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
	"pgha/internal/guard"
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
	exited chan struct{}
	struck func()                  // a guard has ended PostgreSQL; may be nil
	news   func(code, text string) // the journal hears what the guard did; may be nil
}

var _ instance.Launcher = (*launcher)(nil)

func newLauncher(o client.Options, wake func()) *launcher {
	return &launcher{options: o, log: o.Log, wake: wake, exited: make(chan struct{}, 1)}
}

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
	return l.until, nil
}

// take makes c the guard and watches over it. Called with mu held.
func (l *launcher) take(c *client.Client) {
	l.guard, l.gone = c, make(chan struct{})
	go l.watch(c, l.gone) // ends with the guard: Exited is closed then
}

// watch reports what the guard reports until it is gone, and closes gone then.
func (l *launcher) watch(c *client.Client, gone chan struct{}) {
	defer close(gone)
	exited, fired := c.Exited(), c.Fired()
	for exited != nil {
		select {
		case e, open := <-exited:
			if open && !l.released(c) {
				l.ended(e)
			}
			if e.GuardLost {
				l.awaitEnd()
			}
			exited = nil
		case stage, open := <-fired:
			if !open {
				fired = nil
				continue
			}
			l.log.Error(fmt.Sprintf("the guard acted: %s, because the lease was not confirmed in time", stage))
			l.tell("guard_fired", fmt.Sprintf("the guard acted: %s, because the lease was not confirmed in time", stage))
		}
		select {
		case l.exited <- struct{}{}:
		default:
		}
		l.wake()
	}
	l.mu.Lock()
	if l.guard == c {
		l.guard = nil
	}
	l.mu.Unlock()
	c.Close()
}

// released says whether the guard was left to itself on purpose: the end of
// the connection is no news of it then.
func (l *launcher) released(c *client.Client) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guard != c
}

// ended says how a postmaster ended. A lost guard is counted and explained:
// one primary before availability (rulings 5).
func (l *launcher) ended(e client.Exit) {
	switch {
	case e.GuardLost:
		l.log.Error("the guard of PostgreSQL died, and PostgreSQL dies with it; it is started again under a new one", "pid", l.postmaster())
		l.tell("guard_lost", "the guard of PostgreSQL died, and PostgreSQL with it")
	case e.Stage != guard.StageNone:
		l.log.Warn("PostgreSQL was ended by its guard", "pid", e.PID, "status", e.Status, "stage", e.Stage.String())
		l.tell("guard_ended", fmt.Sprintf("PostgreSQL (pid %d) was ended by its guard: %s", e.PID, e.Stage))
		l.mu.Lock()
		struck := l.struck
		l.mu.Unlock()
		if struck != nil {
			struck()
		}
	default:
		l.log.Info("PostgreSQL has ended", "pid", e.PID, "status", e.Status)
		l.tell("postgres_ended", fmt.Sprintf("PostgreSQL (pid %d) has ended, status %v", e.PID, e.Status))
	}
}

// lostEnd bounds the wait for a postmaster to follow its guard.
const lostEnd = 5 * time.Second

// awaitEnd waits until the postmaster has followed its dead guard: a loop
// woken before would find it alive and rest until the next poll.
func (l *launcher) awaitEnd() {
	pid := l.postmaster()
	for end := clock.Now().Add(lostEnd); pid != 0 && client.Runs(pid) && clock.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

// postmaster is the pid of the last one started or found; 0: none.
func (l *launcher) postmaster() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pid
}

// Start starts a postmaster under a new guard, armed with the lease if there
// is one. A primary without a lease is refused by the guard. Only jobs call
// it, one at a time: mu is never held across a wait, because the loop needs
// it to extend the deadline.
func (l *launcher) Start(ctx context.Context, cmd instance.Command, primary bool) (int, error) {
	l.awaitDeparture(ctx)
	l.release()
	c, err := l.spawn(ctx)
	if err != nil {
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
	renewed, ttl, behind := l.until, l.ttl, primary && l.until.After(until)
	l.mu.Unlock()
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

// hold extends the deadline of the running guard, and remembers it for the next.
func (l *launcher) hold(ctx context.Context, until clock.Instant, ttl time.Duration) error {
	l.mu.Lock()
	earlier := l.armed && until.Before(l.until)
	l.until, l.ttl, l.paused = until, ttl, false
	c := l.guard
	l.armed = l.armed || c != nil
	l.mu.Unlock()
	switch {
	case c == nil:
		return nil
	case earlier: // the ttl was lowered: the lease that counts now ends before the last one
		return c.Shorten(ctx, until, ttl)
	}
	return c.Arm(ctx, until, ttl)
}

// unhold disarms: this member runs no primary, or the cluster is paused.
func (l *launcher) unhold(ctx context.Context, paused bool) error {
	l.mu.Lock()
	armed := l.armed
	l.until, l.paused, l.armed = 0, paused, false
	c := l.guard
	l.mu.Unlock()
	switch {
	case c == nil || !armed:
		return nil
	}
	disarm := c.Disarm
	if paused {
		disarm = c.DisarmForPause
	}
	if err := disarm(ctx); err != nil && !errors.Is(err, client.ErrNoGuard) {
		return err // a guard that is gone needs no disarming
	}
	return nil
}

// allowUnguarded permits (or forbids again) a start as primary before any
// leader key exists.
func (l *launcher) allowUnguarded(yes bool) {
	l.mu.Lock()
	l.unguarded = yes
	l.mu.Unlock()
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
	ticks, err := client.StartTicks(pid)
	if err != nil {
		return err
	}
	c, err := client.Spawn(ctx, l.options)
	if err != nil {
		return err
	}
	if err := c.Adopt(ctx, pid, ticks); err != nil {
		c.Close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.take(c)
	l.pid, l.beside = pid, true
	l.log.Warn("PostgreSQL was started by somebody else: a guard was put beside it that ends it with the lease, but it is not its parent; restart it through pgha for the full promise", "pid", pid)
	return nil
}
