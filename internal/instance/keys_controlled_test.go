package instance

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgha/internal/postgres"
)

// Every controlled parameter: from the dynamic configuration only, pending
// until the restart, then in force and out of ALTER SYSTEM's reach. Subtests
// are named after the keys (config contract 5.1, 6.2).
func TestControlledParameters(t *testing.T) {
	t.Parallel()
	k := newKeyed(t)
	cases := []struct {
		guc, value, want string // value: as JSON; want: as SHOW prints it
		pending          bool
	}{
		{"wal_level", `"LOGICAL"`, "logical", true},
		{"max_connections", `"37"`, "37", true},
		{"max_wal_senders", `7`, "7", true},
		{"max_prepared_transactions", `3`, "3", true},
		{"max_locks_per_transaction", `70`, "70", true},
		{"max_worker_processes", `6`, "6", true},
		{"max_replication_slots", `"0x6"`, "6", true},
		{"track_commit_timestamp", `true`, "on", true},
		{"wal_log_hints", `"off"`, "off", true},
		{"wal_keep_size", `"48MB"`, "48MB", false},
		{"hot_standby", `"off"`, "on", false},                  // not accepted
		{"cluster_name", `"other"`, "demo", false},             // the scope
		{"listen_addresses", `"0.0.0.0"`, "127.0.0.1", false},  // postgresql.listen
		{"port", `1`, k.show("port"), false},                   // postgresql.listen
		{"wal_keep_segments", `5`, "", false},                  // see below
		{"shared_buffers", `"24MB"`, "16MB", false},            // the baseline's local value wins
		{"max_pred_locks_per_transaction", `100`, "100", true}, // not controlled, postmaster's all the same
	}
	var pairs, local []string
	for _, c := range cases {
		if c.guc != "wal_keep_segments" {
			pairs = append(pairs, `"`+c.guc+`":`+c.value)
		}
		if postgres.IsControlledGUC(c.guc) {
			local = append(local, c.guc+": 55") // dropped: all members must agree
		}
	}
	k.use("parameters: {"+strings.Join(local, ", ")+"}\n", `{"parameters":{`+strings.Join(pairs, ",")+`}}`)
	before := map[string]string{}
	for _, c := range cases {
		if c.guc != "wal_keep_segments" {
			before[c.guc] = k.show(c.guc)
		}
	}
	pending := k.reload().Pending
	for _, c := range cases {
		t.Run("postgresql.parameters."+c.guc, func(t *testing.T) {
			p, waits := pending[c.guc]
			if waits != c.pending || waits && (p.Old != before[c.guc] || p.New != c.want && p.New != "on" && p.New != "0x6") {
				t.Errorf("before the restart: %+v, was %s", p, before[c.guc])
			}
		})
	}
	k.restart(StartOptions{Role: postgres.RolePrimary})
	if len(k.Pending()) != 0 {
		t.Errorf("pending after the restart: %v", k.Pending())
	}
	k.sql("ALTER SYSTEM SET max_connections = 90")
	k.sql("ALTER SYSTEM SET wal_level = minimal")
	if a, err := k.ApplyConfig(within(t, 20*time.Second), true); err != nil || len(a.Pending) != 0 {
		t.Errorf("ALTER SYSTEM of what is on the command line: %v, %v", a.Pending, err)
	}
	k.restart(StartOptions{Role: postgres.RolePrimary})
	args := k.commandLine()
	for _, c := range cases {
		t.Run("postgresql.parameters."+c.guc, func(t *testing.T) {
			if c.guc == "wal_keep_segments" {
				k.use("", `{"parameters":{"wal_keep_segments":"5"}}`)
				k.reload()
				if got := k.show("wal_keep_size"); got != "80MB" {
					t.Errorf("wal_keep_size = %s", got)
				}
				return
			}
			if got := k.show(c.guc); got != c.want {
				t.Errorf("%s = %s, want %s", c.guc, got, c.want)
			}
			onLine := slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--"+c.guc+"=") })
			if want := postgres.IsControlledGUC(c.guc) && c.guc != "wal_keep_size"; onLine != want {
				t.Errorf("on the command line: %v (%v)", onLine, args)
			}
		})
	}
}

func (k *keyed) commandLine() []string {
	k.t.Helper()
	p, _ := k.findPostmaster()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
	must(k.t, err)
	return strings.Split(string(b), "\x00")
}

