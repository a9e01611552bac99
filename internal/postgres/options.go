package postgres

import (
	"slices"
	"strings"
)

// Tool is a program that takes options from the configuration.
type Tool string

const (
	ToolInitDB     Tool = "initdb"
	ToolBaseBackup Tool = "pg_basebackup"
	ToolRewind     Tool = "pg_rewind"
)

// forbiddenOptions are pgha's own to set (contract: config.md 3.6, 4.3).
var forbiddenOptions = map[Tool][]string{
	ToolInitDB: {"pgdata", "nosync", "pwfile", "sync-only", "version"},
	ToolBaseBackup: {"pgdata", "format", "wal-method", "xlog-method", "gzip", "version", "dbname", "host",
		"port", "username", "password"},
	ToolRewind: {"target-pgdata", "source-pgdata", "source-server", "write-recovery-conf", "dry-run",
		"restore-target-wal", "config-file", "no-ensure-shutdown", "version", "help"},
}

// RejectedOption is an option that is not passed on.
type RejectedOption struct {
	Option string // with its value
	Reason string
}

// FilterOptions takes the options that would break the tool's run out of a
// list of --name[=value]. The caller logs rejected ones as errors and goes on;
// a bootstrap by initdb is aborted instead. v is the tool's version.
func FilterOptions(tool Tool, options []string, v Version) (kept []string, rejected []RejectedOption) {
	for _, option := range options {
		if reason := rejectReason(tool, option, v); reason != "" {
			rejected = append(rejected, RejectedOption{option, reason})
			continue
		}
		kept = append(kept, option)
	}
	return kept, rejected
}

func rejectReason(tool Tool, option string, v Version) string {
	name, long := strings.CutPrefix(option, "--")
	name, value, _ := strings.Cut(name, "=")
	if !long || name == "" {
		return "not an option of the form --name[=value]"
	}
	if tool == ToolBaseBackup && strings.HasPrefix("compress", name) {
		return compressReason(value, v)
	}
	// getopt_long accepts any unique beginning of a name.
	abbreviates := func(forbidden string) bool { return strings.HasPrefix(forbidden, name) }
	if i := slices.IndexFunc(forbiddenOptions[tool], abbreviates); i >= 0 {
		return "option --" + forbiddenOptions[tool][i] + " of " + string(tool) + " is not allowed"
	}
	return ""
}

func compressReason(value string, v Version) string {
	switch {
	case v.Major() < 15:
		return "option --compress of pg_basebackup is not allowed before PostgreSQL 15"
	case !strings.HasPrefix(value, "server-"):
		return "option --compress of pg_basebackup is allowed with server-* methods only"
	}
	return ""
}
