package agent

import (
	"fmt"
	"maps"
	"slices"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// What of the settings depends on the server at hand: its version, its role,
// and what it cannot change while the agent runs.

// SetServer tells for which PostgreSQL the settings are written: its major
// version and what `postgres --describe-config` lists (nil: not known).
// Called once the data directory has been looked at.
func (s *settings) SetServer(major int, described map[string]postgres.SettingInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if major != 0 && (major != s.facts.MajorVersion || len(described) != len(s.facts.Described)) {
		s.facts.MajorVersion, s.facts.Described = major, described
		s.merge()
	}
}

// roleSections are the roles that have sections of their own (config contract 4.3).
var roleSections = map[postgres.Role]string{
	postgres.RolePrimary: "primary", postgres.RolePromoted: "primary",
	postgres.RoleReplica: "replica", postgres.RoleDemoted: "replica",
	postgres.RoleStandbyLeader: "standby_leader",
}

// SetRole puts the sections of a role in force (parameters_<role>,
// pg_hba_<role>, pg_ident_<role>): before PostgreSQL is started in it, and
// after each cycle. There is something to apply only if the result differs. A
// role without sections changes nothing.
func (s *settings) SetRole(role postgres.Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	section := roleSections[role]
	if section == "" || section == s.facts.Role {
		return
	}
	before := s.eff
	s.facts.Role = section
	s.merge()
	if !sameFiles(before, s.eff) {
		s.log.Info("the sections of the configuration for the role " + section + " take effect")
		s.byRole = s.byRole || !s.dirty && !s.reload
		s.dirty = true
	}
}

// sameFiles says whether both make the same configuration files.
func sameFiles(a, b config.Effective) bool {
	return maps.Equal(a.Parameters, b.Parameters) && maps.Equal(a.Recovery, b.Recovery) &&
		slices.Equal(a.PgHBA, b.PgHBA) && slices.Equal(a.PgIdent, b.PgIdent)
}

// Fix keeps from now on what only a restart of the agent may change, though
// the dynamic configuration can hold it (config contract 4.1): a running
// server would not be found again under another configuration file.
func (s *settings) Fix() {
	s.mu.Lock()
	defer s.mu.Unlock()
	eff := s.eff
	s.fixed = &eff
}

// keepFixed undoes changes of those keys. Called with mu held.
func (s *settings) keepFixed() {
	if s.fixed == nil {
		return
	}
	for _, k := range []struct {
		key  string
		was  string
		here *string
	}{
		{"postgresql.config_base_name", s.fixed.ConfigBaseName, &s.eff.ConfigBaseName},
		{"postgresql.bin_dir", s.fixed.BinDir, &s.eff.BinDir},
		{"postgresql.database", s.fixed.Database, &s.eff.Database},
	} {
		if *k.here != k.was {
			s.warnOnce(fmt.Sprintf("%s changed from %q to %q: it takes effect when the agent is restarted", k.key, k.was, *k.here))
			*k.here = k.was
		}
	}
}
