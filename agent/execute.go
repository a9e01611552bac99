package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// peerBound limits questions to other members (contract: ha-behaviour.md 9.3).
const peerBound = 2 * time.Second

// execute does what a decision said and puts the outcome into the input.
// Every call is bounded, while leading by the lease.
func (l *Loop) execute(parent context.Context, in *ha.Input, action ha.Action) {
	ctx, cancel := l.bounded(parent, l.settings.RetryTimeout)
	defer cancel()
	t := &in.Tried
	switch a := action.(type) {
	case ha.Reload:
		t.Reloaded++
		if a.Briefly {
			brief, stop := l.bounded(parent, time.Second)
			defer stop()
			ctx = brief
		}
		in.Cluster = l.load(ctx)
	case ha.TouchMember:
		t.Touched = true
		l.touch(ctx, *in, l.view(*in, ha.Decision{}))
		in.Cluster = orKeep(l.load(ctx), in.Cluster)
	case ha.ClaimInitialize:
		t.Initialize = l.claim(ctx, in)
	case ha.UnclaimInitialize:
		t.Initialize = l.apply(ctx, dcs.Write{Key: dcs.KeyInitialize, Guard: dcs.Guard{Revision: a.Revision}})
	case ha.PutSystemID:
		t.Initialize = l.apply(ctx, dcs.Write{Key: dcs.KeyInitialize, Value: []byte(a.ID), Guard: dcs.Guard{Absent: a.Absent, Revision: a.Revision}})
		in.Cluster = orKeep(l.load(ctx), in.Cluster)
	case ha.RegisterCluster:
		t.Register = l.apply(ctx,
			dcs.Write{Key: dcs.KeyInitialize, Value: []byte(a.ID), Guard: dcs.Guard{Revision: a.Revision}},
			dcs.Write{Key: dcs.KeyConfig, Value: l.Settings.Document()})
	case ha.RestoreConfig:
		t.Config = l.apply(ctx, dcs.Write{Key: dcs.KeyConfig, Value: l.Settings.Document(), Guard: dcs.Guard{Absent: a.Revision == 0, Revision: a.Revision}})
		in.Cluster = orKeep(l.load(ctx), in.Cluster)
	case ha.RenewLeader:
		t.Renew = l.renew(ctx, in, a)
	case ha.AcquireLeader:
		t.Acquire = l.acquire(ctx, in)
	case ha.ReleaseLeader:
		t.Release = l.release(ctx, in, l.finalStatus(in, a.Optime))
	case ha.HandOver:
		t.HandOver = l.handOver(ctx, in, a)
	case ha.ClearFailover:
		t.Failover = l.apply(ctx, dcs.Write{Key: dcs.KeyFailover, Value: []byte("{}"), Guard: dcs.Guard{Revision: a.Revision}})
	case ha.RewriteFailover:
		t.Failover = l.apply(ctx, dcs.Write{Key: dcs.KeyFailover, Value: dcs.EncodeFailover(&a.Request), Guard: dcs.Guard{Revision: a.Request.Revision}})
	case ha.WriteHistory:
		t.History = true
		l.apply(ctx, dcs.Write{Key: dcs.KeyHistory, Value: dcs.EncodeHistory(a.Rows), Guard: dcs.Guard{Leader: true}})
	case ha.AskFailsafe:
		l.askFailsafe(parent, in, a)
	case ha.ExtendLeadership:
		l.extend(ctx, in, a)
	case ha.AskPeers:
		in.Peers = l.ask(parent, a)
	default:
		l.executeLocal(ctx, in, action)
	}
}

// executeLocal does what concerns this machine alone.
func (l *Loop) executeLocal(ctx context.Context, in *ha.Input, action ha.Action) {
	t := &in.Tried
	switch a := action.(type) {
	case ha.Follow:
		t.Follow = l.Server.Follow(ctx, a.Source)
	case ha.Examine:
		t.Examine, t.ExamineWhy = l.Server.Examine(ctx, a.Leader)
	case ha.AskUpstream:
		t.Upstream, t.UpstreamAt = l.Server.AskUpstream(ctx)
	case ha.SyncSlots:
		t.Slots = true
		l.Server.SyncSlots(ctx, a)
	case ha.CancelJob:
		l.Server.Cancel()
		if l.leaderUntil.IsZero() || in.Cluster != nil && in.Cluster.Leader == nil {
			l.awaitJob(ctx) // what it was making may write: its end cannot wait for another cycle
		}
		if in.Job = l.Server.Job(); in.Job == nil { // it had ended: its result, and facts from after it
			in.Finished, in.Local = l.finished(), l.Server.Observe(ctx)
		}
	case ha.ActivateWatchdog:
		t.Watchdog = l.activateWatchdog(ctx)
	case ha.SetRole:
		l.Server.SetRole(a.Role, a.Announce)
		in.Local.Role = a.Role
	case ha.Answer:
		t.Answered = true
		l.requests.answer(a.Code, a.Text)
		in.Request = nil
	default:
		panic(fmt.Sprintf("agent: no execution for action %T", action))
	}
}

