package ha

import (
	"fmt"
	"sort"

	"pgha/internal/config"
	"pgha/internal/dcs"
)

// verdict says whether this member may try to create the leader key.
type verdict struct {
	ok   bool
	ask  *AskPeers // answers are needed first
	says []Line
}

func yes(says ...Line) verdict { return verdict{ok: true, says: says} }
func no(says ...Line) verdict  { return verdict{says: says} }

// eligible is section 9.2: the first condition that matches decides.
func eligible(in Input) verdict {
	l := in.Local
	f := in.Cluster.Failover
	if at := in.Memory.GaveWay; !at.IsZero() && in.Now.Sub(at) < in.Settings.TTL && !l.Primary() {
		return no(Line{Info, "backoff: skip leader race after pre_promote script failure and releasing the lock voluntarily"})
	}
	if in.Settings.Pause && !in.Tags.NoFailover && f != nil && f.ScheduledAt.IsZero() {
		if v, decided := requestedLeader(in); decided {
			return v
		}
	}
	wait, waiting := waitsForPromises(in)
	switch {
	case isStarting(in):
		return no()
	case l.Unfenced:
		return no(Line{Warning, "watchdog.mode is required and PostgreSQL runs without a guard: this member does not lead"})
	case l.Primary() && in.Settings.Pause:
		init := in.Cluster.Initialize
		return verdict{ok: init == nil || init.SystemID == "" || init.SystemID == l.SystemID}
	case l.Primary():
		return primaryMayLead(in)
	case in.Settings.Pause:
		return no()
	case in.Tags.NoFailover:
		return no()
	case in.Tags.NoStream && (f == nil || f.Candidate != in.Self):
		return no(Line{Info, "nostream: this member leads by a manual failover only"})
	case in.WatchdogFailed: // before an operator's request: the key would be given back at once
		return no(Line{Info, "the watchdog is required and cannot be used: not racing for the leader key"})
	case len(in.Settings.Unsupported) > 0:
		return no(Line{Warning, unsupported(in)})
	case !in.listed(in.Self):
		return no(Line{Info, "this member is not in /failsafe"})
	case waiting:
		return wait
	case !in.Memory.Released.IsZero() && in.Now.Sub(in.Memory.Released) < releaseWait:
		return no()
	case f != nil && f.Leader != "" && !inSync(in):
		return no(notInSync(in))
	case f != nil && (f.Leader != "" || f.Candidate != ""):
		if v, decided := requestedLeader(in); decided {
			return v
		}
		// The leader it is away from is not compared with, but if it still is a
		// primary it is obeyed like any other.
		return sound(in, others(in, f.Leader), undiverged(in, others(in, f.Leader), healthiest(in, others(in, ""), f.Leader, false)))
	case !inSync(in):
		// Rulings 11: a /sync that is there is obeyed, whoever wrote it.
		return no(notInSync(in))
	}
	return sound(in, others(in, ""), undiverged(in, others(in, ""), healthiest(in, others(in, ""), "", true)))
}

// undiverged lets a member whose log is known to have left the cluster's
// stand back, for a ttl, while somebody answers whose log has not: a position
// on an abandoned branch says nothing (docs/differences.md, "diverged member
// in the race").
func undiverged(in Input, peers []dcs.Member, v verdict) verdict {
	if !v.ok || len(peers) == 0 || in.Now.Sub(in.Memory.UnlockedSince) >= in.Settings.TTL {
		return v
	}
	current := in.Cluster.Timeline()
	for _, m := range peers {
		p := peer(in, m.Name)
		switch {
		case p == nil || !p.Answered || !p.Running || p.NoFailover || p.WatchdogFailed || p.Timeline == 0:
			continue
		case in.Memory.Rewind == RewindNeed:
			return no(Line{Warning, "my log has left the cluster's history (" + in.Memory.RewindWhy + "); leaving the race to " + p.Name})
		case p.Timeline > in.Local.Timeline && p.Timeline >= current:
			// Of two leaderships the later one counts, whatever the positions.
			return no(Line{Warning, fmt.Sprintf("My timeline %d is behind timeline %d of %s", in.Local.Timeline, p.Timeline, p.Name)})
		}
	}
	return v
}

