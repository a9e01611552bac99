package config

import "fmt"

// predefinedTags are published only when true (contract: config.md 3.5).
var predefinedTags = map[string]bool{
	"nofailover": true, "nosync": true, "clonefrom": true, "noloadbalance": true, "nostream": true,
}

// buildTags judges the tags. Booleans count by truthiness, so the text "false"
// is true: that is Patroni's meaning, and members must agree; it is warned
// about. Only nostream reads the text.
func (l *Local) buildTags(n *Node) {
	l.Tags = Tags{
		CloneFrom:     l.tag(n, "clonefrom"),
		NoLoadBalance: l.tag(n, "noloadbalance"),
		NoStream:      n.boolean("nostream", false),
		ReplicateFrom: n.text("replicatefrom"),
	}
	l.Tags.NoFailover, l.Tags.FailoverPriority = l.eligibility(n, "nofailover", "failover_priority")
	l.Tags.NoSync, l.Tags.SyncPriority = l.eligibility(n, "nosync", "sync_priority")
	if n == nil {
		return
	}
	for _, f := range n.Fields {
		value := f.Value.Value()
		explains := (f.Key == "nofailover" && !n.Lookup("failover_priority").IsNull()) ||
			(f.Key == "nosync" && !n.Lookup("sync_priority").IsNull())
		if predefinedTags[f.Key] && !truthy(value) && !explains {
			continue
		}
		if l.Tags.Published == nil {
			l.Tags.Published = map[string]any{}
		}
		l.Tags.Published[f.Key] = value
	}
}

// tag is a boolean tag by truthiness.
func (l *Local) tag(n *Node, name string) bool {
	value := n.Lookup(name).Value()
	if s, isText := value.(string); isText {
		if b, ok := ParseGUCBool(s); ok && b != truthy(value) {
			l.warn("tags."+name, fmt.Sprintf("the text %q counts as true, as in Patroni", s), "write it without quotes: "+name+": "+s)
			l.Warnings[len(l.Warnings)-1].fix = &fix{[]string{"tags", name}, &Node{Scalar: b}}
		}
	}
	return truthy(value)
}

// eligibility joins a boolean tag with its priority. An explicit boolean
// decides, the number is kept for ranking; alone, a number of 0 or less means
// the same as the boolean.
func (l *Local) eligibility(n *Node, flag, priority string) (excluded bool, rank int) {
	rank = 1
	number := n.Lookup(priority)
	if !number.IsNull() {
		if i, ok := integer(number.Value(), ""); ok {
			rank = int(max(min(i, 1<<30), -1<<30))
		} else {
			l.warn("tags."+priority, "not an integer; it counts as 1", "")
		}
	}
	if n.Lookup(flag).IsNull() {
		return rank <= 0, rank
	}
	excluded = l.tag(n, flag)
	if !number.IsNull() && excluded != (rank <= 0) {
		l.warn("tags."+flag, fmt.Sprintf("contradicts %s: %d; %s decides", priority, rank, flag), "keep one of the two")
	}
	if excluded {
		rank = 0
	}
	return excluded, rank
}
