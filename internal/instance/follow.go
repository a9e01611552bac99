package instance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgha/internal/postgres"
)

// ErrNotInRecovery is returned by what only makes sense on a standby.
var ErrNotInRecovery = errors.New("the server is not in recovery")

// FollowCheck is what separates a running standby from the wanted source.
type FollowCheck struct {
	// Differs: Follow has something to do. Restart: a parameter differs that
	// a reload cannot change, or the signal file is missing.
	Differs, Restart bool
	// Why names the differing parameters; no values, they may hold secrets.
	Why []string
}

func (c *FollowCheck) differ(what string, restart bool) {
	c.Differs, c.Restart = true, c.Restart || restart
	c.Why = append(c.Why, what)
}

// leftAlone may be set in a file of the user's own (contract: config.md 5.5).
var leftAlone = map[string]bool{
	"archive_cleanup_command": true, "promote_trigger_file": true, "recovery_end_command": true,
	"recovery_min_apply_delay": true, "restore_command": true,
}

// NeedsFollow compares the running standby with what it should follow
// (contract: config.md 5.5). The running server is asked, not the memory of
// what was once written (pitfalls 163): the WAL receiver's own connection
// counts when there is one. While the server cannot be asked, the parameters
// it was started with stand in for its answer (pitfalls 162).
func (s *Server) NeedsFollow(ctx context.Context, f *Follow) (FollowCheck, error) {
	wanted, pgpass, err := s.wantedRecovery(ctx, f)
	if err != nil {
		return FollowCheck{}, err
	}
	version, err := s.Version(ctx)
	if err != nil {
		return FollowCheck{}, err
	}
	var check FollowCheck
	if standby, err := inRecoveryByFiles(s.dataDir()); err != nil {
		return check, err
	} else if !standby {
		check.differ("standby.signal", true)
	}
	if s.passwordFileDiffers(pgpass) {
		check.differ("passfile", false)
	}
	live, err := s.liveRecovery(ctx)
	if err != nil {
		if errors.Is(err, ErrNotInRecovery) {
			return FollowCheck{}, err
		}
		s.compareRemembered(&check, wanted, version)
		return check, nil
	}
	s.compareLive(&check, wanted, live, version)
	return check, nil
}

// liveSettings is what a running standby uses.
type liveSettings struct {
	gucs             map[string]liveGUC
	receiverConninfo string // of the WAL receiver
	receiverSlot     string
	running          bool // there is a WAL receiver
}

type liveGUC struct {
	setting, boot, context, vartype, unit, file string
}

func (s *Server) liveRecovery(ctx context.Context) (liveSettings, error) {
	live := liveSettings{gucs: map[string]liveGUC{}}
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		var inRecovery bool
		err := c.QueryRow(ctx, `SELECT pg_is_in_recovery(), COALESCE(w.status, '') IN ('streaming', 'starting', 'restarting'),
			COALESCE(w.conninfo, ''), COALESCE(w.slot_name, '')
			FROM (SELECT 1) x LEFT JOIN pg_stat_get_wal_receiver() w ON true`).
			Scan(&inRecovery, &live.running, &live.receiverConninfo, &live.receiverSlot)
		if err != nil {
			return err
		}
		if !inRecovery {
			return ErrNotInRecovery
		}
		rows, err := c.Query(ctx, `SELECT name, setting, COALESCE(boot_val, ''), context, vartype, COALESCE(unit, ''), COALESCE(sourcefile, '')
			FROM pg_settings WHERE name = ANY($1)`, postgres.RecoveryGUCs())
		if err != nil {
			return err
		}
		var name string
		var g liveGUC
		_, err = pgx.ForEachRow(rows, []any{&name, &g.setting, &g.boot, &g.context, &g.vartype, &g.unit, &g.file}, func() error {
			live.gucs[name] = g
			return nil
		})
		return err
	})
	if err != nil {
		return liveSettings{}, fmt.Errorf("read recovery settings: %w", err)
	}
	return live, nil
}