// The rows of config contract 6.2 that TestControlledParameters leaves.
func TestPendingRestart(t *testing.T) {
	t.Parallel()
	k := newKeyed(t)
	pending := func(force bool) map[string]postgres.Change {
		t.Helper()
		a, err := k.ApplyConfig(within(t, 20*time.Second), force)
		must(t, err)
		return a.Pending
	}
	is := func(what string, got map[string]postgres.Change, name, old, next string) {
		t.Helper()
		if len(got) != 1 || got[name] != (postgres.Change{Old: old, New: next}) {
			t.Errorf("%s: %v, want %s: %s -> %s", what, got, name, old, next)
		}
	}
	k.use("parameters: {shared_buffers: 4096}\n", "") // in blocks of 8 kB
	is("units of people", pending(false), "shared_buffers", "16MB", "32MB")
	k.use("", "")
	if got := pending(false); len(got) != 0 {
		t.Errorf("taken back: %v", got)
	}
	k.use("parameters: {wal_buffers: -1}\n", "")
	if got := pending(false); len(got) != 0 {
		t.Errorf("wal_buffers = -1 is what runs: %v", got)
	}
	k.use("parameters: {wal_buffers: 1MB}\n", "")
	is("wal_buffers", pending(false), "wal_buffers", "512kB", "1MB")
	k.use("parameters: {max_files_per_process: 900, my.own: 1}\n", "")
	is("a new one", pending(false), "max_files_per_process", "1000", "900")
	k.restart(StartOptions{Role: postgres.RolePrimary})
	if len(k.Pending()) != 0 || k.show("max_files_per_process") != "900" || k.show("my.own") != "1" {
		t.Errorf("after the restart: pending %v, %s, %s", k.Pending(), k.show("max_files_per_process"), k.show("my.own"))
	}
	k.use("parameters: {my.own: 2}\n", "")
	is("removed from the configuration", pending(false), "max_files_per_process", "900", "1000")
	if got := k.show("my.own"); got != "2" {
		t.Errorf("a custom one: %s", got)
	}
	k.use("parameters: {max_files_per_process: 900, my.own: 2}\n", "")
	// Beside the configuration, against it, and back (contract: pitfalls.md 151, 152).
	k.sql("ALTER SYSTEM SET shared_buffers = '24MB'")
	is("ALTER SYSTEM on what is configured", pending(true), "shared_buffers", "16MB", "24MB")
	second := k.open() // an agent that finds it so
	l, eff, dyn := k.values()
	second.SetLocal(l)
	second.Configure(eff, dyn)
	if _, err := second.Adopt(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	if a, err := second.ApplyConfig(within(t, 20*time.Second), false); err != nil || a.Pending["shared_buffers"].New != "24MB" {
		t.Errorf("found running: %+v, %v", a, err)
	}
	k.sql("ALTER SYSTEM RESET shared_buffers")
	if got := pending(true); len(got) != 0 {
		t.Errorf("reset: %v", got)
	}
	// Recovery settings do not belong there, and are no pending restart.
	k.sql("ALTER SYSTEM SET recovery_min_apply_delay = '9s'")
	k.sql("ALTER SYSTEM SET work_mem = '9MB'")
	if got := pending(true); len(got) != 0 {
		t.Errorf("recovery settings: %v", got)
	}
	if auto := readAll(t, filepath.Join(k.dataDir(), "postgresql.auto.conf")); strings.Contains(auto, "recovery_min") || !strings.Contains(auto, "work_mem = '9MB'") {
		t.Errorf("postgresql.auto.conf:\n%s", auto)
	}
}

// The environment of the postmaster (config contract 3.1).
func TestPostmasterEnvironment(t *testing.T) {
	for _, kv := range []string{"PATRONI_NAME=x", "KUBERNETES_PORT=1", "NOTIFY_SOCKET=/x", "PG_MALLOC_ARENA_MAX=1", "KEPT=yes"} {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	k := newKeyed(t)
	env := k.environ()
	if !slices.Contains(env, "MALLOC_ARENA_MAX=1") || !slices.Contains(env, "KEPT=yes") {
		t.Errorf("missing: %v", env)
	}
	for _, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PATRONI_") || strings.HasPrefix(name, "KUBERNETES_") || name == "NOTIFY_SOCKET" || name == "PG_MALLOC_ARENA_MAX" {
			t.Errorf("%s reached PostgreSQL", name)
		}
	}
}
