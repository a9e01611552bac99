package ha

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// slotsStep brings the replication slots in order (17), once a cycle, in pause
// as well: what nobody moves keeps WAL until the disk is full.
func slotsStep(in Input) (Decision, bool) {
	if in.Tried.Slots || !in.Local.Running() {
		return Decision{}, false
	}
	if !in.Settings.UseSlots {
		return do(in, SyncSlots{Only: memberSlots(in)}, "slots are not used"), true
	}
	var says []Line
	if in.Local.Primary() {
		before := in.Memory.SlotSeen
		in.Memory.SlotSeen = seen(in)
		says = expired(in, before)
	}
	if clash := sharedNames(in); clash != in.Memory.SlotClash {
		in.Memory.SlotClash = clash
		if clash != "" {
			says = append(says, Line{Error, "members whose names give the same slot name share one slot, and only one of them can stream: " + clash + "; rename one"})
		}
	}
	return do(in, SyncSlots{Want: wantedSlots(in)}, "physical slots of the members").saying(says...), true
}

// wantedSlots is 17.2: one for every other member that streams, on every
// node, so that whoever becomes leader still has the WAL that each needs; and
// the permanent ones. A leader has them all whatever its own tags say
// (docs/differences.md, "slots of a nofailover leader").
func wantedSlots(in Input) []SlotWant {
	byName := map[string]SlotWant{}
	own := postgres.SlotName(in.Self)
	leading := in.Local.Primary()
	for _, m := range in.Cluster.Members {
		name := postgres.SlotName(m.Name)
		if m.Name == in.Self || name == own || noStream(in, m.Name) {
			continue
		}
		from, _ := upstream(in, m.Name)
		fromMe := from == in.Self
		if in.Settings.MemberSlotsTTL == 0 && !fromMe || in.Tags.NoFailover && !leading && !fromMe {
			continue
		}
		lsn := in.Cluster.Status.Slots[name]
		if replicateFrom(in, m.Name) != "" || olderLeader(in) {
			lsn = max(lsn, m.Location)
		}
		byName[name] = SlotWant{Name: name, Active: fromMe || byName[name].Active, LSN: lsn}
	}
	if !in.Tags.NoFailover || leading {
		for _, name := range in.Cluster.Status.RetainSlots {
			if _, have := byName[name]; have || name == own || slotless(in, name) {
				continue
			}
			byName[name] = SlotWant{Name: name, Retained: true, LSN: in.Cluster.Status.Slots[name]}
		}
		addPermanent(in, byName, own)
	}
	out := slices.Collect(maps.Values(byName))
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// addPermanent adds the permanent slots of the dynamic configuration: on every
// node, used by somebody outside of the cluster. Logical ones are not served
// yet (rulings 26), but they are known, and so left alone.
func addPermanent(in Input, byName map[string]SlotWant, own string) {
	for name, slot := range in.Settings.Slots {
		w, have := byName[name]
		switch {
		case name == own || have && !w.Retained:
		case slot.Type == "logical":
			byName[name] = SlotWant{Name: name, Logical: true}
		case permanent(in, name):
			byName[name] = SlotWant{Name: name, Active: in.Local.Primary(), LSN: in.Cluster.Status.Slots[name]}
		}
	}
}

// permanent says whether that is a permanent physical slot of this kind of
// cluster.
func permanent(in Input, name string) bool {
	slot, there := in.Settings.Slots[name]
	kind := "primary"
	if in.Settings.StandbyCluster != nil {
		kind = "standby"
	}
	return there && slot.Type == "physical" && (slot.ClusterType == "" || slot.ClusterType == kind)
}

// memberSlots are the names of slots that members have, or had lately.
func memberSlots(in Input) []string {
	names := slices.Clone(in.Cluster.Status.RetainSlots)
	for _, m := range in.Cluster.Members {
		names = append(names, postgres.SlotName(m.Name))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sharedNames lists members that have to share a slot (17.1); empty: none.
func sharedNames(in Input) string {
	byName := map[string][]string{}
	for _, m := range in.Cluster.Members {
		if name := postgres.SlotName(m.Name); !noStream(in, m.Name) {
			byName[name] = append(byName[name], m.Name)
		}
	}
	var out []string
	for name, members := range byName {
		if len(members) > 1 {
			sort.Strings(members)
			out = append(out, strings.Join(members, " and ")+" ("+name+")")
		}
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

// slotless says whether that is the slot of a member that is here and does not
// stream any more: nothing is retained for it.
func slotless(in Input, slot string) bool {
	none := false
	for _, m := range in.Cluster.Members {
		if postgres.SlotName(m.Name) == slot {
			if !noStream(in, m.Name) {
				return false
			}
			none = true
		}
	}
	return none
}

// olderLeader: one before 4.0 does not publish where members' slots are
// (pitfall 141).
func olderLeader(in Input) bool {
	leader := in.Cluster.LeaderMember()
	if leader == nil {
		return false
	}
	var major int
	_, err := fmt.Sscanf(leader.Version, "%d.", &major)
	return err == nil && major < 4
}

// seen notes, on the leader, which members' slots are in use, so that a
// member that is away keeps its WAL for member_slots_ttl. A permanent slot
// needs no retention.
func seen(in Input) map[string]clock.Instant {
	out := maps.Clone(in.Memory.SlotSeen)
	if out == nil {
		// The clock of every name listed starts anew with this leader.
		out = map[string]clock.Instant{}
		for _, name := range in.Cluster.Status.RetainSlots {
			out[name] = in.Now
		}
	}
	for _, m := range in.Cluster.Members {
		if !noStream(in, m.Name) {
			out[postgres.SlotName(m.Name)] = in.Now
		}
	}
	maps.DeleteFunc(out, func(name string, at clock.Instant) bool {
		return permanent(in, name) || slotless(in, name) || in.Settings.MemberSlotsTTL > 0 && in.Now.Sub(at) > in.Settings.MemberSlotsTTL
	})
	return out
}

// expired tells of names that left the list because their time was over.
func expired(in Input, before map[string]clock.Instant) []Line {
	var says []Line
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, still := in.Memory.SlotSeen[name]; !still && !permanent(in, name) && !slotless(in, name) {
			says = append(says, Line{Info, fmt.Sprintf("Replication slot '%s' for absent cluster member is expired after %d sec.",
				name, int(in.Settings.MemberSlotsTTL.Seconds()))})
		}
	}
	return says
}

// retained lists the slot names to publish as retain_slots.
func retained(in Input) []string {
	if in.Settings.MemberSlotsTTL == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(seen(in)))
}

// slotPositions is what the leader publishes of its slots (contract:
// dcs-layout.md 2): those it manages, and its own position under its own
// name, for the slot that others keep for it. Without retention only the
// permanent ones.
func slotPositions(in Input) map[string]dcs.LSN {
	out := map[string]dcs.LSN{}
	publish := func(name string, at dcs.LSN) {
		if at != 0 && (in.Settings.MemberSlotsTTL > 0 || permanent(in, name)) {
			out[name] = at
		}
	}
	for _, w := range wantedSlots(in) {
		publish(w.Name, in.Local.Slots[w.Name])
	}
	publish(postgres.SlotName(in.Self), in.Local.Location)
	return out
}