// cancelBound is how long a cycle waits for a job that it has cancelled without
// holding the key. A promotion ends at once then, and its server is to be ended.
const cancelBound = 500 * time.Millisecond

// awaitJob waits for the end of a cancelled job. What woke us meanwhile is
// looked at by the next cycle, at once.
func (l *Loop) awaitJob(ctx context.Context) {
	end := l.Clock.Now().Add(cancelBound)
	for l.Server.Job() != nil && l.Clock.Now().Before(end) && ctx.Err() == nil {
		l.Sleeper.Sleep(ctx, end)
	}
	l.Sleeper.Wake()
}

// apply writes; the outcome is all that a decision needs.
func (l *Loop) apply(ctx context.Context, writes ...dcs.Write) ha.Outcome {
	err := l.Store.Apply(ctx, writes...)
	if err != nil {
		l.Log.Warn("write to the DCS", "key", string(writes[0].Key), "err", err)
	}
	return outcome(err)
}

// claim creates the empty initialize key under our lease, and learns its
// revision: the claim is proven later by lease and revision together.
func (l *Loop) claim(ctx context.Context, in *ha.Input) ha.Outcome {
	lease, err := l.Store.KeepAlive(ctx)
	if err != nil {
		return ha.Failed
	}
	l.lease = lease
	l.twins.held(lease.ID)
	out := l.apply(ctx, dcs.Write{Key: dcs.KeyInitialize, Value: []byte{}, Leased: true, Guard: dcs.Guard{Absent: true}})
	in.Cluster = orKeep(l.load(ctx), in.Cluster)
	return out
}

// renew keeps the leader key: the store's answer first, then the guard, then
// everything else (rulings 3).
func (l *Loop) renew(ctx context.Context, in *ha.Input, a ha.RenewLeader) ha.Outcome {
	l.Promises.given()
	seen := *in.Cluster.Leader
	if l.givenUp {
		// The key is written anew, in whatever lease it is: a release that is
		// still on its way then finds another revision, and does nothing.
		seen.Lease = 0
	}
	if l.lease.ID != 0 && seen.Lease != 0 && seen.Lease != l.lease.ID {
		l.Log.Warn("I am the leader but not owner of the lease") // RenewLeader puts that right
	}
	asked := l.Clock.Now()
	lease, err := l.Store.RenewLeader(ctx, seen)
	if errors.Is(err, dcs.ErrConflict) {
		// The key went away after it was read, perhaps long ago: others may have
		// led since. Nobody's key is taken by the rules of the race, not renewed.
		l.leaderUntil, in.Cluster = 0, l.load(ctx)
		return ha.NotTried
	}
	switch out := outcome(err); out {
	case ha.Refused:
		l.leaderUntil, l.givenUp = 0, false
		return out
	case ha.Failed:
		l.Log.Warn("could not renew the leader key", "err", err)
		return out
	}
	l.hold(ctx, lease)
	l.Meter.Renewed(l.Clock.Now().Sub(asked))
	if a.Status != nil {
		l.writeStatus(ctx, *a.Status, in.Cluster.Status.Raw)
	}
	if a.Failsafe != nil {
		l.writeFailsafe(ctx, a.Failsafe)
	}
	return ha.Done
}

// hold notes a confirmed lease and extends the guard's deadline with it.
func (l *Loop) hold(ctx context.Context, lease dcs.Lease) {
	l.lease, l.givenUp = lease, false
	l.twins.held(lease.ID)
	l.secure(ctx, lease.Deadline(), lease.TTL)
}

// secure counts on the leader key until then, and tells what fences this
// member: by a renewal, or by a round of failsafe mode.
func (l *Loop) secure(ctx context.Context, until clock.Instant, ttl time.Duration) {
	if l.settings.Pause {
		l.leaderUntil = until
		l.Server.Unhold(ctx, true)
		return
	}
	l.fence(ctx, until, ttl)
}

