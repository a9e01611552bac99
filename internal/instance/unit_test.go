package instance

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/config"
)

func foreignProcess(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return strconv.Itoa(cmd.Process.Pid)
}

func TestSplitCommand(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"cp %p /a", []string{"cp", "%p", "/a"}},
		{`  a  'b c' "d \"e\" \f" g\ h '' `, []string{"a", "b c", `d "e" \f`, "g h", ""}},
		{`a'b'"c"`, []string{"abc"}},
		{"", nil}, {"  ", nil}, {"'a", nil}, {`a\`, nil},
	} {
		got, err := splitCommand(tc.line)
		if (err != nil) != (tc.want == nil) || !slices.Equal(got, tc.want) {
			t.Errorf("%q: %q, %v; want %q", tc.line, got, err, tc.want)
		}
	}
}

// Contract: ha-behaviour.md 14 step 5; pitfalls 83.
func TestClientBackend(t *testing.T) {
	for title, want := range map[string]bool{
		"postgres: demo: checkpointer ":                                  false,
		"postgres: demo: walsender repl 127.0.0.1(4711) streaming 0/301": false,
		"postgres: demo: walwriter":                                      false,
		"postgres: checkpointer":                                         false,
		"postgres: demo: logical replication launcher":                   false,
		"postgres: demo: io worker 0":                                    false,
		"postgres: demo: app db 127.0.0.1(4711) idle":                    true,
		"postgres: app db [local] SELECT":                                true,
		"postgres: demo: autovacuum worker db":                           false,
		"":                                                               false,
	} {
		if got := clientBackend(title, "demo"); got != want {
			t.Errorf("%q: %v, want %v", title, got, want)
		}
	}
}

func TestLocalTCPHost(t *testing.T) {
	for listen, want := range map[string]string{
		"*": "localhost", "10.0.0.1,127.0.0.1": "localhost", "10.0.0.1, 10.0.0.2": "10.0.0.1", "0.0.0.0": "localhost", "": "localhost", "::": "::1",
	} {
		if got := localTCPHost(listen); got != want {
			t.Errorf("%q: %s, want %s", listen, got, want)
		}
	}
}

func TestProgressLine(t *testing.T) {
	var done, total int64
	reportProgress("   23456/50000 kB (46%), 0/1 tablespace", func(d, n int64) { done, total = d, n })
	if done != 23456<<10 || total != 50000<<10 {
		t.Fatalf("%d of %d", done, total)
	}
}

// bare is a Server without PostgreSQL, for what concerns files alone.
func bare(t *testing.T) (*Server, string) {
	t.Helper()
	root := t.TempDir()
	s, err := New(Options{Local: &config.Local{Name: "a", PostgreSQL: config.PostgreSQL{DataDir: root + "/data/"}},
		Launcher: NewDirectLauncher(), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	return s, root
}

// Contract: ha-behaviour.md 1; pitfalls 105, 106.
func TestInspectDataDir(t *testing.T) {
	s, root := bare(t)
	check := func(want DataDirState) {
		t.Helper()
		if got, err := inspectDataDir(s.dataDir()); got != want {
			t.Fatalf("%s (%v), want %s", got, err, want)
		}
	}
	check(DataDirMissing)
	must(t, os.MkdirAll(root+"/data/lost+found", 0o700))
	must(t, os.WriteFile(root+"/data/.keep", nil, 0o600))
	check(DataDirEmpty)
	must(t, os.WriteFile(root+"/data/x", nil, 0o600))
	check(DataDirPresent)
	if os.Getuid() != 0 {
		must(t, os.Chmod(root+"/data", 0))
		check(DataDirUnreadable)
		must(t, os.Chmod(root+"/data", 0o700))
	}
}

// populate makes a data directory with WAL and a tablespace outside of it.
func populate(t *testing.T, root string) {
	t.Helper()
	for _, d := range []string{"data/global", "data/pg_tblspc", "wal", "space/PG_15"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o700))
	}
	must(t, os.WriteFile(root+"/data/global/pg_control", make([]byte, 128), 0o600))
	must(t, os.Symlink(root+"/wal", root+"/data/pg_wal"))
	must(t, os.Symlink(root+"/space", root+"/data/pg_tblspc/16384"))
}

// Contract: ha-behaviour.md 3.3, failure row.
func TestMoveDataDirAside(t *testing.T) {
	s, root := bare(t)
	for range 2 { // the second time replaces what the first left
		populate(t, root)
		swept := 0
		s.sweep = func(_ context.Context, dir string) error {
			if _, err := os.Stat(filepath.Join(dir, "global")); err != nil {
				t.Error("swept when the directory was moved already: ", err)
			}
			swept++
			return nil
		}
		must(t, s.MoveDataDirAside(t.Context()))
		if swept != 1 {
			t.Fatalf("what is left of a server was swept %d times", swept)
		}
		for _, d := range []string{"data", "wal", "space"} {
			if _, err := os.Stat(filepath.Join(root, d)); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%s is still there: %v", d, err)
			}
		}
		for link, want := range map[string]string{"pg_wal": "/wal.failed", "pg_tblspc/16384": "/space.failed"} {
			if got, err := os.Readlink(filepath.Join(root, "data.failed", link)); got != root+want {
				t.Fatalf("%s -> %s, %v", link, got, err)
			}
		}
	}
}

// While something of a server may go on there, the directory keeps its name.
func TestMoveDataDirAsideNeedsASweep(t *testing.T) {
	s, root := bare(t)
	populate(t, root)
	s.sweep = func(context.Context, string) error { return errors.New("a process does not end") }
	if err := s.MoveDataDirAside(t.Context()); err == nil || !strings.Contains(err.Error(), "a process does not end") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(root + "/data/global"); err != nil {
		t.Errorf("moved all the same: %v", err)
	}
}

// Contract: ha-behaviour.md 3.4, "removal".
func TestRemoveDataDir(t *testing.T) {
	s, root := bare(t)
	populate(t, root)
	must(t, s.setMark(markRewind))
	must(t, s.RemoveDataDir())
	if left, _ := filepath.Glob(root + "/*"); !slices.Equal(left, []string{root + "/data.pgha"}) || s.marked(markRewind) {
		t.Fatalf("left: %v, marked %v", left, s.marked(markRewind))
	}
	must(t, s.RemoveDataDir()) // nothing there: a success
	populate(t, root)
	must(t, os.Rename(root+"/data", root+"/real"))
	must(t, os.Symlink(root+"/real", root+"/data"))
	must(t, s.RemoveDataDir())
	if _, err := os.Stat(root + "/real/global/pg_control"); err != nil {
		t.Fatalf("a linked data directory loses only its link: %v", err)
	}
}

// A cancelled tool gets SIGTERM, and dies with its children after the grace.
func TestToolCancelled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("lease lost")
	ended := make(chan error, 1)
	go func() {
		_, err := runTool(ctx, tool{path: "/bin/sh", args: []string{"-c",
			`trap 'echo got >` + dir + `/term; exit 3' TERM; echo $$ >` + dir + `/pid; while :; do sleep 0.01; done`}})
		ended <- err
	}()
	until(t, "the tool runs", func() (bool, any) { b, err := os.ReadFile(dir + "/pid"); return err == nil && len(b) > 0, err })
	cancel(why)
	select {
	case err := <-ended:
		if !errors.Is(err, why) {
			t.Fatalf("error %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the tool outlived its context")
	}
	if _, err := os.Stat(dir + "/term"); err != nil {
		t.Fatalf("it did not get SIGTERM: %v", err)
	}
}

func TestToolResult(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/x")
	t.Setenv("WATCHDOG_USEC", "1")
	t.Setenv("PATRONI_NAME", "x")
	t.Setenv("PG_MALLOC_ARENA_MAX", "1")
	res, err := runTool(t.Context(), tool{path: "/bin/sh", args: []string{"-c", "env; cat; echo complaint >&2; exit 2"}, parsed: true})
	if err == nil || res.code != 2 || res.stderr != "complaint\n" {
		t.Fatalf("%+v, %v", res, err)
	}
	for _, l := range []string{"NOTIFY_SOCKET=/x", "WATCHDOG_USEC=1", "PATRONI_NAME=x"} {
		if slices.Contains(splitLines(res.stdout), l) {
			t.Errorf("%s reached the tool", l)
		}
	}
	for _, l := range []string{"MALLOC_ARENA_MAX=1", "LC_ALL=C"} {
		if !slices.Contains(splitLines(res.stdout), l) {
			t.Errorf("%s did not reach the tool", l)
		}
	}
	if _, err := runTool(t.Context(), tool{path: "/nonexistent"}); err == nil {
		t.Error("a missing program ran")
	}
}

func splitLines(s string) []string { return strings.Split(s, "\n") }

// Storage that does not answer blocks nobody, and is asked only once. A pipe
// without writer stands in for it: opening it hangs. Contract: pitfalls 100.
func TestHungStorage(t *testing.T) {
	s, root := bare(t)
	pipe := root + "/data/postmaster.pid"
	must(t, os.Mkdir(root+"/data", 0o700))
	must(t, syscall.Mkfifo(pipe, 0o600))
	before := runtime.NumGoroutine()
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		begun := time.Now()
		o := s.Observe(ctx)
		cancel()
		if took := time.Since(begun); took > time.Second || o.DataDir != DataDirUnknown || o.DataDirErr == nil {
			t.Fatalf("after %s: %+v", took, o)
		}
	}
	if n := runtime.NumGoroutine(); n > before+2 {
		t.Fatalf("%d goroutines, %d before", n, before)
	}
	w, err := os.OpenFile(pipe, os.O_RDWR, 0)
	must(t, err)
	must(t, os.Remove(pipe))
	must(t, w.Close())
	until(t, "the storage answers again", func() (bool, any) {
		o := s.Observe(t.Context())
		return o.DataDir == DataDirEmpty, o
	})
}

// A zombie is not alive: it holds nothing, and only its parent can end it.
func TestZombie(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	must(t, cmd.Start())
	p, err := identify(cmd.Process.Pid)
	must(t, err)
	if !p.alive() {
		t.Fatal("not alive while it runs")
	}
	must(t, syscall.Kill(p.pid, syscall.SIGKILL))
	until(t, "the zombie is seen", func() (bool, any) { return !p.alive(), p })
	if err := syscall.Kill(p.pid, 0); err != nil {
		t.Fatalf("it was to be a zombie still: %v", err)
	}
	_ = cmd.Wait()
}
