package agent

// What is left to do once the loop has ended.

import (
	"context"
	"time"

	"pgha/internal/postgres"
)

// endBound is how long the agent may take to end once its loop has: REST's
// last answers, a cancelled job and the last write of the member key.
const endBound = 30 * time.Second

// finish waits for what the loop left: a cancelled job, and the guard is
// left to itself when PostgreSQL goes on.
func (a *agent) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if a.machine.job() != nil {
		a.machine.cancelJob()
		a.machine.wait(ctx)
	}
	if a.loop.memory.StopFailed || !a.lastAlive() {
		a.publishStopped(ctx)
	}
	a.watchdog.End(a.mayWrite())
	a.gate.finish(ctx, a.lastAlive())
	cctx, stop := context.WithTimeout(ctx, callbackGrace)
	a.calls.finish(cctx)
	stop()
	a.launcher.release()
}

// mayWrite says whether a PostgreSQL goes on here that may be a primary, and is
// not an operator's (pause).
func (a *agent) mayWrite() bool {
	_, alive := a.inst.Alive()
	return alive && a.inst.Role() != postgres.RoleReplica && !a.settings.Current().Pause
}

func (a *agent) lastAlive() bool { return a.machine.observation().Alive }

// publishStopped writes the member key once more: state stopped (22, step 7).
func (a *agent) publishStopped(ctx context.Context) {
	pctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	o := a.inst.Observe(pctx)
	v := a.pub.lastView()
	v.Local.State, v.Local.Role, v.Local.Queried = o.State, o.Role, false
	if err := a.store.PutMember(pctx, a.memberData(v, o)); err != nil {
		a.log.Warn("could not write the member key at the end", "err", err)
	}
}
