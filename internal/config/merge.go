package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"pgha/internal/postgres"
)

// ServerFacts is what of the server the merge depends on.
type ServerFacts struct {
	MajorVersion int // of the data directory, e.g. 17; 0: unknown, taken as the newest
	// Role chooses the role-specific sections (parameters_primary, ...):
	// primary, replica, standby_leader; empty: none.
	Role string
	// Described is what the installed server says of its parameters
	// (postgres --describe-config); nil: not asked, and no name is unexpected.
	Described map[string]postgres.SettingInfo
}

// newestMajor is assumed while the version is not known.
const newestMajor = 18

// RecoveryGUCs are moved from parameters to Recovery (contract: config.md 5.2).
var RecoveryGUCs = []string{
	"archive_cleanup_command", "pause_at_recovery_target", "primary_conninfo", "primary_slot_name",
	"promote_trigger_file", "recovery_end_command", "recovery_min_apply_delay", "recovery_target",
	"recovery_target_action", "recovery_target_inclusive", "recovery_target_lsn", "recovery_target_name",
	"recovery_target_time", "recovery_target_timeline", "recovery_target_xid", "restore_command",
	"standby_mode", "trigger_file",
}

// Merge layers the dynamic and the local postgresql section over the
// defaults (contract: config.md 1.2). Everything ignored is a finding. It has
// no effects and reads nothing but its arguments.
func Merge(local *Local, dyn Dynamic, server ServerFacts) Effective {
	unknown := server.MajorVersion == 0
	if unknown {
		server.MajorVersion = newestMajor
	}
	m := &merger{
		versionUnknown: unknown,
		local:          local,
		localPG:        local.root().Lookup("postgresql"),
		dynPG:          nodeOf(mapAt(dyn.accepted(), "postgresql")),
		dyn:            dyn, server: server,
	}
	m.programs()
	m.behaviour()
	m.replicaMethods()
	m.parameters()
	m.files()
	return m.out
}

// merger is one run of Merge.
type merger struct {
	local          *Local
	localPG, dynPG *Node
	dyn            Dynamic
	server         ServerFacts
	versionUnknown bool // MajorVersion is a guess
	out            Effective
}

func (m *merger) find(path, message, remedy string) {
	f := Finding{Path: "postgresql." + path, Message: message, Remedy: remedy}
	if m.localPG.Lookup(strings.Split(path, ".")...) != nil {
		if pos, ok := m.local.position(f.Path); ok {
			f.File, f.Line, f.Column = pos.File, pos.Line, pos.Column
		}
	}
	m.out.Findings = append(m.out.Findings, f)
}

// entry finds the map that holds the key in force: the local one replaces the
// dynamic one completely. A value of the wrong type counts as absent
// (checkDynamic has said so; a local one does not get here).
func (m *merger) entry(key string) *Node {
	schema, _ := find(postgresqlKeys, key)
	for _, layer := range []struct {
		node *Node
		from Origin
	}{{m.localPG, FromLocal}, {m.dynPG, FromDynamic}} {
		value := layer.node.Lookup(key)
		if value == nil || schema.From&layer.from == 0 {
			continue
		}
		if value.IsNull() {
			return nil // an explicit null hides the other layer
		}
		if mismatch(value, schema.Kind) == "" {
			return &Node{Kind: MapNode, Fields: []Field{{Key: key, Value: value}}}
		}
	}
	return nil
}

func (m *merger) text(key, def string) string {
	if s := m.entry(key).text(key); s != "" {
		return s
	}
	return def
}

// boolean reads on/off as text too, and says so: the reference takes any text
// for true.
func (m *merger) boolean(key string) bool {
	n := m.entry(key)
	if s, isText := n.Lookup(key).Value().(string); isText {
		if b := n.boolean(key, false); !b {
			m.find(key, fmt.Sprintf("the text %q is read as false; Patroni takes it for true", s), "write it without quotes")
		}
	}
	return n.boolean(key, false)
}

func (m *merger) programs() {
	m.out.BinDir = m.text("bin_dir", "")
	m.out.BinName = m.entry("bin_name").textMap("bin_name")
	m.out.ConfigBaseName = m.text("config_base_name", "postgresql")
	m.out.CustomConf = m.text("custom_conf", "")
	m.out.Database = m.text("database", "postgres")
	m.out.KrbSrvName = m.text("krbsrvname", "")
}

