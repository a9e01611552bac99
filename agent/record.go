package agent

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/journal"
	"pgha/internal/postgres"
)

// Pass is one pass of the loop as the decision journal hears of it.
type Pass struct {
	View View
	// Input is what the last decision saw: the peers' answers and what was tried.
	Input ha.Input
	Steps []Step
	// Wanted is the request for another leader when the pass began; nil: none.
	Wanted   *dcs.Failover
	Finished *ha.JobResult
	// Wall is the civil time at View.At.
	Wall time.Time
}

// Step is one decision of a pass.
type Step struct {
	Action ha.Action
	Reason ha.Reason
	Says   []ha.Line
}

// keeper turns passes of the loop, and what other parts report, into records
// of the decision journal. It decides nothing, and it never waits: the writer
// drops what a slow disk cannot take. A nil keeper keeps nothing.
//
// Decisions that repeat are folded: the first is written at once, the number
// of repetitions when they end, or every repeatEvery.
type keeper struct {
	member string
	writer *journal.Writer
	clock  clock.Clock

	mu   sync.Mutex // other parts report beside the loop
	open []*folded

	// What the pass before saw; the loop's alone.
	began   bool
	primary bool
	led     string
	paused  bool
	lost    bool
	// failsafe: this primary was in failsafe mode.
	failsafe bool
	config   dcs.Revision
	options  map[string]string // of the dynamic configuration: key to its text
	wanted   *dcs.Failover
	asked    time.Time // when wanted was last there
	rewind   ha.RewindState
	why      string // RewindWhy
	renewed  ha.Outcome
	cause    string // of the promotion under way
}

// folded is a record that may happen again.
type folded struct {
	key     string
	first   journal.Record
	count   int
	last    time.Time
	seen    *journal.Facts
	written time.Time
	told    int // the count that the file knows
}

// How decisions are folded: what has not been decided for foldFor is a new
// record the next time, at most maxOpen are watched, and every repeatEvery the
// file learns that one still goes on.
const (
	foldFor     = time.Minute
	maxOpen     = 8
	repeatEvery = 10 * time.Minute
)

func newKeeper(member string, w *journal.Writer, c clock.Clock) *keeper {
	return &keeper{member: member, writer: w, clock: c}
}

// event records what happened outside of the loop: guard, agent, health,
// failsafe, an operator's request. Any goroutine may call it.
func (k *keeper) event(kind journal.Kind, code, text string) {
	k.eventOf(kind, code, text, "")
}

// eventOf is event with somebody that it is about or comes from.
func (k *keeper) eventOf(kind journal.Kind, code, text, other string) {
	if k == nil {
		return
	}
	k.add(journal.Record{Kind: kind, Code: code, Text: text, Other: other, At: k.clock.Wall(), Boot: int64(k.clock.Now())})
}

// add writes one record as it is.
func (k *keeper) add(r journal.Record) {
	r.Member = k.member
	r.Text = withoutSecrets(r.Text)
	for i := range r.Why {
		r.Why[i] = withoutSecrets(r.Why[i])
	}
	k.writer.Add(r)
}

// flush writes what is still being counted and waits for the file, bounded;
// the keeper goes on.
func (k *keeper) flush(ctx context.Context) {
	if k == nil {
		return
	}
	k.mu.Lock()
	for _, f := range k.open {
		k.repeat(f)
	}
	k.mu.Unlock()
	k.writer.Flush(ctx)
}

// end writes what is still being counted and waits for the file, bounded.
func (k *keeper) end(ctx context.Context) {
	if k == nil {
		return
	}
	k.mu.Lock()
	for _, f := range k.open {
		k.repeat(f)
	}
	k.open = nil
	k.mu.Unlock()
	k.writer.Close(ctx)
}

// pass records what one pass of the loop was. Only the loop calls it.
func (k *keeper) pass(p Pass) {
	if k == nil {
		return
	}
	seen := facts(p)
	k.reachability(p, seen)
	k.leader(p, seen)
	k.request(p, seen)
	k.settings(p)
	k.finished(p, seen)
	k.lock(p, seen)
	k.divergence(p, seen)
	k.decision(p, seen)
	k.failsafeEnd(p, seen)
	k.role(p, seen)
	k.began = true
}

// stamp is a record of this pass.
func stamp(p Pass, kind journal.Kind, code, text string, seen *journal.Facts) journal.Record {
	return journal.Record{Kind: kind, Code: code, Text: text, At: p.Wall, Boot: int64(p.View.At), Seen: seen}
}

// failsafeEnd records that failsafe mode is over, with what the log said of it:
// the pass that ends it is about something else.
func (k *keeper) failsafeEnd(p Pass, seen *journal.Facts) {
	active := !p.View.Memory.FailsafeSince.IsZero()
	if k.failsafe && !active {
		text := "failsafe mode ended"
		for _, step := range p.Steps {
			for _, line := range step.Says {
				if strings.HasPrefix(line.Text, text) {
					text = line.Text
				}
			}
		}
		k.add(stamp(p, journal.KindFailsafe, "failsafe_ended", text, seen))
	}
	k.failsafe = active
}

