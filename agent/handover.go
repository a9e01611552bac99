package agent

// Hand-over to the program on disk (rulings 49): exec in the same process id,
// so that systemd sees the same main process and the lock, the socket of REST
// and the lease go on without a gap. This file decides when; handover_check.go
// whether the program is fit, handover_exec.go does it, inherit.go is the
// first thing that the new program does.

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/journal"
)

const (
	// handoverPatience is how long a hand-over waits for a moment in which
	// nothing is under way. After it the old program simply goes on.
	handoverPatience = 30 * time.Second
	// handoverRetry is when the loop runs again for the next look.
	handoverRetry = time.Second
	// holdPatience bounds the time in which REST takes no new connection
	// because of a request that is still being answered.
	holdPatience = 700 * time.Millisecond
	// flushPatience bounds the wait for the log before the exec.
	flushPatience = 500 * time.Millisecond
)

// handover is the state of replacing this program. Requests come from
// signals and REST; the exec happens in the loop's goroutine, between two
// cycles, where nothing else decides or acts.
type handover struct {
	agent   *agent
	program string // path of the program on disk, as it was called at the start
	log     *slog.Logger

	mu      sync.Mutex
	busy    bool           // a request is being checked, waits or is carried out
	pending *handoverOrder // checked, waits for its moment
	refused string         // why the last one did not happen; empty: it did, or there was none
	at      time.Time      // of the last refusal
}

// handoverOrder is a hand-over whose program was found fit.
type handoverOrder struct {
	next   nextProgram
	until  clock.Instant // given up after that
	why    string        // what was in the way last
	wake   *time.Timer   // runs the loop for the next look
	answer chan handoverAnswer
}

// handoverAnswer is what the asker hears before the exec.
type handoverAnswer struct {
	Version string // of the program that takes over
	Refused string // why not; empty: it follows now
}

func newHandover(a *agent) *handover {
	return &handover{agent: a, program: ownProgram(), log: a.log}
}

