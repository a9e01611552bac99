package sim

import (
	"maps"
	"slices"
	"strings"

	"pgha/internal/dcs"
)

// Plant is a bug put into the models on purpose: the simulator must find it.
// Production code knows nothing of it: a plant sits in a model (guard, etcd,
// PostgreSQL) or between the loop and one (store, control, peers).
type Plant string

// Each plant removes one thing that the promise rests on.
const (
	PlantNone               Plant = ""
	PlantNoGuard            Plant = "no guard"
	PlantLeaseFromAnswer    Plant = "lease counted from the answer"
	PlantReadIsRenewal      Plant = "a key that is still there taken for a renewed lease"
	PlantLatePromote        Plant = "late promote after a thaw"
	PlantOneLook            Plant = "promotion without a second look at the deadline"
	PlantEpochIgnored       Plant = "the guard obeys an agent of before"
	PlantUnarmedAcquire     Plant = "a primary asks for the key under no deadline"
	PlantPauseUnread        Plant = "disarmed before the pause was read"
	PlantUnguardedPut       Plant = "unguarded put of the leader key"
	PlantHandOverBlind      Plant = "hand-over without comparing the candidate's lease"
	PlantPrimaryIgnored     Plant = "a primary that answers is ignored"
	PlantTimelineIgnored    Plant = "timelines are ignored"
	PlantSyncIgnored        Plant = "the sync key is ignored"
	PlantClockStops         Plant = "deadline on a clock that stands still"
	PlantEarlyRelease       Plant = "key released before PostgreSQL is down"
	PlantNoCheckpoint       Plant = "hand-over without the shutdown checkpoint"
	PlantUnknownIsDone      Plant = "unknown outcome taken for success"
	PlantRaceBlind          Plant = "race ignores positions"
	PlantHalfRewind         Plant = "half rewound data are started"
	PlantPromotionForgotten Plant = "a pending promotion is forgotten"
	PlantNoSweep            Plant = "started without sweeping what is left"

	PlantSilentConsent    Plant = "failsafe: silence is taken for consent"
	PlantForgottenPromise Plant = "failsafe: a member forgets what it agreed to"
	PlantNewAgentRaces    Plant = "failsafe: a new agent races at once"
)

// symptoms are what each plant must show as: parts of a broken invariant's text.
var symptoms = map[Plant][]string{
	PlantNoGuard:            {"accept"},
	PlantLeaseFromAnswer:    {"accept"},
	PlantReadIsRenewal:      {"accept"},
	PlantLatePromote:        {"accept"},
	PlantOneLook:            {"sent after its deadline"},
	PlantEpochIgnored:       {"a newer one had replaced"},
	PlantUnarmedAcquire:     {"under no deadline"},
	PlantPauseUnread:        {"has not read"},
	PlantUnguardedPut:       {"accept"},
	PlantHandOverBlind:      {"not its member key's"},
	PlantPrimaryIgnored:     {"answered as a primary"},
	PlantTimelineIgnored:    {"had when it answered", "newer timeline"},
	PlantSyncIgnored:        {"not in /sync"},
	PlantClockStops:         {"accept"},
	PlantEarlyRelease:       {"accept"},
	PlantNoCheckpoint:       {"hand-over"},
	PlantUnknownIsDone:      {"accept"},
	PlantRaceBlind:          {"had when it answered"},
	PlantHalfRewind:         {"half rewound"},
	PlantPromotionForgotten: {"pending promotion"},
	PlantNoSweep:            {"what is left"},

	PlantSilentConsent:    {"accept"},
	PlantForgottenPromise: {"accept"},
	PlantNewAgentRaces:    {"accept"},
}

// Plants are all of them, in order.
var Plants = slices.Sorted(maps.Keys(symptoms))

// Shows says whether a broken invariant is this plant's doing.
func (p Plant) Shows(broken string) bool {
	return slices.ContainsFunc(symptoms[p], func(part string) bool { return strings.Contains(broken, part) })
}

// blind plants bugs of what decisions read in the cluster.
func (p Plant) blind(c *dcs.Cluster) *dcs.Cluster {
	seen := *c
	switch p {
	case PlantSyncIgnored:
		seen.Sync = dcs.Sync{}
	case PlantTimelineIgnored:
		seen.History, seen.HistoryRaw = nil, ""
	default:
		return c
	}
	return &seen
}
