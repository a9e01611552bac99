package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// ControlledGUC is a parameter that all members must agree on: only the
// dynamic configuration sets it, its value is always written, and (but for
// wal_keep_*) passed on the postmaster's command line (contract: config.md 5.1).
type ControlledGUC struct {
	Name    string
	Default string
	// Accepted says in words what check lets through.
	Accepted      string
	OnCommandLine bool
	check         func(v any) (text string, ok bool)
}

var controlledGUCs = []ControlledGUC{
	{"wal_level", "replica", "replica, logical (or hot_standby, the old name of replica)", true, walLevel},
	{"hot_standby", "on", "true", true, func(v any) (string, bool) { b, ok := boolean(v); return "on", ok && b }},
	{"max_connections", "100", "25 to 262143", true, between(25, maxBackends, "")},
	{"max_wal_senders", "10", "3 to 262143", true, between(3, maxBackends, "")},
	{"max_prepared_transactions", "0", "0 to 262143", true, between(0, maxBackends, "")},
	{"max_locks_per_transaction", "64", "32 to 2147483647", true, between(32, math.MaxInt32, "")},
	{"max_worker_processes", "8", "2 to 262143", true, between(2, maxBackends, "")},
	{"max_replication_slots", "10", "4 to 262143", true, between(4, maxBackends, "")},
	{"track_commit_timestamp", "off", "a boolean", true, anyBoolean},
	{"wal_log_hints", "on", "a boolean", true, anyBoolean},
	{"wal_keep_size", "128MB", "at least 16MB", false, between(16, math.MaxInt32, "MB")},
	{"wal_keep_segments", "8", "an integer of at least 1", false, between(1, math.MaxInt32/segmentMB, "")},
}

// ControlledGUCs returns the table, in the order of the contract.
func ControlledGUCs() []ControlledGUC { return slices.Clone(controlledGUCs) }

// CommandLineParameters names the parameters that are also passed to the
// postmaster as --name=value, so that ALTER SYSTEM cannot change them.
func CommandLineParameters() []string {
	names := []string{"listen_addresses", "port", "cluster_name"}
	for _, g := range controlledGUCs {
		if g.OnCommandLine {
			names = append(names, g.Name)
		}
	}
	return names
}

// controlledGUC finds a parameter by its name in any letter case.
func controlledGUC(name string) (ControlledGUC, bool) {
	name = strings.ToLower(name)
	i := slices.IndexFunc(controlledGUCs, func(g ControlledGUC) bool { return g.Name == name })
	if i < 0 {
		return ControlledGUC{}, false
	}
	return controlledGUCs[i], true
}

func walLevel(v any) (string, bool) {
	s, _ := v.(string)
	switch strings.ToLower(s) {
	case "hot_standby", "replica":
		return "replica", true
	case "logical":
		return "logical", true
	}
	return "", false
}

// maxBackends is PostgreSQL's own limit. The reference checks minima only; a
// value that no server accepts would keep every member from starting.
const maxBackends = 262143

// between accepts integers; those without a unit are written as a number.
func between(minimum, maximum int64, unit string) func(any) (string, bool) {
	return func(v any) (string, bool) {
		i, ok := integer(v, unit)
		if !ok || i < minimum || i > maximum {
			return "", false
		}
		if _, plain := integer(v, ""); plain {
			return fmt.Sprint(i), true
		}
		return strings.TrimSpace(pyText(v)), true
	}
}

func anyBoolean(v any) (string, bool) {
	b, ok := boolean(v)
	if !ok {
		return "", false
	}
	return gucText(b)
}

// segmentMB is the segment size that the conversion of wal_keep_segments assumes.
const segmentMB = 16

// controlledValues gives every controlled parameter its value from the
// dynamic ones (names in lower case). All supported servers are 13 or newer,
// so wal_keep_segments is turned into wal_keep_size.
func controlledValues(dynamic map[string]any) (values map[string]string, findings []Finding) {
	values = map[string]string{}
	for _, g := range controlledGUCs {
		values[g.Name] = g.Default
		given, set := dynamic[g.Name]
		if !set || given == nil {
			delete(dynamic, g.Name)
			continue
		}
		text, ok := g.check(given)
		if !ok {
			delete(dynamic, g.Name)
			findings = append(findings, Finding{
				Path:    "postgresql.parameters." + g.Name,
				Message: fmt.Sprintf("%v is not accepted, %s is used", given, g.Default),
				Remedy:  "set " + g.Accepted,
			})
			continue
		}
		values[g.Name] = text
	}
	if dynamic["wal_keep_size"] == nil && dynamic["wal_keep_segments"] != nil {
		segments, _ := integer(dynamic["wal_keep_segments"], "") // checked above
		values["wal_keep_size"] = fmt.Sprintf("%dMB", segments*segmentMB)
	}
	delete(values, "wal_keep_segments")
	return values, findings
}
