package guard

import (
	"os"
	"runtime"
	"syscall"
)

// The undertaker is a second, even smaller process, a child of the guard. It
// has one job: when the guard ends, however it ends, it kills what is left of
// the tree.
//
// The parent-death signal ends the postmaster only. Most backends follow by
// themselves as soon as they wait for something; one whose client always has
// the next statement ready (pipelines, batches, COPY) never waits and would
// go on acknowledging commits after the lease's end: the strike tests see
// exactly that without an undertaker.
//
//   - When the guard ends, the kernel sends the undertaker SIGCONT (its
//     parent-death signal): being stopped together with the guard does not
//     keep it from working.
//   - It shares the guard's lock: no new guard can start while it works, and
//     so it never meets a successor's server.
//   - The guard ends it before it leaves, and replaces it when it is lost.

const (
	envUndertaker = "PGHA_GUARD_UNDERTAKER" // the guard's process id
	envGroup      = "PGHA_GUARD_GROUP"      // PostgreSQL's cgroup, may be empty
	// undertakerLock and undertakerReady are its inherited descriptors.
	undertakerLock  = 3
	undertakerReady = 4
	// undertakerLook is how often it looks for a guard that was killed but
	// hangs in the kernel, which ends nobody. Less than the kernel timer's lead.
	undertakerLook = 200 * millisecond
)

// startUndertaker executes one. With wait it returns once the undertaker
// watches; without, the loop does not stand still for it.
func (g *guard) startUndertaker(wait bool) error {
	var ready [2]int
	if err := syscall.Pipe2(ready[:], syscall.O_CLOEXEC); err != nil {
		return err
	}
	defer syscall.Close(ready[0])
	pid, err := syscall.ForkExec("/proc/self/exe", []string{os.Args[0] + " (undertaker)"}, &syscall.ProcAttr{
		Dir: "/",
		Env: []string{EnvMarker + "=1", envUndertaker + "=" + formatInt(int64(os.Getpid())),
			EnvDataDir + "=" + g.dataDir, envGroup + "=" + g.group, "GOMAXPROCS=1", "GOTRACEBACK=single"},
		Files: []uintptr{0, 1, 2, uintptr(g.lockFD), uintptr(ready[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGCONT},
	})
	syscall.Close(ready[1])
	if err != nil {
		return err
	}
	g.undertaker = pid
	if wait {
		p := []pollFD{{fd: int32(ready[0]), events: pollIn}}
		for limit := bootNow() + 5*second; p[0].revents == 0 && bootNow() < limit; {
			poll(p, 100*millisecond)
		}
		var b [1]byte
		if n, _ := syscall.Read(ready[0], b[:]); p[0].revents == 0 || n != 1 {
			g.endUndertaker()
			return syscall.ETIMEDOUT
		}
	}
	return nil
}

// endUndertaker is called when there is nothing left to bury.
func (g *guard) endUndertaker() {
	if g.undertaker == 0 {
		return
	}
	syscall.Kill(g.undertaker, syscall.SIGKILL) // our child: its number is ours until reaped
	for {
		if _, err := syscall.Wait4(g.undertaker, nil, 0, nil); err != syscall.EINTR {
			break
		}
	}
	g.undertaker = 0
}

// keepUndertaker replaces one that was lost while there is a server.
func (g *guard) keepUndertaker(now int64) {
	if g.undertaker != 0 || !g.server.running() || now < g.undertakerNext {
		return
	}
	g.undertakerNext = now + second
	g.startUndertaker(false) // else again in a second
}

// undertake is the undertaker's life.
func undertake(guardPID int, dataDir string) {
	runtime.LockOSThread()
	ignoreSignals()
	syscall.CloseOnExec(undertakerLock)
	tree, err := FindTree(dataDir)
	if err != nil {
		os.Exit(1)
	}
	tree.group = os.Getenv(envGroup) // seen from the guard's own group it would be another
	spared := ancestors(os.Getpid())
	tree.spare = func() []int { return spared }
	pidfd, err := pidfdOpen(guardPID)
	if err != nil {
		pidfd = -1 // an old kernel: look often enough instead
	}
	lockMemory()
	syscall.Write(undertakerReady, []byte{1})
	syscall.Close(undertakerReady)
	for os.Getppid() == guardPID && !killPending(guardPID) {
		poll([]pollFD{{fd: int32(pidfd), events: pollIn}}, undertakerLook)
	}
	for empty := 0; empty < 2; {
		alive, _, err := tree.Kill()
		if empty++; err != nil || alive > 0 {
			empty = 0
			poll(nil, 2*millisecond)
		}
	}
	os.Exit(0)
}