// reachability records the loss and the return of the DCS.
func (k *keeper) reachability(p Pass, seen *journal.Facts) {
	lost := p.View.ClusterLost
	if lost != k.lost {
		code, text := "dcs_back", "the DCS answers again"
		if lost {
			code, text = "dcs_lost", "the DCS does not answer"
		}
		k.add(stamp(p, journal.KindDCS, code, text, seen))
	}
	k.lost = lost
}

// leader records who holds the leader key, as this member sees it.
func (k *keeper) leader(p Pass, seen *journal.Facts) {
	if p.View.ClusterLost || p.View.Cluster == nil {
		return
	}
	now := leaderName(p.View.Cluster)
	if now == k.led {
		return
	}
	before := k.led
	k.led = now
	r := stamp(p, journal.KindLeader, "leader_known", now+" holds the leader key", seen)
	r.Other = now
	switch {
	case now == "":
		r.Code, r.Other = "leader_gone", before
		r.Text = "nobody holds the leader key any more; it was " + before + "'s"
		r.Cause = promotedReleased
		if p.View.Cluster.Member(before) == nil {
			r.Cause = promotedLost
			r.Text += ", and its member key is gone too: its lease has ended"
		} else {
			r.Text += ", which is still a member"
		}
	case before != "":
		r.Text += ", before it was " + before + "'s"
	case !k.began:
		r.Text += ", as this agent found it"
	}
	k.add(r)
}

// lock records what this member did to the leader key.
func (k *keeper) lock(p Pass, seen *journal.Facts) {
	t := p.Input.Tried
	to := ""
	for _, s := range p.Steps {
		if h, ok := s.Action.(ha.HandOver); ok {
			to = h.To.Name
		}
	}
	say := func(o ha.Outcome, code, done, refused, failed string) {
		text := map[ha.Outcome]string{ha.Done: done, ha.Refused: refused, ha.Failed: failed}[o]
		if text == "" {
			return
		}
		if o != ha.Done {
			code += map[ha.Outcome]string{ha.Refused: "_refused", ha.Failed: "_unanswered"}[o]
		}
		r := stamp(p, journal.KindLock, code, text, seen)
		if strings.HasPrefix(code, "handed_over") {
			r.Other = to
		}
		k.add(r)
	}
	say(t.Acquire, "acquired", "took the leader key", "did not get the leader key: somebody else was faster", "asked for the leader key and got no answer")
	say(t.Release, "released", "gave the leader key up", "could not give the leader key up: it is not ours", "asked to give the leader key up and got no answer")
	say(t.HandOver, "handed_over", "handed the leader key over to "+to, "the hand-over of the leader key to "+to+" was refused: it is gone", "the hand-over of the leader key to "+to+" got no answer")
	if t.Renew != k.renewed && t.Renew != ha.NotTried && !(t.Renew == ha.Done && k.renewed == ha.NotTried) {
		say(t.Renew, "renewed", "the leader key is renewed again", "lost the leader key: it is not ours any more", "the renewal of the leader key got no answer")
	}
	if t.Renew != ha.NotTried {
		k.renewed = t.Renew
	}
}

// divergence records what is known of this member's history.
func (k *keeper) divergence(p Pass, seen *journal.Facts) {
	m := p.View.Memory
	if m.Rewind == k.rewind && m.RewindWhy == k.why {
		return
	}
	k.rewind, k.why = m.Rewind, m.RewindWhy
	code, text := "", ""
	switch m.Rewind {
	case ha.RewindCheck:
		code, text = "rewind_check", "whether the histories have parted is to be examined"
	case ha.RewindNeed:
		code, text = "rewind_needed", "the histories have parted"
	case ha.RewindNotNeed:
		code, text = "rewind_not_needed", "the history is part of the leader's"
	case ha.RewindSuccess:
		code, text = "rewind_done", "pg_rewind has brought the data in line with the leader's"
	case ha.RewindFailed:
		code, text = "rewind_failed", "pg_rewind failed"
	default:
		return
	}
	if m.RewindWhy != "" {
		text += ": " + m.RewindWhy
	}
	r := stamp(p, journal.KindRewind, code, text, seen)
	r.Other = seen.Leader
	if why := p.View.Local.RewindUnusable; m.Rewind == ha.RewindNeed && why != "" {
		r.Why = []string{"pg_rewind cannot be used: " + why}
	}
	k.add(r)
}

// role records that PostgreSQL became a primary or a standby.
func (k *keeper) role(p Pass, seen *journal.Facts) {
	l := p.View.Local
	primary := l.Primary()
	if primary == k.primary && k.began || !l.Alive && !k.primary {
		return
	}
	before := k.primary
	k.primary = primary
	r := stamp(p, journal.KindRole, "became_primary", "PostgreSQL runs as the primary"+timelineText(l.Timeline), seen)
	switch {
	case primary && before:
		return
	case primary:
		r.Cause, k.cause = k.cause, ""
	case !l.Alive:
		r.Code, r.Text = "primary_ended", "PostgreSQL, a primary until now, does not run"
	case before:
		r.Code, r.Text = "became_standby", "PostgreSQL runs as a standby"+timelineText(l.Timeline)
	default:
		return // a standby that was found: the decision says so
	}
	k.add(r)
}

func timelineText(t postgres.Timeline) string {
	if t == 0 {
		return ""
	}
	return fmt.Sprintf(", timeline %d", t)
}
