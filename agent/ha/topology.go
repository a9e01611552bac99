package ha

import (
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// upstream is whom a member streams from by the tags of all (4): the member that
// its replicatefrom names, else the leader; empty: nobody (nostream, or it is
// the leader, or there is none). instead says why it is not the member named.
// Every member computes this for itself, and a source for those that should
// stream from it: the same view gives all of them the same answer.
func upstream(in Input, name string) (from, instead string) {
	leader := ""
	switch {
	case in.Tried.Acquire == Done: // in this very cycle
		leader = in.Self
	case in.Cluster.Leader != nil:
		leader = in.Cluster.Leader.Name
	}
	if name == leader || noStream(in, name) {
		return "", ""
	}
	via := replicateFrom(in, name)
	if via == "" || via == leader {
		return leader, ""
	}
	if why := unfitSource(in, via); why != "" {
		return leader, via + " " + why
	}
	if breaks(in, name, leader) {
		return leader, "members replicate from each other in a circle"
	}
	return via, ""
}

// unfitSource says why nobody should stream from that member now; empty: fit.
// States that end by themselves within moments do not count: a stream must not
// go back and forth at each restart of its upstream.
func unfitSource(in Input, name string) string {
	m := in.Cluster.Member(name)
	if m == nil {
		return "is no member"
	}
	switch m.State {
	case postgres.StateStopped, postgres.StateStartFailed, postgres.StateCrashed,
		postgres.StateRestartFailed, postgres.StateCreatingReplica:
		return "is " + string(m.State)
	}
	switch {
	case m.ConnURL == "":
		return "has no address"
	case m.Role.IsPrimary():
		// Not the leader: what it writes is not the cluster's.
		return "runs as a primary without the leader key"
	case m.Pgha != nil && m.State == postgres.StateRunning && m.ReplicationState == "" && !config.NoStream(m.Tags):
		// It may be at it for a moment, or stay diverged for good: a change of
		// source is a reload, and it is gone back from by another.
		return "does not stream itself"
	}
	return ""
}

// breaks says whether this member is the one that follows the leader instead,
// because its chain of replicatefrom comes back to it (pitfall 145). Of those
// in a circle it is the first by name.
func breaks(in Input, name, leader string) bool {
	first := name
	seen := map[string]bool{}
	for at := replicateFrom(in, name); at != name; at = replicateFrom(in, at) {
		if at == "" || at == leader || seen[at] || unfitSource(in, at) != "" {
			return false // it ends, or goes round without us
		}
		seen[at] = true
		first = min(first, at)
	}
	return first == name
}

// replicateFrom is the member named by that member's tag; empty: none, or itself.
func replicateFrom(in Input, name string) string {
	via := in.Tags.ReplicateFrom // the member key may be older than a reload
	if name != in.Self {
		m := in.Cluster.Member(name)
		if m == nil {
			return ""
		}
		via = config.ReplicateFrom(m.Tags)
	}
	if via == name {
		return ""
	}
	return via
}

func noStream(in Input, name string) bool {
	if name == in.Self {
		return in.Tags.NoStream
	}
	m := in.Cluster.Member(name)
	return m != nil && config.NoStream(m.Tags)
}

// followTarget is whom this member follows; nil: nobody. The text says why it
// is not the member that its tag names; empty: it is, or there is no tag.
func followTarget(in Input) (*dcs.Member, string) {
	from, instead := upstream(in, in.Self)
	target := in.Cluster.Member(from)
	if target == nil || target.ConnURL == "" {
		return nil, instead
	}
	return target, instead
}
