package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is the processes of one member.
type tree struct {
	agent, guard, postmaster int // 0: not there
	rest                     []int
}

func (t tree) all() []int {
	pids := slices.Clone(t.rest)
	for _, pid := range []int{t.agent, t.guard, t.postmaster} {
		if pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// String names them as the story does.
func (t tree) String() string {
	return fmt.Sprintf("agent %d, guard %d, PostgreSQL %d and its %d processes", t.agent, t.guard, t.postmaster, len(t.rest))
}

// removeSharedMemory removes the small System V segment that a killed
// postmaster leaves; a stopped one has removed it, and its lock file, itself.
func (m *member) removeSharedMemory() {
	text, err := os.ReadFile(filepath.Join(m.dataDir(), "postmaster.pid"))
	if err != nil {
		return
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 7 {
		return
	}
	// Line 7: key and id of the segment.
	if f := strings.Fields(lines[6]); len(f) == 2 {
		if id, err := strconv.Atoi(f[1]); err == nil {
			unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		}
	}
}

// proc is one line of the process table.
type proc struct {
	pid, parent int
	zombie      bool
	cwd, exe    string
	home        string // HOME in its environment
}

// processes finds the member's processes: the agent and its descendants, all
// that work in the data directory (PostgreSQL's processes stay there, also as
// orphans), and our own program with the member's directory as HOME (the
// guard, whoever its parent is by now).
func (m *member) processes() tree {
	table := processTable()
	mine := map[int]bool{}
	var t tree
	if m.agent != nil {
		if p, ok := table[m.agent.pid()]; ok && !p.zombie {
			t.agent = m.agent.pid()
			mine[t.agent] = true
		}
	}
	own := table[os.Getpid()].exe
	for _, p := range table {
		if p.cwd == m.dataDir() || p.exe == own && p.cwd == m.dataDir()+".pgha" || p.exe == own && p.home == m.dir() {
			mine[p.pid] = true
		}
	}
	if pid := m.postmaster(); mine[pid] {
		t.postmaster = pid
	}
	// Descendants, however deep.
	for grown := true; grown; {
		grown = false
		for _, p := range table {
			if mine[p.parent] && !mine[p.pid] {
				mine[p.pid], grown = true, true
			}
		}
	}
	for pid := range mine {
		switch p := table[pid]; {
		case p.zombie || pid == t.agent || pid == t.postmaster:
		case t.guard == 0 && p.exe == own:
			t.guard = pid
		default:
			t.rest = append(t.rest, pid)
		}
	}
	slices.Sort(t.rest)
	return t
}

// postmaster reads the pid from postmaster.pid; 0 when there is none.
func (m *member) postmaster() int {
	text, err := os.ReadFile(filepath.Join(m.dataDir(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, _ := strconv.Atoi(line)
	return pid
}

// processTable is every process of /proc that we may look into.
func processTable() map[int]proc {
	table := map[int]proc{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name in parentheses may hold anything; fields follow its end.
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(f) < 2 {
			continue
		}
		p := proc{pid: pid, zombie: f[0] == "Z" || f[0] == "X"}
		p.parent, _ = strconv.Atoi(f[1])
		p.cwd, _ = os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		p.exe, _ = os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		for _, v := range strings.Split(string(environ), "\x00") {
			if home, ok := strings.CutPrefix(v, "HOME="); ok {
				p.home = home
			}
		}
		table[pid] = p
	}
	return table
}
