package postgres

import "fmt"

// Position is how far a server got. InRecovery: it replays WAL written by
// another, and LSN is what it has replayed. Otherwise it is an ex-primary, shut
// down, and LSN is its shutdown checkpoint's record.
type Position struct {
	Timeline   Timeline
	LSN        LSN
	InRecovery bool
}

// StoppedPosition is the position of a server that is not running, or that is
// starting and cannot be asked (contract: ha-behaviour.md 16.2, "own position,
// stopped"). False: pg_control does not tell, no decision may be made.
func (c ControlData) StoppedPosition() (Position, bool) {
	if !c.Usable() {
		return Position{}, false
	}
	switch c.State {
	case ClusterShutDownInRecovery, ClusterInArchiveRecovery:
		if c.MinRecoveryLSN != 0 && c.MinRecoveryTL != 0 {
			return Position{Timeline: c.MinRecoveryTL, LSN: c.MinRecoveryLSN, InRecovery: true}, true
		}
		// Without a minimum recovery point it had been a primary and crashed
		// before replay as a standby began.
	case ClusterShutDown:
	default:
		return Position{}, false
	}
	if c.CheckpointLSN == 0 {
		return Position{}, false
	}
	return Position{Timeline: c.Timeline, LSN: c.CheckpointLSN}, true
}

// Verdict is the answer to "did my history diverge from the leader's?".
type Verdict int

const (
	Undecided         Verdict = iota // a fact is missing: ask again next cycle
	NotNeeded                        // the leader's history contains mine
	Needed                           // pg_rewind, or a new copy, before following
	NeedCheckpointEnd                // read the shutdown checkpoint's end, then DivergedAtCheckpoint
)

func (v Verdict) String() string {
	switch v {
	case NotNeeded:
		return "not needed"
	case Needed:
		return "needed"
	case NeedCheckpointEnd:
		return "depends on the end of the shutdown checkpoint"
	}
	return "undecided"
}

// Diverged compares an own position with the leader's timeline and, where that
// is the newer one, its history file (contract: ha-behaviour.md 16.2,
// "compare"). why is one sentence for log and journal.
//
// Missing answers (own or leader's timeline zero, own timeline lower and no
// history) are Undecided: the reference takes them for "not needed".
// After NeedCheckpointEnd the caller goes on with CheckpointEnd and
// DivergedAtCheckpoint.
func Diverged(own Position, leaderTL Timeline, history []HistoryEntry) (verdict Verdict, why string) {
	switch {
	case own.Timeline == 0 || own.LSN == 0:
		return Undecided, "own position is unknown"
	case leaderTL == 0:
		return Undecided, "the leader's timeline is unknown"
	case own.Timeline > leaderTL:
		return Needed, fmt.Sprintf("own timeline %d is newer than the leader's %d", own.Timeline, leaderTL)
	case own.Timeline == leaderTL:
		return NotNeeded, fmt.Sprintf("same timeline %d as the leader", leaderTL)
	case len(history) == 0:
		return Undecided, fmt.Sprintf("the history of the leader's timeline %d is unknown", leaderTL)
	}
	point, ok := SwitchPoint(history, own.Timeline)
	if !ok {
		return Needed, fmt.Sprintf("own timeline %d is not in the history of the leader's %d", own.Timeline, leaderTL)
	}
	return comparedWithSwitch(own, point)
}

func comparedWithSwitch(own Position, point LSN) (Verdict, string) {
	where := fmt.Sprintf("own position %s, timeline %d was left at %s", own.LSN, own.Timeline, point)
	switch {
	case own.InRecovery && own.LSN > point:
		return Needed, where + ": replayed beyond it"
	case own.InRecovery:
		return NotNeeded, where
	case own.LSN >= point:
		return Needed, where + ": shut down beyond it"
	}
	return NeedCheckpointEnd, where + ": the shutdown checkpoint begins before it"
}

// DivergedAtCheckpoint finishes the comparison of an ex-primary whose shutdown
// checkpoint begins before the switch point. end, ok are CheckpointEnd's
// results for it: an end that cannot be read counts as divergence (contract:
// ha-behaviour.md 16.2).
func DivergedAtCheckpoint(end LSN, ok bool, switchPoint LSN) (verdict Verdict, why string) {
	switch {
	case !ok:
		return Needed, "the end of the shutdown checkpoint could not be read"
	case end != switchPoint:
		return Needed, fmt.Sprintf("the shutdown checkpoint ends at %s, the leader left the timeline at %s", end, switchPoint)
	}
	return NotNeeded, fmt.Sprintf("the leader's timeline begins right after the own shutdown checkpoint, at %s", end)
}
