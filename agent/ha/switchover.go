package ha

import (
	"fmt"
	"strings"
	"time"

	"pgha/internal/dcs"
)

// requestName is how messages call a failover request: a switchover names
// the leader it is away from.
func requestName(f *dcs.Failover) string {
	switch {
	case f == nil:
		return "failover"
	case f.Leader != "":
		return "switchover"
	default:
		return "manual failover"
	}
}

// verb is "switchover" or "failover".
func verb(f *dcs.Failover) string {
	if f.Leader != "" {
		return "switchover"
	}
	return "failover"
}

// manualFailover is section 11: the holder deals with a failover request.
// The second result is false when there is nothing to do (now).
func manualFailover(in Input) (Decision, bool) {
	f := in.Cluster.Failover
	if f == nil || in.Settings.Pause && !in.Local.Primary() || in.Tried.Failover != NotTried ||
		in.Local.Running() && !in.Local.Primary() { // first the promotion under way, then a hand-over that knows what to hand over
		return Decision{}, false
	}
	if f.NoZone && !in.Settings.Pause {
		return do(in, ClearFailover{Revision: f.Revision}, "a schedule without a time zone means nothing").
			saying(Line{Warning, "Incorrect value of scheduled_at: " + f.ScheduledAt.Format("2006-01-02T15:04:05")}, Line{Info, "Cleaning up failover key"}), true
	}
	if !f.ScheduledAt.IsZero() {
		if d, act := scheduled(in, f); !act {
			return d, d.Action != nil
		}
	}
	name := requestName(f)
	clearing := func(text string) (Decision, bool) {
		return do(in, ClearFailover{Revision: f.Revision}, "the request cannot be served").
			saying(Line{Warning, text}, Line{Info, "Cleaning up failover key"}), true
	}
	switch {
	case f.Leader != "" && f.Leader != in.Self:
		return clearing(fmt.Sprintf("%s: leader name does not match: %s != %s", name, f.Leader, in.Self))
	case f.Candidate == in.Self:
		return clearing(fmt.Sprintf("%s: I am already the leader, no need to %s", name, verb(f)))
	case in.Settings.Pause && f.Candidate == "":
		return clearing(fmt.Sprintf("%s is possible only to a specific candidate in a paused state", capital(verb(f))))
	}
	if in.Peers == nil {
		return do(in, AskPeers{Members: candidates(in, f.Candidate)}, "who can take over"), true
	}
	possible, says := failoverPossible(in, f.Candidate, 0)
	if !possible && !f.ScheduledAt.IsZero() && streamMayCome(in, f.Candidate) {
		return Decision{Says: says}, false // until the schedule is long past
	}
	if !possible {
		d, ok := clearing(fmt.Sprintf("%s: no healthy members found, %s is not possible", name, verb(f)))
		return d.saying(says...), ok
	}
	d := demote(in, DemoteGraceful, Reason{Code: SwitchoverDemoting, Name: name})
	if d.Memory.Demotion != nil { // it began
		d.Memory.Demotion.Candidate = f.Candidate
	}
	return d, true
}

// streamMayCome says whether a candidate lacks nothing but its stream. At its
// time a scheduled switchover waits for that: the operator who could ask again
// is asleep.
func streamMayCome(in Input, named string) bool {
	for _, m := range candidates(in, named) {
		if p := peer(in, m.Name); p != nil && p.Answered && notStreaming(in, *p) && p.Running && !p.NoFailover && !p.WatchdogFailed {
			return true
		}
	}
	return false
}

// scheduled applies the window rule. act is true when the time has come;
// otherwise the decision (with an action when the request is dropped) stands.
func scheduled(in Input, f *dcs.Failover) (d Decision, act bool) {
	if in.Settings.Pause {
		return Decision{}, false
	}
	due := f.ScheduledAt.Sub(in.Wall)
	if due < -in.Settings.LoopWait*3/2 {
		return do(in, ClearFailover{Revision: f.Revision}, "the schedule is long past").
			saying(Line{Warning, fmt.Sprintf("Found a stale %s value, cleaning up: %s", verb(f), f.ScheduledAt.Format(time.RFC3339))},
				Line{Info, "Cleaning up failover key"}), false
	}
	return Decision{}, due <= 0
}

// streamRetry is how soon a due switchover looks again for a candidate that
// streams.
const streamRetry = time.Second

// scheduleWait says how long to rest when a schedule is due before loop_wait,
// or due and waiting for a candidate's stream.
func scheduleWait(in Input) (time.Duration, bool) {
	f := in.Cluster.Failover
	if f == nil || f.ScheduledAt.IsZero() || in.Settings.Pause {
		return 0, false
	}
	due := f.ScheduledAt.Sub(in.Wall)
	switch {
	case due >= in.Settings.LoopWait, in.Tried.Failover != NotTried:
		return 0, false
	case due <= 0:
		return streamRetry, true
	}
	return due, true
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// sameName compares names as /sync does (pitfall 54).
func sameName(a, b string) bool { return strings.EqualFold(a, b) }
