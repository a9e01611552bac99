package agent

// PostgreSQL without a guard: because pgha.guard is false, or none can be
// had. It runs as a child of this agent, which ends it itself at the instants
// at which a guard would. That holds while the agent lives and gets to run,
// and no longer: such a server is outside the promise (rulings 6).

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard"
	"pgha/internal/guard/client"
	"pgha/internal/instance"
)

// errUnfenced: watchdog.mode is required, and nothing but this agent would
// end PostgreSQL.
var errUnfenced = errors.New("watchdog.mode is required, and PostgreSQL has no guard")

// guardOff is why there is no guard where the configuration says so.
const guardOff = "pgha.guard is false"

// bareServer is a postmaster without a guard.
type bareServer struct {
	pid    int
	ticks  uint64                   // its start time
	direct *instance.DirectLauncher // nil: found running, started by somebody else
	stage  guard.Stage              // highest fired; of the watcher alone
}

// unguardable says why a guard cannot be had, after a failed spawn; empty: it
// may be had a moment later, or one is there.
func unguardable(err error) string {
	for _, passing := range []error{client.ErrGuardRunning, client.ErrStaleEpoch, client.ErrNoGuard, context.Canceled, context.DeadlineExceeded, syscall.EAGAIN} {
		if errors.Is(err, passing) {
			return ""
		}
	}
	return err.Error()
}

// startBare is Start without a guard: by the same terms.
func (l *launcher) startBare(ctx context.Context, cmd instance.Command, primary bool, why string) (int, error) {
	l.lacksGuard(why)
	until, ttl, mode := l.terms(primary)
	if primary && l.mustBeFenced() {
		return 0, fmt.Errorf("start a primary: %w (%s)", errUnfenced, why)
	}
	if mode == client.Primary && late(until, ttl) {
		return 0, fmt.Errorf("start a primary: %w", client.ErrDeadline)
	}
	b := &bareServer{direct: instance.NewDirectLauncher()}
	var err error
	if b.pid, err = b.direct.Start(ctx, cmd, primary); err != nil {
		return 0, err
	}
	b.ticks, _ = client.StartTicks(b.pid) // gone at once: the watcher finds it so
	l.mu.Lock()
	l.armed = primary && !until.IsZero()
	l.mu.Unlock()
	l.takeBare(b)
	return b.pid, nil
}

// adoptBare takes a running postmaster over that no guard can be put beside.
func (l *launcher) adoptBare(pid int, why string) {
	l.lacksGuard(why)
	b := &bareServer{pid: pid}
	b.ticks, _ = client.StartTicks(pid)
	l.takeBare(b)
}

func (l *launcher) takeBare(b *bareServer) {
	l.mu.Lock()
	l.bare, l.pid, l.beside = b, b.pid, false
	l.mu.Unlock()
	go l.watchBare(b) // ends with the postmaster
}

// bareTick is how often the deadline of a server without a guard is looked at.
const bareTick = 50 * time.Millisecond

// watchBare acts on the deadline and reports the postmaster's end.
func (l *launcher) watchBare(b *bareServer) {
	tick := time.NewTicker(bareTick)
	defer tick.Stop()
	for b.runs() {
		l.enforceBare(b)
		<-tick.C
	}
	l.mu.Lock()
	if l.bare == b {
		l.bare = nil
	}
	struck := l.struck
	l.mu.Unlock()
	l.log.Info("PostgreSQL has ended", "pid", b.pid)
	if b.stage != guard.StageNone && struck != nil {
		struck()
	}
	select {
	case l.exited <- struct{}{}:
	default:
	}
	l.wake()
}

func (b *bareServer) runs() bool {
	ticks, err := client.StartTicks(b.pid)
	return err == nil && ticks == b.ticks && client.Runs(b.pid)
}

// sweepBound limits one attempt to kill what is left; the next tick has the next.
const sweepBound = 5 * time.Second

// enforceBare does what a guard would: a fast stop, then SIGKILL to all.
func (l *launcher) enforceBare(b *bareServer) {
	l.mu.Lock()
	armed, until, ttl := l.armed, l.until, l.ttl
	l.mu.Unlock()
	if !armed || until.IsZero() {
		return
	}
	switch now := int64(clock.Now()); {
	case now >= guard.KillAt(int64(until), int64(ttl)):
		b.stage = guard.StageKill
		l.log.Error("the lease was not confirmed in time: PostgreSQL is killed", "pid", b.pid)
		ctx, cancel := context.WithTimeout(context.Background(), sweepBound)
		defer cancel()
		if _, err := client.Sweep(ctx, l.options.DataDir); err != nil {
			l.log.Error("kill PostgreSQL", "err", err)
		}
	case b.stage == guard.StageNone && late(until, ttl):
		b.stage = guard.StageFast
		l.log.Error("the lease was not confirmed in time: PostgreSQL is stopped fast", "pid", b.pid)
		if err := syscall.Kill(b.pid, syscall.SIGINT); err != nil {
			l.log.Error("stop PostgreSQL", "err", err)
		}
	}
}

// late says whether the first stage of a deadline has passed, or there is none.
func late(until clock.Instant, ttl time.Duration) bool {
	return until.IsZero() || int64(clock.Now()) >= guard.FastStopAt(int64(until), int64(ttl))
}

// promoteBare promotes a server without a guard, right after a look at the
// deadline. What a frozen agent does too late nobody prevents here.
func (l *launcher) promoteBare(ctx context.Context, b *bareServer) error {
	l.mu.Lock()
	until, ttl, paused := l.until, l.ttl, l.paused
	l.mu.Unlock()
	switch {
	case l.mustBeFenced():
		return fmt.Errorf("promote: %w", errUnfenced)
	case !paused && late(until, ttl):
		return fmt.Errorf("promote: %w", client.ErrDeadline)
	case b.direct == nil:
		return instance.ErrNotLaunched
	}
	return b.direct.Promote(ctx)
}

func (b *bareServer) signal(ctx context.Context, mode instance.StopMode) error {
	if b.direct == nil {
		return instance.ErrNotLaunched
	}
	err := b.direct.Signal(ctx, mode)
	if errors.Is(err, instance.ErrNotLaunched) {
		return os.ErrProcessDone // it was ours, and has ended
	}
	return err
}

// mustBeFenced says whether the configuration forbids a primary without a guard.
func (l *launcher) mustBeFenced() bool { return l.required != nil && l.required() }

// unfenced says whether this member must not lead: PostgreSQL runs without a
// guard and watchdog.mode is required.
func (l *launcher) unfenced() bool {
	l.mu.Lock()
	bare := l.bare != nil
	l.mu.Unlock()
	return bare && l.mustBeFenced()
}

// bareNow is the running server without a guard; nil: there is none.
func (l *launcher) bareNow() *bareServer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bare
}
