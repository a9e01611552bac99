package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"pgha/agent/ha"
	"pgha/agent/rest"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/instance"
)

// probeSet is what can be probed of PostgreSQL; instance.Server is it.
type probeSet interface {
	ProbeConnect(ctx context.Context) instance.ProbeResult
	ProbeData() instance.ProbeResult
	ProbeWAL() instance.ProbeResult
}

// health probes PostgreSQL and its disks beside the loop, and counts failures
// in a row; agent/ha decides what follows. Each probe has at most one attempt
// under way: a write into a hung file system cannot be called back, so it is
// left hanging and counts as one failure more each retry_timeout.
type health struct {
	probes probeSet
	clock  clock.Clock
	log    *slog.Logger
	wake   func() // the loop
	// rules are the settings in force.
	rules func() healthRules
	// replacing says whether the data directory is being replaced: nothing may
	// be written there.
	replacing func() bool

	mu    sync.Mutex
	state [3]probeState // in the order of probeOrder
	kick  chan struct{} // an attempt has ended
}

// healthRules are pgha.health, with the times that go with it.
type healthRules struct {
	config.Health
	// Interval between attempts while all is well.
	Interval time.Duration
	// Retry is retry_timeout: a row of failures counts from then on.
	Retry time.Duration
}

// probeOrder is how failures are reported: a disk that hangs takes new
// connections with it, and not the other way round.
var probeOrder = [3]string{ha.ProbeDataWrite, ha.ProbeWALWrite, ha.ProbeConnect}

// probeState is one probe's history, as far as it matters.
type probeState struct {
	under   bool // an attempt is under way
	started clock.Instant
	hung    int           // failures counted for the attempt that is under way,
	counted clock.Instant // when the last of them was, or it began
	next    clock.Instant

	known    bool // an attempt has ended
	result   instance.ProbeResult
	took     time.Duration
	failures int
	since    clock.Instant
	sinceAt  time.Time // since, by the calendar
	why      string
	hanging  bool
}

func newHealth(p probeSet, c clock.Clock, log *slog.Logger, wake func(), rules func() healthRules, replacing func() bool) *health {
	return &health{probes: p, clock: c, log: log, wake: wake, rules: rules, replacing: replacing, kick: make(chan struct{}, 1)}
}

