package agent

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// What is asked of the next program, and what is said of one that is not fit.
func TestCheckProgram(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		want       string // of the error; empty: fit
	}{
		{"fit", "#!/bin/sh\n[ \"$1 $2 $3 $4\" = 'agent --handover-check -c file' ] && [ -z \"$NOTIFY_SOCKET\" ] && echo pgha-handover 1 2.0\n", 0o755, ""},
		{"newer", "#!/bin/sh\necho pgha-handover 7 3.0\n", 0o755, ""},
		{"older protocol", "#!/bin/sh\necho pgha-handover 0 0.1\n", 0o755, "speaks version 0 of the hand-over"},
		{"no protocol", "#!/bin/sh\necho pgha-handover x y\n", 0o755, "speaks version x"},
		{"silent", "#!/bin/sh\n", 0o755, "is no pgha that can take over"},
		{"fails silently", "#!/bin/sh\nexit 3\n", 0o755, "is no pgha that can take over (exit status 3)"},
		{"complains", "#!/bin/sh\necho 'pgha: error: scope is missing' >&2\necho more >&2\nexit 2\n", 0o755, "would not start: scope is missing"},
		{"older", "#!/bin/sh\necho 'pgha: error: unknown flag: --handover-check' >&2\nexit 2\n", 0o755, "is a pgha without hand-over"},
		{"not executable", "#!/bin/sh\n", 0o644, "is not an executable file"},
		{"no program at all", "\x7fELF", 0o755, "cannot be run"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "_"))
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		next, err := checkProgram(t.Context(), path, Options{ConfigPath: "file", Environ: []string{"PATH=/bin:/usr/bin", "NOTIFY_SOCKET=/run/x"}})
		switch {
		case c.want == "" && (err != nil || next.Path != path || next.Version == ""):
			t.Errorf("%s: %+v, %v", c.name, next, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := checkProgram(t.Context(), filepath.Join(dir, "absent"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

// A release without an answer that is on its way is not forgotten, nor whom
// this member agreed with in failsafe mode.
func TestInheritedDoubts(t *testing.T) {
	l := &Loop{LoopOptions: LoopOptions{Promises: NewPromises(clock.System{}, false), Born: 77}}
	until := clock.Now().Add(time.Minute)
	l.restore(&inherited{GivenUp: true, Born: 5, Failsafe: map[string]string{"a": "x"}, FailsafeSender: &ha.FailsafeSender{Name: "b", Heard: 9, Until: until}})
	if !l.givenUp || l.Born != 5 || l.failsafe["a"] != "x" {
		t.Errorf("given up %v, born %v, failsafe %v", l.givenUp, l.Born, l.failsafe)
	}
	if s := l.Promises.Sender(); s == nil || s.Name != "b" || l.Promises.claim(0) {
		t.Errorf("bound to %+v, and yet it may take the key", s)
	}
	l.restore(&inherited{}) // of a program that did not know of failsafe mode
	if l.givenUp || l.Born != 5 {
		t.Errorf("given up %v, born %v", l.givenUp, l.Born)
	}
}

// What one program leaves the next one finds, whichever is newer.
func TestInherited(t *testing.T) {
	lock, err := os.Create(filepath.Join(t.TempDir(), "agent.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	fd, err := unix.Dup(int(lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	left := inherited{Protocol: 1, From: "1.0", At: 7, Count: 3, Files: map[string]int{fileLock: fd}, Listen: "a:1", Lease: 9, LeaseTTL: time.Second, LeaderUntil: 11,
		Memory:   ha.Memory{SlotSeen: map[string]clock.Instant{"b": 5}, GaveWay: 6, Rewind: ha.RewindCheck},
		Schedule: &dcs.ScheduledRestart{Schedule: time.Unix(4, 0).UTC(), Role: string(postgres.RoleReplica)}}
	memory, err := inMemory(left)
	if err != nil {
		t.Fatal(err)
	}
	found, rest, err := takeInherited([]string{"A=1", inheritMarker + "=" + strconv.Itoa(memory), "B=2"})
	if err != nil || strings.Join(rest, " ") != "A=1 B=2" {
		t.Fatalf("%v %v", rest, err)
	}
	a, _ := json.Marshal(left)
	b, _ := json.Marshal(found)
	if string(a) != string(b) {
		t.Errorf("left %s\nfound %s", a, b)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the lock would be inherited by every program: %x %v", flags, err)
	}
	for _, bad := range []string{"", "x", "1", "99999"} {
		if _, _, err := takeInherited([]string{inheritMarker + "=" + bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if found, rest, err := takeInherited([]string{"A=1"}); found != nil || len(rest) != 1 || err != nil {
		t.Errorf("an ordinary start: %v %v %v", found, rest, err)
	}
	newer := filepath.Join(t.TempDir(), "state")
	os.WriteFile(newer, []byte(`{"protocol": 5, "from": "9", "unknown": {"x": 1}, "memory": {"Unknown": true}}`), 0o600)
	f, err := os.Open(newer)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd2, _ := unix.Dup(int(f.Fd()))
	if found, _, err := takeInherited([]string{inheritMarker + "=" + strconv.Itoa(fd2)}); err != nil || found.From != "9" {
		t.Errorf("of a newer program: %+v %v", found, err)
	}
}

// Signals are ignored as long as asked, then handled as before.
func TestIgnoreAll(t *testing.T) {
	undo := ignoreAll(syscall.SIGUSR2)
	syscall.Kill(syscall.Getpid(), syscall.SIGUSR2)
	status, err := os.ReadFile("/proc/self/status")
	undo()
	after, _ := os.ReadFile("/proc/self/status")
	if err != nil || ignored(t, string(status))&(1<<(syscall.SIGUSR2-1)) == 0 || ignored(t, string(after))&(1<<(syscall.SIGUSR2-1)) != 0 {
		t.Errorf("%v\n%s", err, status)
	}
}

func ignored(t *testing.T, status string) uint64 {
	t.Helper()
	_, rest, _ := strings.Cut(status, "SigIgn:\t")
	n, err := strconv.ParseUint(strings.SplitN(rest, "\n", 2)[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
