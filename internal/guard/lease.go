package guard

// Stage is how far the guard has gone against a server whose lease runs out.
type Stage int

// The stages in the order in which they are reached.
const (
	StageNone Stage = 0 // nothing was done
	StageFast Stage = 1 // fast stop requested (SIGINT to the postmaster)
	StageKill Stage = 2 // SIGKILL to the whole tree
)

// String is the stage's word in the protocol.
func (s Stage) String() string {
	switch s {
	case StageFast:
		return "fast"
	case StageKill:
		return "kill"
	default:
		return "none"
	}
}

const (
	millisecond int64 = 1e6
	second      int64 = 1e9

	// maxTTL bounds the arithmetic and catches a unit mixed up.
	maxTTL = 24 * 3600 * second
)

// FastStopAt is when PostgreSQL is stopped fast: the replicas still get
// everything. deadline, ttl and the result are nanoseconds (rulings 2).
func FastStopAt(deadline, ttl int64) int64 { return deadline - max(2*second, ttl/10) }

// KillAt is when the guard kills the whole tree (rulings 2).
func KillAt(deadline, ttl int64) int64 { return deadline - max(second, ttl/20) }

// AlarmAt is when the kernel's timer kills the guard and with it PostgreSQL,
// should the guard itself be frozen (rulings 2).
func AlarmAt(deadline, ttl int64) int64 { return deadline - max(500*millisecond, ttl/40) }

// lease is the deadline the guard holds. Not armed: the guard never acts by
// itself (a replica, or pause).
type lease struct {
	armed    bool
	deadline int64 // L, CLOCK_BOOTTIME nanoseconds
	ttl      int64 // nanoseconds
}

// checkArm says why a new deadline cannot be taken, as an error code of the
// protocol, or "" if it can.
func (l lease) checkArm(now, deadline, ttl int64, shorten bool) (code, text string) {
	switch {
	case ttl <= 0 || ttl > maxTTL:
		return codeBadDeadline, "ttl out of range"
	case deadline > now+ttl:
		// The lease counts from a request that was already sent. A later
		// deadline is another clock or a wrong unit.
		return codeBadDeadline, "deadline is more than ttl ahead of CLOCK_BOOTTIME"
	case now >= KillAt(deadline, ttl):
		return codeDeadline, "the kill stage of this deadline has passed"
	case l.armed && deadline < l.deadline && !shorten:
		return codeEarlier, "deadline lies before the one already held"
	default:
		return "", ""
	}
}

// mayAct says whether a server may become writable now: armed, and the first
// stage still ahead.
func (l lease) mayAct(now int64) bool { return l.armed && now < FastStopAt(l.deadline, l.ttl) }
