package instance

import (
	"context"
	"errors"
	"syscall"
	"time"

	"pgha/internal/clock"
)

// TreeKiller is a Launcher that can end everything it started at once, and
// knows when nothing of it can run any more. The guard can.
type TreeKiller interface {
	// Kill sends SIGKILL to the whole tree, without waiting. Errors:
	// ErrNotLaunched; others when it did not answer.
	Kill(ctx context.Context) error
	// Fenced says whether what is left of the tree, if anything, is stuck in
	// the kernel with SIGKILL pending: it will never return to a client
	// (rulings 12).
	Fenced(ctx context.Context) bool
}

// killWait bounds a question to the launcher while a server is being killed.
const killWait = time.Second

// resume wakes a postmaster that somebody stopped with SIGSTOP. It has been
// told to stop, which is all that it can do now; without this it would not
// hear of it, and standbys would miss what they have not received.
func (s *Server) resume(p process, mode StopMode) {
	if mode == StopImmediate {
		return // it is killed soon: nothing of it needs to run again
	}
	if st, err := readProcStat(p.pid); err == nil && st.start == p.start && st.state == 'T' {
		s.log.Warn("the postmaster was stopped by a signal (SIGSTOP); waking it so that it shuts down", "pid", p.pid)
		_ = signalProcess(p.pid, syscall.SIGCONT)
	}
}

// kill ends the server and everything of it: through its guard, which knows
// the whole tree, or by a walk of our own.
func (s *Server) kill(ctx context.Context, p process) {
	if k, ok := s.launcher.(TreeKiller); ok {
		kctx, cancel := context.WithTimeout(ctx, killWait)
		defer cancel()
		err := k.Kill(kctx)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrNotLaunched) {
			s.log.Warn("the guard was asked to kill PostgreSQL; killing it from here", "err", err)
		}
	}
	killTree(p)
}

// fenced says whether a server that was killed is as good as gone though its
// processes are still listed: they hang in the kernel, on a dead disk.
func (s *Server) fenced(ctx context.Context) bool {
	k, ok := s.launcher.(TreeKiller)
	if !ok {
		return false
	}
	fctx, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	return k.Fenced(fctx)
}

// fencedPoll keeps questions to the guard apart while a kill waits for the kernel.
const fencedPoll = 200 * time.Millisecond

// killWatch is the last stage of a stop.
type killWatch struct {
	sent  bool
	asked clock.Instant
}

// due kills, repeatedly, and says whether the server is as good as gone.
func (k *killWatch) due(ctx context.Context, s *Server, p process) (gone bool) {
	now := s.clock.Now()
	if k.sent && now.Sub(k.asked) < fencedPoll {
		return false
	}
	k.asked = now
	if !k.sent {
		s.log.Warn("PostgreSQL does not stop, killing it with all its processes", "pid", p.pid)
	}
	k.sent = true
	s.kill(ctx, p)
	if s.fenced(ctx) {
		s.log.Warn("processes of PostgreSQL hang in the kernel with SIGKILL pending: they can never answer a client again, and count as gone", "pid", p.pid)
		return true
	}
	return false
}
