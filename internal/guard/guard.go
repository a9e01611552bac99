// Package guard is another process: PostgreSQL's parent, which holds the
// lease deadline and kills the whole tree when it passes.
//
// The process is this binary executed again. Whoever links this package
// becomes a guard when it is started with EnvMarker set and a title that
// begins with TitlePrefix: the package's init then takes over, before
// anything heavier is initialised, and never returns (rulings 35). It imports
// os, syscall, runtime and unsafe only, so that it stays small enough to be
// locked in memory and works when the rest does not; a test checks that.
//
// One guard lives as long as one postmaster. It has its own session, outlives
// the agent, and speaks with agents over a socket (PROTOCOL.md); the agent's
// side is package guard/client. What it does when the lease runs out, all
// before the deadline L itself (rulings 2):
//
//	FastStopAt  SIGINT to the postmaster: the replicas still get everything
//	KillAt      SIGKILL to the whole tree, until nothing of it is left
//	AlarmAt     the kernel's timer kills the guard, should it be frozen; with
//	            it, by the parent-death signal, the postmaster, and at the
//	            undertaker's hand the rest (undertaker.go)
//
// One thread does everything, in a poll loop. It is the main thread, because
// Linux sends the parent-death signal when the parent's thread ends.
package guard

import (
	"os"
	"runtime"
	"syscall"
)

// How a guard is started; for package guard/client.
const (
	// EnvMarker is the environment variable that is "1" in a guard.
	EnvMarker = "PGHA_GUARD"
	// TitlePrefix begins a guard's argv[0]; the scope follows.
	TitlePrefix = "pgha: guard "
	// EnvStateDir, EnvDataDir are absolute paths; EnvEpoch is the epoch of
	// the agent that starts the guard.
	EnvStateDir = "PGHA_GUARD_STATE_DIR"
	EnvDataDir  = "PGHA_GUARD_DATA_DIR"
	EnvEpoch    = "PGHA_GUARD_EPOCH"
	// ReadyFD is a pipe to the starter: one line, "ready" or
	// "error <code> <text>" with the text quoted, then end of file.
	ReadyFD = 3
	// SocketName and LockName are the guard's files in the state directory.
	// The lock (flock) is held as long as the guard lives: the socket file
	// of a guard without lock is a dead one's.
	SocketName = "guard.sock"
	LockName   = "guard.lock"
	// LastName holds the last state of the last guard that ended by itself.
	LastName = "guard.last"
)

// idleLimit is how long a guard without a server waits for a command.
const idleLimit = 30 * second

func init() {
	if os.Getenv(EnvMarker) != "1" || len(os.Args) == 0 || !hasPrefix(os.Args[0], TitlePrefix) {
		return
	}
	if pid, ok := parseInt(os.Getenv(envUndertaker)); ok {
		undertake(int(pid), os.Getenv(EnvDataDir))
	}
	runtime.LockOSThread() // init runs on the main thread; never leave it
	g, code, text := newGuard(os.Getenv(EnvStateDir), os.Getenv(EnvDataDir), os.Getenv(EnvEpoch))
	if code != "" {
		tellStarter("error " + code + " " + Quote(text))
		os.Exit(1)
	}
	tellStarter("ready")
	g.loop()
}

// guard is the whole state of the process.
type guard struct {
	dataDir string
	lockFD  int // held, never read
	listen  int
	timerFD int
	conns   []*conn

	epoch    uint64 // highest seen
	detached bool
	lease    lease
	alarm    alarm
	server   server
	tree     *Tree // nil before the first start or adopt

	undertaker     int   // its process id; 0: none
	undertakerNext int64 // not replaced before

	stage     Stage // highest fired for this server's lease
	killing   bool
	killStart int64
	empty     int // rounds in a row that found nothing alive
	alive     int // of the last round
	stuck     int
	lastWord  int64 // last command, while there is no server

	group                        string // PostgreSQL's cgroup
	groupFD                      int
	oomBefore                    string // oom_score_adj as inherited, for PostgreSQL
	oomLowered                   bool
	groupNote, lockNote, oomNote string
}

