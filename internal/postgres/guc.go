package postgres

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// controlledGUCs are decided by pgha alone (contract: config.md 5.1). All of
// them exist in every supported version; wal_keep_segments was renamed in 13.
var controlledGUCs = []string{
	"cluster_name", "hot_standby", "listen_addresses", "max_connections", "max_locks_per_transaction",
	"max_prepared_transactions", "max_replication_slots", "max_wal_senders", "max_worker_processes",
	"port", "track_commit_timestamp", "wal_keep_size", "wal_level", "wal_log_hints",
}

// ControlledGUCs lists the parameters pgha alone decides, sorted.
func ControlledGUCs() []string { return slices.Clone(controlledGUCs) }

// IsControlledGUC says whether pgha alone decides the parameter; letter case
// does not count.
func IsControlledGUC(name string) bool {
	name = strings.ToLower(name)
	return name == "wal_keep_segments" || slices.Contains(controlledGUCs, name)
}

// CommandLineOptions are the postmaster's arguments for the controlled GUCs,
// --name=value, sorted, so that ALTER SYSTEM cannot change them. wal_keep_size
// is not among them: it needs no restart and may be changed by a reload.
func CommandLineOptions(params map[string]string) []string {
	var args []string
	for _, name := range controlledGUCs {
		if value, ok := lookupGUC(params, name); ok && name != "wal_keep_size" {
			args = append(args, "--"+name+"="+value)
		}
	}
	return args
}

// lookupGUC finds a parameter whatever its letter case.
func lookupGUC(params map[string]string, name string) (string, bool) {
	if value, ok := params[name]; ok {
		return value, true
	}
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if strings.EqualFold(key, name) {
			return params[key], true
		}
	}
	return "", false
}

// recoveryGUCs are the parameters that lived in recovery.conf before 12
// (contract: config.md 5.2).
var recoveryGUCs = []string{
	"archive_cleanup_command", "pause_at_recovery_target", "primary_conninfo", "primary_slot_name",
	"promote_trigger_file", "recovery_end_command", "recovery_min_apply_delay", "recovery_target",
	"recovery_target_action", "recovery_target_inclusive", "recovery_target_lsn", "recovery_target_name",
	"recovery_target_time", "recovery_target_timeline", "recovery_target_xid", "restore_command",
	"standby_mode", "trigger_file",
}

// RecoveryGUCs lists the recovery parameters, old and new names, sorted.
func RecoveryGUCs() []string { return slices.Clone(recoveryGUCs) }

// IsRecoveryGUC says whether the parameter belongs to recovery and so never in
// the general part of postgresql.conf; letter case does not count.
func IsRecoveryGUC(name string) bool { return slices.Contains(recoveryGUCs, strings.ToLower(name)) }

// standbyMinimums must not be lower on a standby than on its primary, or the
// standby does not start (contract: config.md 6.3).
var standbyMinimums = []string{
	"max_connections", "max_locks_per_transaction", "max_prepared_transactions",
	"max_wal_senders", "max_worker_processes",
}

// StandbyMinimumGUCs lists the parameters a standby must not have lower than
// its primary, sorted.
func StandbyMinimumGUCs() []string { return slices.Clone(standbyMinimums) }

// Change is a parameter's value in force and the one that waits for a restart,
// as published under pending_restart_reason.
type Change struct {
	Old string // in force
	New string // configured
}

// StandbyMinimums raises the parameters of a server started as a standby to
// what its pg_control says the primary had: adjusted is params with the larger
// values, pending what was raised (a pending restart until the configuration is
// raised, or the primary is lowered), missing the parameters pg_control did not
// tell, for which the configuration stands (contract: config.md 6.3).
func StandbyMinimums(params map[string]string, c ControlData) (adjusted map[string]string, pending map[string]Change, missing []string) {
	adjusted, pending = maps.Clone(params), map[string]Change{}
	if adjusted == nil {
		adjusted = map[string]string{}
	}
	for _, name := range standbyMinimums {
		required, err := strconv.Atoi(c.Settings[name])
		if err != nil {
			missing = append(missing, name)
			continue
		}
		configured, ok := lookupGUC(params, name)
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSpace(configured)); err == nil && n < required {
			adjusted[name] = c.Settings[name]
			pending[name] = Change{Old: c.Settings[name], New: configured}
		}
	}
	return adjusted, pending, missing
}
