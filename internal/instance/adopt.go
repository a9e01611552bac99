package instance

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgha/internal/postgres"
)

// Adopted is what was found at the start of the agent.
type Adopted struct {
	Running bool // a postmaster runs
	Ready   Readiness
	Row     *Row // of a running server that answered
}

// Adopt takes the server over as it is found (contract: ha-behaviour.md 1,
// second table): a running one with state, role and the settings in force, so
// that nothing it was started with is lost at the next restart (pitfalls
// 110); a stopped one with the role its directory suggests. It starts,
// stops and writes nothing.
func (s *Server) Adopt(ctx context.Context) (Adopted, error) {
	p, running := s.findPostmaster()
	role, err := s.roleByFiles(ctx)
	if err != nil {
		return Adopted{}, fmt.Errorf("adopt: %w", err)
	}
	if !running {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.role = role
		if role == postgres.RolePrimary {
			s.role = postgres.RoleDemoted
		}
		s.setState(postgres.StateStopped)
		return Adopted{Ready: ReadyNoResponse}, nil
	}
	row, err := s.monitor(ctx)
	a := Adopted{Running: true, Ready: readinessOf(err), Row: row}
	s.mu.Lock()
	s.role = role
	if a.Ready == ReadyAccepting {
		s.setState(postgres.StateRunning)
	} else {
		s.setState(postgres.StateStarting)
	}
	s.mu.Unlock()
	if row == nil {
		s.keepRecovery(role)
		s.log.Info("found a postmaster that does not answer queries yet", "pid", p.pid, "ready", a.Ready, "err", err)
		return a, nil
	}
	role = postgres.RolePrimary
	if row.InRecovery {
		role = postgres.RoleReplica
	}
	s.SetRole(role)
	if err := s.adoptSettings(ctx); err != nil {
		return a, fmt.Errorf("adopt postmaster %d: %w", p.pid, err)
	}
	s.log.Info("found a running server", "pid", p.pid, "role", role, "timeline", row.Timeline, "version", row.Version)
	return a, nil
}

// keepRecovery: a standby that cannot be asked yet goes on with the recovery
// parameters in its file. Without them the next write would take its source
// from it, and it would count as one that follows nobody.
func (s *Server) keepRecovery(role postgres.Role) {
	if role != postgres.RoleReplica {
		return
	}
	text, err := readFileIfThere(s.confFile())
	if err != nil {
		s.log.Warn("read the recovery parameters of a standby that does not answer", "err", err)
		return
	}
	s.setRecovery(postgres.RecoverySection(string(text)))
}

// roleByFiles is the role a directory suggests: uninitialized without usable
// control data.
func (s *Server) roleByFiles(ctx context.Context) (postgres.Role, error) {
	state, err := inspectDataDir(s.dataDir())
	if err != nil {
		return "", err
	}
	if state != DataDirPresent {
		return postgres.RoleUninitialized, nil
	}
	if id, err := s.SystemID(ctx); err != nil || !id.Valid() {
		s.log.Warn("the data directory has no usable control data", "dir", s.dataDir(), "err", err)
		return postgres.RoleUninitialized, nil
	}
	standby, err := inRecoveryByFiles(s.dataDir())
	switch {
	case err != nil:
		return "", err
	case standby:
		return postgres.RoleReplica, nil
	}
	return postgres.RolePrimary, nil
}

// adoptSettings reads what the running server was given: on the command line,
// by environment or in our file, the controlled parameters, and on a standby
// the recovery parameters, which become those in force.
func (s *Server) adoptSettings(ctx context.Context) error {
	s.mu.Lock()
	p := s.postmaster
	s.mu.Unlock()
	adopted, recovery := map[string]string{}, map[string]string{}
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT lower(name), current_setting(name), COALESCE(source, ''), COALESCE(sourcefile, '')
			FROM pg_settings WHERE context <> 'internal' AND source NOT IN ('default', 'override', 'client', 'session')`)
		if err != nil {
			return err
		}
		var name, value, source, file string
		_, err = pgx.ForEachRow(rows, []any{&name, &value, &source, &file}, func() error {
			switch {
			case postgres.IsRecoveryGUC(name):
				if file == s.confFile() || source == "command line" {
					recovery[name] = value
				}
			case postgres.IsControlledGUC(name), source == "command line", strings.HasPrefix(source, "environment"), file == s.confFile():
				adopted[name] = value
			}
			return nil
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("read settings in force: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.postmaster != p || s.deed != "" {
		return nil // overtaken: what is done now knows better
	}
	s.settingsOf, s.adopted, s.listening = p, adopted, adopted["listen_addresses"]
	// A promoted primary still has them in its file. Taking them out of it
	// would make the server complain that they need a restart.
	s.recovery = recovery
	return nil
}

// adoptLate reads the settings of a server that did not answer when it was
// found, or was started behind our back.
func (s *Server) adoptLate(ctx context.Context) {
	s.mu.Lock()
	known := s.settingsOf == s.postmaster || s.deed != ""
	s.mu.Unlock()
	if known {
		return
	}
	if err := s.adoptSettings(ctx); err != nil {
		s.log.Warn("settings of a server found running", "err", err)
	}
}

// AdoptedSettings are the settings a server found running was given, by name
// in lower case; nil once this process has started it itself. The agent
// compares them with the configuration and says what a restart would change.
func (s *Server) AdoptedSettings() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.adopted
}
