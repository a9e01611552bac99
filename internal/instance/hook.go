package instance

import (
	"context"
	"errors"
	"time"
)

// hookLimit ends a before_stop that hangs although nothing else limits it: a
// stop that was asked for has to come.
const hookLimit = 5 * time.Minute

// errHookTime is why a before_stop was ended.
var errHookTime = errors.New("it took longer than it may: PostgreSQL has to stop while the lease lasts")

// RunHook runs a configured command line (pre_promote) with further arguments
// and waits for it. When ctx ends it gets SIGTERM and, 10 s later, SIGKILL
// with its children. code is its exit code, -1 when it did not start or was
// killed; err explains every code but 0.
func (s *Server) RunHook(ctx context.Context, command string, args ...string) (code int, err error) {
	words, err := splitCommand(command)
	if err != nil {
		return -1, err
	}
	res, err := runTool(ctx, tool{path: words[0], args: append(words[1:], args...)})
	return res.code, err
}

// RunCallback runs a callback's command line with further arguments and waits
// for it. said receives its output line by line. When ctx ends it is killed at
// once with all its children; one that may not be killed is waited for. The
// error explains every end but exit code 0.
func (s *Server) RunCallback(ctx context.Context, command string, args []string, said func(string)) error {
	words, err := splitCommand(command)
	if err != nil {
		return err
	}
	_, err = runTool(ctx, tool{path: words[0], args: append(words[1:], args...), abrupt: true, said: said})
	return err
}

// beforeStop runs the hook; its result does not count (pitfalls 207). An
// immediate stop is not delayed by it: the key may be another member's by now
// (docs/differences.md, "before_stop").
func (s *Server) beforeStop(ctx context.Context, o StopOptions) {
	_, eff, _ := s.values()
	if eff.BeforeStop == "" {
		return
	}
	start := s.clock.Now()
	over := func() bool {
		now := s.clock.Now()
		if now.Sub(start) >= hookLimit {
			return true
		}
		if o.HookUntil == nil {
			return false
		}
		until := o.HookUntil()
		return !until.IsZero() && !now.Before(until)
	}
	switch {
	case o.Mode == StopImmediate:
		s.log.Warn("before_stop is not run: PostgreSQL is stopped at once", "command", eff.BeforeStop)
		return
	case over():
		s.log.Warn("before_stop is not run: the lease leaves no time for it", "command", eff.BeforeStop)
		return
	}
	words, err := splitCommand(eff.BeforeStop)
	if err == nil {
		err = s.runWithin(ctx, over, tool{path: words[0], args: words[1:], abrupt: true})
	}
	if err != nil {
		s.log.Warn("before_stop failed; PostgreSQL is stopped all the same", "err", err)
	}
}

// runWithin runs a tool until it ends, or until over says so.
func (s *Server) runWithin(ctx context.Context, over func() bool, t tool) error {
	hctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	// Ends with hctx, which ends with this function.
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for pause(hctx, poll) {
			if over() {
				end(errHookTime)
			}
		}
	}()
	_, err := runTool(hctx, t)
	end(nil)
	<-watched
	return err
}
