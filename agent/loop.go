// Package agent is the daemon: it wires the parts together and runs the loop
// that observes, asks agent/ha what to do, does it, and asks again.
//
// The loop (loop.go, execute.go) knows the world only through the interfaces
// of world.go; the simulator (agent/sim) runs the very same loop over
// modelled machines. Everything else in this package is this machine: jobs on
// PostgreSQL, the guard, REST, signals.
package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// maxSteps bounds the steps of one cycle. Reaching it is a bug in a decision.
const maxSteps = 40

// LoopOptions are what a Loop is made of.
type LoopOptions struct {
	Self     string
	Tags     func() config.Tags
	CanBoot  bool // the own configuration has a bootstrap section
	Clock    clock.Clock
	Store    dcs.Store
	Server   Server
	Watchdog Watchdog // nil: none
	Peers    Peers
	Settings SettingsSource
	Sleeper  Sleeper
	Log      *slog.Logger
	// LeaderUntil is what an earlier incarnation of this agent left armed at
	// the guard: the leader key may be ours until then. Zero: nothing.
	LeaderUntil clock.Instant
	// Born is since when this agent answers for its member; zero: since now.
	Born clock.Instant
	// Promises are what this member agreed to in failsafe mode; nil: a new one.
	Promises *Promises
	// Member describes this member for its key; the loop adds nothing.
	Member func(View) dcs.MemberData
	// Publish receives a view after every cycle; it must not block.
	Publish func(View)
	// Record receives every decision that ended a cycle or changed
	// something; it must not block. May be nil.
	Record func(View, ha.Decision)
	// AtRest is called at the end of every cycle that does not end the agent,
	// with what it left: nothing is decided or done by the loop until it
	// returns. May be nil.
	AtRest func(View)
	// Journal receives every pass with all its decisions; it must not block.
	// May be nil.
	Journal func(Pass)
	// Meter measures; nil: nobody does.
	Meter Meter
	// Fine is a sign of life: the next one comes within that time, or the loop
	// is stuck. It must not block. May be nil.
	Fine func(within time.Duration)
}

// Loop is one member's HA loop. It is the only writer of HA state. Run it in
// one goroutine; Shutdown, Submit and Wake may be called from any.
type Loop struct {
	LoopOptions

	memory      ha.Memory
	cluster     *dcs.Cluster // last good view
	lease       dcs.Lease
	leaderUntil clock.Instant
	settings    ha.Settings
	lastMember  []byte // what the member key holds, encoded
	twins       twinWatch
	lastLease   dcs.LeaseID
	requests    requestQueue
	shutdown    atomic.Int32
	lastResult  string
	note        string
	dcsSeen     time.Time
	dcsDown     bool
	floors      string            // what sayFloors said
	damaged     []string          // what the last good view could not read
	failsafe    map[string]string // the last known /failsafe; nil: none
	doubtful    map[string]string // of it, what a write without an answer may still put there
	// givenUp: we asked for the end of our leadership and do not know what
	// became of it; the request may still take effect.
	givenUp bool
}

// NewLoop returns a loop that has not run yet.
func NewLoop(o LoopOptions) *Loop {
	if o.Meter == nil {
		o.Meter = noMeter{}
	}
	if o.Watchdog == nil {
		o.Watchdog = noWatchdog{}
	}
	if o.Fine == nil {
		o.Fine = func(time.Duration) {}
	}
	if o.Promises == nil {
		o.Promises = NewPromises(o.Clock, !o.LeaderUntil.IsZero())
	}
	if o.Born.IsZero() {
		o.Born = o.Clock.Now()
	}
	return &Loop{LoopOptions: o, leaderUntil: o.LeaderUntil, settings: o.Settings.Current()}
}

// Shutdown tells the loop to end in that way. The first call counts.
func (l *Loop) Shutdown(how ha.Shutdown) {
	l.shutdown.CompareAndSwap(int32(ha.ShutdownNone), int32(how))
	l.Sleeper.Wake()
}

// Run cycles until a decision ends the agent; it returns the exit code. When
// ctx ends the loop stops where it is, without a shutdown of PostgreSQL: for
// tests and fatal errors only.
func (l *Loop) Run(ctx context.Context) int {
	for {
		started := l.Clock.Now()
		again, exit := l.cycle(ctx)
		if exit != nil {
			return exit.Code
		}
		if ctx.Err() != nil {
			return 1
		}
		// loop_wait counts from the start of the cycle; a late cycle runs at once.
		next := started.Add(l.settings.LoopWait)
		if l.Clock.Now().After(next) {
			l.Log.Warn("Loop time exceeded, rescheduling immediately.")
		}
		if again > 0 {
			next = min(next, l.Clock.Now().Add(again))
		}
		l.Fine(next.Sub(l.Clock.Now()) + l.patience())
		l.Sleeper.Sleep(ctx, next)
	}
}

