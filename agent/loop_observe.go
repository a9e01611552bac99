package agent

// One cycle's input: the cluster, PostgreSQL and the job that ended, and what
// was learned with it.

import (
	"context"
	"time"

	"pgha/agent/ha"
	"pgha/internal/dcs"
)

// observe reads the cluster and looks at PostgreSQL: one cycle's input.
func (l *Loop) observe(ctx context.Context) ha.Input {
	cluster := l.load(ctx)
	// The job first: a result together with facts from before its end would be
	// a lie. The other way round the facts are merely news.
	job, finished := l.Server.Job(), l.finished()
	if finished != nil {
		job = l.Server.Job()
	}
	octx, cancel := l.bounded(ctx, observeBound)
	local := l.Server.Observe(octx)
	cancel()
	if cluster != nil && cluster.Leader != nil && cluster.Leader.Name != l.Self {
		l.leaderUntil = 0
	}
	watchdog, unusable := l.Watchdog.Look(l.settings)
	twin := false
	if cluster != nil && l.lastLease != 0 {
		var rewrite bool
		if rewrite, twin = l.twins.look(cluster.Member(l.Self), l.lease.ID); rewrite {
			l.lastMember = nil
		}
	}
	return ha.Input{
		Twin: twin,
		Now:  l.Clock.Now(), Wall: l.Clock.Wall(), Self: l.Self,
		Settings: l.settings, Tags: l.Tags(), CanBootstrap: l.CanBoot,
		Cluster: cluster, Lease: l.lease.ID, LeaderUntil: l.leaderUntil, Term: l.term(l.settings.TTL),
		Watchdog: watchdog, WatchdogFailed: unusable,
		Local: local, Job: job, Finished: finished,
		Request: l.requests.head(), Shutdown: ha.Shutdown(l.shutdown.Load()),
		Memory: l.memory, Failsafe: l.failsafeInput(),
	}
}

// observeBound limits the look at PostgreSQL: a frozen server must not cost
// the lease.
const observeBound = 2 * time.Second

// load reads the cluster, bounded by retry_timeout and, while leading, by
// when a clean step-down must begin.
func (l *Loop) load(ctx context.Context) *dcs.Cluster {
	lctx, cancel := l.bounded(ctx, l.settings.RetryTimeout)
	defer cancel()
	c, err := l.Store.Load(lctx)
	if err != nil {
		if !l.dcsDown {
			l.Log.Warn("Can not get cluster from dcs", "err", err)
		}
		l.dcsDown = true
		return nil
	}
	if l.dcsDown {
		l.Log.Info("the DCS answers again")
	}
	l.dcsDown = false
	l.cluster, l.dcsSeen = c, l.Clock.Wall()
	l.knowFailsafe(c.Failsafe)
	l.sayDamaged(c.Damaged)
	l.learn(c)
	return c
}

// learn takes the settings from the view that decisions go by: also from one
// read again within a cycle, which may have lasted long. A pause that is over
// must not be believed in beside a leader that came after it.
func (l *Loop) learn(c *dcs.Cluster) {
	var raised string
	l.settings, raised = ha.RaiseFloors(l.Settings.Learn(c.Config), c.Members)
	l.sayFloors(raised)
	l.Store.SetTTL(l.settings.TTL)
}

// finished takes the result of a job that ended since the last cycle and
// answers the request that had asked for it.
func (l *Loop) finished() *ha.JobResult {
	r := l.Server.Finished()
	if r != nil && r.RequestID != 0 {
		l.requests.finish(*r)
	}
	return r
}
