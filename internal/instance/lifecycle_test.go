package instance

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition and reports the last state when it never holds.
func until(t *testing.T, what string, cond func() (bool, any)) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		ok, last := cond()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 15 s, last: %+v", what, last)
		}
		pause(t.Context(), poll)
	}
}

func (n *node) sql(q string, args ...any) string {
	n.t.Helper()
	var out string
	err := n.withLocal(within(n.t, 20*time.Second), func(c *pgx.Conn) error {
		rows, err := c.Query(n.t.Context(), q, args...)
		if err != nil {
			return err
		}
		for rows.Next() {
			v, err := rows.Values()
			if err != nil {
				return err
			}
			if len(v) > 0 {
				if s, ok := v[0].(string); ok {
					out = s
				}
			}
		}
		return rows.Err()
	})
	if err != nil {
		n.t.Fatalf("%s: %s: %v", n.name, q, err)
	}
	return out
}

func (n *node) start(o StartOptions) {
	n.t.Helper()
	r, err := n.Start(within(n.t, 30*time.Second), o)
	if err != nil || r != StartReady {
		n.t.Fatalf("%s: start: %s, %v", n.name, r, err)
	}
}

// ready is a bootstrapped, stopped cluster to copy: quicker than initdb.
var ready struct {
	once sync.Once
	root string
}

// primary makes the node a running primary with all roles, by a copy of one
// that was bootstrapped before.
func (n *node) primary() {
	n.t.Helper()
	ready.once.Do(func() {
		root, err := os.MkdirTemp("/tmp", "pi")
		must(n.t, err)
		first := newNode(n.t, root, "ready")
		first.bootstrap()
		must(n.t, first.Stop(within(n.t, 20*time.Second), StopOptions{}))
		ready.root = root
	})
	must(n.t, os.CopyFS(n.dataDir(), os.DirFS(filepath.Join(ready.root, "ready", "data"))))
	must(n.t, os.Chmod(n.dataDir(), 0o700))
	must(n.t, n.StartBootstrapped(within(n.t, 20*time.Second), nil))
}

// bootstrap makes the node a primary with all roles.
func (n *node) bootstrap() {
	n.t.Helper()
	ctx := within(n.t, 60*time.Second)
	b := &config.Bootstrap{InitDB: []string{"--auth=trust", "--data-checksums", "--encoding=UTF8", "--wal-segsize=1"}}
	must(n.t, n.InitDB(ctx, b))
	must(n.t, n.StartBootstrapped(ctx, nil))
	must(n.t, n.PostBootstrap(ctx, b))
}

func (n *node) observe() Observation {
	n.t.Helper()
	return n.Observe(within(n.t, 5*time.Second))
}

func wantState(t *testing.T, o Observation, st postgres.State, role postgres.Role) {
	t.Helper()
	if o.State != st || o.Role != role {
		t.Fatalf("state %q role %q, want %q %q (observation %+v)", o.State, o.Role, st, role, o)
	}
}

// One server from an empty directory to crash recovery. Contract:
// ha-behaviour.md 1, 3.3, 5, 14; config.md 6.2.
func TestLifeOfOneServer(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	o := n.observe()
	if o.DataDir != DataDirMissing || o.Alive || o.Row != nil {
		t.Fatalf("before initdb: %+v", o)
	}
	n.bootstrap()
	o = n.observe()
	wantState(t, o, postgres.StateRunning, postgres.RolePrimary)
	if o.Row == nil || o.Row.InRecovery || o.Row.Timeline != 1 || o.Row.Location == 0 || !o.SystemID.Valid() ||
		o.Ready != ReadyAccepting || o.Row.Version.Major() < 13 || o.DataDir != DataDirPresent || o.Row.PostmasterStart.IsZero() {
		t.Fatalf("running primary: %+v row %+v", o, o.Row)
	}
	if st, err := n.Status(within(t, 5*time.Second)); err != nil || st.Timeline != 1 {
		t.Fatalf("status: %+v, %v", st, err)
	}
	if got := n.sql("SELECT string_agg(rolname || ':' || rolreplication::text, ',' ORDER BY rolname) FROM pg_roles WHERE rolname IN ('repl','rewinder')"); got != "repl:true,rewinder:false" {
		t.Fatalf("roles: %s", got)
	}
	if err := n.LeaderReady(within(t, 5*time.Second), n.source()); err != nil {
		t.Fatalf("the rewind user logs in over TCP: %v", err)
	}
	t.Run("pending restart", func(t *testing.T) { pendingRestart(t, n) })
	t.Run("stop", func(t *testing.T) { stopReports(t, n) })
	t.Run("stop on a disk that hangs", func(t *testing.T) { stopOnHungDisk(t, n) })
	t.Run("crash", func(t *testing.T) { crash(t, n) })
}