// LastResult is the line that ended the last cycle: after Run, why it ended.
// To be called once Run has returned.
func (l *Loop) LastResult() string { return l.lastResult }

// cycle is one pass: read, observe, decide and act until the decision is to
// rest. It returns how long to rest at most (0: loop_wait) or the exit.
func (l *Loop) cycle(ctx context.Context) (again time.Duration, exit *ha.Exit) {
	started := l.Clock.Now()
	l.Fine(l.patience())
	in := l.observe(ctx)
	finished := in.Finished
	wanted := wantedNow(in.Cluster)
	said := map[string]bool{}
	var steps []Step
	var d ha.Decision
	for step := 0; ; step++ {
		if step == maxSteps {
			l.Log.Error("too many steps in one cycle, please report it as a BUG", "code", string(ha.BumpLimit), "action", actionName(d.Action))
			break
		}
		l.Fine(l.patience())
		d = ha.Decide(in)
		in.Memory, in.Finished = d.Memory, nil
		l.say(said, d)
		if l.Journal != nil {
			steps = append(steps, Step{d.Action, d.Reason, d.Says})
		}
		switch a := d.Action.(type) {
		case ha.Rest:
			again = a.Again
		case ha.Exit:
			exit = &a
		case ha.StartJob:
			l.startJob(ctx, a.Job)
		default:
			l.execute(ctx, &in, a)
			finished = orFirst(finished, in.Finished)
			in.Now, in.LeaderUntil, in.Lease, in.Settings = l.Clock.Now(), l.leaderUntil, l.lease.ID, l.settings
			continue
		}
		break
	}
	l.Fine(l.patience())
	l.memory = in.Memory
	l.note = d.Note
	l.Promises.note(l.mayLead(in), in.Cluster != nil)
	l.result(in, d)
	if l.needsNoDeadline(in) || l.settings.Pause {
		// A standby needs no deadline, whatever is left of our lease: it would
		// only be stopped by it. The holder's next renewal, which comes before
		// every promotion, arms it again. A primary keeps its own.
		uctx, cancel := l.bounded(ctx, unholdBound)
		l.Server.Unhold(uctx, l.settings.Pause)
		cancel()
	}
	if ha.NeedsNoWatchdog(in, l.Server.Job()) {
		l.Watchdog.Off(in.Local.Alive)
	}
	view := l.view(in, d)
	if in.Cluster != nil && in.Tried.Renew != ha.Failed {
		l.touch(ctx, in, view)
	}
	view.LeaderUntil = l.shownUntil(in)
	l.publish(view, d)
	if l.Journal != nil {
		l.Journal(Pass{View: view, Input: in, Steps: steps, Wanted: wanted, Finished: finished, Wall: l.Clock.Wall()})
	}
	l.Meter.Cycle(Cycle{View: view, Tried: in.Tried, Finished: finished, Started: started, Ended: l.Clock.Now()})
	// Not beside a job that stops or starts PostgreSQL: it writes the files
	// itself, and a server that is just being started dies of a reload.
	if l.Settings.Changed() && exit == nil && l.Server.Job() == nil {
		actx, cancel := l.bounded(ctx, applyBound)
		l.Settings.Apply(actx)
		cancel()
	}
	if l.AtRest != nil && exit == nil {
		l.AtRest(view)
	}
	return again, exit
}

// orFirst is the job result that the cycle began with, else one that it met
// under way.
func orFirst(first, later *ha.JobResult) *ha.JobResult {
	if first != nil {
		return first
	}
	return later
}

// needsNoDeadline says whether PostgreSQL here is a standby, and nothing is
// under way that makes it a primary. A promotion that was asked for may still
// happen after its job has given up on it.
func (l *Loop) needsNoDeadline(in ha.Input) bool {
	return in.Job == nil && l.Server.Job() == nil && in.Local.InRecovery && in.Local.Role != postgres.RolePromoted
}

func (l *Loop) startJob(ctx context.Context, spec ha.JobSpec) {
	if spec.RequestID != 0 {
		l.requests.started(spec)
	}
	l.Server.Start(ctx, spec)
}
