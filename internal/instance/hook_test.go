package instance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/postgres"
)

// script writes an executable shell script.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o755))
	return name
}

// pidsIn reads the process ids a script has written, once there are n.
func pidsIn(t *testing.T, file string, n int) []int {
	t.Helper()
	var pids []int
	until(t, fmt.Sprintf("%d pids in %s", n, file), func() (bool, any) {
		text, _ := os.ReadFile(file)
		pids = nil
		for _, f := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
		return len(pids) == n, string(text)
	})
	return pids
}

func gone(t *testing.T, pids []int) {
	t.Helper()
	until(t, fmt.Sprintf("processes %v are gone", pids), func() (bool, any) {
		for _, pid := range pids {
			if p, err := identify(pid); err == nil && p.alive() {
				return false, pid
			}
		}
		return true, nil
	})
}

// A callback that is ended takes its children with it, also those in a session
// of their own, and gets no time for it (contract: ha-behaviour.md 21).
func TestCallbackIsKilledWithItsChildren(t *testing.T) {
	s, _ := bare(t)
	pids := filepath.Join(t.TempDir(), "pids")
	command := script(t, `trap "" TERM
setsid sh -c 'echo $$ >> `+pids+`; sleep 1000 & echo $! >> `+pids+`; wait' &
echo $$ >> `+pids+`
wait
`)
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.RunCallback(ctx, command, []string{"on_start"}, func(string) {}) }()
	all := pidsIn(t, pids, 3)
	end()
	select {
	case err := <-done:
		if err == nil {
			t.Error("a killed callback ended well")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the callback was not killed")
	}
	gone(t, all)
}

// The output of a callback comes line by line, in the order written.
func TestCallbackOutput(t *testing.T) {
	s, _ := bare(t)
	var mu sync.Mutex
	var said []string
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	t.Setenv("PATRONI_NAME", "x")
	err := s.RunCallback(context.Background(), script(t, `echo "one $*"; echo two >&2; echo "three$NOTIFY_SOCKET$PATRONI_NAME"; printf 'no end'; exit 3`)+` "a b"`,
		[]string{"on_stop", "primary", "demo"}, func(line string) { mu.Lock(); said = append(said, line); mu.Unlock() })
	if want := []string{"one a b on_stop primary demo", "two", "three", "no end"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v", err)
	}
}

// A line without end is handed over in pieces, not kept.
func TestEndlessLine(t *testing.T) {
	got := 0
	w := &lineWriter{onLine: func(line string) { got += len(line) }}
	for range 100 {
		_, _ = w.Write(make([]byte, 10_000))
	}
	if got < 900_000 || len(w.buf) > longLine {
		t.Errorf("%d bytes handed over, %d kept", got, len(w.buf))
	}
}

func beforeStopServer(t *testing.T, command string) *Server {
	s, _ := bare(t)
	s.Configure(config.Effective{BeforeStop: command}, config.Dynamic{})
	return s
}

// before_stop is ended when the lease leaves no more time, which moves while
// it is renewed; its exit code does not count.
func TestBeforeStopEndsWithTheLease(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	s := beforeStopServer(t, script(t, "trap '' TERM; echo $$ > "+pids+"; sleep 1000"))
	start := s.clock.Now()
	renewed := func() clock.Instant { // once: as if etcd fell silent then
		if s.clock.Now().Sub(start) < 100*time.Millisecond {
			return start.Add(200 * time.Millisecond)
		}
		return start.Add(600 * time.Millisecond)
	}
	s.beforeStop(within(t, 20*time.Second), StopOptions{Mode: StopFast, HookUntil: renewed})
	if took := s.clock.Now().Sub(start); took < 600*time.Millisecond || took > 5*time.Second {
		t.Errorf("before_stop ran for %v", took)
	}
	gone(t, pidsIn(t, pids, 1))
}

// It does not run before an immediate stop, nor when the time is over.
func TestBeforeStopIsLeftOut(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	s := beforeStopServer(t, script(t, "touch "+ran))
	over := func() clock.Instant { return s.clock.Now().Add(-time.Second) }
	s.beforeStop(within(t, 5*time.Second), StopOptions{Mode: StopImmediate})
	s.beforeStop(within(t, 5*time.Second), StopOptions{Mode: StopFast, HookUntil: over})
	if _, err := os.Stat(ran); err == nil {
		t.Fatal("before_stop ran")
	}
	s.beforeStop(within(t, 5*time.Second), StopOptions{Mode: StopFast, HookUntil: func() clock.Instant { return 0 }})
	if _, err := os.Stat(ran); err != nil {
		t.Errorf("before_stop did not run without a lease: %v", err)
	}
}