// writeStatus publishes where the leader is, unless the key says so already:
// by what was read, not by what we wrote, which somebody may have overwritten.
func (l *Loop) writeStatus(ctx context.Context, s dcs.Status, read string) {
	if text := dcs.EncodeStatus(s); string(text) != read {
		l.apply(ctx, dcs.Write{Key: dcs.KeyStatus, Value: text, Guard: dcs.Guard{Leader: true}})
	}
}

// acquire takes the leader key. A running primary is put under the deadline of
// our lease first: the answer may get lost, and a bootstrap's server has no
// deadline yet. Without a lease one is granted on the way, which will not end
// earlier than a TTL from now.
func (l *Loop) acquire(ctx context.Context, in *ha.Input) ha.Outcome {
	if !l.Promises.claim(in.Memory.SenderDone) {
		// Agreed while this cycle was deciding otherwise.
		l.Log.Info("not taking the leader key: a primary in failsafe mode asked this member not to")
		return ha.Refused
	}
	if in.Local.Primary() && !l.settings.Pause {
		now, until, ttl := l.Clock.Now(), l.lease.Deadline(), l.lease.TTL
		if !until.After(now) {
			until, ttl = now.Add(l.settings.TTL), l.settings.TTL
		}
		l.Server.Hold(ctx, soonest(until, l.Watchdog.Resets()), l.term(ttl)) // nothing is fed by a request
	}
	lease, err := l.Store.AcquireLeader(ctx)
	out := outcome(err)
	if out == ha.Done {
		l.hold(ctx, lease)
	} else if out == ha.Failed {
		l.Log.Warn("could not take the leader key", "err", err)
	}
	return out
}

// release gives the key up. Whatever comes back, we no longer count on it.
func (l *Loop) release(ctx context.Context, in *ha.Input, final []dcs.Write) ha.Outcome {
	err := l.Store.ReleaseLeader(ctx, final...)
	l.leaderUntil = 0
	l.gaveUp(err)
	if errors.Is(err, dcs.ErrConflict) {
		return ha.Done // it is not ours any more: what we wanted
	}
	if err != nil {
		l.Log.Warn("could not release the leader key", "err", err)
	}
	return outcome(err)
}

func (l *Loop) handOver(ctx context.Context, in *ha.Input, a ha.HandOver) ha.Outcome {
	err := l.Store.HandOver(ctx, a.To, l.finalStatus(in, a.Optime)...)
	out := outcome(err)
	l.gaveUp(err)
	if out != ha.Refused {
		l.leaderUntil = 0
	}
	if err != nil {
		l.Log.Warn("could not hand the leader key over", "member", a.To.Name, "err", err)
	} else {
		l.Log.Info("handed the leader key over to " + a.To.Name)
	}
	return out
}

// gaveUp notes whether a release or a hand-over may still be on its way.
func (l *Loop) gaveUp(err error) {
	l.givenUp = errors.Is(err, dcs.ErrUnknownOutcome) || err != nil && l.givenUp
}

// finalStatus publishes where the leader's log ended; other fields of the
// key are kept (contract: dcs-layout.md section 2, status).
func (l *Loop) finalStatus(in *ha.Input, optime dcs.LSN) []dcs.Write {
	if optime == 0 || in.Cluster == nil {
		return nil
	}
	s := in.Cluster.Status
	s.Optime = max(optime, s.Optime)
	return []dcs.Write{{Key: dcs.KeyStatus, Value: dcs.EncodeStatus(s)}}
}

func (l *Loop) ask(parent context.Context, a ha.AskPeers) []ha.Peer {
	bound := peerBound
	if a.Within > 0 {
		bound = min(bound, a.Within)
	}
	ctx, cancel := l.bounded(parent, bound)
	defer cancel()
	answers := l.Peers.Ask(ctx, a.Members, a.Slow)
	if answers == nil {
		answers = []ha.Peer{}
	}
	return answers
}

// outcome sorts a store's error into what decisions distinguish. An unknown
// outcome is Failed: the decision reads again before it acts.
func outcome(err error) ha.Outcome {
	switch {
	case err == nil:
		return ha.Done
	case dcs.Failed(err):
		return ha.Failed
	default:
		return ha.Refused
	}
}

func orKeep(fresh, old *dcs.Cluster) *dcs.Cluster {
	if fresh == nil {
		return old
	}
	return fresh
}

func actionName(a ha.Action) string { return fmt.Sprintf("%T", a) }
