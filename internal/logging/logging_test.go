package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pgha/internal/config"
)

// buffer is an io.Writer for several goroutines, which can be made to block.
type buffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	gate chan struct{} // nil: open; else every Write takes one value first
}

func (b *buffer) Write(p []byte) (int, error) {
	if b.gate != nil {
		<-b.gate
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// logged runs use with a logger of cfg and returns what it wrote.
func logged(t *testing.T, cfg config.Log, use func(*slog.Logger)) string {
	t.Helper()
	var b buffer
	l, out, err := New(cfg, &b)
	if err != nil {
		t.Fatal(err)
	}
	use(l)
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPlainLineIsPatronis(t *testing.T) {
	got := logged(t, config.Log{}, func(l *slog.Logger) {
		l.Info("no action. I am (a), the leader with the lock", "lsn", "0/3000060", "reason", "leading")
		l.Info("PostgreSQL has ended", "pid", 7)
		l.Warn("could not read the cluster", "err", errors.New("etcd: deadline exceeded"))
		l.Log(t.Context(), LevelCritical, "system ID mismatch, node a belongs to a different cluster: 1 != 2")
		l.Debug("not printed")
	})
	want := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO: no action\. I am \(a\), the leader with the lock
\S+ \S+ INFO: PostgreSQL has ended \(pid=7\)
\S+ \S+ WARNING: could not read the cluster: etcd: deadline exceeded
\S+ \S+ CRITICAL: system ID mismatch, node a belongs to a different cluster: 1 != 2
$`)
	if !want.MatchString(got) {
		t.Errorf("got:\n%s", got)
	}
}

func TestFactsFollowOrAreAskedFor(t *testing.T) {
	say := func(l *slog.Logger) {
		l.With("scope", "shop").WithGroup("pg").Info("promoted", "timeline", 3, "why", "it is time")
	}
	for _, c := range []struct {
		cfg  config.Log
		want string
	}{
		{config.Log{Format: "%(message)s"}, "promoted (pg.timeline=3 pg.why=\"it is time\")\n"},
		{config.Log{Format: "%(scope)s|%(levelname)-8s|%(message)s|100%%"}, "shop|INFO    |promoted|100% (pg.timeline=3 pg.why=\"it is time\")\n"},
		{config.Log{Format: 7}, "INFO: promoted (pg.timeline=3 pg.why=\"it is time\")\n"},
	} {
		got := logged(t, c.cfg, say)
		if !strings.HasSuffix(got, c.want) {
			t.Errorf("format %v level %q: got %q, want %q", c.cfg.Format, c.cfg.Level, got, c.want)
		}
	}
}

// Every way to say what a line looks like has its effect, in both types.
func TestFormatKeys(t *testing.T) {
	say := func(l *slog.Logger) {
		l.Error("broken", "err", errors.New("boom"), "stack", "goroutine 1:\nmain.main()\n")
	}
	day := time.Now().Format("02/Jan/2006")
	for _, c := range []struct {
		name string
		cfg  config.Log
		want string
	}{
		{"dateformat", config.Log{DateFormat: "%d/%b/%Y", Format: "%(asctime)s %(message)s", TracebackLevel: "DEBUG"}, day + " broken: boom\n"},
		{"dateformat, json", config.Log{Type: "json", DateFormat: "%d/%b/%Y", Format: []any{"asctime"}, TracebackLevel: "DEBUG"}, `{"asctime": "` + day + `"}` + "\n"},
		{"traceback_level by default", config.Log{Format: "%(message)s"}, "broken: boom\ngoroutine 1:\nmain.main()\n"},
		{"traceback_level ERROR", config.Log{Format: "%(message)s", TracebackLevel: "ERROR"}, "broken: boom\ngoroutine 1:\nmain.main()\n"},
		{"traceback_level DEBUG", config.Log{Format: "%(message)s", TracebackLevel: "debug"}, "broken: boom\n"},
		{"traceback_level DEBUG at that level", config.Log{Format: "%(message)s", TracebackLevel: "DEBUG", Level: "DEBUG"}, "broken: boom\ngoroutine 1:\nmain.main()\n"},
		{"json with a format string", config.Log{Type: "json", Format: "%(levelname)s %(message)s", TracebackLevel: "DEBUG"}, `{"levelname": "ERROR", "message": "broken: boom"}` + "\n"},
		{"json with a map", config.Log{Type: "json", Format: []any{map[string]any{"levelname": "lvl", "message": "msg"}}}, `{"lvl": "ERROR", "msg": "broken: boom", "stack": "goroutine 1:\nmain.main()\n"}` + "\n"},
		{"json with an unusable format", config.Log{Type: "JSON", Format: 7, DateFormat: "x", TracebackLevel: "DEBUG", StaticFields: map[string]any{"app": "pg", "n": 2}},
			`{"asctime": "x", "levelname": "ERROR", "message": "broken: boom", "app": "pg", "n": 2}` + "\n"},
		{"static_fields are of json alone", config.Log{Format: "%(message)s", TracebackLevel: "DEBUG", StaticFields: map[string]any{"app": "pg"}}, "broken: boom\n"},
		{"level", config.Log{Level: "CRITICAL"}, ""},
	} {
		if got := logged(t, c.cfg, say); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// A healthy cycle prints one line; contract: config.md 3.3.
func TestLockOwnerOnlyWhenSomethingFollows(t *testing.T) {
	cycle := func(l *slog.Logger, result string) {
		l.Info("Lock owner: a; I am b")
		l.Info(result)
	}
	beat := "no action. I am (b), a secondary, and following a leader (a)"
	all := func(l *slog.Logger) {
		cycle(l, beat)
		cycle(l, beat)
		cycle(l, "promoted self to leader by acquiring session lock")
		l.Info("Lock owner: b; I am b")
	}
	for _, c := range []struct {
		name string
		cfg  config.Log
		want []string
	}{
		{"info", config.Log{}, []string{beat, beat, "Lock owner: a; I am b",
			"promoted self to leader by acquiring session lock", "Lock owner: b; I am b"}},
		{"deduplicated", config.Log{DeduplicateHeartbeatLog: true}, []string{beat, "Lock owner: a; I am b",
			"promoted self to leader by acquiring session lock", "Lock owner: b; I am b"}},
		{"debug", config.Log{Level: "DEBUG"}, []string{"Lock owner: a; I am b", beat, "Lock owner: a; I am b", beat,
			"Lock owner: a; I am b", "promoted self to leader by acquiring session lock", "Lock owner: b; I am b"}},
	} {
		c.cfg.Format = "%(message)s"
		got := logged(t, c.cfg, all)
		if want := strings.Join(c.want, "\n") + "\n"; got != want {
			t.Errorf("%s:\n%swant:\n%s", c.name, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	cfg := config.Log{Type: "json", StaticFields: map[string]any{"app": "pgha"},
		Format: []any{"message", map[string]any{"levelname": "level"}, "name"}}
	got := logged(t, cfg, func(l *slog.Logger) {
		l.With(KeyModule, "agent.rest").Error(`say "x"`, "err", errors.New("boom"), "took", 2*time.Second, "n", 1, "n", 2)
	})
	if want := `{"message": "say \"x\": boom", "level": "ERROR", "name": "agent.rest", "took": "2s", "n": 2, "app": "pgha"}` + "\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if !json.Valid([]byte(got)) {
		t.Error("not JSON")
	}
}

func TestLevelsByModule(t *testing.T) {
	cfg := config.Log{Level: "WARNING", Loggers: map[string]string{"agent": "INFO", "agent.rest": "ERROR"}, Format: "%(name)s"}
	got := logged(t, cfg, func(l *slog.Logger) {
		l.Info("no")
		l.With(KeyModule, "agent.loop").Info("yes")
		l.With(KeyModule, "agent.rest").Warn("no")
	})
	if got != "agent.loop\n" {
		t.Errorf("got %q", got)
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	b := &buffer{gate: make(chan struct{})}
	l, out, err := New(config.Log{MaxQueueSize: 3, Format: "%(message)s"}, b)
	if err != nil {
		t.Fatal(err)
	}
	l.Info("0") // taken by the writer, which then waits at the gate
	for deadline := time.Now().Add(5 * time.Second); out.Queued() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the writer never took the first record")
		}
	}
	for i := 1; i <= 5; i++ {
		l.Info(fmt.Sprint(i))
	}
	if out.Queued() != 3 || out.Lost() != 2 {
		t.Errorf("queued %d lost %d, want 3 and 2", out.Queued(), out.Lost())
	}
	close(b.gate)
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if want := "0\nthe log queue was full, 2 records are lost\n1\n2\n3\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestFileRotates(t *testing.T) {
	dir := t.TempDir()
	line := strings.Repeat("x", 99) // 100 with its newline
	cfg := config.Log{Dir: dir, FileSize: 250, FileNum: 2, Mode: 0o640, Format: "%(message)s"}
	if rest := logged(t, cfg, func(l *slog.Logger) {
		for range 9 {
			l.Info(line)
		}
	}); rest != "" {
		t.Errorf("on stderr: %q", rest)
	}
	for name, size := range map[string]int64{"patroni.log": 100, "patroni.log.1": 200, "patroni.log.2": 200} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != size || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %d bytes, mode %o; want %d, 640", name, info.Size(), info.Mode().Perm(), size)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "patroni.log.3")); !os.IsNotExist(err) {
		t.Error("a third rotated file was kept")
	}
}

func TestReconfigure(t *testing.T) {
	dir := t.TempDir()
	var b buffer
	l, out, err := New(config.Log{Format: "%(message)s"}, &b)
	if err != nil {
		t.Fatal(err)
	}
	l.Debug("no")
	if err := out.Reconfigure(config.Log{Dir: filepath.Join(dir, "missing")}); err == nil {
		t.Error("a directory that does not exist was accepted")
	}
	if err := out.Reconfigure(config.Log{Dir: dir, Level: "DEBUG", Format: "%(message)s"}); err != nil {
		t.Fatal(err)
	}
	l.Debug("yes")
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "patroni.log"))
	if err != nil || string(file) != "yes\n" || b.String() != "" {
		t.Errorf("file %q, stderr %q, %v", file, b.String(), err)
	}
}

func TestStrftime(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 789012000, time.UTC)
	for format, want := range map[string]string{
		"%Y-%m-%d %H:%M:%S": "2031-02-03 04:05:06", "%d/%b/%y %T%z": "03/Feb/31 04:05:06+0000",
		"%f %%Y %Q %": "789012 %Y %Q %", "%s": fmt.Sprint(at.Unix()),
	} {
		if got := strftime(format, at); got != want {
			t.Errorf("%q: %q, want %q", format, got, want)
		}
	}
}

// Foreign texts (a member's name in the DCS, a server's answer) reach neither
// the terminal as they are nor the log whole.
func TestForeignTextsInALine(t *testing.T) {
	got := logged(t, config.Log{Format: "%(message)s"}, func(l *slog.Logger) {
		l.Info("Lock owner: \x1b[2J\xff\x00é")
		l.Warn("output", "err", errors.New("line 1\n\tline 2"))
		l.Warn(strings.Repeat("x", 1<<20))
	})
	want := "Lock owner: \\x1b[2J\\xff\\x00é\noutput: line 1\n\tline 2\n"
	if !strings.HasPrefix(got, want) || len(got) > 20<<10 || !strings.HasSuffix(got, "x... (1048576 bytes)\n") {
		t.Errorf("%d bytes: %.200q", len(got), got)
	}
}
