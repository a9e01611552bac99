package guard_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgha/internal/clock"
)

// delegated makes a cgroup v2 that the unprivileged user owns, as systemd
// does with Delegate=yes.
func delegated(t *testing.T) (dir string, fd int) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("delegating a cgroup needs root")
	}
	mount := ""
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			mount = f[1]
		}
	}
	if mount == "" {
		t.Skip("no cgroup v2 is mounted")
	}
	if dir, err = os.MkdirTemp(mount, "pgha-test-"); err != nil {
		t.Skipf("cgroup v2 is not writable: %v", err)
	}
	owner := postgresUser()
	for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		must(t, os.Chown(filepath.Join(dir, name), int(owner.Uid), int(owner.Gid)))
	}
	fd, err = syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	must(t, err)
	t.Cleanup(func() {
		syscall.Close(fd)
		os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		inner, _ := filepath.Glob(dir + "/pgha-*")
		for _, d := range append(inner, dir) {
			(&box{t: t}).until("cgroup "+d+" is empty", soon(), func() bool { return syscall.Rmdir(d) != syscall.EBUSY })
		}
	})
	return dir, fd
}

// In a delegated cgroup PostgreSQL gets a group of its own: even a process
// that left the data directory and its parents dies with the guard.
func TestCgroup(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	dir, fd := delegated(t)
	a := b.agentIn(fd)
	guardPID, postgres := b.startPrimary(a, 60000)
	group := func(pid int) string {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		_, path, _ := strings.Cut(string(text), "0::")
		path, _, _ = strings.Cut(path, "\n")
		return filepath.Base(path)
	}
	if note := a.value("CgroupNote"); !strings.HasPrefix(note, dir+"/pgha-postgres-") || group(postgres) != filepath.Base(note) {
		t.Errorf("PostgreSQL is in %s, the state says %s", group(postgres), note)
	}
	if got := group(guardPID); !strings.HasPrefix(got, "pgha-guard-") {
		t.Errorf("the guard is in %s", got)
	}
	_, err := b.sql("copy t to program 'cd / && (setsid sleep 611 >/dev/null 2>&1 </dev/null & echo $! >" + b.dir + "/stray)'")
	must(t, err)
	text, err := os.ReadFile(b.dir + "/stray")
	must(t, err)
	stray, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", stray)); cwd != "/" || !alive(stray) {
		t.Fatalf("stray process %d in %q", stray, cwd)
	}
	must(t, syscall.Kill(guardPID, syscall.SIGKILL))
	b.until("everything is gone", clock.Now().Add(2e9), func() bool { return !alive(stray) && !alive(postgres) && len(b.tree()) == 0 })
}

// The real program's guard and undertaker stay small: nothing of what the
// rest links may be resident in them (rulings 35).
func TestResidentSize(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	exe := b.dir + "/pgha"
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", exe, "pgha")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v %s", err, out)
	}
	a := b.agent()
	a.must("exe " + exe)
	guardPID, _ := b.startPrimary(a, 60000)
	for range 200 { // two hundred renewals
		a.must("arm 60000")
	}
	const limit, private = 6 << 10, 2 << 10
	for name, pid := range map[string]int{"guard": guardPID, "undertaker": a.number("UndertakerPID")} {
		rss, pss := kilobytes(pid, "VmRSS:", "status"), kilobytes(pid, "Pss:", "smaps_rollup")
		t.Logf("%s: %d kB resident, %d kB proportional; locked memory: %s; oom: %s", name, rss, pss, a.value("MemoryLockNote"), a.value("OOMNote"))
		if rss == 0 || rss > limit {
			t.Errorf("%s: %d kB resident, limit %d", name, rss, limit)
		}
		// The rest is the program's file, shared with the agent's process.
		if anon := kilobytes(pid, "RssAnon:", "status"); anon > private {
			t.Errorf("%s: %d kB of its own, limit %d", name, anon, private)
		}
	}
	a.must("kill")
	a.must("exited")
}

func kilobytes(pid int, key, file string) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == key {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}
