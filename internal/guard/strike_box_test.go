package guard_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgha/internal/clock"
)

// template is made once: an initialised data directory with one table, and a
// copy of this test binary that the unprivileged user may execute.
var template struct {
	once sync.Once
	dir  string
	err  error
}

func removeTemplate() {
	if template.dir != "" {
		os.RemoveAll(template.dir)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pgBin finds PostgreSQL's programs: Debian's places, then RHEL's.
func pgBin(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/bin"} {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			if _, err := os.Stat(dir + "/postgres"); err == nil {
				return dir
			}
		}
	}
	t.Fatal("no postgres binary: install postgresql-15 (Debian) or postgresql15-server (PGDG)")
	return ""
}

func postgresUser() *syscall.Credential {
	u, err := user.Lookup("postgres")
	if err != nil {
		panic("tests run as root need the user postgres: " + err.Error())
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// run executes a program as the unprivileged user.
func run(dir, stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = dir, []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=" + dir}, asPostgres()
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), err
}

func makeTemplate(bin string) (err error) {
	if template.dir, err = os.MkdirTemp("/tmp", "pg"); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		c := postgresUser()
		if err := os.Chown(template.dir, int(c.Uid), int(c.Gid)); err != nil {
			return err
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(template.dir+"/test.bin", self, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(template.dir, 0o755); err != nil {
		return err
	}
	data := template.dir + "/data"
	if _, err := run(template.dir, "", bin+"/initdb", "-N", "-A", "trust", "-U", "postgres", "--wal-segsize=1", data); err != nil {
		return err
	}
	_, err = run(template.dir, "create table t (n bigint)\n", bin+"/postgres", "--single", "-D", data, "postgres")
	return err
}

// box is one scenario's place: data directory, state directory, sockets.
type box struct {
	t   *testing.T
	dir string
}

func newBox(t *testing.T) *box {
	t.Helper()
	bin := pgBin(t)
	template.once.Do(func() { template.err = makeTemplate(bin) })
	must(t, template.err)
	dir, err := os.MkdirTemp("/tmp", "pg")
	must(t, err)
	if os.Getuid() == 0 {
		c := postgresUser()
		must(t, os.Chown(dir, int(c.Uid), int(c.Gid)))
	}
	_, err = run(dir, "", "cp", "-a", template.dir+"/data", dir+"/data")
	must(t, err)
	b := &box{t: t, dir: dir}
	t.Cleanup(func() {
		for _, pid := range b.tree() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() {
			log, _ := os.ReadFile(dir + "/log")
			t.Logf("log:\n%s", log)
		}
		os.RemoveAll(dir)
	})
	return b
}

func (b *box) standby() {
	b.t.Helper()
	_, err := run(b.dir, "", "touch", b.dir+"/data/standby.signal")
	must(b.t, err)
}

// tree looks for the data directory's processes with the test's own eyes.
func (b *box) tree() (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, l := range links {
		if at, err := os.Readlink(l); err == nil && at == b.dir+"/data" {
			pid, _ := strconv.Atoi(strings.Split(l, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// until waits for the condition, at most until the instant.
func (b *box) until(what string, limit clock.Instant, condition func() bool) {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if clock.Now().After(limit) {
			b.t.Fatalf("not in time: %s", what)
		}
		<-tick.C
	}
}

// soon is the limit for what needs no lease to end.
func soon() clock.Instant { return clock.Now().Add(15 * time.Second) }

func (b *box) sql(query string) (string, error) {
	out, err := run(b.dir, "", pgBin(b.t)+"/psql", "-XqAt", "-h", b.dir, "-U", "postgres", "-c", query, "postgres")
	return strings.TrimSpace(out), err
}

func (b *box) awaitSQL(query, want string) {
	b.t.Helper()
	b.until(query+" = "+want, soon(), func() bool {
		got, err := b.sql(query)
		return err == nil && got == want
	})
}

// alive says whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	s := string(stat)
	return !strings.HasPrefix(s[strings.LastIndexByte(s, ')')+1:], " Z")
}

// writer inserts row after row and notes when each was acknowledged.
type writer struct {
	b    *box
	stop chan struct{}
	done chan struct{}
	mu   sync.Mutex
	last clock.Instant
	rows int64 // 1..rows are acknowledged
}

func (b *box) write() *writer {
	w := &writer{b: b, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	b.t.Cleanup(w.end)
	return w
}

func (w *writer) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	<-w.done
}

func (w *writer) run() {
	defer close(w.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		w.session()
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
	}
}

// session writes over one connection until it breaks.
func (w *writer) session() {
	cmd := exec.Command(pgBin(w.b.t)+"/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", w.b.dir, "-U", "postgres", "postgres")
	cmd.Dir, cmd.Env, cmd.SysProcAttr = w.b.dir, []string{"PATH=/usr/bin:/bin"}, asPostgres()
	in, err := cmd.StdinPipe()
	if err != nil {
		return
	}
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	answers := bufio.NewScanner(out)
	for n := w.rows + 1; ; n++ {
		select {
		case <-w.stop:
			return
		default:
		}
		fmt.Fprintf(in, "insert into t values (%d) returning n;\n", n)
		if !answers.Scan() {
			return
		}
		w.mu.Lock()
		w.last, w.rows = clock.Now(), n
		w.mu.Unlock()
	}
}

func (w *writer) acknowledged() (rows int64, last clock.Instant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rows, w.last
}