// run probes until ctx ends. An attempt that hangs is left behind.
func (h *health) run(ctx context.Context) {
	for {
		timer := time.NewTimer(h.step(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-h.kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// step starts what is due, counts what hangs, and returns when to look again.
func (h *health) step(ctx context.Context) time.Duration {
	rules, replacing := h.rules(), h.replacing()
	h.mu.Lock()
	defer h.mu.Unlock()
	now, wait := h.clock.Now(), rules.Interval
	for i := range h.state {
		s := &h.state[i]
		if !rules.on(probeOrder[i]) || replacing && probeOrder[i] != ha.ProbeConnect {
			if !s.under {
				*s = probeState{}
			}
			continue
		}
		if s.under {
			// One at a look: an agent that was frozen itself has not seen three.
			if now.Sub(s.counted) >= rules.Retry {
				h.count(i, 1, "no answer for "+now.Sub(s.started).Truncate(time.Second).String(), true)
				s.hung, s.counted = s.hung+1, now
			}
			wait = min(wait, s.counted.Add(rules.Retry).Sub(now))
			continue
		}
		if !now.Before(s.next) {
			s.under, s.started, s.counted, s.hung = true, now, now, 0
			go h.attempt(ctx, i, rules) // at most one a probe; a hung one stays
			continue
		}
		wait = min(wait, s.next.Sub(now))
	}
	return max(wait, 10*time.Millisecond)
}

// attempt runs one probe and takes its result in.
func (h *health) attempt(ctx context.Context, i int, rules healthRules) {
	var r instance.ProbeResult
	switch probeOrder[i] {
	case ha.ProbeDataWrite:
		r = h.probes.ProbeData()
	case ha.ProbeWALWrite:
		r = h.probes.ProbeWAL()
	default:
		cctx, cancel := h.clock.WithDeadline(ctx, h.clock.Now().Add(rules.Retry))
		r = h.probes.ProbeConnect(cctx)
		cancel()
	}
	if ctx.Err() != nil {
		return
	}
	h.ended(i, r, rules)
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// ended takes the result of an attempt.
func (h *health) ended(i int, r instance.ProbeResult, rules healthRules) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, now := &h.state[i], h.clock.Now()
	full := s.result.Full
	s.under, s.known, s.result, s.took = false, true, r, now.Sub(s.started)
	if r.Verdict == instance.ProbeFailed {
		late := s.took >= rules.Retry // it was silence, not an answer
		if s.hung == 0 {
			h.count(i, 1, r.Why, late)
		} else {
			s.why, s.hanging = r.Why, late
		}
		// Three failures in a row span retry_timeout then, and not much more.
		if s.next = s.started.Add(rules.Retry / 2); late {
			s.next = now
		}
		return
	}
	if s.failures > 0 {
		h.log.Info("health: the probe "+probeOrder[i]+" passes again", "failures", s.failures, "after", now.Sub(s.since).Round(time.Millisecond).String())
		s.failures, s.since, s.why, s.hanging = 0, 0, "", false
		h.wake()
	}
	if r.Full != full {
		h.wake()
	}
	s.next = s.started.Add(rules.Interval)
}

// count adds failures to the row. Called with mu held.
func (h *health) count(i, n int, why string, hanging bool) {
	s := &h.state[i]
	if s.failures == 0 {
		s.since, s.sinceAt = s.started, h.clock.Wall()
		h.log.Warn("health: the probe "+probeOrder[i]+" fails: "+why, "probe", probeOrder[i])
	}
	s.failures += n
	s.why, s.hanging = why, hanging
	h.wake()
}

// facts is what decisions may depend on.
func (h *health) facts() ha.Health {
	rules := h.rules()
	h.mu.Lock()
	defer h.mu.Unlock()
	out := ha.Health{Stay: !rules.Failover}
	for i, s := range h.state {
		if s.failures > 0 {
			out.Failing = append(out.Failing, ha.ProbeFailure{Probe: probeOrder[i], Why: s.why, Since: s.since, Failures: s.failures, Hanging: s.hanging})
		}
		if s.failures == 0 && s.known && s.result.Full {
			out.Crowded = s.result.Why
		}
	}
	return out
}

// shown is what REST and the metrics show, probe by probe.
func (h *health) shown() []rest.Probe {
	rules := h.rules()
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]rest.Probe, 0, len(h.state))
	for i, s := range h.state {
		p := rest.Probe{Name: probeOrder[i], State: rest.ProbeUnknown, Why: s.result.Why, Took: s.took, Free: s.result.Free, Full: s.result.Full}
		switch {
		case !rules.on(probeOrder[i]):
			p = rest.Probe{Name: probeOrder[i], State: rest.ProbeOff}
		case s.failures > 0:
			p.State, p.Why, p.Failures, p.Since = rest.ProbeFailing, s.why, s.failures, s.sinceAt
			if s.under && s.hung > 0 {
				p.Took = h.clock.Now().Sub(s.started)
			}
		case s.known && s.result.Verdict == instance.ProbeOK:
			p.State = rest.ProbeOK
		}
		out = append(out, p)
	}
	return out
}

// on says whether a probe is switched on.
func (r healthRules) on(probe string) bool {
	switch probe {
	case ha.ProbeDataWrite:
		return r.DataWrite
	case ha.ProbeWALWrite:
		return r.WALWrite
	}
	return r.Connect
}

// healthRules are the settings in force.
func (a *agent) healthRules() healthRules {
	h, now := a.settings.Local().Pgha.Health, a.settings.Current()
	r := healthRules{Health: h, Interval: h.Interval, Retry: max(now.RetryTimeout, time.Second)}
	if r.Interval == 0 {
		r.Interval = max(now.LoopWait, time.Second)
	}
	return r
}

// replacesData says whether a job is writing the data directory anew.
func (a *agent) replacesData() bool {
	job := a.machine.job()
	if job == nil {
		return false
	}
	switch job.Kind {
	case ha.JobBootstrap, ha.JobUnbootstrap, ha.JobClone, ha.JobReinit, ha.JobRewind:
		return true
	}
	return false
}
