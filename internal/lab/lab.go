// Package lab is for tests only: real etcd, real PostgreSQL and real pgha
// agents on hosts of their own (network namespaces), and the ways to hurt
// them. The operators' stories in package stories are told with it.
//
// A Lab is one test's machine room. Whatever runs in it is in one cgroup and
// is ended, with its namespaces, mounts and directories, by a janitor process
// that acts when the test process closes its pipe or dies: also after a panic,
// a test timeout, or SIGKILL.
//
// Without root (or where namespaces are not permitted) hosts are addresses of
// 127.0.0.0/8 instead, the log says so, and what needs a network to cut calls
// NeedNetwork, which skips by name.
package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
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
)

// Lab is one test's machine room.
type Lab struct {
	t testing.TB
	// ID names the run: prefix of interfaces, namespaces and the cgroup.
	ID string
	// Dir is the run's directory, short enough for unix sockets.
	Dir string

	net    *network // nil: loopback addresses
	cgroup string   // path of the run's cgroup; empty: none
	cred   *syscall.Credential
	user   *user.User

	mu      sync.Mutex
	hosts   []*Host
	janitor *janitor
}

// Mode is which stories run, from PGHA_LAB: "short" (make short, make test),
// "all" (make lab), or empty: none.
func Mode() string { return os.Getenv("PGHA_LAB") }

// New makes an empty machine room that lives as long as the test. In a run
// that did not ask for the lab (PGHA_LAB unset) the test is skipped by name.
func New(t testing.TB) *Lab {
	t.Helper()
	if Mode() == "" {
		t.Skip("lab tests run with `make short` or `make lab` (PGHA_LAB=short|all)")
	}
	startReaper()
	l := &Lab{t: t, ID: "p" + strconv.FormatUint(uint64(rand.Uint32()|1<<31), 36)[:6]}
	l.Dir = filepath.Join("/tmp", l.ID)
	if err := os.Mkdir(l.Dir, 0o755); err != nil {
		t.Fatalf("lab: %v", err)
	}
	l.pickUser()
	l.pickCgroup()
	l.pickNetwork()
	l.janitor = startJanitor(l)
	t.Cleanup(l.close)
	return l
}

// pickUser chooses who runs etcd, PostgreSQL and the agents: PostgreSQL
// refuses root.
func (l *Lab) pickUser() {
	me, err := user.Current()
	if err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	l.user = me
	if os.Getuid() != 0 {
		return
	}
	if l.user, err = user.Lookup("postgres"); err != nil {
		if out, err := exec.Command("useradd", "--system", "--create-home", "postgres").CombinedOutput(); err != nil {
			l.t.Fatalf("lab: there is no user postgres and it cannot be created: %v: %s", err, out)
		}
		if l.user, err = user.Lookup("postgres"); err != nil {
			l.t.Fatalf("lab: %v", err)
		}
	}
	uid, _ := strconv.ParseUint(l.user.Uid, 10, 32)
	gid, _ := strconv.ParseUint(l.user.Gid, 10, 32)
	l.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// Isolated says whether hosts have a network of their own that can be cut.
func (l *Lab) Isolated() bool { return l.net != nil }

// NeedNetwork skips the test, saying why, where hosts cannot be cut off.
func (l *Lab) NeedNetwork() {
	l.t.Helper()
	if !l.Isolated() {
		l.t.Skip("needs network namespaces: run as root, with iproute2 and nftables installed")
	}
}

// close ends everything and, after a failure, keeps the logs.
func (l *Lab) close() {
	if l.t.Failed() {
		l.keepLogs()
	}
	if err := l.janitor.finish(); err != nil {
		l.t.Errorf("lab: clean up: %v", err)
	}
}

// keepLogs copies every log file to .lab/<test> at the module's root and
// shows the end of each.
func (l *Lab) keepLogs() {
	root, err := moduleRoot()
	if err != nil {
		l.t.Logf("lab: logs not kept: %v", err)
		return
	}
	keep := filepath.Join(root, ".lab", strings.ReplaceAll(l.t.Name(), "/", "_"))
	os.RemoveAll(keep)
	if err := l.CopyLogs(keep, func(name, text string) {
		l.t.Logf("== end of %s\n%s", name, tail(text, 25))
	}); err != nil {
		l.t.Logf("lab: logs not kept: %v", err)
		return
	}
	l.t.Logf("lab: logs kept in %s", keep)
}

// CopyLogs copies every log and configuration file of the run into a
// directory, which is made, and calls each (if not nil) with every log.
func (l *Lab) CopyLogs(keep string, each func(name, text string)) error {
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(l.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isLog(path) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		name := strings.ReplaceAll(strings.TrimPrefix(path, l.Dir+"/"), "/", "_")
		if err := os.WriteFile(filepath.Join(keep, name), text, 0o644); err != nil {
			return err
		}
		if each != nil && filepath.Ext(path) != ".yml" {
			each(name, string(text))
		}
		return nil
	})
}

func isLog(path string) bool {
	ext := filepath.Ext(path)
	return ext == ".log" || ext == ".yml" || (ext == ".csv" && strings.Contains(path, "/log/"))
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no go.mod above the working directory")
}

// Until calls probe every 50 ms until it returns "" (done). After the timeout
// the test fails with what was awaited, probe's last answer, and the state
// that each of the lab's clusters shows.
func (l *Lab) Until(timeout time.Duration, what string, probe func() string) time.Duration {
	l.t.Helper()
	start := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := probe()
		if last == "" {
			return time.Since(start)
		}
		if time.Since(start) > timeout {
			l.t.Fatalf("after %v still not: %s\nlast seen: %s", timeout, what, last)
		}
		<-tick.C
	}
}

// Never fails the test as soon as probe returns a text, and returns after d.
func (l *Lab) Never(d time.Duration, what string, probe func() string) {
	l.t.Helper()
	deadline := time.Now().Add(d)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		if seen := probe(); seen != "" {
			l.t.Fatalf("%s: %s", what, seen)
		}
		<-tick.C
	}
}

// run executes a command of the lab's own (ip, nft, mount) as the test's user.
func run(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// must fails the test on a fault of the lab itself.
func (l *Lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatalf("lab: %v", err)
	}
}
