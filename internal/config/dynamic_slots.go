package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// slots reads the permanent slots: the first of three names that is not
// empty, alone (contract: config.md 2).
func (r *dynamicReader) slots() map[string]Slot {
	for _, key := range []string{"permanent_replication_slots", "permanent_slots", "slots"} {
		n := r.root.Lookup(key)
		if n == nil || !truthy(n.Value()) {
			continue
		}
		if n.Kind != MapNode {
			r.find(key, "expected names with slots, got "+n.describe()+"; not used", "")
			continue
		}
		out := map[string]Slot{}
		for _, f := range n.Fields {
			path := key + "." + f.Key
			if !slotName.MatchString(f.Key) {
				r.find(path, "not a name for a slot, skipped", "use only a-z, 0-9 and _, at most 63 of them")
				continue
			}
			slot, problem := readSlot(f.Value)
			if problem != "" {
				r.find(path, "Bad value for slot, skipped: "+problem, "")
				continue
			}
			out[f.Key] = slot
		}
		return out
	}
	return nil
}

// readSlot reads one entry; the problem is empty when it is usable.
func readSlot(n *Node) (slot Slot, problem string) {
	if !truthy(n.Value()) {
		return Slot{Type: "physical"}, ""
	}
	if n.Kind != MapNode {
		return Slot{}, "expected type, database, plugin, got " + n.describe()
	}
	slot = Slot{Type: n.text("type"), Database: n.text("database"), Plugin: n.text("plugin"), ClusterType: n.text("cluster_type")}
	complete := slot.Database != "" && slot.Plugin != ""
	switch {
	case slot.Type == "" && complete:
		slot.Type = "logical"
	case slot.Type == "":
		slot.Type = "physical"
	case slot.Type == "logical" && !complete:
		return Slot{}, "a logical slot needs database and plugin"
	case slot.Type != "logical" && slot.Type != "physical":
		return Slot{}, fmt.Sprintf("type %q is neither physical nor logical", slot.Type)
	}
	if slot.ClusterType != "" && slot.ClusterType != "primary" && slot.ClusterType != "standby" {
		return Slot{}, fmt.Sprintf("cluster_type %q is neither primary nor standby", slot.ClusterType)
	}
	return slot, ""
}

// ignoreSlots reads the filters of slots that are left alone.
func (r *dynamicReader) ignoreSlots() []map[string]string {
	n := r.root.Lookup("ignore_slots")
	if n.IsNull() || !truthy(n.Value()) {
		return nil
	}
	if n.Kind != ListNode {
		r.find("ignore_slots", "expected a list, got "+n.describe()+"; not used", "")
		return nil
	}
	var out []map[string]string
	for i, item := range n.Items {
		if item.Kind != MapNode {
			r.find("ignore_slots", fmt.Sprintf("entry %d: expected name, type, database, plugin, got %s; skipped", i+1, item.describe()), "")
			continue
		}
		filter := map[string]string{}
		for _, key := range []string{"name", "type", "database", "plugin"} {
			if value := item.Lookup(key); value != nil && value.Kind == ScalarNode {
				filter[key] = pyText(value.Scalar)
			}
		}
		out = append(out, filter)
	}
	return out
}
