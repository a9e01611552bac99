package ha

import (
	"fmt"
	"strings"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// Health is what this member's own probes say (rulings 21): a fresh
// connection, and writes into the data directory and pg_wal. The shell probes
// outside the loop and counts; what follows is decided here.
type Health struct {
	// Failing are the probes whose last attempt failed; nil: none.
	Failing []ProbeFailure
	// Crowded says that ordinary clients find no free connection; empty: they do.
	Crowded string
	// Stay: pgha.health.failover is off. Everything is said, nothing follows.
	Stay bool
}

// ProbeFailure is one probe that has failed in an unbroken row.
type ProbeFailure struct {
	// Probe is its name as in GET /patroni: connect, data_write, wal_write.
	Probe string
	// Why is the cause, for people: "no space left on device".
	Why string
	// Since is when the first attempt of the row began, Failures how many there
	// were. One that hangs counts anew each retry_timeout.
	Since    clock.Instant
	Failures int
	// Hanging: there was no answer at all, rather than an error.
	Hanging bool
}

// The names of the probes.
const (
	ProbeConnect   = "connect"
	ProbeDataWrite = "data_write"
	ProbeWALWrite  = "wal_write"
)

// What makes a row of failures count, beside that it lasts retry_timeout.
const failuresInARow = 3

// askWithin is how soon a member must answer to be one that can take over.
const askWithin = time.Second

// worryEvery is how often the log repeats what stays wrong.
const worryEvery = time.Minute

// String names the place and the cause.
func (f ProbeFailure) String() string {
	place := map[string]string{ProbeConnect: "PostgreSQL", ProbeDataWrite: "data directory", ProbeWALWrite: "pg_wal"}[f.Probe]
	if place == "" {
		place = f.Probe
	}
	return place + ": " + f.Why
}

// disk says whether it is about a file system.
func (f ProbeFailure) disk() bool { return f.Probe != ProbeConnect }

// lasting says whether a row of failures is long enough to count.
func (f ProbeFailure) lasting(in Input) bool {
	return f.Failures >= failuresInARow && in.Now.Sub(f.Since) >= in.Settings.RetryTimeout
}

// slow says whether a write only takes its time: WAL reached the disk lately,
// so commits are acknowledged. A probe waits for the file system's journal,
// which other programs can keep busy; PostgreSQL's WAL files do not.
func (f ProbeFailure) slow(in Input) bool {
	return f.Hanging && f.disk() && in.Local.Primary() && !in.Memory.WALMoved.IsZero() && in.Now.Sub(in.Memory.WALMoved) < in.Settings.RetryTimeout
}

// outOfService is the failure for which this member cannot serve writes; ok is
// false when there is none.
func outOfService(in Input) (f ProbeFailure, ok bool) {
	for _, f := range in.Local.Health.Failing {
		if f.lasting(in) && !f.slow(in) {
			return f, true
		}
	}
	return ProbeFailure{}, false
}

// rememberHealth notes that the log moves on.
func rememberHealth(in Input, m Memory) Memory {
	if in.Local.Queried && in.Local.Primary() && in.Local.Location != m.WALAt {
		if m.WALAt != 0 {
			m.WALMoved = in.Now
		}
		m.WALAt = in.Local.Location
	}
	if len(in.Local.Health.Failing) == 0 && in.Local.Health.Crowded == "" {
		m.WorrySaid = 0
	}
	return m
}

// unwellHolder: this member holds the key and cannot serve writes. It gives
// the key up if somebody else can take over, and stays otherwise (rulings 21).
func unwellHolder(in Input) (Decision, bool) {
	f, out := outOfService(in)
	if !out || in.Settings.Pause || in.Local.Health.Stay {
		return Decision{}, false
	}
	if in.Peers == nil {
		return do(in, AskPeers{Members: candidates(in, ""), Within: askWithin}, "who can take over; "+f.String()), true
	}
	next := ableToTakeOver(in)
	if next == "" {
		return Decision{}, false
	}
	return demote(in, DemoteUnwell, Reason{Code: DemotedUnwell, Detail: f.String(), Member: next}).
		noting(f.String()).
		saying(Line{Error, fmt.Sprintf("This member cannot serve writes (%s, %d failures in %d s), and %s can: giving the leader key up",
			f, f.Failures, int(in.Now.Sub(f.Since).Seconds()), next)}), true
}

// ableToTakeOver is the best member that could serve at once: it answered,
// runs, receives the log (while there is somebody to send it), is within the
// lag limit and has no failing probe of its own. Empty: nobody.
func ableToTakeOver(in Input) string {
	for _, p := range healthy(in, "", 0) {
		if p.Running && p.Unwell == "" && (p.Streaming || !p.Pgha || !in.Local.Alive) {
			return p.Name
		}
	}
	return ""
}

// unwellStop is how PostgreSQL is stopped for a failure. One that can still
// write is stopped fast, so that standbys get everything; on a disk that
// hangs there is nothing to wait for.
func unwellStop(in Input) (StopMode, time.Duration) {
	if f, ok := outOfService(in); ok && f.Hanging && f.disk() {
		return StopImmediate, immediatePatience
	}
	return StopFast, in.Settings.RetryTimeout
}

// immediatePatience is how long an immediate stop may take before everything
// is killed. A postmaster that is frozen hears no signal but SIGKILL.
const immediatePatience = 2 * time.Second

// worried adds to a leader's rest what its probes say: as a note, and in the
// log when it begins and once a minute,
// and when it becomes, or ceases to be, a reason to give the key up.
func (d Decision) worried(in Input) Decision {
	if _, resting := d.Action.(Rest); !resting {
		return d
	}
	text := ailing(in)
	if text == "" {
		return d
	}
	if d.Note == "" {
		d = d.noting(text)
	}
	_, out := outOfService(in)
	if said := in.Memory.WorrySaid; said.IsZero() || in.Now.Sub(said) >= worryEvery || out != in.Memory.WorryOut {
		d.Memory.WorrySaid, d.Memory.WorryOut = in.Now, out
		d = d.saying(Line{Warning, "health: " + text})
	}
	return d
}

// ailing is what the probes of this member say, in one line; empty: all is well.
func ailing(in Input) string {
	h := in.Local.Health
	if f, out := outOfService(in); out && in.holder() {
		stay := "no other member can take over"
		switch {
		case in.Settings.Pause:
			stay = "the cluster is paused"
		case h.Stay:
			stay = "pgha.health.failover is off"
		}
		return "cannot serve writes (" + f.String() + "); staying the leader: " + stay
	}
	var texts []string
	for _, f := range h.Failing {
		text := f.String()
		if f.slow(in) {
			text += ", but WAL is still being written"
		}
		texts = append(texts, text)
	}
	if h.Crowded != "" {
		texts = append(texts, "clients cannot connect: "+h.Crowded)
	}
	return strings.Join(texts, "; ")
}

// explained is a note of a server that does not run, with what the probes know
// of the cause.
func explained(in Input, note string) string {
	for _, f := range in.Local.Health.Failing {
		if f.disk() {
			return note + "; " + f.String()
		}
	}
	return note
}

// awaitDisk: somebody else leads, or is about to, and this member's disk
// cannot be written: PostgreSQL is not started, and nothing is rewound, until
// it can. Half a rewind would be worse than none.
func awaitDisk(in Input) (Decision, bool) {
	others := in.Cluster.Leader != nil && in.Cluster.Leader.Name != in.Self
	if since := in.Memory.UnlockedSince; in.unlocked() {
		others = (since.IsZero() || in.Now.Sub(since) < in.Settings.TTL) && len(candidates(in, "")) > 0
	}
	if !others || in.holder() || in.Local.Health.Stay {
		return Decision{}, false
	}
	for _, f := range in.Local.Health.Failing {
		if f.disk() {
			return restFor(in, diskPoll, Reason{Code: AwaitingDisk, Detail: f.String()}).
				noting("not started: " + f.String()), true
		}
	}
	return Decision{}, false
}

// diskPoll is how soon a disk in trouble is thought of again; its probe wakes
// the loop when it passes.
const diskPoll = 2 * time.Second

// sound lets a member that cannot serve writes leave the race to one that
// can, for a ttl: then anybody is better than nobody.
func sound(in Input, peers []dcs.Member, v verdict) verdict {
	f, out := outOfService(in)
	if !v.ok || !out || in.Local.Health.Stay || in.Now.Sub(in.Memory.UnlockedSince) >= in.Settings.TTL {
		return v
	}
	for _, m := range peers {
		p := peer(in, m.Name)
		if p != nil && p.Answered && p.Running && !p.NoFailover && !p.WatchdogFailed && p.Unwell == "" {
			return no(Line{Warning, "this member cannot serve writes (" + f.String() + "); leaving the race to " + p.Name})
		}
	}
	return v
}