// abandoned says whether a peer's log ends on a timeline that the cluster
// left before ours: that it is longer does not mean that it is ahead.
func abandoned(in Input, p Peer) bool {
	return p.Timeline != 0 && p.Timeline < in.Local.Timeline && in.Local.Timeline >= in.Cluster.Timeline()
}

// primaryMayLead: a running primary takes a free key back only if no newer
// primary existed meanwhile: by the history, and by what the others answer. A
// leader that lived too briefly for the history is known to those who followed
// it (docs/differences.md, "primary that finds the key free").
func primaryMayLead(in Input) verdict {
	mine, cluster := in.Local.Timeline, in.Cluster.Timeline()
	if mine < cluster {
		return no(Line{Warning, fmt.Sprintf("My timeline %d is behind last known cluster timeline %d", mine, cluster)})
	}
	peers := others(in, "")
	if len(peers) == 0 {
		return yes()
	}
	if in.Peers == nil {
		return verdict{ask: &AskPeers{Members: peers, Slow: formerLeader(in)}}
	}
	for _, p := range in.Peers {
		switch {
		case !p.Answered || p.Name == in.Self:
			continue
		case p.Primary && p.Timeline >= mine:
			return no(Line{Warning, fmt.Sprintf("Primary (%s) is still alive", p.Name)})
		case mine != 0 && p.Timeline > mine:
			return no(Line{Warning, fmt.Sprintf("My timeline %d is behind timeline %d of %s", mine, p.Timeline, p.Name)})
		}
	}
	return yes()
}

func notInSync(in Input) Line {
	return Line{Info, "not in /sync: " + in.Cluster.Sync.Leader + " had synchronous standbys and this member is none of them"}
}

// inSync says whether a synchronous state, if any, permits this member to lead.
func inSync(in Input) bool {
	s := in.Cluster.Sync
	if s.Leader == "" || sameName(s.Leader, in.Self) {
		return true
	}
	for _, n := range s.Standbys {
		if sameName(n, in.Self) {
			return true
		}
	}
	return false
}

// requestedLeader is section 10: an operator asked for a change of leader.
// decided is false when the request does not settle it.
func requestedLeader(in Input) (v verdict, decided bool) {
	f := in.Cluster.Failover
	action := requestName(f)
	switch {
	case f.Candidate == in.Self:
		return yes(Line{Info, fmt.Sprintf("%s: to %s, i am %s", action, f.Candidate, in.Self)}), true
	case f.Candidate != "" && in.Settings.Pause:
		if in.Cluster.Member(f.Candidate) == nil && in.Local.Primary() {
			return verdict{}, false
		}
		return no(), true
	case f.Candidate != "" && !inSync(in):
		return no(notInSync(in)), true
	case f.Candidate != "":
		m := in.Cluster.Member(f.Candidate)
		if m == nil {
			return verdict{}, false
		}
		if in.Peers == nil {
			return verdict{ask: &AskPeers{Members: append(others(in, ""), missing(others(in, ""), *m)...), Slow: formerLeader(in)}}, true
		}
		if p := peer(in, f.Candidate); p != nil && p.Answered && !p.NoFailover && !p.WatchdogFailed && in.listed(f.Candidate) {
			return no(Line{Info, fmt.Sprintf("%s: to %s, i am %s", action, f.Candidate, in.Self)}), true
		}
		return verdict{}, false // named but not healthy: as if nobody was named
	case in.Settings.Pause:
		return no(), true
	case f.Leader == in.Self:
		// A switchover away from us: only if nobody else can.
		if in.Peers == nil {
			return verdict{ask: &AskPeers{Members: candidates(in, "")}}, true
		}
		if possible, says := failoverPossible(in, "", 0); possible {
			return no(says...), true
		}
	}
	return verdict{}, false
}

// missing returns m as a list unless it is already among have.
func missing(have []dcs.Member, m dcs.Member) []dcs.Member {
	for _, h := range have {
		if h.Name == m.Name {
			return nil
		}
	}
	return []dcs.Member{m}
}