// newGuard takes the lock, opens the socket and protects the process as far
// as it is permitted to; what is not permitted is noted in the state.
func newGuard(stateDir, dataDir, epoch string) (g *guard, code, text string) {
	g = &guard{dataDir: dataDir, groupFD: -1, lastWord: bootNow()}
	g.server.pidfd = -1
	var ok bool
	if g.epoch, ok = parseUint(epoch); !ok || g.epoch == 0 || stateDir == "" || dataDir == "" {
		return nil, codeSyntax, "state directory, data directory and epoch are needed"
	}
	ignoreSignals()
	syscall.CloseOnExec(ReadyFD)
	if err := syscall.Chdir(stateDir); err != nil { // the socket's path may be longer than an address
		return nil, codeRefused, stateDir + ": " + err.Error()
	}
	if code, text := g.takeLock(); code != "" {
		return nil, code, text
	}
	if err := g.openSocket(); err != nil {
		return nil, codeRefused, "socket: " + err.Error()
	}
	if err := prctl(prSetChildSubreaper, 1); err != nil {
		return nil, codeRefused, "become subreaper: " + err.Error()
	}
	var err error
	if g.timerFD, err = newTimerFD(); err != nil {
		return nil, codeRefused, "timerfd: " + err.Error()
	}
	if g.alarm, err = newAlarm(syscall.SIGKILL); err != nil {
		return nil, codeRefused, "kernel timer: " + err.Error()
	}
	g.enterGroups()
	g.lockNote = lockMemory()
	g.lowerOOM()
	return g, "", ""
}

// ignoreSignals makes the process deaf to what ends others: only SIGKILL
// does. SIGQUIT too: Go's own handler would end us with a stack trace. The
// postmaster inherits the dispositions and sets its own first thing.
func ignoreSignals() {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGPIPE} {
		ignoreSignal(sig)
	}
}

func (g *guard) takeLock() (code, text string) {
	fd, err := syscall.Open(LockName, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return codeRefused, LockName + ": " + err.Error()
	}
	err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return codeRunning, "another guard holds " + LockName
	}
	if err != nil {
		return codeRefused, "lock " + LockName + ": " + err.Error()
	}
	g.lockFD = fd
	return "", ""
}

// openSocket listens on SocketName. A file of that name belongs to a dead
// guard: we hold the lock.
func (g *guard) openSocket() error {
	syscall.Unlink(SocketName)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	before := syscall.Umask(0o177)
	err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: SocketName})
	syscall.Umask(before)
	if err != nil {
		return err
	}
	g.listen = fd
	return syscall.Listen(fd, 16)
}

// enterGroups makes two cgroups below the agent's: one for PostgreSQL, which
// can be killed as a whole, and one for the guard, so that a kill or a freeze
// of the agent's own group does not mean the guard.
func (g *guard) enterGroups() {
	base := ownGroup()
	if base == "" {
		g.groupNote = "no cgroup v2"
		return
	}
	path := g.dataDir
	if t, err := FindTree(g.dataDir); err == nil {
		path = t.path
		t.Close()
	}
	fd, err := makeGroup(groupFor(base, path, "postgres"))
	if err != nil {
		g.groupNote = "postgres: " + err.Error()
		return
	}
	g.group, g.groupFD = groupFor(base, path, "postgres"), fd
	g.groupNote = g.group
	own := groupFor(base, path, "guard")
	if ownFD, err := makeGroup(own); err != nil {
		g.groupNote += " (guard: " + err.Error() + ")"
	} else {
		syscall.Close(ownFD)
		if err := writeSmall(own+"/cgroup.procs", "0"); err != nil {
			syscall.Rmdir(own)
			g.groupNote += " (guard: " + err.Error() + ")"
		}
	}
}

// freshGroup makes PostgreSQL's cgroup anew before a start. Linux (seen on
// 6.18) kills at once whatever is cloned into a group that cgroup.kill was used
// on before: by us, a predecessor, its undertaker or the agent's sweep. A group
// that still holds a process cannot be removed and stays as it is.
func (g *guard) freshGroup() {
	if g.groupFD < 0 || syscall.Rmdir(g.group) != nil {
		return
	}
	fd, err := makeGroup(g.group)
	if err != nil {
		g.dropGroup(err.Error())
		return
	}
	syscall.Close(g.groupFD)
	g.groupFD = fd
}

// dropGroup gives the cgroup up; the process walk goes on without it.
func (g *guard) dropGroup(why string) {
	syscall.Close(g.groupFD)
	syscall.Rmdir(g.group)
	g.groupFD, g.group, g.groupNote = -1, "", "not used: "+why
	if g.tree != nil {
		g.tree.group = ""
	}
}

// tellStarter writes the one line to the pipe of the process that started us.
func tellStarter(line string) {
	b := []byte(line + "\n")
	syscall.Write(ReadyFD, b)
	syscall.Close(ReadyFD)
}

// say writes one line to standard error, or nothing when that would block:
// the reader may be the frozen agent, a file may lie on a hung disk.
func say(text string) {
	var st syscall.Stat_t
	if syscall.Fstat(2, &st) != nil || st.Mode&syscall.S_IFMT == syscall.S_IFREG {
		return
	}
	p := []pollFD{{fd: 2, events: pollOut}}
	poll(p, 0)
	if p[0].revents&pollOut != 0 {
		syscall.Write(2, []byte("pgha: guard: "+text+"\n"))
	}
}
