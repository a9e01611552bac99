package sim

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