// Which methods may run, in which order.
func TestUsableMethods(t *testing.T) {
	eff := config.Effective{CreateReplicaMethods: []string{"a", "b", "basebackup"},
		Methods: map[string]map[string]any{"a": {}, "b": {"no_leader": true}}}
	for _, c := range []struct {
		o    ReplicaOptions
		want string
	}{
		{ReplicaOptions{From: &Source{}}, "a b basebackup"},
		{ReplicaOptions{}, "b"},
		{ReplicaOptions{From: &Source{}, BaseBackupOnly: true}, "basebackup"},
	} {
		if got := strings.Join(usableMethods(eff, c.o), " "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.o, got, c.want)
		}
	}
	if got := usableMethods(config.Effective{}, ReplicaOptions{From: &Source{}}); !slices.Equal(got, []string{"basebackup"}) {
		t.Errorf("nothing configured: %q", got)
	}
}

// The rules of a custom bootstrap let in the agent's users from this machine
// alone (contract: config.md 5.6).
func TestTrustRules(t *testing.T) {
	s, _ := bare(t)
	s.local.PostgreSQL.Superuser.Username, s.local.PostgreSQL.Replication.Username = `post"gres`, "repl"
	s.local.PostgreSQL.Listen = "127.0.0.2,10.0.0.1"
	want := `local all "post""gres","repl" trust
local replication "post""gres","repl" trust
host all "post""gres","repl" 127.0.0.2/32 trust
host replication "post""gres","repl" 127.0.0.2/32 trust
`
	if got := s.trustRules(within(t, 5*time.Second)); got != postgres.FileHeader+want {
		t.Errorf("got\n%s", got)
	}
	s.local.PostgreSQL.Superuser.Username, s.local.PostgreSQL.Listen = "", "::1"
	if got := s.trustRules(within(t, 5*time.Second)); !strings.Contains(got, "\nlocal all all trust\n") || !strings.Contains(got, "host replication all ::1/128 trust") {
		t.Errorf("got\n%s", got)
	}
}

// All methods failed: what they left is gone, also with keep_data, and each is
// named with its exit code and its last words.
func TestAllMethodsFail(t *testing.T) {
	s, _ := bare(t)
	dir := s.dataDir()
	fail := script(t, "mkdir -p "+dir+"; touch "+dir+"/half; echo 'repository is locked' >&2; exit 3")
	s.Configure(config.Effective{CreateReplicaMethods: []string{"none", "kept"}, BinDir: binDir(),
		Methods: map[string]map[string]any{"none": {"command": "/does/not/exist"}, "kept": {"command": fail, "keep_data": true}}}, config.Dynamic{})
	err := s.CreateReplica(within(t, 20*time.Second), ReplicaOptions{From: &Source{Host: "127.0.0.1", Port: "1"}})
	if err == nil || !strings.Contains(err.Error(), "replica method kept: script: exit status 3: repository is locked") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is still there", dir)
	}
	if s.Role() != postgres.RoleUninitialized {
		t.Errorf("role %s", s.Role())
	}
	// A program that makes nothing has not succeeded.
	s.Configure(config.Effective{CreateReplicaMethods: []string{"true"}, BinDir: binDir(), Methods: map[string]map[string]any{"true": {}}}, config.Dynamic{})
	err = s.CreateReplica(within(t, 20*time.Second), ReplicaOptions{From: &Source{Host: "127.0.0.1", Port: "1"}})
	if err == nil || !strings.Contains(err.Error(), "made no data directory") {
		t.Errorf("error %v", err)
	}
}

// A reload while the data directory is being made writes nothing into it: the
// copy would bring its own files, or be taken for somebody else's.
func TestReloadDuringAClone(t *testing.T) {
	for _, st := range []postgres.State{postgres.StateCreatingReplica, postgres.StateInitializing, postgres.StateCustomBootstrap} {
		s, _ := bare(t)
		dir := s.dataDir()
		must(t, os.MkdirAll(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("15\n"), 0o600))
		s.Configure(config.Effective{BinDir: binDir()}, config.Dynamic{})
		s.SetState(st)
		if _, err := s.ApplyConfig(within(t, 10*time.Second), true); err != nil {
			t.Errorf("%s: %v", st, err)
		}
		entries, err := os.ReadDir(dir)
		must(t, err)
		if len(entries) != 1 {
			t.Errorf("%s: %v in the data directory", st, entries)
		}
	}
}
