package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Proc is a process the lab started, its direct child.
type Proc struct {
	Pid int
	// Log is the file with its output; a process started again appends.
	Log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // after done
}

// Done is closed when the process has ended and was reaped.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Alive says whether the process has not ended yet.
func (p *Proc) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// String is the process's pid and, once it has ended, how.
func (p *Proc) String() string {
	if p.Alive() {
		return fmt.Sprintf("pid %d", p.Pid)
	}
	return fmt.Sprintf("pid %d has ended: %v", p.Pid, p.cmd.ProcessState)
}

// Signal sends sig; a process that has ended is no error.
func (p *Proc) Signal(sig syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to %d: %w", sig, p.Pid, err)
	}
	return nil
}

// Kill sends SIGKILL and waits until the process is reaped.
func (p *Proc) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Wait waits for the end and returns the exit code; -1 when ended by a signal.
// An error means that it has not ended within timeout.
func (p *Proc) Wait(timeout time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(timeout):
		return 0, fmt.Errorf("process %d (log %s) has not ended within %v", p.Pid, p.Log, timeout)
	}
}

// reaper: orphans of the members (a postmaster whose guard was killed) become
// our children and are reaped at once, as under systemd. Left to a slow pid 1
// they stay zombies, and PostgreSQL does not start over a zombie's lock file.
var reaper struct {
	once  sync.Once
	mu    sync.Mutex
	known map[int]bool // started here; os/exec waits for these
}

func startReaper() {
	reaper.once.Do(func() {
		reaper.known = map[int]bool{}
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return // orphans go to pid 1 then
		}
		go func() {
			for range time.Tick(20 * time.Millisecond) {
				reapOrphans()
			}
		}()
	})
}

// startRegistered starts cmd so that the reaper leaves it to waitRegistered.
func startRegistered(cmd *exec.Cmd) error {
	reaper.mu.Lock()
	defer reaper.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	reaper.known[cmd.Process.Pid] = true
	return nil
}

func waitRegistered(cmd *exec.Cmd) error {
	err := cmd.Wait()
	reaper.mu.Lock()
	defer reaper.mu.Unlock()
	delete(reaper.known, cmd.Process.Pid)
	return err
}

// reapOrphans waits for zombies that are our children by adoption. They are
// told from the commands that tests run themselves by their session: what the
// lab starts has sessions of its own.
func reapOrphans() {
	mine, _ := unix.Getsid(0)
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	reaper.mu.Lock()
	defer reaper.mu.Unlock()
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(f)
			if reaper.known[pid] {
				continue
			}
			if s, err := readStat(pid); err == nil && s.state == "Z" && s.session != mine {
				unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
		}
	}
}

// stat is what the lab reads of /proc/PID/stat.
type stat struct {
	state   string
	parent  int
	session int
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	_, rest, ok := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	f := strings.Fields(rest)
	if !ok || len(f) < 4 {
		return stat{}, fmt.Errorf("/proc/%d/stat: not understood", pid)
	}
	parent, _ := strconv.Atoi(f[1])
	session, _ := strconv.Atoi(f[3])
	return stat{state: f[0], parent: parent, session: session}, nil
}

// Running says whether a process exists and is not a zombie.
func Running(pid int) bool {
	s, err := readStat(pid)
	return err == nil && s.state != "Z" && s.state != "X"
}

// cgroup2Mount finds where cgroup v2 is mounted: /sys/fs/cgroup/unified on
// hybrid layouts, /sys/fs/cgroup under systemd.
func cgroup2Mount() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		for i, w := range fields {
			if w == "-" && i+1 < len(fields) && fields[i+1] == "cgroup2" {
				return fields[4], nil
			}
		}
	}
	return "", errors.New("cgroup v2 is not mounted")
}

// children are the processes whose parent is pid.
func children(pid int) []int {
	var all []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// cmdline is the command line of a process; empty when it is gone.
func cmdline(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(strings.TrimRight(string(text), "\x00"), "\x00", " ")
}