// stopOnHungDisk: a file of the data directory never answers (a pipe without a
// writer holds its readers as a hung disk does); PostgreSQL is told to stop
// all the same, and killed when it does not. It leaves the server running again.
func stopOnHungDisk(t *testing.T, n *node) {
	pidFile := filepath.Join(n.dataDir(), "postmaster.pid")
	pipe := filepath.Join(t.TempDir(), "pipe") // a name that the postmaster does not remove
	must(t, syscall.Mkfifo(pipe, 0o666))
	must(t, os.Remove(pidFile))
	must(t, os.Symlink(pipe, pidFile))
	p, running := n.findPostmaster()
	if !running {
		t.Fatal("no server to stop")
	}
	// The postmaster reads that file as well, and hangs: it is killed.
	err := n.Stop(within(t, 30*time.Second), StopOptions{Mode: StopFast, Timeout: time.Second})
	// Let the readers go.
	writer, openErr := os.OpenFile(pipe, os.O_RDWR, 0)
	must(t, openErr)
	must(t, writer.Close())
	if err != nil || p.alive() {
		t.Fatalf("stop: %v, the postmaster is alive: %v", err, p.alive())
	}
	os.Remove(pidFile)
	n.start(StartOptions{Role: postgres.RolePrimary})
}

func pendingRestart(t *testing.T, n *node) {
	ctx := within(t, 20*time.Second)
	a, err := n.ApplyConfig(ctx, false)
	if err != nil || a.Changed || a.Reloaded || len(a.Pending) != 0 {
		t.Fatalf("nothing changed: %+v, %v", a, err)
	}
	changed := n.eff
	changed.Parameters = map[string]string{"work_mem": "8MB", "shared_buffers": "32MB"}
	for k, v := range n.eff.Parameters {
		if _, ok := changed.Parameters[k]; !ok {
			changed.Parameters[k] = v
		}
	}
	changed.Parameters["max_connections"] = "40"
	n.Configure(changed, n.dyn)
	a, err = n.ApplyConfig(ctx, false)
	if err != nil || !a.Changed || !a.Reloaded {
		t.Fatalf("changed: %+v, %v", a, err)
	}
	want := map[string]postgres.Change{"max_connections": {Old: "30", New: "40"}, "shared_buffers": {Old: "16MB", New: "32MB"}}
	if len(a.Pending) != 2 || a.Pending["max_connections"] != want["max_connections"] || a.Pending["shared_buffers"] != want["shared_buffers"] {
		t.Fatalf("pending %+v, want %+v", a.Pending, want)
	}
	if got := n.sql("SHOW work_mem"); got != "8MB" {
		t.Fatalf("work_mem %s after the reload", got)
	}
	n.sql("ALTER SYSTEM SET max_files_per_process = 777")
	if a, err = n.ApplyConfig(ctx, true); err != nil || a.Pending["max_files_per_process"] != (postgres.Change{Old: "1000", New: "777"}) {
		t.Fatalf("changed beside us: %+v, %v", a, err)
	}
	n.sql("ALTER SYSTEM RESET max_files_per_process")
	n.Configure(n.eff, n.dyn)
	if a, err = n.ApplyConfig(ctx, false); err != nil || !a.Changed || len(a.Pending) != 0 {
		t.Fatalf("changed back: %+v, %v", a, err)
	}
}

func stopReports(t *testing.T, n *node) {
	var safe atomic.Int32
	var data postgres.ControlData
	var aliveThen atomic.Bool
	p, _ := n.findPostmaster()
	must(t, n.Stop(within(t, 20*time.Second), StopOptions{Mode: StopFast, Checkpoint: true,
		OnSafe: func() { safe.Add(1) },
		OnShutDown: func(d postgres.ControlData) {
			data = d
			aliveThen.Store(p.alive())
		}}))
	if safe.Load() != 1 || data.State != postgres.ClusterShutDown || data.CheckpointLSN == 0 {
		t.Fatalf("safe %d times, control data %+v", safe.Load(), data)
	}
	t.Logf("the postmaster was still alive when the shutdown was reported: %v", aliveThen.Load())
	if lsn := n.ShutdownOptime(within(t, 5*time.Second), data); lsn != data.CheckpointLSN {
		t.Fatalf("optime %s, want the checkpoint %s", lsn, data.CheckpointLSN)
	}
	o := n.observe()
	wantState(t, o, postgres.StateStopped, postgres.RolePrimary)
	if o.Control == nil || o.Control.State != postgres.ClusterShutDown {
		t.Fatalf("stopped: %+v", o)
	}
	must(t, n.Stop(within(t, time.Second), StopOptions{})) // again: nothing to do
	if _, err := n.Start(within(t, 5*time.Second), StartOptions{Role: postgres.RoleReplica}); !errors.Is(err, ErrWouldBePrimary) {
		t.Fatalf("start as replica without signal file: %v", err)
	}
	n.start(StartOptions{Role: postgres.RolePrimary})
}

