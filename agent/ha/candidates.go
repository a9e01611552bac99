package ha

import (
	"fmt"
	"sort"

	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// candidates are the members that could take over from us; only the named one
// if any. One that does not stream takes over by name only
// (docs/differences.md, "nostream").
func candidates(in Input, named string) []dcs.Member {
	var out []dcs.Member
	for _, m := range in.Cluster.Members {
		if m.Name == in.Self || m.APIURL == "" || noFailover(m) || named != "" && m.Name != named || named == "" && config.NoStream(m.Tags) {
			continue
		}
		out = append(out, m)
	}
	return out
}

// failoverPossible is section 11's check: somebody can take over. A
// checkpoint position asks instead for members that have received it.
func failoverPossible(in Input, named string, checkpoint postgres.LSN) (bool, []Line) {
	if len(healthy(in, named, checkpoint)) > 0 {
		return true, nil
	}
	members := candidates(in, named)
	if len(members) == 0 {
		return false, []Line{{Warning, requestName(in.Cluster.Failover) + ": candidates list is empty"}}
	}
	var says []Line
	for _, m := range members {
		if why := unfit(in, m, checkpoint); why != "" {
			says = append(says, Line{Info, why})
		}
	}
	return false, says
}

// healthy returns the candidates that can take over, best first.
func healthy(in Input, named string, checkpoint postgres.LSN) []Peer {
	var out []Peer
	for _, m := range candidates(in, named) {
		if unfit(in, m, checkpoint) == "" {
			out = append(out, *peer(in, m.Name))
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.Location != b.Location {
			return a.Location > b.Location
		}
		if a.Priority != b.Priority {
			return a.Priority > b.Priority
		}
		return a.Name < b.Name
	})
	return out
}

// unfit says why a candidate cannot take over; empty: it can.
func unfit(in Input, m dcs.Member, checkpoint postgres.LSN) string {
	p := peer(in, m.Name)
	switch {
	case p == nil || !p.Answered:
		return fmt.Sprintf("Member %s is not reachable", m.Name)
	case in.unlocked() && !in.listed(m.Name):
		return fmt.Sprintf("Member %s is not in /failsafe", m.Name)
	case p.NoFailover:
		return fmt.Sprintf("Member %s is not allowed to promote", m.Name)
	case p.WatchdogFailed:
		return fmt.Sprintf("Member %s is not watchdog capable", m.Name)
	case checkpoint != 0 && p.Location <= checkpoint:
		// The position of a checkpoint is where its record begins: a member
		// exactly there has everything but the record itself.
		return fmt.Sprintf("Member %s has not received the shutdown checkpoint yet", m.Name)
	case checkpoint != 0 && otherTimeline(in, *p):
		return fmt.Sprintf("Member %s is on timeline %d: its position is that of another log", m.Name, p.Timeline)
	case checkpoint == 0 && notStreaming(in, *p):
		return fmt.Sprintf("Member %s does not stream: it would not receive the leader's last rows", m.Name)
	case checkpoint == 0 && otherBranch(in, *p):
		return fmt.Sprintf("Timeline %d of member %s is not the leader's %d: it does not follow (yet)", p.Timeline, m.Name, in.Local.Timeline)
	case checkpoint == 0 && leaderEnd(in) > p.Location && int64(leaderEnd(in)-p.Location) > in.Settings.MaximumLagOnFailover:
		return fmt.Sprintf("Member %s exceeds maximum replication lag", m.Name)
	case in.Settings.CheckTimeline && p.Timeline < in.Cluster.Timeline():
		return fmt.Sprintf("Timeline %d of member %s is behind the cluster timeline %d", p.Timeline, m.Name, in.Cluster.Timeline())
	}
	return ""
}

// otherTimeline says whether a candidate is known not to be on the timeline
// whose shutdown checkpoint it should have.
func otherTimeline(in Input, p Peer) bool {
	d := in.Memory.Demotion
	return d != nil && d.Timeline != 0 && p.Timeline != 0 && p.Timeline != d.Timeline
}

// otherBranch: the running leader sees that a candidate is on another
// timeline than its own.
func otherBranch(in Input, p Peer) bool {
	return in.Local.Primary() && in.Local.Timeline != 0 && p.Timeline != 0 && p.Timeline != in.Local.Timeline
}

// notStreaming: a planned change is under the eyes of a running leader, and a
// candidate without a stream could not receive the shutdown checkpoint: the
// writers would wait for nothing (docs/differences.md, "switchover candidate").
// Patroni members keep the contract's rule, lag alone.
func notStreaming(in Input, p Peer) bool {
	f := in.Cluster.Failover
	return f != nil && f.Leader != "" && in.holder() && in.Local.Primary() && p.Pgha && !p.Streaming
}

// leaderEnd is how far the leader's log is known to go: what it published,
// or, seen from the leader itself, what it has by now.
func leaderEnd(in Input) postgres.LSN {
	if in.holder() && in.Local.Primary() {
		return max(in.Cluster.Status.Optime, in.Local.Location)
	}
	return in.Cluster.Status.Optime
}
