package agent

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard/client"
	"pgha/internal/instance"
)

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func bareLauncher(t *testing.T) (*launcher, *syncBuffer, instance.Command) {
	t.Helper()
	dir := t.TempDir()
	said := &syncBuffer{}
	log := slog.New(slog.NewTextHandler(said, nil))
	l := newLauncher(client.Options{StateDir: filepath.Join(dir, "state"), DataDir: filepath.Join(dir, "data"), Scope: "x", Epoch: 1, Log: log}, func() {})
	l.off, l.shields = true, newProtection(log)
	if err := os.Mkdir(l.options.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	return l, said, instance.Command{Path: "/bin/sleep", Args: []string{"60"}, Dir: l.options.DataDir}
}

func awaitTrue(t *testing.T, what string, probe func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !probe(); {
		if time.Now().After(end) {
			t.Fatalf("after 10 s still not: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// Without a guard the agent itself ends PostgreSQL when the lease ends, and
// says once that nobody else would.
func TestBareDeadline(t *testing.T) {
	l, said, cmd := bareLauncher(t)
	ttl := 5 * time.Second
	if _, err := l.Start(t.Context(), cmd, true); !errors.Is(err, client.ErrDeadline) {
		t.Fatalf("a primary without a lease: %v", err)
	}
	if err := l.hold(t.Context(), clock.Now().Add(ttl), ttl); err != nil {
		t.Fatal(err)
	}
	pid, err := l.Start(t.Context(), cmd, true)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	if err := l.hold(t.Context(), clock.Now().Add(2200*time.Millisecond), ttl); err != nil { // its first stage: in 200 ms
		t.Fatal(err)
	}
	select {
	case <-l.Exited():
	case <-time.After(10 * time.Second):
		t.Fatal("not ended with the lease")
	}
	if client.Runs(pid) {
		t.Error("said to be ended, and runs")
	}
	if err := l.Signal(t.Context(), instance.StopFast); !errors.Is(err, instance.ErrNotLaunched) {
		t.Errorf("signal to what has ended: %v", err)
	}
	if n := strings.Count(said.String(), guardOff); n != 1 {
		t.Errorf("said %d times:\n%s", n, said)
	}
	if got := l.shields.note(); !strings.Contains(got, "no guard") {
		t.Errorf("note %q", got)
	}
}

// A server that ignores the fast stop is killed.
func TestBareKill(t *testing.T) {
	l, said, cmd := bareLauncher(t)
	ttl := 5 * time.Second
	if err := l.hold(t.Context(), clock.Now().Add(ttl), ttl); err != nil {
		t.Fatal(err)
	}
	deaf := filepath.Join(t.TempDir(), "deaf")
	cmd.Path, cmd.Args = "/bin/sh", []string{"-c", "trap '' INT; : >" + deaf + "; sleep 60"}
	pid, err := l.Start(t.Context(), cmd, true)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	awaitTrue(t, "deaf to SIGINT", func() bool { _, err := os.Stat(deaf); return err == nil })
	if err := l.hold(t.Context(), clock.Now().Add(2*time.Second), ttl); err != nil {
		t.Fatal(err)
	}
	awaitTrue(t, "killed", func() bool { return !client.Runs(pid) })
	if !strings.Contains(said.String(), "stopped fast") || !strings.Contains(said.String(), "is killed") {
		t.Errorf("%s", said)
	}
}

// A standby is not under a deadline; promoting it needs one. The modes decide
// about primaries alone.
func TestBareRoles(t *testing.T) {
	l, _, cmd := bareLauncher(t)
	required := false
	l.required = func() bool { return required }
	ttl := 5 * time.Second
	pid, err := l.Start(t.Context(), cmd, false)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	if err := l.Promote(t.Context()); !errors.Is(err, client.ErrDeadline) {
		t.Errorf("promote without a lease: %v", err)
	}
	if l.unfenced() {
		t.Error("automatic: may lead")
	}
	if err := l.hold(t.Context(), clock.Now().Add(ttl), ttl); err != nil {
		t.Fatal(err)
	}
	required = true
	if err := l.Promote(t.Context()); !errors.Is(err, errUnfenced) || !l.unfenced() {
		t.Errorf("required: %v", err)
	}
	if err := l.unhold(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := l.Signal(t.Context(), instance.StopSmart); err != nil {
		t.Fatal(err)
	}
	awaitTrue(t, "ended", func() bool { return !client.Runs(pid) })
	l.hold(t.Context(), clock.Now().Add(ttl), ttl)
	if _, err := l.Start(t.Context(), cmd, true); !errors.Is(err, errUnfenced) {
		t.Errorf("start a primary: %v", err)
	}
}

// What a guard says of itself becomes parts: each lack once, with what is left.
func TestReportOfAGuard(t *testing.T) {
	l, said, _ := bareLauncher(t)
	for range 2 {
		l.report(client.State{Protection: client.ProtectionWalk, CgroupNote: "no cgroup v2", MemoryLockNote: "no: operation not permitted", OOMNote: "0 (-1000: permission denied)"})
	}
	want := map[string]string{partGuard: "beside: PostgreSQL was started by somebody else", partCgroup: "no: no cgroup v2",
		partMemory: "no: operation not permitted", partOOM: "no: oom_score_adj is 0 (-1000: permission denied)"}
	if got := l.shields.shown(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if n := strings.Count(said.String(), "level=WARN"); n != 4 {
		t.Errorf("%d warnings:\n%s", n, said)
	}
	if l.shields.note() == "" {
		t.Error("no note of a guard that is not the parent")
	}
	l.report(client.State{Protection: client.ProtectionParent, CgroupNote: "/sys/fs/cgroup/x (guard: permission denied)", MemoryLockNote: "all", OOMNote: "-1000"})
	want = map[string]string{partGuard: "parent", partCgroup: "/sys/fs/cgroup/x (guard: permission denied)", partMemory: "all", partOOM: "-1000"}
	if got := l.shields.shown(); fmt.Sprint(got) != fmt.Sprint(want) || l.shields.note() != "" {
		t.Errorf("got %v, note %q", got, l.shields.note())
	}
}