func (m *merger) behaviour() {
	m.out.UseUnixSocket = m.boolean("use_unix_socket")
	m.out.UseUnixSocketRepl = m.boolean("use_unix_socket_repl")
	m.out.UsePgRewind = m.boolean("use_pg_rewind")
	if m.localPG.Lookup("authentication").IsNull() && m.localPG.Lookup("replication") != nil {
		m.out.UsePgRewind = m.localPG.Lookup("pg_rewind") != nil // the legacy meaning
	}
	m.out.RemoveDataDirectoryOnRewindFailure = m.boolean("remove_data_directory_on_rewind_failure")
	m.out.RemoveDataDirectoryOnDivergedTL = m.boolean("remove_data_directory_on_diverged_timelines")
	m.out.PgCtlTimeout = m.pgCtlTimeout()
	m.out.Callbacks = m.entry("callbacks").textMap("callbacks")
	m.out.PrePromote = m.text("pre_promote", "")
	m.out.BeforeStop = m.text("before_stop", "")
	m.out.RewindOptions = m.options("rewind", rewindRules)
	m.out.BaseBackupOptions = m.options("basebackup", baseBackupRules(m.server.MajorVersion))
}

// pgCtlTimeout: 0 or null is no wait, what is no number the default.
func (m *merger) pgCtlTimeout() time.Duration {
	const def = 60 * time.Second
	for _, layer := range []*Node{m.localPG, m.dynPG} {
		n := layer.Lookup("pg_ctl_timeout")
		if n == nil {
			continue
		}
		if n.IsNull() {
			return 0
		}
		if f, isFloat := n.Scalar.(float64); isFloat && f >= 0 && f < 1e9 {
			return time.Duration(f * float64(time.Second))
		}
		if i, ok := integer(n.Value(), ""); ok && i >= 0 && i < 1e9 {
			return time.Duration(i) * time.Second
		}
		m.find("pg_ctl_timeout", "not a number of seconds: 60 is used", "")
		return def
	}
	return def
}

func (m *merger) options(key string, rules optionRules) []string {
	args, problems := rules.arguments(m.entry(key).Lookup(key))
	for _, err := range problems {
		m.find(key, err.Error()+"; skipped", "")
	}
	return args
}

// replicaMethods settles the order of methods and each one's own section. In
// a standby cluster its own list replaces the other, also when absent.
func (m *merger) replicaMethods() {
	methods := m.entry("create_replica_methods").texts("create_replica_methods")
	if len(methods) == 0 {
		methods = m.entry("create_replica_method").texts("create_replica_method")
	}
	if m.dyn.StandbyCluster != nil {
		methods = m.dyn.StandbyCluster.CreateReplicaMethods
	}
	if len(methods) == 0 {
		methods = []string{"basebackup"}
	}
	m.out.CreateReplicaMethods = methods
	m.out.Methods = map[string]map[string]any{}
	for _, name := range methods {
		if name == "basebackup" {
			continue
		}
		own := m.dynPG.mapOf(name)
		if m.localPG.Lookup(name) != nil {
			own = m.localPG.mapOf(name)
		}
		if own == nil {
			own = map[string]any{}
		}
		m.out.Methods[name] = own
	}
}

// files settles pg_hba.conf and pg_ident.conf: managed when lines are given
// and the user has named no file of his own.
func (m *merger) files() {
	m.out.PgHBA = m.lines("pg_hba")
	m.out.PgIdent = m.lines("pg_ident")
	m.out.HBAFileCustom = m.file("hba_file", "pg_hba.conf", &m.out.PgHBA)
	m.out.IdentFileCustom = m.file("ident_file", "pg_ident.conf", &m.out.PgIdent)
}

func (m *merger) lines(key string) []string {
	if m.server.Role != "" {
		if own := key + "_" + m.server.Role; len(m.entry(own).texts(own)) > 0 {
			key = own
		}
	}
	if lines := m.entry(key).texts(key); len(lines) > 0 {
		return lines
	}
	return nil
}

// file settles one of the two GUCs; relative values lie in the configuration
// directory, and the default path is not custom.
func (m *merger) file(guc, base string, lines *[]string) (custom bool) {
	own := filepath.Join(m.local.PostgreSQL.ConfigDir, base)
	named := m.out.Parameters[guc]
	if named == "" {
		m.out.Parameters[guc] = own
		return false
	}
	if !filepath.IsAbs(named) {
		named = filepath.Join(m.local.PostgreSQL.ConfigDir, named)
	}
	m.out.Parameters[guc] = named
	if filepath.Clean(named) == own {
		return false
	}
	if *lines != nil {
		key := strings.TrimSuffix("pg_"+guc, "_file")
		m.find(key, "not written: "+guc+" names a file of its own, "+named, "remove one of the two")
		*lines = nil
	}
	return true
}
