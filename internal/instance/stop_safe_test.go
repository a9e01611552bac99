package instance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/postgres"
)

// lateSession opens a session after Stop has begun and before the postmaster
// hears of it, as any client may.
type lateSession struct {
	Launcher
	open func()
}

func (l *lateSession) Signal(ctx context.Context, mode StopMode) error {
	l.open()
	return l.Launcher.Signal(ctx, mode)
}

// The safe point is reached when no session is left, also none that was opened
// while the stop began. Contract: ha-behaviour.md 14 step 5.
func TestSafePointKnowsSessionsOpenedMeanwhile(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	n.primary()
	n.sql("CREATE TABLE public.late (x int)")
	ctx := within(t, 60*time.Second)
	var late *pgx.Conn
	n.launcher = &lateSession{n.launcher, func() {
		if late != nil {
			return // the second signal, when the timeout is over
		}
		c, err := n.connectLocal(ctx, "late")
		must(t, err)
		late = c
	}}
	var safe atomic.Int32
	// Smart: the session stays until the timeout makes the stop immediate.
	must(t, n.Stop(ctx, StopOptions{Mode: StopSmart, Timeout: time.Second, OnSafe: func() {
		safe.Add(1)
		if _, err := late.Exec(ctx, "INSERT INTO public.late VALUES (1)"); err == nil {
			t.Error("a session writes after the safe point")
		}
	}}))
	closeConn(late)
	if safe.Load() != 1 {
		t.Errorf("the safe point was reached %d times", safe.Load())
	}
	wantState(t, n.observe(), postgres.StateStopped, postgres.RolePrimary)
}

// procDir is a directory like /proc with a postmaster, number 10, and children.
func procDir(t *testing.T, titles ...string) string {
	t.Helper()
	proc := t.TempDir()
	entry := func(pid, parent int, state, title string) {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "stat"), fmt.Appendf(nil,
			"%d (postgres) %s %d 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 1\n", pid, state, parent), 0o600))
		if title != "" {
			title += "\x00"
		}
		must(t, os.WriteFile(filepath.Join(dir, "cmdline"), []byte(title), 0o600))
	}
	entry(10, 1, "S", "/usr/bin/postgres\x00-D\x00/data")
	for i, title := range titles {
		entry(11+i, 10, "S", title)
	}
	entry(50, 10, "Z", "")
	entry(60, 1, "S", "somebody else")
	must(t, os.Mkdir(filepath.Join(proc, "acpi"), 0o700))
	return proc
}

// What cannot be read is not taken for nobody. Contract: ha-behaviour.md 14
// step 5, pitfalls 209.
func TestClientBackendsIn(t *testing.T) {
	const session, own = "postgres: demo: app db [local] idle", "postgres: demo: checkpointer "
	list := func(proc string) (int, error) {
		clients, err := clientBackendsIn(proc, process{pid: 10, start: 12345}, "demo")
		return len(clients), err
	}
	for _, c := range []struct {
		titles []string
		want   int
	}{
		{nil, 0},
		{[]string{own}, 0},
		{[]string{own, session, session}, 2},
		{[]string{"/usr/bin/postgres -D /data"}, 1}, // forked a moment ago: nobody knows for what
		{[]string{""}, 1},
	} {
		if n, err := list(procDir(t, c.titles...)); err != nil || n != c.want {
			t.Errorf("%q: %d clients, %v; want %d", c.titles, n, err, c.want)
		}
	}
	unreadable := func(file string) string { // a directory: reading it is an error
		proc := procDir(t, own)
		must(t, os.Remove(filepath.Join(proc, "11", file)))
		must(t, os.Mkdir(filepath.Join(proc, "11", file), 0o700))
		return proc
	}
	for what, proc := range map[string]string{
		"no process list":    filepath.Join(t.TempDir(), "none"),
		"unreadable state":   unreadable("stat"),
		"unreadable title":   unreadable("cmdline"),
		"nonsense for state": procDirWith(t, "11", "stat", "11 (postgres"),
	} {
		if n, err := list(proc); err == nil {
			t.Errorf("%s: taken for %d clients", what, n)
		}
	}
	vanished := procDir(t, session)
	must(t, os.Remove(filepath.Join(vanished, "11", "stat")))
	if n, err := list(vanished); err != nil || n != 0 {
		t.Errorf("a process that ended meanwhile: %d clients, %v", n, err)
	}
}

func procDirWith(t *testing.T, pid, file, content string) string {
	t.Helper()
	proc := procDir(t, "postgres: demo: checkpointer ")
	must(t, os.WriteFile(filepath.Join(proc, pid, file), []byte(content), 0o600))
	return proc
}
