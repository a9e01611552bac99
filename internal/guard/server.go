package guard

import (
	"os"
	"syscall"
)

// Modes in which a server is started or promoted.
const (
	// ModeNone: no server.
	ModeNone = "none"
	// ModePrimary becomes writable: only with an armed deadline ahead.
	ModePrimary = "primary"
	// ModeStandby stays read only: the data directory has standby.signal.
	ModeStandby = "standby"
	// ModeSingleUser is single-user recovery: no client can connect.
	ModeSingleUser = "single-user"
	// ModeBootstrap becomes writable without a deadline, because the cluster
	// has no leader key yet.
	ModeBootstrap = "unguarded-bootstrap"
	// ModePause becomes writable without a deadline, because the cluster is
	// paused and a person asked for it.
	ModePause = "unguarded-pause"
)

// unguarded says whether the mode gives up the deadline's protection by name.
func unguarded(mode string) bool { return mode == ModeBootstrap || mode == ModePause }

// server is the one PostgreSQL of this guard's life.
type server struct {
	mode    string
	pid     int // 0: never started
	pidfd   int // -1 on old kernels
	start   uint64
	adopted bool
	gone    bool
	status  string // "exit:N", "signal:N" or "unknown", once gone

	stop       syscall.Signal // requested; repeated until the server is gone
	stopNext   int64
	stopByName string
}

func (s *server) running() bool { return s.pid != 0 && !s.gone }

// writable says whether the server may be accepting writes.
func (s *server) writable() bool {
	return s.running() && (s.mode == ModePrimary || unguarded(s.mode))
}

// signal reaches the postmaster and nobody else: our child keeps its number
// until we reap it, an adopted one is reached through its descriptor.
func (s *server) signal(sig syscall.Signal) error {
	if !s.running() {
		return syscall.ESRCH
	}
	if s.pidfd >= 0 {
		return pidfdSignal(s.pidfd, sig)
	}
	if s.adopted {
		if p, ok := readProcess(s.pid); !ok || p.start != s.start {
			return syscall.ESRCH
		}
	}
	return syscall.Kill(s.pid, sig)
}

// command is what to execute as the postmaster.
type command struct {
	path, dir string
	args, env []string
}

// startServer executes the postmaster as our child, which the kernel kills
// when this thread ends. now is read again on both sides of the fork.
func (g *guard) startServer(mode string, c command) (code, text string) {
	if code, text := g.checkStart(mode); code != "" {
		return code, text
	}
	if mode == ModePrimary && !g.lease.mayAct(bootNow()) {
		return codeDeadline, "no armed deadline ahead"
	}
	if err := g.startUndertaker(true); err != nil {
		return codeRefused, "undertaker: " + err.Error()
	}
	if mode == ModePrimary && !g.lease.mayAct(bootNow()) {
		g.endUndertaker()
		return codeDeadline, "no armed deadline ahead"
	}
	pidfd := -1
	attr := &syscall.ProcAttr{Dir: c.dir, Env: c.env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, PidFD: &pidfd}}
	g.freshGroup()
	if g.groupFD >= 0 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, g.groupFD
	}
	restore := g.ordinaryOOM()
	pid, err := syscall.ForkExec(c.path, c.args, attr)
	if err != nil && g.groupFD >= 0 && (mode != ModePrimary || g.lease.mayAct(bootNow())) {
		// Moving into the group may be what was refused: once without it.
		attr.Sys.UseCgroupFD = false
		groupErr := err
		if pid, err = syscall.ForkExec(c.path, c.args, attr); err == nil {
			g.dropGroup(groupErr.Error())
		}
	}
	restore()
	if err != nil {
		g.endUndertaker()
		return codeExec, c.path + ": " + err.Error()
	}
	p, _ := readProcess(pid) // our child: there until we reap it
	g.server = server{mode: mode, pid: pid, pidfd: pidfd, start: p.start}
	if mode == ModePrimary && !g.lease.mayAct(bootNow()) {
		g.killForLease(bootNow())
		return codeDeadline, "the deadline's first stage passed while starting: killed"
	}
	return "", ""
}

// checkStart refuses to start where something runs already.
func (g *guard) checkStart(mode string) (code, text string) {
	if g.server.pid != 0 || g.killing {
		return codeRunning, "this guard has its server"
	}
	if err := g.findTree(); err != nil {
		return codeRefused, "data directory: " + err.Error()
	}
	if g.tree.pin < 0 {
		return codeRefused, "there is no data directory " + g.dataDir
	}
	if mode == ModeStandby {
		var st syscall.Stat_t
		if err := syscall.Stat(g.tree.path+"/standby.signal", &st); err != nil {
			return codeRefused, "standby.signal: " + err.Error()
		}
	}
	alive, _, err := g.tree.Count()
	if err != nil {
		return codeRefused, "list processes: " + err.Error()
	}
	if alive > 0 {
		return codeOccupied, formatInt(int64(alive)) + " processes of the data directory are alive"
	}
	return "", ""
}

