package sim

import (
	"fmt"
	"sort"
	"time"

	"pgha/agent/ha"
	"pgha/internal/postgres"
)

// record is one WAL record: a row that a client wrote, or (row zero) one of
// the server's own. Its id is unique in a run, so two logs that agree at one
// place agree in everything before it.
type record struct{ id, row uint64 }

// Every record has the same length; a position is where a record ends.
const (
	walStart  postgres.LSN = 0x3000000
	recordLen postgres.LSN = 0x100
)

func position(records int) postgres.LSN { return walStart + recordLen*postgres.LSN(records) }

// database is a data directory: what survives the end of the processes.
type database struct {
	m        *machine
	data     ha.DataDir
	systemID postgres.SystemID
	wal      []record
	timeline postgres.Timeline
	history  []postgres.HistoryEntry
	control  ha.ControlState
	signal   bool   // standby.signal
	source   string // primary_conninfo in the files
	half     bool   // a rewind did not finish
	// consistent is how many records a standby needs before it is consistent.
	consistent int
	// checkpointed: the shutdown checkpoint is the log's last record.
	checkpointed bool
	run          *server // nil: no process
}

// location is where the log ends.
func (d *database) location() postgres.LSN {
	if len(d.wal) == 0 {
		return 0
	}
	return position(len(d.wal))
}

// common is how many records both logs share.
func common(a, b []record) int {
	return sort.Search(min(len(a), len(b)), func(i int) bool { return a[i].id != b[i].id })
}

// append writes one record.
func (d *database) append(row uint64) {
	d.m.s.rows++
	d.wal = append(d.wal, record{d.m.s.rows, row})
	d.checkpointed = false
}

// copyFrom makes the directory that of another member's.
func (d *database) copyFrom(o *database) {
	if d.m.remnant {
		d.m.s.checks.fail("%s replaced its data beside what is left of the server before", d.m.name)
	}
	d.data, d.systemID, d.timeline = ha.DataPresent, o.systemID, o.timeline
	d.wal = append([]record(nil), o.wal...)
	d.history = append([]postgres.HistoryEntry(nil), o.history...)
	d.control, d.signal, d.half, d.checkpointed = ha.ControlArchiveRecover, true, false, false
	d.consistent = len(o.wal)
}

// server is a running PostgreSQL. Its guard is its parent.
type server struct {
	actor
	db        *database
	guard     *guard
	primary   bool // accepts writes once ready
	ready     bool
	stopping  bool
	promoting bool
	shutDown  bool // pg_control says shut down; the process may still be there
	boot      bool // a bootstrap's: the cluster does not know it yet
	alone     bool // accepted writes without the key, outside the promise
	source    string
	up        *stream         // the WAL receiver's connection; nil: none
	down      []*stream       // the WAL senders'
	waiting   []pendingCommit // synchronous path: commits nobody has confirmed
	confirmed map[string]int  // records that a standby has confirmed
	startedAt Time
}

type pendingCommit struct {
	row     uint64
	records int
	by      string // who has to have it; empty: any standby
}

// startServer executes the postmaster. recover is how long until it accepts
// connections; a standby must reach consistency as well.
func (d *database) startServer(primary bool, source string) *server {
	s := d.m.s
	sv := &server{actor: actor{m: d.m}, db: d, primary: primary, source: source, confirmed: map[string]int{}, startedAt: s.now}
	d.run, d.source = sv, source
	d.signal = !primary
	sv.guard = newGuard(sv)
	s.tell(d.m.name, "postgres starts, primary=%t source=%q tl=%d records=%d", primary, source, d.timeline, len(d.wal))
	if d.m.remnant {
		s.checks.fail("%s started PostgreSQL beside what is left of the one before it", d.m.name)
	}
	if d.half {
		s.checks.fail("%s started a half rewound data directory", d.m.name)
	}
	if d.data == ha.DataEmpty {
		s.checks.fail("%s started PostgreSQL without a data directory", d.m.name)
	}
	if primary {
		d.control = ha.ControlProduction
	} else {
		d.control = ha.ControlArchiveRecover
	}
	took := s.dur(30*time.Millisecond, 300*time.Millisecond)
	if s.chance(s.shape.slowServer) {
		took = s.dur(time.Second, 2*s.shape.ttl)
	}
	sv.after(took, sv.becomeReady)
	return sv
}

// becomeReady ends the start; a standby keeps trying until it is consistent.
func (sv *server) becomeReady() {
	if sv.stopping {
		return
	}
	if !sv.primary {
		if sv.up == nil {
			sv.receive()
		}
		if len(sv.db.wal) < sv.db.consistent {
			sv.after(100*time.Millisecond, sv.becomeReady)
			return
		}
	}
	sv.ready = true
	if sv.primary {
		sv.m.s.checks.opened(sv)
	}
	sv.m.changed()
}

