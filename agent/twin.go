package agent

import "pgha/internal/dcs"

// twinSightings is how often in a row the own member key must be found under
// a foreign lease before that counts as a second agent of our name: once may
// be a lease that the store had to grant anew behind our back.
const twinSightings = 3

// twinWatch notices a second living agent with our name that started in the
// same moment, so that neither found the other at its start. The later one,
// by lease, is told to end; the other writes the key again.
type twinWatch struct {
	own      map[dcs.LeaseID]bool // leases this agent has held
	foreign  int                  // sightings in a row
	revision dcs.Revision         // of the last sighting: one write counts once
}

// held notes a lease of our own.
func (w *twinWatch) held(id dcs.LeaseID) {
	if w.own == nil {
		w.own = map[dcs.LeaseID]bool{}
	}
	w.own[id] = true
}

// look judges our member key as just read, given the lease we hold now.
// rewrite: it is not what we wrote. twin: somebody else goes on writing it,
// and is to stay.
func (w *twinWatch) look(key *dcs.Member, mine dcs.LeaseID) (rewrite, twin bool) {
	if key == nil || key.Lease == 0 || mine == 0 || w.own[key.Lease] {
		w.foreign = 0
		return false, false
	}
	if key.Revision != w.revision {
		w.revision = key.Revision
		w.foreign++
	}
	return true, w.foreign >= twinSightings && key.Lease < mine
}
