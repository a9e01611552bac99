package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"pgha/agent/ha"
	"pgha/internal/dcs"
	"pgha/internal/journal"
)

// kinds sorts the reasons of agent/ha for readers of the journal. What is not
// here is journal.KindOther.
var kinds = map[journal.Kind][]ha.Code{
	journal.KindSteady:    {ha.Leading, ha.Following, ha.PausedIdle, ha.RenewedDuring, ha.JobInProgress},
	journal.KindPromotion: {ha.PromotedWithLock, ha.PromotedByAcquiring, ha.AcquiredAsPrimary},
	journal.KindNoPromotion: {ha.NotHealthiest, ha.NotAllowed, ha.FollowingAfterLosing, ha.WaitUpstream, ha.WaitForPrimary, ha.NotPromotingNoRenew,
		ha.PrePromoteFailed, ha.LostBeforePromote, ha.WaitingForPromotion, ha.WaitingNewLeader, ha.PausedPrimaryNoLock, ha.Unsupported, ha.WatchdogNotPromoting},
	journal.KindDemotion: append(slices.Clone(knownDemotions), ha.WatchdogDemoting, ha.SwitchoverHandingOver, ha.SwitchoverCanceled, ha.LostDuring, ha.RecoveryTimeout,
		ha.ReleasedNotPrimary, ha.ReleasedDataEmpty, ha.ReleasedMismatch, ha.ReleasedStartFailed, ha.ReleasedPromoteFailed, ha.ReleasedPausedStopped),
	journal.KindDCS:      {ha.NoDCS, ha.RidingThrough, ha.PausedRenewFailed},
	journal.KindFailsafe: {ha.FailsafeLeading},
	journal.KindHealth:   {ha.AwaitingDisk},
	journal.KindRewind:   {ha.Rewinding, ha.WaitingCheckpoint, ha.WaitingLeader, ha.Reinitializing, ha.ReinitAfterRewind, ha.StayStopped},
	journal.KindClone: {ha.Bootstrapping, ha.InitializeLost, ha.Cloning, ha.WaitingForBootstrap, ha.Initialized, ha.BootstrapFailed, ha.BootstrapRecovering,
		ha.PostBootstrapping},
	journal.KindStart: {ha.StartingPrimary, ha.StartingReadOnly, ha.StartingSecondary, ha.StartFailed, ha.Starting, ha.StartingStuck, ha.Restarting,
		ha.CrashRecovering, ha.Changing, ha.PausedStopped, ha.RetryLater, ha.StoppingRequest, ha.DataUnreachable, ha.PausedDataEmpty, ha.SystemIDInvalid, ha.SystemIDMismatch},
	journal.KindShutdown: {ha.ShuttingDown, ha.ShutdownDone, ha.ShutdownPaused, ha.ShutdownFailed, ha.Detached, ha.Superseded, ha.TwinFound},
}

var kindOf = func() map[ha.Code]journal.Kind {
	out := map[ha.Code]journal.Kind{}
	for kind, codes := range kinds {
		for _, c := range codes {
			out[c] = kind
		}
	}
	return out
}()

// decision records what a pass decided, folded with what was decided before.
func (k *keeper) decision(p Pass, seen *journal.Facts) {
	if len(p.Steps) == 0 {
		return
	}
	last := p.Steps[len(p.Steps)-1]
	kind, ok := kindOf[last.Reason.Code]
	if !ok {
		kind = journal.KindOther
	}
	nobody := p.View.Memory.LastLed != nil && p.Input.Cluster != nil && p.Input.Cluster.Leader == nil && p.Input.Tried.Acquire != ha.Done
	if kind == journal.KindSteady && nobody && last.Reason.Code != ha.Leading {
		kind = journal.KindNoPromotion // in pause, or beside a long action: it does not race
	}
	r := stamp(p, kind, string(last.Reason.Code), last.Reason.String(), seen)
	r.Other, r.Why, r.Action = last.Reason.Member, conditions(p, kind), actionText(last.Action)
	if kind == journal.KindPromotion {
		r.Cause = k.promotionCause(p, last.Reason.Code)
		k.cause = r.Cause
		r.Other = formerLeader(p)
	}
	k.fold(r, foldKey(last.Reason, r), p.Wall)
}

// conditions are why: what the decisions of the pass said, each once, and what
// they did not need to say to the log.
func conditions(p Pass, kind journal.Kind) []string {
	var why []string
	for _, s := range p.Steps {
		for _, line := range s.Says {
			if !slices.Contains(why, line.Text) {
				why = append(why, line.Text)
			}
		}
	}
	if kind != journal.KindNoPromotion || len(why) > 0 {
		return why
	}
	switch m, l := p.View.Memory, p.View.Local; {
	case p.View.Settings.Pause:
		why = append(why, "the cluster is paused: nobody is promoted automatically")
	case p.Input.Tags.NoFailover:
		why = append(why, "this member is tagged nofailover")
	case !l.Running():
		why = append(why, "PostgreSQL here is "+orText(string(l.State), "not running"))
	case !m.Released.IsZero():
		why = append(why, "this member has just given the leader key up and leaves the race to the others")
	}
	return why
}

func orText(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}

func formerLeader(p Pass) string {
	if led := p.View.Memory.LastLed; led != nil && led.Leader != nil && led.Leader.Name != p.Input.Self {
		return led.Leader.Name
	}
	return ""
}