func (s *Server) compareLive(check *FollowCheck, wanted map[string]string, live liveSettings, v postgres.Version) {
	for _, name := range sortedKeys(live.gucs) {
		g := live.gucs[name]
		restart := g.context == "postmaster"
		want, set := wanted[name]
		switch {
		case name == "primary_conninfo":
			if !sameUpstream(want, g.setting, live, v) {
				check.differ(name, restart)
			}
		case name == "primary_slot_name":
			have := g.setting
			if live.running && live.receiverConninfo != "" {
				have = live.receiverSlot
			}
			if want != have || want != g.setting {
				check.differ(name, restart)
			}
		case set:
			if !postgres.CompareSetting(g.vartype, g.unit, want, g.setting) {
				check.differ(name, restart)
			}
		case g.setting == g.boot:
		case leftAlone[name] && g.file != "" && g.file != s.confFile():
		default:
			check.differ(name, restart)
		}
	}
}

// sameUpstream compares primary_conninfo. The setting must be right as well
// as the connection in use: the next connection is made from the setting.
func sameUpstream(want, setting string, live liveSettings, v postgres.Version) bool {
	w, err1 := postgres.ParseConninfo(want)
	g, err2 := postgres.ParseConninfo(setting)
	if err1 != nil || err2 != nil || !postgres.ConninfoEqual(w, g, v) {
		return false
	}
	if !live.running || live.receiverConninfo == "" {
		return true
	}
	r, err := postgres.ParseConninfo(live.receiverConninfo)
	return err == nil && postgres.ConninfoEqual(w, postgres.ActualConninfo(g, r), v)
}

// reloadable recovery parameters, for the time the server cannot be asked.
func reloadable(name string, v postgres.Version) bool {
	switch name {
	case "primary_conninfo", "primary_slot_name", "archive_cleanup_command", "recovery_end_command",
		"recovery_min_apply_delay", "promote_trigger_file":
		return true
	case "restore_command":
		return v.AtLeast(14)
	}
	return false
}

func (s *Server) compareRemembered(check *FollowCheck, wanted map[string]string, v postgres.Version) {
	s.mu.Lock()
	have := s.recovery
	s.mu.Unlock()
	if have == nil {
		check.differ("recovery parameters are unknown", false)
		return
	}
	for _, name := range sortedKeys(wanted) {
		if wanted[name] != have[name] {
			check.differ(name, !reloadable(name, v))
		}
	}
	for _, name := range sortedKeys(have) {
		if _, ok := wanted[name]; !ok && have[name] != "" {
			check.differ(name, !reloadable(name, v))
		}
	}
}

// Follow makes a running standby follow a source: recovery parameters and
// password file are written and the server is reloaded. restartNeeded says
// that a difference remains which only a restart (Stop, Start with the same
// Follow) removes. Errors: ErrNotInRecovery on a primary, whose files are not
// touched; ErrNotRunning.
func (s *Server) Follow(ctx context.Context, f *Follow) (restartNeeded bool, err error) {
	defer s.begin("follow")()
	check, err := s.NeedsFollow(ctx, f)
	if err != nil {
		return false, fmt.Errorf("follow %s: %w", f.label(), err)
	}
	// A server with recovery parameters but without signal file may be one
	// that is being promoted right now: its directory must not get one back.
	if standby, err := inRecoveryByFiles(s.dataDir()); err != nil || !standby {
		return true, err
	}
	wanted, pgpass, err := s.wantedRecovery(ctx, f)
	if err != nil {
		return false, err
	}
	if err := s.writePgpass(pgpass); err != nil {
		return false, fmt.Errorf("follow %s: %w", f.label(), err)
	}
	s.setRecovery(wanted)
	before := s.rulesInPlace(false)
	if _, err := s.WriteFiles(ctx); err != nil {
		return false, fmt.Errorf("follow %s: %w", f.label(), err)
	}
	s.takeBackBadRules(ctx, before)
	if err := s.reloadAndWait(ctx); err != nil {
		return check.Restart, fmt.Errorf("follow %s: %w", f.label(), err)
	}
	if check.Differs {
		s.log.Info("following by reload", "source", f.label(), "changed", strings.Join(check.Why, ","), "restart_needed", check.Restart)
	}
	return check.Restart, nil
}

func (f *Follow) label() string {
	if f == nil || f.Source == nil {
		return "nobody"
	}
	return f.Source.label()
}