// accepts says whether a client's write would be taken now.
func (sv *server) accepts() bool {
	return sv != nil && !sv.dead && sv.primary && sv.ready && !sv.stopping && !sv.stuck()
}

// promote ends recovery: a new timeline, then writes.
func (sv *server) promote() {
	if sv.primary || sv.promoting || sv.stopping {
		return
	}
	sv.promoting = true
	took := sv.m.s.dur(10*time.Millisecond, 200*time.Millisecond)
	if sv.m.s.chance(sv.m.s.shape.slowServer) {
		took = sv.m.s.dur(500*time.Millisecond, sv.m.s.shape.ttl)
	}
	sv.after(took, func() {
		if sv.stopping {
			return
		}
		sv.disconnect()
		d := sv.db
		d.history = append(d.history, postgres.HistoryEntry{Timeline: d.timeline, Switch: d.location(), Reason: "no recovery target specified"})
		// With an archive, PostgreSQL sees which timelines exist. Without one
		// two members can use the same number, which nothing can mend.
		sv.m.s.lastTimeline = max(sv.m.s.lastTimeline, d.timeline) + 1
		d.timeline = sv.m.s.lastTimeline
		sv.m.s.checks.promoted(sv)
		d.append(0)
		d.control, d.signal = ha.ControlProduction, false
		sv.promoting, sv.primary = false, true
		sv.m.checkpointAt = sv.m.s.now.Add(sv.m.s.dur(100*time.Millisecond, 3*time.Second))
		sv.m.s.tell(sv.m.name, "postgres is promoted to tl=%d at %s", d.timeline, d.history[len(d.history)-1].Switch)
		sv.m.s.checks.opened(sv)
		sv.m.changed()
	})
}

// stopFast ends the sessions, writes the shutdown checkpoint, lets connected
// standbys have everything, and ends.
func (sv *server) stopFast() {
	if sv.stopping {
		return
	}
	sv.stopping = true
	sv.waiting = nil // sessions are gone: nobody is told of these commits
	s := sv.m.s
	took := s.dur(5*time.Millisecond, 150*time.Millisecond)
	if s.chance(s.shape.slowServer) {
		took = s.dur(500*time.Millisecond, s.shape.ttl)
	}
	sv.after(took, func() {
		if sv.primary && sv.ready {
			sv.db.append(0)
			sv.db.control, sv.db.checkpointed = ha.ControlShutDown, true
		} else if !sv.primary && sv.ready {
			sv.db.control = ha.ControlShutDownStdby
		}
		sv.shutDown = true
		sv.feed()
		sv.m.changed()
		sv.after(s.dur(time.Millisecond, 50*time.Millisecond), func() { sv.lastWords(s.now.Add(10 * time.Second)) })
	})
}

// lastWords waits for the WAL senders, then ends.
func (sv *server) lastWords(until Time) {
	for _, c := range sv.down {
		if !c.broken && c.confirmed < len(sv.db.wal) && sv.m.s.now < until {
			sv.after(10*time.Millisecond, func() { sv.lastWords(until) })
			return
		}
	}
	sv.exit("shut down")
}

// exit ends the process. Unless it had shut down, its data are left as they are.
func (sv *server) exit(why string) {
	if sv.dead {
		return
	}
	sv.m.s.tell(sv.m.name, "postgres is gone: %s", why)
	sv.disconnect()
	for _, c := range sv.down {
		c.cut()
	}
	sv.kill()
	sv.db.run = nil
	sv.guard.childGone()
	sv.m.changed()
}

// examine is what comparing histories finds (contract: ha-behaviour.md 16.2).
func (d *database) examine(leader *database) (ha.ExamineOutcome, string) {
	at, exPrimary := d.location(), false
	if d.run == nil {
		switch d.control {
		case ha.ControlShutDown:
			at, exPrimary = d.location()-recordLen, true
		case ha.ControlShutDownStdby, ha.ControlArchiveRecover:
		default:
			return ha.ExamineUndecided, ""
		}
	}
	switch {
	case d.timeline > leader.timeline:
		return ha.ExamineDiverged, fmt.Sprintf("timeline %d is newer than the leader's %d", d.timeline, leader.timeline)
	case d.timeline == leader.timeline:
		return ha.ExamineSame, ""
	}
	left, ok := postgres.SwitchPoint(leader.history, d.timeline)
	switch {
	case !ok:
		return ha.ExamineDiverged, fmt.Sprintf("timeline %d is not in the leader's history", d.timeline)
	case !exPrimary && at > left, exPrimary && at >= left, exPrimary && d.location() != left:
		return ha.ExamineDiverged, fmt.Sprintf("at %s, the leader left timeline %d at %s", at, d.timeline, left)
	}
	return ha.ExamineSame, ""
}