func crash(t *testing.T, n *node) {
	before := n.sql("SELECT timeline_id::text FROM pg_control_checkpoint()")
	n.sql("CREATE TABLE public.kept AS SELECT 1")
	p, _ := n.findPostmaster()
	must(t, syscall.Kill(p.pid, syscall.SIGKILL))
	until(t, "the crash is noticed", func() (bool, any) {
		o := n.observe()
		return o.State == postgres.StateCrashed && !o.Alive && o.Control != nil, o
	})
	archived := waitsForArchive(t, n)
	until(t, "the backends are gone", func() (bool, any) {
		err := n.CrashRecover(within(t, 20*time.Second))
		return err == nil, err
	})
	data, err := n.ControlData(t.Context())
	if err != nil || data.State != postgres.ClusterShutDown {
		t.Fatalf("after single-user recovery: %+v, %v", data, err)
	}
	if _, err := os.Stat(archived); err != nil {
		t.Fatalf("the segment that waited was not archived: %v", err)
	}
	n.Configure(n.eff, n.dyn)
	n.start(StartOptions{Role: postgres.RolePrimary})
	if got := n.sql("SELECT timeline_id::text FROM pg_control_checkpoint()"); got != before {
		t.Fatalf("timeline %s, want %s", got, before)
	}
	n.sql("SELECT count(*)::text FROM public.kept")
	must(t, n.Stop(within(t, 10*time.Second), StopOptions{Mode: StopImmediate}))
}

// waitsForArchive marks a segment of the stopped server as ready and returns
// where archive_command will put it. Contract: pitfalls 121.
func waitsForArchive(t *testing.T, n *node) string {
	t.Helper()
	with := n.eff
	with.Parameters = maps.Clone(n.eff.Parameters)
	with.Parameters["archive_mode"] = "on"
	with.Parameters["archive_command"] = "cp %p " + n.dir + "/%f"
	n.Configure(with, n.dyn)
	_, err := n.WriteFiles(t.Context())
	must(t, err)
	segments, err := filepath.Glob(filepath.Join(n.dataDir(), "pg_wal", strings.Repeat("?", 24)))
	must(t, err)
	slices.Sort(segments)
	name := filepath.Base(segments[0])
	must(t, os.WriteFile(filepath.Join(n.dataDir(), "pg_wal", "archive_status", name+".ready"), nil, 0o600))
	return filepath.Join(n.dir, name)
}

// A frozen postmaster must block nobody. Contract: rest-api.md 3.4; pitfalls 100.
func TestFrozenPostmaster(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	n.primary()
	n.observe()
	p, _ := n.findPostmaster()
	must(t, syscall.Kill(p.pid, syscall.SIGSTOP))
	backends := children(p.pid)
	for _, c := range backends {
		_ = syscall.Kill(c.pid, syscall.SIGSTOP)
	}
	for range 3 {
		begun := time.Now()
		o := n.Observe(within(t, 300*time.Millisecond))
		if took := time.Since(begun); took > time.Second {
			t.Fatalf("Observe took %s of 300 ms", took)
		}
		if !o.Alive || o.Row != nil || o.QueryErr == nil || o.State != postgres.StateRunning || !o.Primary() {
			t.Fatalf("frozen: %+v", o)
		}
	}
	begun := time.Now()
	if _, err := n.Status(within(t, 300*time.Millisecond)); err == nil || time.Since(begun) > time.Second {
		t.Fatalf("Status of a frozen server: %v after %s", err, time.Since(begun))
	}
	// A stop with a limit gets rid of it: immediate does not help, SIGKILL does.
	must(t, n.Stop(within(t, 20*time.Second), StopOptions{Timeout: 200 * time.Millisecond}))
	if p.alive() {
		t.Fatal("still alive after the stop")
	}
}

