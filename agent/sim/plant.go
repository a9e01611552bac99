package sim

import (
	"maps"
	"slices"
	"strings"
)

// Plant is a bug put into the models on purpose: the simulator must find it.
type Plant string

// Each plant breaks one thing that the promise rests on.
const (
	PlantNone            Plant = ""
	PlantNoGuard         Plant = "no guard"
	PlantLeaseFromAnswer Plant = "lease counted from the answer"
	PlantLatePromote     Plant = "late promote after a thaw"
	PlantUnguardedPut    Plant = "unguarded put of the leader key"
	PlantPrimaryIgnored  Plant = "a primary that answers is ignored"
	PlantClockStops      Plant = "deadline on a clock that stands still"
	PlantEarlyRelease    Plant = "key released before PostgreSQL is down"
	PlantNoCheckpoint    Plant = "hand-over without the shutdown checkpoint"
	PlantUnknownIsDone   Plant = "unknown outcome taken for success"
	PlantRaceBlind       Plant = "race ignores positions"
	PlantHalfRewind      Plant = "half rewound data are started"
)

// symptoms are what each plant must show as: parts of a broken invariant's text.
var symptoms = map[Plant][]string{
	PlantNoGuard:         {"accept"},
	PlantLeaseFromAnswer: {"accept"},
	PlantLatePromote:     {"accept"},
	PlantUnguardedPut:    {"accept"},
	PlantPrimaryIgnored:  {"answered as a primary"},
	PlantClockStops:      {"accept"},
	PlantEarlyRelease:    {"accept"},
	PlantNoCheckpoint:    {"hand-over"},
	PlantUnknownIsDone:   {"accept"},
	PlantRaceBlind:       {"had when it answered"},
	PlantHalfRewind:      {"half rewound"},
}

// Plants are all of them, in order.
var Plants = slices.Sorted(maps.Keys(symptoms))

// Shows says whether a broken invariant is this plant's doing.
func (p Plant) Shows(broken string) bool {
	return slices.ContainsFunc(symptoms[p], func(part string) bool { return strings.Contains(broken, part) })
}