// request has this process replaced by the program on disk. The answer comes
// when it begins, or says why it does not; the channel holds one.
func (h *handover) request() <-chan handoverAnswer {
	answer := make(chan handoverAnswer, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy {
		h.log.Info("another hand-over is under way: this request changes nothing")
		answer <- handoverAnswer{Refused: "another hand-over is under way"}
		return answer
	}
	h.busy = true
	go h.prepare(answer) // bounded by checkPatience
	return answer
}

// prepare checks the program, and gives the order to the loop.
func (h *handover) prepare(answer chan handoverAnswer) {
	ctx, cancel := context.WithTimeout(h.agent.life, checkPatience)
	defer cancel()
	h.log.Info("hand-over: checking " + h.program)
	next, err := h.check(ctx)
	if err != nil {
		h.refuse(answer, err.Error())
		return
	}
	h.mu.Lock()
	h.pending = &handoverOrder{next: next, until: clock.Now().Add(handoverPatience), answer: answer}
	h.mu.Unlock()
	h.agent.loop.Sleeper.Wake()
}

// check: the program is fit, and the configuration on disk is that of the
// same member: what it changes beyond a reload would need a restart.
func (h *handover) check(ctx context.Context) (nextProgram, error) {
	local, err := config.LoadLocal(h.agent.options.ConfigPath, h.agent.options.Environ)
	if err != nil {
		return nextProgram{}, err
	}
	now := h.agent.settings.Local()
	for _, fixed := range []struct{ key, was, is string }{
		{"scope", now.Scope, local.Scope}, {"name", now.Name, local.Name}, {"namespace", now.Namespace, local.Namespace},
		{"postgresql.data_dir", now.PostgreSQL.DataDir, local.PostgreSQL.DataDir},
		{"pgha.state_dir", now.Pgha.StateDir, local.Pgha.StateDir},
	} {
		if fixed.was != fixed.is {
			return nextProgram{}, fmt.Errorf("%s is %q now, and was %q when this agent started: that needs a restart of the agent, or the old value back", fixed.key, fixed.is, fixed.was)
		}
	}
	return checkProgram(ctx, h.program, h.agent.options)
}

// refuse ends a request: the program that runs goes on as before.
func (h *handover) refuse(answer chan handoverAnswer, why string) {
	h.log.Error("hand-over refused, the running agent goes on: " + why)
	h.agent.keeper.event(journal.KindAgent, "hand_over_refused", why)
	h.mu.Lock()
	h.busy, h.pending, h.refused, h.at = false, nil, why, time.Now()
	h.mu.Unlock()
	select {
	case answer <- handoverAnswer{Refused: why}:
	default: // it was told that it follows, and then it failed
	}
}

// atRest is called by the loop after every cycle with what the cycle left.
// It returns when there is nothing to do, when it is not the moment, or when
// the exec failed; otherwise the next program runs.
func (h *handover) atRest(v View) {
	h.mu.Lock()
	order := h.pending
	h.mu.Unlock()
	if order == nil {
		return
	}
	if why := h.notNow(v); why != "" {
		h.later(order, why)
		return
	}
	select {
	case order.answer <- handoverAnswer{Version: order.next.Version}:
	default: // told so at an earlier try
	}
	ctx, cancel := context.WithTimeout(h.agent.life, holdPatience)
	err := h.agent.rest.Hold(ctx)
	cancel()
	if err != nil {
		h.later(order, err.Error())
		return
	}
	defer h.agent.rest.Resume()
	if why := h.notNow(v); why != "" { // something may have begun before REST was held
		h.later(order, why)
		return
	}
	h.log.Info(fmt.Sprintf("hand-over: pgha %s is replaced by pgha %s (%s)", h.agent.options.Version, order.next.Version, h.program))
	h.agent.notify.reloading()
	h.agent.keeper.event(journal.KindAgent, "handed_over", fmt.Sprintf("pgha %s hands over to pgha %s (%s)", h.agent.options.Version, order.next.Version, h.program))
	fctx, stop := context.WithTimeout(h.agent.life, flushPatience)
	h.agent.keeper.flush(fctx)
	stop()
	_ = h.agent.output.Flush(flushPatience) // what is lost then are lines
	err = h.exec(order.next, v)
	h.agent.notify.ready()
	h.refuse(order.answer, err.Error())
}

// later tries again after the next cycle, until patience ends.
func (h *handover) later(order *handoverOrder, why string) {
	if clock.Now().After(order.until) || h.agent.loop.ending() {
		h.refuse(order.answer, fmt.Sprintf("%s (waited %v for a moment in which nothing is under way)", why, handoverPatience))
		return
	}
	if why != order.why {
		order.why = why
		h.log.Info("hand-over: not yet: " + why)
	}
	// Not at once: a job may take all that time, and every cycle asks etcd.
	if order.wake == nil {
		order.wake = time.AfterFunc(handoverRetry, h.agent.loop.Sleeper.Wake)
	} else {
		order.wake.Reset(handoverRetry)
	}
}

// notNow is why the moment is a bad one; empty: it is not. What a cycle leaves
// unfinished is in the loop's memory and must not be cut in two; the lease
// must bridge the time until the next program renews it.
func (h *handover) notNow(v View) string {
	m := v.Memory
	leads := v.LeaderUntil.After(clock.Now())
	switch {
	case h.agent.loop.ending():
		return "the agent is ending"
	case v.Job != nil:
		return "a job is under way: " + v.Job.Name
	case h.agent.machine.unfinished():
		return "a job has just begun or ended"
	case h.agent.loop.requests.waits():
		return "an operator's request is being carried out"
	case v.ClusterLost:
		return "etcd does not answer"
	case m.Demotion != nil || m.Returning:
		return "this member is stepping down"
	case m.AcquireInDoubt, m.BootstrapDone, m.BootstrapFailed:
		return "this member is taking the leader key"
	case m.Recovering && !v.Settings.Pause:
		return "PostgreSQL is being started"
	case v.Cluster.Leader == nil && !v.Settings.Pause:
		return "nobody holds the leader key"
	case leads && v.LeaderUntil.Sub(clock.Now()) < v.Settings.TTL*2/3:
		return "the lease was not renewed just now"
	case h.agent.calls.running():
		return "a callback is running"
	}
	return h.agent.launcher.unwell()
}

// unfinished says whether a job runs, or its result was not looked at yet.
func (r *jobRunner) unfinished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current != nil || r.finished != nil
}

// waits says whether a request waits or is answered by a job.
func (q *requestQueue) waits() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)+len(q.running) > 0
}

// running says whether a callback runs or waits: its output is read by this
// program, and would go nowhere.
func (c *callbacks) running() bool {
	for _, lane := range []*callbackLane{&c.roles, &c.reloads} {
		lane.mu.Lock()
		busy := lane.busy
		lane.mu.Unlock()
		if busy {
			return true
		}
	}
	return false
}

// unwellBound is how long the guard may take to say that it is there.
const unwellBound = 500 * time.Millisecond

// unwell asks the guard, which the next program has to be adopted by; empty:
// it answers, or there is none.
func (l *launcher) unwell() string {
	c, _ := l.current()
	if c == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), unwellBound)
	defer cancel()
	if _, err := c.State(ctx); err != nil {
		return "the guard does not answer: " + err.Error()
	}
	return ""
}

// ending says whether a shutdown was asked for.
func (l *Loop) ending() bool { return ha.Shutdown(l.shutdown.Load()) != ha.ShutdownNone }
