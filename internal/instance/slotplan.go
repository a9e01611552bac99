package instance

import (
	"slices"

	"pgha/internal/postgres"
)

// slotRules are what a member's slots are held against.
type slotRules struct {
	want   []Slot
	only   []string // not nil: no others are dropped
	paused bool
	ignore []map[string]string
}

// slotDeed is what has to be done about one slot: dropped, then created, or
// moved.
type slotDeed struct {
	name, kind   string // kind is its slot_type
	drop, create bool
	why          string       // of the drop
	to           postgres.LSN // advance to; zero: do not
}

// plan compares the slots that are there with the wanted ones (contract:
// ha-behaviour.md 17.3). busy are those that would be dropped if nobody used
// them.
func (r slotRules) plan(row *Row) (deeds []slotDeed, busy []string) {
	wanted := map[string]Slot{}
	for _, w := range r.want {
		wanted[w.Name] = w
	}
	exists := map[string]bool{}
	for _, slot := range row.Slots {
		exists[slot.Name] = true
		w, known := wanted[slot.Name]
		d, needed := slotDeed{}, false
		if known {
			d, needed = r.known(slot, w, row)
		} else {
			d, needed = r.unknown(slot, row)
		}
		switch {
		case !needed:
		case d.drop && slot.Active:
			busy = append(busy, slot.Name)
		default:
			d.name, d.kind = slot.Name, slot.Type
			deeds = append(deeds, d)
		}
	}
	for _, w := range r.want {
		if !exists[w.Name] && w.Use != SlotLogical {
			deeds = append(deeds, slotDeed{name: w.Name, kind: "physical", create: true})
		}
	}
	return deeds, busy
}

// unknown is a slot that nobody here asked for.
func (r slotRules) unknown(slot SlotRow, row *Row) (slotDeed, bool) {
	switch {
	case slot.Failover && !slot.Synced && slot.Type == "logical" && row.InRecovery:
		// Left from when this server was the primary: the server's own
		// synchronisation stops at a slot of its name that is not its own.
		return slotDeed{drop: true, why: "it keeps the server from synchronising the primary's slot of that name"}, true
	case slot.Failover, r.paused, r.ignored(slot), r.only != nil && !slices.Contains(r.only, slot.Name):
		return slotDeed{}, false
	case slot.WALStatus == "lost":
		return slotDeed{drop: true, why: "unknown, wal_status=lost"}, true
	}
	return slotDeed{drop: true, why: "unknown"}, true
}

// known is a slot that is wanted and there.
func (r slotRules) known(slot SlotRow, w Slot, row *Row) (slotDeed, bool) {
	switch {
	case slot.Failover || w.Use == SlotLogical:
		return slotDeed{}, false
	case slot.Type != "physical": // in pause as well, and whatever ignore_slots says
		return slotDeed{drop: true, create: true, why: "a physical slot of that name is needed"}, true
	case slot.WALStatus == "lost":
		return slotDeed{drop: true, create: true, why: "wal_status=lost"}, !r.paused && !r.ignored(slot)
	case w.Use == SlotActive || slot.Active:
		return slotDeed{}, false
	case slot.Xmin:
		// Held by a standby that went elsewhere, it would stall the vacuum.
		return slotDeed{drop: true, create: true, why: "its xmin is nobody's"}, w.Use == SlotInactive
	case slot.RestartLSN == 0: // created elsewhere without reservation
		return slotDeed{drop: true, create: true, why: "it reserves no WAL"}, true
	}
	// On a standby at most to what is replayed here (pitfalls 133).
	to := w.LSN
	if row.InRecovery {
		to = min(to, row.Replayed)
	}
	return slotDeed{to: to}, to > slot.RestartLSN
}

// ignored applies ignore_slots: all keys given must match; none given matches
// every slot.
func (r slotRules) ignored(slot SlotRow) bool {
	have := map[string]string{"name": slot.Name, "type": slot.Type, "database": slot.Database, "plugin": slot.Plugin}
	return slices.ContainsFunc(r.ignore, func(filter map[string]string) bool {
		for key, value := range filter {
			if have[key] != value {
				return false
			}
		}
		return true
	})
}
