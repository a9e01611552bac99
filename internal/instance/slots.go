package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/clock"
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
	// SlotLogical: a permanent logical slot; whatever has its name is left alone.
	SlotLogical SlotUse = "logical"
)

// Slot is one slot this member has to have: physical, but for SlotLogical.
type Slot struct {
	Name string
	Use  SlotUse
	// LSN is where the slot may be moved to: the member's published position;
	// zero: unknown.
	LSN postgres.LSN
}

// SyncSlots makes the physical slots the wanted ones (contract:
// ha-behaviour.md 17.3): missing ones are created with immediate reservation,
// unused ones moved forward, unknown inactive ones of either kind dropped
// unless the cluster is paused or ignore_slots names them. With only not nil,
// no others than those are dropped. Temporary slots, and those that the server
// itself synchronises (PostgreSQL 17), are never touched. seen is a row of
// this cycle, which saves the queries when it shows nothing to do; nil: none.
// One slot's failure does not stop the others; all of them are in the error.
func (s *Server) SyncSlots(ctx context.Context, seen *Row, want []Slot, only []string) error {
	_, _, dyn := s.values()
	rules := slotRules{want: want, only: only, paused: dyn.Pause, ignore: dyn.IgnoreSlots}
	if seen != nil {
		if deeds, busy := rules.plan(seen); len(deeds) == 0 {
			s.sayBusy(busy)
			return nil
		}
	}
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		row, err := readRow(ctx, c)
		if err != nil {
			return err
		}
		deeds, busy := rules.plan(row)
		s.sayBusy(busy)
		var errs []error
		for _, d := range deeds {
			if err := s.doSlot(ctx, c, d); err != nil {
				errs = append(errs, fmt.Errorf("slot %s: %w", d.name, err))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("synchronise replication slots: %w", err)
	}
	return nil
}

// doSlot carries one deed out.
func (s *Server) doSlot(ctx context.Context, c *pgx.Conn, d slotDeed) error {
	if d.drop {
		if dropped, err := s.dropSlot(ctx, c, d); err != nil || !dropped {
			return err
		}
	}
	switch {
	case d.create:
		return s.createSlot(ctx, c, d.name)
	case d.to != 0:
		_, err := c.Exec(ctx, "SELECT pg_replication_slot_advance($1, $2::text::pg_lsn)", d.name, d.to.String())
		if err != nil && !hasCode(err, "55006") { // in use: somebody moves it
			return fmt.Errorf("advance to %s: %w", d.to, err)
		}
	}
	return nil
}

// dropSlot drops a slot unless somebody has begun to use it: looked up and
// dropped in one statement (pitfalls 136).
func (s *Server) dropSlot(ctx context.Context, c *pgx.Conn, d slotDeed) (bool, error) {
	var dropped int
	err := c.QueryRow(ctx, `SELECT count(pg_drop_replication_slot(slot_name)::text) FROM pg_replication_slots
		WHERE slot_name = $1 AND slot_type = $2 AND NOT active AND NOT temporary`, d.name, d.kind).Scan(&dropped)
	switch {
	case hasCode(err, "55006") || err == nil && dropped == 0: // object in use
		s.sayBusy([]string{d.name})
		return false, nil
	case hasCode(err, "42704"): // gone already
		return true, nil
	case err != nil:
		return false, fmt.Errorf("drop: %w", err)
	}
	s.log.Info("Dropped replication slot '"+d.name+"'", "type", d.kind, "why", d.why)
	return true, nil
}

func (s *Server) createSlot(ctx context.Context, c *pgx.Conn, name string) error {
	_, err := c.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", name)
	switch {
	case hasCode(err, "42710"): // exists: somebody else was quicker
		return nil
	case err != nil:
		return fmt.Errorf("create: %w", err)
	}
	s.log.Info("created replication slot", "slot", name)
	return nil
}

// busyAgain is how often it is repeated that a slot cannot be dropped.
const busyAgain = time.Hour

// sayBusy says of slots that nobody knows, and that somebody uses, that they
// are left: at first sight, and then seldom (pitfalls 136).
func (s *Server) sayBusy(names []string) {
	now := s.clock.Now()
	s.mu.Lock()
	said := map[string]clock.Instant{}
	var fresh []string
	for _, name := range names {
		said[name] = s.busySlots[name]
		if said[name].IsZero() || now.Sub(said[name]) >= busyAgain {
			said[name] = now
			fresh = append(fresh, name)
		}
	}
	s.busySlots = said
	s.mu.Unlock()
	for _, name := range fresh {
		s.log.Warn("Unable to drop replication slot '" + name + "', slot is active; if it is to stay, name it in slots or ignore_slots of the dynamic configuration")
	}
}
