package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/postgres"
)

// jobRunner runs the one long action at a time in a goroutine of its own and
// wakes the loop when it comes further or ends.
type jobRunner struct {
	log   *slog.Logger
	clock clock.Clock
	wake  func()

	mu       sync.Mutex
	current  *ha.Job // replaced, never changed: readers keep what they got
	cancel   context.CancelFunc
	finished *ha.JobResult
	done     chan struct{} // closed when the running job's goroutine has ended
}

// errCanceled is the cause of a cancelled job's context.
var errCanceled = errors.New("cancelled")

// job returns the job under way, nil when none.
func (r *jobRunner) job() *ha.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// take returns the result of a job that ended, once.
func (r *jobRunner) take() *ha.JobResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.finished
	r.finished = nil
	return f
}

// start runs do; its result is delivered to the next cycle.
func (r *jobRunner) start(ctx context.Context, spec ha.JobSpec, do func(context.Context, *jobProgress) ha.JobResult) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	r.mu.Lock()
	r.current = &ha.Job{JobSpec: spec, Started: r.clock.Now()}
	r.cancel = func() { cancel(errCanceled) }
	r.done = done
	r.mu.Unlock()
	go func() {
		defer close(done)
		defer cancel(nil)
		result := r.guarded(ctx, spec, do)
		result.JobSpec = spec
		if !result.OK {
			r.log.Error(spec.Name+" failed", "err", result.Err)
		}
		r.mu.Lock()
		r.current, r.cancel, r.finished = nil, nil, &result
		r.mu.Unlock()
		r.wake()
	}()
}

// guarded turns a panic of a job into a failed job: the loop must go on
// renewing or stepping down whatever happens here.
func (r *jobRunner) guarded(ctx context.Context, spec ha.JobSpec, do func(context.Context, *jobProgress) ha.JobResult) (result ha.JobResult) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("Unexpected exception raised, please report it as a BUG", "job", spec.Name, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			result = ha.JobResult{Err: fmt.Sprint(p)}
		}
	}()
	return do(ctx, &jobProgress{r})
}

// cancelJob asks the running job to end.
func (r *jobRunner) cancelJob() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == nil {
		return
	}
	next := *r.current
	next.Canceled = true
	r.current = &next
	r.cancel()
}

// wait blocks until no job runs, or ctx ends.
func (r *jobRunner) wait(ctx context.Context) {
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// jobProgress is how a job tells the loop how far it has come.
type jobProgress struct{ r *jobRunner }

// reach moves the job to a phase and wakes the loop.
func (p *jobProgress) reach(phase ha.Phase, checkpoint postgres.LSN) {
	p.r.mu.Lock()
	if p.r.current != nil {
		next := *p.r.current
		next.Phase, next.CheckpointLSN = phase, checkpoint
		p.r.current = &next
	}
	p.r.mu.Unlock()
	p.r.wake()
}
