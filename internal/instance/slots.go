package instance

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"pgha/internal/postgres"
)

// SlotUse says whether somebody is expected to stream from a slot.
type SlotUse string

const (
	// SlotActive: a standby streams from it and moves it.
	SlotActive SlotUse = "active"
	// SlotInactive: kept for a member that streams elsewhere; we move it.
	SlotInactive SlotUse = "inactive"
	// SlotRetained: known only from retain_slots; moved like an inactive one,
	// never recreated because of its xmin (contract: ha-behaviour.md 17.2).
	SlotRetained SlotUse = "retained"
)

// Slot is one physical slot this member has to have.
type Slot struct {
	Name string
	Use  SlotUse
	// LSN is where the slot may be moved to: the member's published position;
	// zero: unknown.
	LSN postgres.LSN
	// MayRecreate: a slot nobody uses that holds an xmin may be dropped and
	// made again, because a leader exists and this member is not it or is a
	// primary already.
	MayRecreate bool
}

// SyncSlots makes the physical slots the wanted ones (contract:
// ha-behaviour.md 17.3): missing ones are created with immediate reservation,
// unused ones moved forward, unknown inactive ones dropped unless the cluster
// is paused or ignore_slots names them. Temporary, logical and failover slots
// are never touched. One slot's failure does not stop the others; all of them
// are in the error.
func (s *Server) SyncSlots(ctx context.Context, want []Slot) error {
	_, _, dyn := s.values()
	byName := map[string]Slot{}
	for _, w := range want {
		byName[w.Name] = w
	}
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		row, err := readRow(ctx, c)
		if err != nil {
			return err
		}
		sync := slotSync{s: s, c: c, paused: dyn.Pause, ignore: dyn.IgnoreSlots, replayed: row.Replayed, inRecovery: row.InRecovery}
		exists := map[string]bool{}
		for _, slot := range row.Slots {
			exists[slot.Name] = true
			if slot.Type == "physical" && !slot.Failover {
				w, wanted := byName[slot.Name]
				sync.existing(ctx, slot, w, wanted)
			}
		}
		for _, w := range want {
			if !exists[w.Name] {
				sync.create(ctx, w.Name)
			}
		}
		return errors.Join(sync.errs...)
	})
	if err != nil {
		return fmt.Errorf("synchronise replication slots: %w", err)
	}
	return nil
}

// slotSync is one run of SyncSlots.
type slotSync struct {
	s          *Server
	c          *pgx.Conn
	paused     bool
	ignore     []map[string]string
	replayed   postgres.LSN
	inRecovery bool
	errs       []error
}

func (y *slotSync) fail(what, name string, err error) {
	y.errs = append(y.errs, fmt.Errorf("%s slot %s: %w", what, name, err))
}

// existing brings one physical slot that is there in line.
func (y *slotSync) existing(ctx context.Context, slot SlotRow, w Slot, wanted bool) {
	lost := slot.WALStatus == "lost"
	switch {
	case !wanted || lost:
		if y.paused || y.ignored(slot) {
			return
		}
		if y.drop(ctx, slot) && wanted {
			y.create(ctx, w.Name)
		}
	case w.Use == SlotActive || slot.Active:
	case slot.Xmin:
		// Held by a standby that went elsewhere, it would stall the vacuum.
		if w.Use == SlotInactive && w.MayRecreate && !y.paused && y.drop(ctx, slot) {
			y.create(ctx, w.Name)
		}
	case slot.RestartLSN == 0:
		if !y.paused && y.drop(ctx, slot) { // created elsewhere without reservation
			y.create(ctx, w.Name)
		}
	default:
		y.advance(ctx, slot, w.LSN)
	}
}

// ignored applies ignore_slots: all given keys must match.
func (y *slotSync) ignored(slot SlotRow) bool {
	have := map[string]string{"name": slot.Name, "type": slot.Type, "database": slot.Database, "plugin": slot.Plugin}
	for _, m := range y.ignore {
		all := true
		for k, v := range m {
			all = all && have[k] == v
		}
		if all {
			return true
		}
	}
	return false
}

// drop drops a slot unless somebody has begun to use it: looked up and
// dropped in one statement (pitfalls 136).
func (y *slotSync) drop(ctx context.Context, slot SlotRow) bool {
	var dropped int
	err := y.c.QueryRow(ctx, `SELECT count(pg_drop_replication_slot(slot_name)::text) FROM pg_replication_slots
		WHERE slot_name = $1 AND slot_type = 'physical' AND NOT active AND NOT temporary`, slot.Name).Scan(&dropped)
	switch {
	case hasCode(err, "55006") || err == nil && dropped == 0: // object in use
		y.s.log.Warn("Unable to drop replication slot, slot is active", "slot", slot.Name)
		return false
	case hasCode(err, "42704"): // gone already
		return true
	case err != nil:
		y.fail("drop", slot.Name, err)
		return false
	}
	y.s.log.Info("Dropped replication slot", "slot", slot.Name, "wal_status", slot.WALStatus)
	return true
}

func (y *slotSync) create(ctx context.Context, name string) {
	_, err := y.c.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", name)
	switch {
	case hasCode(err, "42710"): // exists: somebody else was quicker
	case err != nil:
		y.fail("create", name, err)
	default:
		y.s.log.Info("created replication slot", "slot", name)
	}
}

// advance moves an unused slot to the member's position, on a standby at most
// to what is replayed here (pitfalls 133).
func (y *slotSync) advance(ctx context.Context, slot SlotRow, to postgres.LSN) {
	if y.inRecovery {
		to = min(to, y.replayed)
	}
	if to <= slot.RestartLSN {
		return
	}
	_, err := y.c.Exec(ctx, "SELECT pg_replication_slot_advance($1, $2::text::pg_lsn)", slot.Name, to.String())
	if err != nil && !hasCode(err, "55006") {
		y.fail("advance", slot.Name, err)
	}
}