// A new agent takes over what runs. Contract: ha-behaviour.md 1; pitfalls 110.
func TestAdopt(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	n.primary()
	second := n.open()
	ctx := within(t, 20*time.Second)
	a, err := second.Adopt(ctx)
	if err != nil || !a.Running || a.Ready != ReadyAccepting || second.Role() != postgres.RolePrimary {
		t.Fatalf("adopt: %+v, %v, role %s", a, err, second.Role())
	}
	if got := second.AdoptedSettings(); got["max_connections"] != "30" || got["shared_buffers"] != "16MB" {
		t.Fatalf("adopted settings %v", got)
	}
	applied, err := second.ApplyConfig(ctx, false)
	if err != nil || applied.Changed || len(applied.Pending) != 0 {
		t.Fatalf("apply after adoption: %+v, %v", applied, err)
	}
	var got StartResult
	if got, err = second.Start(ctx, StartOptions{}); err != nil || got != StartReady {
		t.Fatalf("start of a running server: %s, %v", got, err)
	}
	must(t, second.Stop(ctx, StopOptions{}))
	// One that was started behind our back is noticed, its settings are read.
	n.start(StartOptions{Role: postgres.RolePrimary})
	if o := second.Observe(ctx); o.State != postgres.StateRunning || second.AdoptedSettings()["max_connections"] != "30" {
		t.Fatalf("started behind our back: %+v, settings %v", o, second.AdoptedSettings())
	}
	must(t, n.Stop(ctx, StopOptions{}))
	if o := second.Observe(ctx); o.State != postgres.StateCrashed {
		t.Fatalf("stopped behind our back: %+v", o)
	}
	third := n.open()
	if a, err = third.Adopt(ctx); err != nil || a.Running || third.Role() != postgres.RoleDemoted {
		t.Fatalf("adopt a stopped primary: %+v, %v, role %s", a, err, third.Role())
	}
}

// A pid file from before a reboot names somebody else's process. Contract:
// ha-behaviour.md 1; pitfalls 102.
func TestForeignPidFile(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	n.primary()
	must(t, n.Stop(within(t, 20*time.Second), StopOptions{}))
	foreign := foreignProcess(t)
	pidfile := filepath.Join(n.dataDir(), "postmaster.pid")
	must(t, os.WriteFile(pidfile, []byte(foreign+"\n"+n.dataDir()+"\n1000000000\n"), 0o600))
	if o := n.observe(); o.Alive {
		t.Fatalf("a foreign process was taken for the server: %+v", o)
	}
	n.start(StartOptions{Role: postgres.RolePrimary})
	must(t, n.Stop(within(t, 20*time.Second), StopOptions{}))
}

// A start that cannot succeed says so. Contract: ha-behaviour.md 1.
func TestStartFails(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	n.primary()
	must(t, n.Stop(within(t, 20*time.Second), StopOptions{}))
	bad := n.eff
	bad.Parameters = maps.Clone(n.eff.Parameters)
	bad.Parameters["listen_addresses"] = "203.0.113.1" // nobody has it
	n.Configure(bad, n.dyn)
	r, err := n.Start(within(t, 20*time.Second), StartOptions{Role: postgres.RolePrimary})
	if r != StartFailed || !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "start PostgreSQL") {
		t.Fatalf("start: %s, %v", r, err)
	}
	if st, _ := n.State(); st != postgres.StateStartFailed {
		t.Fatalf("state %s", st)
	}
}

// What the server refuses is left out; it starts. Contract: config.md 5.3;
// pitfalls 155.
func TestRefusedParameters(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	refused := map[string]string{"no_such_parameter": "1", "work_mem": "10XB", "fsyncc": "off", "TimeZone": "Mars/Base", "shared_buffers": "1B"}
	good := maps.Clone(n.eff.Parameters)
	n.eff.Parameters = maps.Clone(good)
	maps.Copy(n.eff.Parameters, refused)
	n.eff.Parameters["some.extension"] = "x"
	n.Configure(n.eff, n.dyn)
	n.primary()
	if got := n.Rejected(); len(got) != len(refused) || got["timezone"] != "Mars/Base" {
		t.Fatalf("rejected %v, want %v", got, refused)
	}
	if got := n.sql("SELECT current_setting('some.extension')"); got != "x" {
		t.Fatalf("some.extension = %q", got)
	}
	if a, err := n.ApplyConfig(within(t, 20*time.Second), false); err != nil || a.Changed || len(a.Pending) != 0 {
		t.Fatalf("apply: %+v, %v", a, err)
	}
	if left, _ := filepath.Glob(n.dataDir() + "/*check*"); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}
