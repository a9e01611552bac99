package guard

import (
	"os"
	"syscall"
)

// Tree is everything that belongs to one data directory's PostgreSQL:
//
//   - every descendant of the guard, or of an adopted postmaster (backends are
//     sessions of their own, so no process group has them all; orphans come
//     back to the guard, which is their subreaper);
//   - every member of the PostgreSQL cgroup, where there is one;
//   - every process of our user whose working directory is the data directory:
//     what an earlier guard left behind. A terminal's processes count only if
//     they run a postgres binary, so that an administrator's shell in the data
//     directory is left alone.
type Tree struct {
	path  string // canonical path of the data directory
	pin   int    // O_PATH descriptor: keeps the inode number from being used again; -1 none
	id    fileID // zero: only the path is known
	uid   uint32
	root  int // descendants of this process belong, not itself; 0: none
	top   int // this process and its descendants belong (adopted postmaster); 0: none
	group string

	// keep says which process never belongs, a descendant or not.
	keep func(pid int) bool

	// spare returns processes that match by working directory alone and are
	// left alone nevertheless.
	spare func() []int
}

// FindTree describes what belongs to the data directory, for a caller that is
// not the guard: processes are recognised by user, working directory and
// cgroup. The caller and its ancestors never belong. A data directory that
// does not exist (any more) is recognised by path.
func FindTree(dataDir string) (*Tree, error) {
	t := &Tree{pin: -1, uid: uint32(os.Geteuid())}
	t.spare = func() []int { return ancestors(os.Getpid()) }
	fd, err := syscall.Open(dataDir, oPath|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	switch {
	case err == syscall.ENOENT:
		t.path = dataDir
	case err != nil:
		return nil, err
	default:
		t.pin = fd
		self := "/proc/self/fd/" + formatInt(int64(fd))
		if t.path, err = readLink(self); err != nil {
			t.Close()
			return nil, err
		}
		t.id, _ = identify(self) // the path alone must do where statx is missing
	}
	if base := ownGroup(); base != "" {
		t.group = groupFor(base, t.path, "postgres")
	}
	return t, nil
}

// Close releases the hold on the data directory's identity.
func (t *Tree) Close() {
	if t.pin >= 0 {
		syscall.Close(t.pin)
		t.pin = -1
	}
}

// Path is the data directory's canonical path.
func (t *Tree) Path() string { return t.path }

// Count says how many processes of the tree can still run (alive), and how
// many are stuck in the kernel with SIGKILL pending, unable ever to return to
// user mode (rulings 12). It signals nobody.
func (t *Tree) Count() (alive, stuck int, err error) {
	return t.round(func(process) {})
}

// Kill sends SIGKILL to whatever of the tree can still run and counts as
// Count does, before the signal takes effect: call it until alive is 0, twice
// in a row, because a process can be born while the list is read.
func (t *Tree) Kill() (alive, stuck int, err error) {
	if t.group != "" {
		writeSmall(t.group+"/cgroup.kill", "1") // absent group or old kernel: the walk does it
	}
	return t.round(killProcess)
}

// round looks at the processes that are certain first and only then at
// foreign working directories by inode, the one question that can hang (a
// network file system that does not answer): by then the certain ones have
// had their signal.
func (t *Tree) round(act func(process)) (alive, stuck int, err error) {
	all, err := processes()
	if err != nil {
		return 0, 0, err
	}
	self, parents := os.Getpid(), make(map[int]int, len(all))
	for _, p := range all {
		parents[p.pid] = p.ppid
	}
	members := groupMembers(t.group)
	var spared []int
	if t.spare != nil {
		spared = t.spare()
	}
	take := func(p process) {
		if p.state == 'D' && killPending(p.pid) {
			stuck++
			return
		}
		alive++
		act(p)
	}
	var unsure []process
	for _, p := range all {
		switch {
		case p.dead() || p.pid == self || p.pid <= 1 || t.keep != nil && t.keep(p.pid):
		case t.descends(p.pid, parents) || contains(members, p.pid):
			take(p)
		case contains(spared, p.pid) || !t.ours(p):
		case t.cwdIsPath(p.pid):
			take(p)
		default:
			unsure = append(unsure, p)
		}
	}
	for _, p := range unsure {
		if t.cwdIsInode(p.pid) {
			take(p)
		}
	}
	return alive, stuck, nil
}

func (t *Tree) descends(pid int, parents map[int]int) bool {
	if pid == t.top && t.top != 0 {
		return true
	}
	for depth := 0; depth < 1000; depth++ {
		parent, ok := parents[pid]
		if !ok || parent == 0 {
			return false
		}
		if parent == t.root || parent == t.top {
			return true
		}
		pid = parent
	}
	return false
}

// ours says whether a process may belong by its working directory: same user,
// and no terminal unless it is a postgres binary.
func (t *Tree) ours(p process) bool {
	var st syscall.Stat_t
	if syscall.Stat(procPath(p.pid, ""), &st) != nil || st.Uid != t.uid {
		return false
	}
	if p.tty == 0 {
		return true
	}
	exe, err := readLink(procPath(p.pid, "/exe"))
	if err != nil {
		return false
	}
	name := exe[lastIndex(exe, '/')+1:]
	return hasPrefix(name, "postgres") || hasPrefix(name, "postmaster")
}

func (t *Tree) cwdIsPath(pid int) bool {
	cwd, err := readLink(procPath(pid, "/cwd"))
	if err != nil {
		return false
	}
	return cwd == t.path || cwd == t.path+" (deleted)" && t.id == fileID{}
}

func (t *Tree) cwdIsInode(pid int) bool {
	if t.id == (fileID{}) {
		return false
	}
	id, err := identify(procPath(pid, "/cwd"))
	return err == nil && id == t.id
}

// killProcess sends SIGKILL through a descriptor, after having checked that
// the number still means the process that was seen.
func killProcess(p process) {
	fd, err := pidfdOpen(p.pid)
	if err == syscall.ESRCH {
		return
	}
	if now, ok := readProcess(p.pid); !ok || now.start != p.start {
		if err == nil {
			syscall.Close(fd)
		}
		return
	}
	if err != nil { // before Linux 5.3
		syscall.Kill(p.pid, syscall.SIGKILL)
		return
	}
	pidfdSignal(fd, syscall.SIGKILL)
	syscall.Close(fd)
}

func procPath(pid int, name string) string { return "/proc/" + formatInt(int64(pid)) + name }

func readLink(path string) (string, error) {
	buf := make([]byte, 4096)
	n, err := syscall.Readlink(path, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
