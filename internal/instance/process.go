package instance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgha/internal/postgres"
)

// process identifies a process beyond its pid, which the kernel reuses.
type process struct {
	pid   int
	start uint64 // starttime of /proc/PID/stat: clock ticks since boot
}

// alive says whether this very process still runs. A zombie does not: it
// keeps its pid until somebody reaps it, but holds nothing any more.
func (p process) alive() bool {
	if p.pid <= 0 {
		return false
	}
	st, err := readProcStat(p.pid)
	if err != nil {
		return false
	}
	return st.start == p.start && st.state != 'Z' && st.state != 'X'
}

// procStat is the part of /proc/PID/stat that is used here.
type procStat struct {
	state byte
	ppid  int
	start uint64
}

func readProcStat(pid int) (procStat, error) { return readStatIn("/proc", pid) }

func readStatIn(proc string, pid int) (procStat, error) {
	b, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", proc, pid))
	if err != nil {
		return procStat{}, err
	}
	// The command name stands in parentheses and may hold anything.
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 || f[0] == "" {
		return procStat{}, fmt.Errorf("read %s/%d/stat: unexpected content", proc, pid)
	}
	ppid, err1 := strconv.Atoi(f[1])
	start, err2 := strconv.ParseUint(f[19], 10, 64)
	if err1 != nil || err2 != nil {
		return procStat{}, fmt.Errorf("read %s/%d/stat: unexpected content", proc, pid)
	}
	return procStat{state: f[0][0], ppid: ppid, start: start}, nil
}

// identify returns the identity of the process that has the pid now.
func identify(pid int) (process, error) {
	st, err := readProcStat(pid)
	if err != nil {
		return process{}, err
	}
	return process{pid: pid, start: st.start}, nil
}

// startedAt converts a start time in ticks to civil time. Linux fixes
// USER_HZ at 100 on every architecture Go supports.
func (p process) startedAt() (time.Time, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "btime "); ok {
			boot, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("read btime of /proc/stat: %w", err)
			}
			return time.Unix(boot, 0).Add(time.Duration(p.start) * (time.Second / 100)), nil
		}
	}
	return time.Time{}, fmt.Errorf("read /proc/stat: no btime")
}

// children lists the direct children of a process that can be seen.
func children(pid int) []process {
	out, _ := childrenIn("/proc", pid)
	return out
}

// childrenIn lists the direct children of a process, those that have ended but
// are not reaped too. One pass over proc, because /proc/PID/task/TID/children
// does not exist on every kernel. The error says that the list may lack some.
func childrenIn(proc string, pid int) (out []process, unreadable error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		st, err := readStatIn(proc, n)
		switch {
		case err == nil && st.ppid == pid:
			out = append(out, process{pid: n, start: st.start})
		case err != nil && !vanished(err):
			unreadable = err
		}
	}
	return out, unreadable
}

// vanished says whether the process ended while it was looked at (pitfalls
// 210): its directory is gone, or a file that was open answers "no such process".
func vanished(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// killTree stops the postmaster so that it cannot start anything new, kills
// its children and then itself.
func killTree(p process) {
	if !p.alive() {
		return
	}
	_ = syscall.Kill(p.pid, syscall.SIGSTOP)
	for _, c := range children(p.pid) {
		if c.alive() {
			_ = syscall.Kill(c.pid, syscall.SIGKILL)
		}
	}
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
}

// killDescendants kills a program that we started as the leader of a process
// group: first it is stopped, so that it starts nothing new, then the group
// and every descendant are killed, also those in sessions of their own. What
// belongs to another user is left: the caller waits for its end.
func killDescendants(pid int) {
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	for queue := children(pid); len(queue) > 0; queue = queue[1:] {
		_ = syscall.Kill(queue[0].pid, syscall.SIGSTOP)
		queue = append(queue, children(queue[0].pid)...)
		_ = syscall.Kill(queue[0].pid, syscall.SIGKILL)
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

// pidFile is postmaster.pid.
type pidFile struct {
	pid       int // negative: a single-user server
	start     time.Time
	port      int
	socketDir string
	listen    string
	status    string // starting, ready, standby, stopping
}

// readPidFile reads <dir>/postmaster.pid; the file grows line by line while
// the postmaster starts, so everything after the pid may be missing.
func readPidFile(dir string) (pidFile, error) {
	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return pidFile{}, err
	}
	f, ok := postgres.ParsePIDFile(string(b))
	if !ok {
		return pidFile{}, fmt.Errorf("read %s: no pid in the first line", filepath.Join(dir, "postmaster.pid"))
	}
	return pidFile{pid: f.PID, start: f.Start, port: f.Port, socketDir: f.SocketDir, listen: f.Listen, status: f.Status}, nil
}

// postmasterOf decides whether the process a pid file names is the server of
// this data directory (contract: ha-behaviour.md 1): never ourselves or our
// parent; ours when it started within 3 s of the file; else ours
// when it runs a postgres binary in the data directory. A negative pid is
// looked up as well: a single-user server occupies the directory too.
func postmasterOf(dir string, f pidFile) (process, bool) {
	pid := f.pid
	if pid < 0 {
		pid = -pid
	}
	p, err := identify(pid)
	if err != nil || !p.alive() || pid == os.Getpid() || pid == os.Getppid() {
		return process{}, false
	}
	if !f.start.IsZero() {
		if at, err := p.startedAt(); err == nil {
			if d := at.Sub(f.start); d > -3*time.Second && d < 3*time.Second {
				return p, true
			}
		}
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return process{}, false
	}
	base := filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	if base != "postgres" && base != "postmaster" {
		return process{}, false
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return p, true
	}
	return p, sameDir(cwd, dir)
}

func sameDir(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