// healthiest is section 9.3: nobody reachable is ahead of us, or still a
// primary. The member named uncompared may be ahead.
func healthiest(in Input, peers []dcs.Member, uncompared string, checkLag bool) verdict {
	mine := in.Local.Location
	if checkLag && in.Cluster.Status.Optime > mine &&
		int64(in.Cluster.Status.Optime-mine) > in.Settings.MaximumLagOnFailover {
		return no(Line{Info, "My wal position exceeds maximum replication lag"})
	}
	if in.Settings.CheckTimeline {
		switch cluster := in.Cluster.Timeline(); {
		case in.Local.Timeline == 0:
			return no(Line{Info, "Can not figure out my timeline"})
		case in.Local.Timeline < cluster:
			return no(Line{Info, fmt.Sprintf("My timeline %d is behind last known cluster timeline %d", in.Local.Timeline, cluster)})
		}
	}
	if len(peers) == 0 {
		return yes()
	}
	if in.Peers == nil {
		return verdict{ask: &AskPeers{Members: peers, Slow: formerLeader(in)}}
	}
	former := formerLeader(in)
	for _, m := range peers {
		p := peer(in, m.Name)
		switch {
		case p == nil || !p.Answered || p.NoFailover || p.WatchdogFailed:
			continue // neither vote nor veto
		case config.NoStream(m.Tags) && !p.Primary:
			continue // it does not race, so nobody may wait for it
		case p.Primary:
			return no(Line{Warning, fmt.Sprintf("Primary (%s) is still alive", p.Name)})
		case !in.listed(m.Name):
			continue // it never wins, so nobody may wait for it
		case p.Name == uncompared, abandoned(in, *p):
			continue
		case p.Location > mine:
			return no(Line{Info, fmt.Sprintf("Wal position of %s is ahead of my wal position", p.Name)},
				Line{Info, fmt.Sprintf("(%s is ahead by %d bytes)", p.Name, p.Location-mine)})
		case p.Location == mine && p.Priority > in.Tags.FailoverPriority && p.Name != former:
			return no(Line{Info, fmt.Sprintf("%s has equally tolerable WAL position and priority %d, while this node has priority %d",
				p.Name, p.Priority, in.Tags.FailoverPriority)})
		case p.Location == mine && p.Priority > in.Tags.FailoverPriority:
			continue // the former leader's priority does not count
		}
	}
	return yes()
}

// others are the members to ask in a race: those of the last view that had a
// leader, and the present ones (which win), without us, without `except`, and
// without those whose key says nofailover.
func others(in Input, except string) []dcs.Member {
	byName := map[string]dcs.Member{}
	if led := in.Memory.LastLed; led != nil {
		for _, m := range led.Members {
			byName[m.Name] = m
		}
	}
	if in.Settings.FailsafeMode {
		for name, url := range in.Cluster.Failsafe {
			if _, known := byName[name]; !known {
				byName[name] = dcs.Member{Name: name, MemberData: dcs.MemberData{APIURL: url}}
			}
		}
	}
	for _, m := range in.Cluster.Members {
		byName[m.Name] = m
	}
	var out []dcs.Member
	for _, m := range byName {
		if m.Name != in.Self && m.Name != except && m.APIURL != "" && !noFailover(m) {
			out = append(out, m)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// listed says whether failsafe mode permits that member to race: /failsafe
// names it, so a primary without the DCS asks it first.
func (in Input) listed(name string) bool {
	return !in.Settings.FailsafeMode || len(in.Cluster.Failsafe) == 0 || in.Cluster.Failsafe[name] != ""
}

// peer returns the answer of that member, or nil.
func peer(in Input, name string) *Peer {
	for i := range in.Peers {
		if in.Peers[i].Name == name {
			return &in.Peers[i]
		}
	}
	return nil
}

// formerLeader is the leader of the last view that had one.
func formerLeader(in Input) string {
	if led := in.Memory.LastLed; led != nil && led.Leader != nil {
		return led.Leader.Name
	}
	return ""
}

// noFailover says whether a member's key keeps it from leading.
func noFailover(m dcs.Member) bool { return config.NoFailover(m.Tags) }