// findTree fixes the data directory's identity for this server's life.
func (g *guard) findTree() error {
	t, err := FindTree(g.dataDir)
	if err != nil {
		return err
	}
	if g.tree != nil {
		g.tree.Close()
	}
	t.root, t.group, t.spare = os.Getpid(), g.group, g.spare
	t.keep = func(pid int) bool { return pid == g.undertaker }
	g.tree = t
	return nil
}

// spare are the agents: they are never part of the tree for standing in the
// data directory.
func (g *guard) spare() []int {
	pids := ancestors(os.Getpid())
	for _, c := range g.conns {
		pids = append(pids, c.pid)
	}
	return pids
}

// adoptServer takes over a postmaster that somebody else started. The kernel
// does not end it with us; the undertaker does.
func (g *guard) adoptServer(pid int, start uint64) (code, text string) {
	if g.server.pid != 0 || g.killing {
		return codeRunning, "this guard has its server"
	}
	if err := g.findTree(); err != nil {
		return codeRefused, "data directory: " + err.Error()
	}
	pidfd, pidfdErr := pidfdOpen(pid)
	fail := func(text string) (string, string) {
		if pidfdErr == nil {
			syscall.Close(pidfd)
		}
		return codeRefused, text
	}
	p, ok := readProcess(pid)
	var st syscall.Stat_t
	switch {
	case pidfdErr == syscall.ESRCH || !ok || p.dead() || p.start != start:
		return fail("no such process")
	case syscall.Stat(procPath(pid, ""), &st) != nil || st.Uid != g.tree.uid:
		return fail("not a process of our user")
	case !g.tree.cwdIsPath(pid) && !g.tree.cwdIsInode(pid):
		return fail("its working directory is not the data directory")
	}
	if err := g.startUndertaker(true); err != nil {
		return fail("undertaker: " + err.Error())
	}
	g.server = server{mode: ModePrimary, pid: pid, pidfd: pidfd, start: start, adopted: true}
	if syscall.Stat(g.tree.path+"/standby.signal", &st) == nil {
		g.server.mode = ModeStandby
	}
	g.tree.top = pid
	return "", ""
}

// promote asks the server to leave recovery, as pg_ctl promote does: the file
// "promote" in the data directory, then SIGUSR1.
func (g *guard) promote(mode string) (code, text string) {
	may := func() bool {
		if !g.lease.armed {
			return unguarded(mode)
		}
		return g.lease.mayAct(bootNow())
	}
	switch {
	case !g.server.running():
		return codeNoServer, "no server runs"
	case g.server.stop != 0 || g.killing:
		return codeStopping, "the server is being stopped"
	case !g.lease.armed && !unguarded(mode):
		return codeNotArmed, "promotion needs an armed deadline"
	case !may():
		return codeDeadline, "the first stage of the deadline has passed"
	}
	before := g.server.mode
	g.server.mode = mode
	file := g.tree.path + "/promote"
	fd, err := syscall.Open(file, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		g.server.mode = before
		return codeRefused, file + ": " + err.Error()
	}
	syscall.Close(fd)
	// From here on the promotion can happen: the postmaster looks for the file
	// at any SIGUSR1, its own children's too. If time has passed, on a slow
	// disk or while we were stopped, taking the file back is not enough.
	if may() {
		err = g.server.signal(syscall.SIGUSR1)
	}
	if !may() {
		g.killForLease(bootNow())
		return codeDeadline, "the deadline's first stage passed while promoting: killed"
	}
	if err != nil {
		syscall.Unlink(file)
		return codeNoServer, "signal: " + err.Error()
	}
	return "", ""
}

// requestStop passes a stop on and repeats it until the server is gone: a
// postmaster that has just been executed can miss the first.
func (g *guard) requestStop(name string) (code, text string) {
	signals := map[string]syscall.Signal{
		"smart": syscall.SIGTERM, "fast": syscall.SIGINT, "immediate": syscall.SIGQUIT}
	sig, ok := signals[name]
	if !ok {
		return codeSyntax, "stop smart, fast or immediate"
	}
	if !g.server.running() {
		return codeNoServer, "no server runs"
	}
	if stopRank(sig) >= stopRank(g.server.stop) {
		g.server.stop, g.server.stopByName = sig, name
	}
	g.server.stopNext = 0
	g.repeatStop(bootNow())
	return "", ""
}

// stopRank orders the ways to stop: a later request never softens one.
func stopRank(sig syscall.Signal) int {
	switch sig {
	case syscall.SIGTERM:
		return 1
	case syscall.SIGINT:
		return 2
	case syscall.SIGQUIT:
		return 3
	default:
		return 0
	}
}

func (g *guard) repeatStop(now int64) {
	if g.server.stop == 0 || !g.server.running() || now < g.server.stopNext {
		return
	}
	g.server.signal(g.server.stop)
	g.server.stopNext = now + 250*millisecond
}