// promotionCause is why this member becomes the primary, in the words of
// pgha_promotions_total.
func (k *keeper) promotionCause(p Pass, code ha.Code) string {
	f, former := k.wanted, p.View.Memory.LastLed
	switch {
	case f != nil && f.Leader != "":
		return promotedSwitchover
	case f != nil:
		return promotedManual
	case code == ha.AcquiredAsPrimary:
		return promotedKept
	case code == ha.PromotedWithLock && k.cause != "":
		return k.cause // the same promotion goes on
	case former == nil || former.Leader == nil:
		return promotedFirst
	case code == ha.PromotedWithLock && former.Leader.Name == p.Input.Self && k.primary:
		return promotedKept
	case code == ha.PromotedWithLock:
		return promotedSwitchover // handed over before the request was seen
	case p.View.Cluster != nil && p.View.Cluster.Member(former.Leader.Name) != nil:
		return promotedReleased
	}
	return promotedLost
}

// actionText is what a decision does beside resting; empty: nothing.
func actionText(a ha.Action) string {
	switch a := a.(type) {
	case ha.StartJob:
		return jobText(a.Job)
	case ha.CancelJob:
		return "cancel the long action"
	case ha.Exit:
		return fmt.Sprintf("end the agent with code %d", a.Code)
	}
	return ""
}

// numbers that stand alone change from pass to pass and are no new reason;
// names that end with a digit (pg02) are not touched.
var numbers = regexp.MustCompile(`(^|[\s(])\d[\d.]*`)

// foldKey tells decisions apart: two with the same key are the same again.
func foldKey(reason ha.Reason, r journal.Record) string {
	parts := append([]string{string(r.Kind), r.Code, reason.Member, reason.Name, reason.Detail, r.Action, r.Cause, r.Seen.Leader, fmt.Sprint(r.Seen.Pause)}, r.Why...)
	return numbers.ReplaceAllString(strings.Join(parts, "\x00"), "$1#")
}

// fold writes a record, or counts it when it is one of the last ones again.
func (k *keeper) fold(r journal.Record, key string, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var again *folded
	k.open = slices.DeleteFunc(k.open, func(f *folded) bool {
		age := now.Sub(f.last)
		switch {
		case f.key == key && age >= 0 && (age < foldFor || r.Kind == journal.KindSteady):
			again = f
			return false
		case f.first.Kind == journal.KindSteady || age >= foldFor || age < 0:
			k.repeat(f)
			return true
		}
		return false
	})
	if again != nil {
		again.count++
		again.last, again.seen = now, r.Seen
		if now.Sub(again.written) >= repeatEvery {
			k.repeat(again)
		}
		return
	}
	if len(k.open) >= maxOpen {
		k.repeat(k.open[0])
		k.open = k.open[1:]
	}
	for _, f := range k.open {
		k.repeat(f) // something new: until then it was that
	}
	k.add(r)
	first := r
	first.Seen, first.Why = nil, nil
	k.open = append(k.open, &folded{key: key, first: first, count: 1, told: 1, last: now, written: now})
}

// repeat writes how often a record has happened, unless the file knows.
func (k *keeper) repeat(f *folded) {
	if f.count == f.told {
		return
	}
	since := f.first.At
	r := f.first
	r.At, r.Boot, r.Kind, r.Of, r.Since, r.Count, r.Seen = f.last, 0, journal.KindRepeat, f.first.Kind, &since, f.count, f.seen
	k.add(r)
	f.told, f.written = f.count, f.last
}

// settings records pause and the dynamic configuration: which keys changed,
// never their values.
func (k *keeper) settings(p Pass) {
	if s := p.View.Settings; s.Pause != k.paused && !p.View.ClusterLost {
		k.paused = s.Pause
		code, text := "pause_off", "maintenance mode is off: automatic failover works"
		if s.Pause {
			code, text = "pause_on", "maintenance mode is on: no automatic failover"
		}
		k.add(stamp(p, journal.KindPause, code, text, nil))
	}
	c := p.View.Cluster
	if c == nil || c.Config == nil || c.Config.Revision == k.config {
		return
	}
	first := k.config == 0
	k.config = c.Config.Revision
	now := topKeys(p.View.Settings.Document)
	changed := changedKeys(k.options, now)
	k.options = now
	r := stamp(p, journal.KindConfig, "config_taken", "took over the dynamic configuration", nil)
	switch {
	case !c.Config.Valid:
		r.Code, r.Text = "config_rejected", "the key config in the DCS is no JSON object: the configuration stays as it was"
	case first:
		return
	}
	if len(changed) > 0 {
		r.Text += "; changed: " + strings.Join(changed, ", ")
	}
	k.add(r)
}

func topKeys(document map[string]any) map[string]string {
	out := map[string]string{}
	for key, value := range document {
		out[key] = fmt.Sprint(value)
	}
	return out
}

func changedKeys(before, now map[string]string) []string {
	var out []string
	for key, value := range now {
		if old, there := before[key]; !there || old != value {
			out = append(out, key)
		}
	}
	for key := range before {
		if _, there := now[key]; !there {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// wantedNow is the request that stands in a view.
func wantedNow(c *dcs.Cluster) *dcs.Failover {
	if c == nil {
		return nil
	}
	return c.Failover
}
