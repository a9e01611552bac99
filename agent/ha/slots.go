package ha

import (
	"maps"
	"sort"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/postgres"
)

// slotsStep keeps physical slots for the other members (17), once a cycle.
func slotsStep(in Input) (Decision, bool) {
	if !in.Settings.UseSlots || in.Tried.Slots || !in.Local.Running() || in.Settings.Pause && !in.Local.Primary() {
		return Decision{}, false
	}
	if in.Local.Primary() {
		in.Memory.SlotSeen = seen(in)
	}
	return do(in, SyncSlots{Want: wantedSlots(in)}, "physical slots of the members"), true
}

// wantedSlots is 17.2: one for every other member that streams, on every
// node, so that whoever becomes leader still has the WAL that each needs.
func wantedSlots(in Input) []SlotWant {
	byName := map[string]SlotWant{}
	own := postgres.SlotName(in.Self)
	leading := in.Local.Primary()
	for _, m := range in.Cluster.Members {
		name := postgres.SlotName(m.Name)
		if m.Name == in.Self || name == own || config.Truthy(m.Tags["nostream"]) {
			continue
		}
		via, _ := m.Tags["replicatefrom"].(string)
		fromMe := via == in.Self
		if leading {
			fromMe = via == "" || via == in.Self || in.Cluster.Member(via) == nil
		}
		if in.Tags.NoFailover && !fromMe && !leading {
			continue
		}
		if in.Settings.MemberSlotsTTL == 0 && !fromMe {
			continue
		}
		lsn := in.Cluster.Status.Slots[name]
		if via != "" {
			lsn = max(lsn, m.Location)
		}
		byName[name] = SlotWant{Name: name, Active: fromMe, LSN: lsn}
	}
	if !in.Tags.NoFailover || leading {
		for _, name := range in.Cluster.Status.RetainSlots {
			if _, have := byName[name]; have || name == own {
				continue
			}
			byName[name] = SlotWant{Name: name, Retained: true, LSN: in.Cluster.Status.Slots[name]}
		}
	}
	out := make([]SlotWant, 0, len(byName))
	for _, w := range byName {
		out = append(out, w)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// seen notes, on the leader, which members' slots are in use, so that a
// member that is away keeps its WAL for member_slots_ttl.
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
		if !config.Truthy(m.Tags["nostream"]) {
			out[postgres.SlotName(m.Name)] = in.Now
		}
	}
	for name, at := range out {
		if in.Settings.MemberSlotsTTL > 0 && in.Now.Sub(at) > in.Settings.MemberSlotsTTL {
			delete(out, name)
		}
	}
	return out
}

// retained lists the slot names to publish as retain_slots.
func retained(in Input) []string {
	if in.Settings.MemberSlotsTTL == 0 {
		return nil
	}
	var out []string
	for name := range seen(in) {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}
