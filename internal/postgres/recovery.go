package postgres

import (
	"maps"
	"strings"
)

// RecoveryInput is what a standby's recovery section is made of (contract:
// config.md 5.4, second table).
type RecoveryInput struct {
	Version  Version
	Base     map[string]string // recovery_conf, as configured
	Conninfo string            // FormatConninfo's result; empty: nobody to follow
	Slot     string            // primary_slot_name; empty: none, and never without Conninfo
	// Overrides come from standby_cluster: restore_command,
	// archive_cleanup_command and, for the standby leader alone,
	// recovery_min_apply_delay. Empty values do not count.
	Overrides map[string]string
}

// RecoveryParameters are the recovery GUCs of a server that follows the latest
// timeline as a standby. Targets of recovery_conf are dropped, and those an
// included file may set are neutralised with empty values. The server needs
// standby.signal beside them.
func RecoveryParameters(in RecoveryInput) map[string]string {
	base := map[string]string{}
	for name, value := range in.Base {
		name = strings.ToLower(name)
		switch {
		case strings.HasPrefix(name, "recovery_target"), name == "pause_at_recovery_target",
			name == "primary_conninfo", name == "primary_slot_name", name == "standby_mode":
		default:
			base[name] = value
		}
	}
	params := TranslateRecovery(base, in.Version)
	params["recovery_target_timeline"] = "latest"
	for _, target := range []string{"", "_name", "_time", "_xid", "_lsn"} {
		params["recovery_target"+target] = ""
	}
	if in.Conninfo != "" {
		params["primary_conninfo"] = in.Conninfo
		if in.Slot != "" {
			params["primary_slot_name"] = in.Slot
		}
	}
	for name, value := range in.Overrides {
		if value != "" {
			params[name] = value
		}
	}
	return params
}

// TranslateRecovery gives recovery parameters the names that version knows:
// trigger_file and promote_trigger_file become each other's successor and are
// dropped from 16 on, pause_at_recovery_target becomes recovery_target_action,
// standby_mode vanishes (StandbySignal). Names come out in lower case.
func TranslateRecovery(params map[string]string, v Version) map[string]string {
	result := map[string]string{}
	for name, value := range params {
		result[strings.ToLower(name)] = value
	}
	if file, ok := result["trigger_file"]; ok {
		if _, own := result["promote_trigger_file"]; !own {
			result["promote_trigger_file"] = file
		}
	}
	if pause, ok := result["pause_at_recovery_target"]; ok {
		if _, own := result["recovery_target_action"]; !own {
			result["recovery_target_action"] = "promote"
			if on, valid := ParseBool(pause); valid && on {
				result["recovery_target_action"] = "pause"
			}
		}
	}
	maps.DeleteFunc(result, func(name, _ string) bool { return !recoveryGUCIn(name, v) })
	return result
}

// recoveryGUCIn says whether postgresql.conf of that version may name the
// recovery parameter; writing another one keeps the server from starting.
func recoveryGUCIn(name string, v Version) bool {
	switch strings.ToLower(name) {
	case "trigger_file", "pause_at_recovery_target", "standby_mode":
		return false
	case "promote_trigger_file":
		return v.Major() < 16
	}
	return true
}

// StandbySignal says which signal file a custom bootstrap's recovery_conf asks
// for: standby.signal when it contains a true standby_mode, else recovery.signal
// (contract: config.md 3.6).
func StandbySignal(recoveryConf map[string]string) string {
	if mode, ok := lookupGUC(recoveryConf, "standby_mode"); ok {
		if on, valid := ParseBool(mode); valid && on {
			return "standby.signal"
		}
	}
	return "recovery.signal"
}
