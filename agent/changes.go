package agent

import (
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// recorder is where changes are counted: rest.Recorder.
type recorder interface {
	Cycle(took time.Duration, overrun bool, reason string)
	Renewed(took time.Duration)
	Promoted(reason string)
	PromotionFailed()
	Demoting(reason string)
	FailedOver(reason string)
	SwitchedOver(result string)
	Phase(operation, phase string, took time.Duration)
	RoleChanged(at time.Time)
	Failsafe(entered bool, d time.Duration)
}

// Why a member was promoted: label reason of pgha_promotions_total, and, but
// for the planned ones, of pgha_failovers_total.
const (
	promotedSwitchover = "switchover"      // a requested change away from a named leader
	promotedManual     = "manual_failover" // a request that names no leader
	promotedReleased   = "leader_released" // the leader gave its key up and is still a member
	promotedLost       = "leader_lost"     // the leader's key and member key are gone
	promotedKept       = "key_kept"        // the key was ours all along
	promotedFirst      = "no_leader_known" // nobody led since this agent's start
)

// How a requested change of leader ended, seen from the leader that was: label
// result of pgha_switchovers_total.
const (
	switchedHandedOver = "handed_over" // the key went to the candidate in one transaction
	switchedReleased   = "released"    // the key was given up, and raced for
	switchedCancelled  = "cancelled"   // nobody had received everything: nothing changed
)

// knownDemotions are the reasons that a step-down can begin for.
var knownDemotions = []ha.Code{ha.SwitchoverDemoting, ha.DemotedRenewFailed, ha.DemotedNoLock, ha.DemotedNoDCS, ha.DemotedAfterLosing,
	ha.DemotedNotHealthiest, ha.NotAllowedPrimary, ha.CrashFailover, ha.StartingLostLock, ha.StartingTimeout, ha.DemotedUnwell}

// changes watches the loop's passes and counts changes of leadership and how
// long their phases took. It is the production Meter; only the loop calls it.
type changes struct {
	to   recorder
	wall func() time.Time

	began     bool // a pass was seen
	primary   bool
	led       string        // who held the key in the pass before; empty: nobody
	request   *dcs.Failover // the last request for a change that was seen
	requestAt clock.Instant // when it was first seen, or became due

	promotion *promotion
	demotion  *demotion
	// failsafe is until when failsafe mode has been counted; zero: it is off.
	failsafe clock.Instant
}

// promotion is one under way on this member.
type promotion struct {
	reason, operation string
	began             clock.Instant
	// leaderless is since when nobody led; zero: the key was given to us.
	leaderless clock.Instant
}

// demotion is a step-down of this member, until it streams again.
type demotion struct {
	operation       string
	last            ha.Demotion
	shutDown, given clock.Instant
	ended           bool
}

var _ Meter = (*changes)(nil)

// Renewed implements Meter.
func (t *changes) Renewed(took time.Duration) { t.to.Renewed(took) }

// countFailsafe counts the time in failsafe mode, up to the end of this pass.
func (t *changes) countFailsafe(c Cycle) {
	since := c.View.Memory.FailsafeSince
	switch {
	case t.failsafe.IsZero() && since.IsZero():
	case t.failsafe.IsZero():
		t.to.Failsafe(true, c.Ended.Sub(since))
		t.failsafe = c.Ended
	default:
		t.to.Failsafe(false, c.Ended.Sub(t.failsafe))
		t.failsafe = c.Ended
		if since.IsZero() {
			t.failsafe = 0
		}
	}
}

// Cycle implements Meter.
func (t *changes) Cycle(c Cycle) {
	t.to.Cycle(c.Took(), c.Overrun(), string(c.View.Reason.Code))
	t.countFailsafe(c)
	if primary := c.View.Local.Primary(); primary != t.primary || !t.began {
		if t.began {
			t.to.RoleChanged(t.wall())
		}
		t.primary = primary
	}
	t.noteRequest(c)
	t.stepDown(c)
	t.promote(c)
	t.led, t.began = leaderName(c.View.Cluster), true
}

func leaderName(c *dcs.Cluster) string {
	if c == nil || c.Leader == nil {
		return ""
	}
	return c.Leader.Name
}

// noteRequest remembers a request while it stands, and until the change that
// it asked for has come about: the key is cleared when the change begins.
func (t *changes) noteRequest(c Cycle) {
	if c.View.Cluster == nil {
		return
	}
	f := c.View.Cluster.Failover
	switch {
	case f != nil && !f.ScheduledAt.IsZero() && f.ScheduledAt.After(t.wall()):
		t.request, t.requestAt = nil, 0 // not yet
	case f != nil && (t.request == nil || t.request.Revision != f.Revision):
		t.request, t.requestAt = f, c.Started
	case f == nil && t.request != nil && c.Ended.Sub(t.requestAt) > c.View.Settings.TTL && t.promotion == nil && t.demotion == nil:
		t.request = nil // answered without a change
	}
}

// stepDown follows a demotion: the stop, the hand-over, the return.
func (t *changes) stepDown(c Cycle) {
	now := c.View.Memory.Demotion
	if now != nil && (t.demotion == nil || t.demotion.ended) {
		t.to.Demoting(string(c.View.Reason.Code))
		t.demotion = &demotion{operation: "demotion"}
		if now.Mode == ha.DemoteGraceful {
			t.demotion.operation = "switchover"
			if t.request != nil {
				t.to.Phase("switchover", "prepare", now.Since.Sub(t.requestAt))
			}
		}
	}
	d := t.demotion
	if d == nil {
		return
	}
	if now != nil {
		d.last = *now
	}
	job := c.View.Job
	handed := d.last.HandedTo != "" && (d.last.Released || c.Tried.HandOver == ha.Done)
	gave := handed || c.Tried.Release == ha.Done // PostgreSQL is down by then, whatever the job has said so far
	if d.shutDown.IsZero() && (d.last.Stopped || job != nil && job.Phase == ha.PhaseShutDown || gave || now == nil) {
		d.shutDown = max(c.Started, d.last.Since) // its report began the pass
		t.to.Phase(d.operation, "shutdown", d.shutDown.Sub(d.last.Since))
	}
	if d.given.IsZero() && !d.shutDown.IsZero() && (gave || d.last.Released) {
		d.given = c.Ended
		t.to.Phase(d.operation, "release", d.given.Sub(d.shutDown))
	}
	if now == nil && !d.ended {
		t.endStepDown(c, d, handed)
	}
	if d.ended && c.View.Local.Streaming && now == nil {
		t.to.Phase(d.operation, "rejoin", c.Ended.Sub(d.shutDown))
		t.demotion = nil
	} else if d.ended && c.View.Local.Primary() {
		t.demotion = nil // it leads again
	}
}

func (t *changes) endStepDown(c Cycle, d *demotion, handed bool) {
	d.ended = true
	if d.operation != "switchover" {
		return
	}
	result := switchedReleased
	switch {
	case c.View.Reason.Code == ha.SwitchoverCanceled:
		result = switchedCancelled
		t.demotion = nil
	case handed || c.Tried.HandOver == ha.Done:
		result = switchedHandedOver
	}
	t.to.SwitchedOver(result)
	t.request = nil
}

// promote follows a promotion from the decision to a server that writes.
func (t *changes) promote(c Cycle) {
	if code := c.View.Reason.Code; t.promotion == nil && (code == ha.PromotedWithLock || code == ha.PromotedByAcquiring) {
		t.promotion = t.beginPromotion(c)
		if p := t.promotion; !p.leaderless.IsZero() {
			t.to.Phase(p.operation, "election", p.began.Sub(p.leaderless))
		}
	}
	p := t.promotion
	if p == nil || c.Finished == nil || c.Finished.Kind != ha.JobPromote {
		return
	}
	t.promotion = nil
	if !c.Finished.OK {
		t.to.PromotionFailed()
		return
	}
	t.to.Promoted(p.reason)
	switch p.reason {
	case promotedManual, promotedReleased, promotedLost, promotedFirst:
		t.to.FailedOver(p.reason)
	}
	t.to.Phase(p.operation, "promotion", c.Started.Sub(p.began))
	t.request = nil
}

// beginPromotion says why this member becomes the primary.
func (t *changes) beginPromotion(c Cycle) *promotion {
	p := &promotion{operation: "failover", began: c.Ended}
	v := c.View
	if v.Reason.Code == ha.PromotedByAcquiring {
		p.leaderless = v.Memory.UnlockedSince
	}
	former := v.Memory.LastLed
	switch {
	case t.request != nil && t.request.Leader != "":
		p.reason, p.operation = promotedSwitchover, "switchover"
	case t.request != nil:
		p.reason = promotedManual
	case v.Reason.Code == ha.PromotedWithLock && t.led == leaderName(v.Cluster):
		p.reason, p.operation = promotedKept, "promotion"
	case v.Reason.Code == ha.PromotedWithLock && t.led != "":
		p.reason, p.operation = promotedSwitchover, "switchover" // handed over before the request was seen
	case former == nil || former.Leader == nil:
		p.reason = promotedFirst
	case v.Cluster != nil && v.Cluster.Member(former.Leader.Name) != nil:
		p.reason = promotedReleased
	default:
		p.reason = promotedLost
	}
	return p
}
