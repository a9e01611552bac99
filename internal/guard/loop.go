package guard

import (
	"os"
	"syscall"
)

// loop is the guard's life. It ends the process, never returns.
func (g *guard) loop() {
	for {
		now := bootNow()
		g.step(now)
		setTimerFD(g.timerFD, g.nextStage())
		fds := []pollFD{
			{fd: int32(g.listen), events: pollIn},
			{fd: int32(g.timerFD), events: pollIn},
			{fd: int32(g.watchFD()), events: pollIn}, // negative: skipped by poll
		}
		polled := g.conns
		for _, c := range polled {
			fds = append(fds, pollFD{fd: int32(c.fd), events: pollIn})
		}
		poll(fds, g.patience(now))
		g.step(bootNow()) // deadlines first, whatever else is waiting
		for i, c := range polled {
			if fds[3+i].revents != 0 {
				g.receive(c)
			}
		}
		if fds[0].revents != 0 {
			g.accept()
		}
		g.forget()
	}
}

// watchFD is the postmaster's descriptor while its end is still to come.
func (g *guard) watchFD() int {
	if g.server.running() {
		return g.server.pidfd
	}
	return -1
}

// patience is the longest wait (ns). The stages do not depend on it: the
// timerfd ends the wait on the suspend-aware clock.
func (g *guard) patience(now int64) int64 {
	switch {
	case g.killing && now-g.killStart < 2*second:
		return 5 * millisecond
	case g.killing:
		return 50 * millisecond
	case g.server.stop != 0:
		return 250 * millisecond
	default:
		return second // orphans that ended are reaped at the latest then
	}
}

// nextStage is when the deadline next asks for something; 0 never.
func (g *guard) nextStage() int64 {
	switch {
	case !g.lease.armed || g.stage == StageKill:
		return 0
	case g.stage == StageFast:
		return KillAt(g.lease.deadline, g.lease.ttl)
	default:
		return FastStopAt(g.lease.deadline, g.lease.ttl)
	}
}

// step does what time and the kernel ask for. It runs before every request,
// so that no request meets a stage that is due and not yet acted on.
func (g *guard) step(now int64) {
	g.reap()
	g.enforce(now)
	g.repeatStop(now)
	g.keepUndertaker(now)
	switch {
	case g.killing:
		g.killRound()
	case g.server.pid == 0 && now-g.lastWord > idleLimit:
		g.leave()
	}
}

// enforce fires the stages that are due.
func (g *guard) enforce(now int64) {
	if g.server.gone && !g.killing {
		g.kill() // whatever it left behind
	}
	if !g.lease.armed || g.killing {
		return
	}
	l := g.lease
	if !g.server.running() {
		if now >= FastStopAt(l.deadline, l.ttl) {
			g.disarm() // nothing to stop; a start needs a new deadline
		}
		return
	}
	switch {
	case now >= KillAt(l.deadline, l.ttl):
		g.killForLease(now)
	case g.stage == StageNone && now >= FastStopAt(l.deadline, l.ttl):
		g.stage = StageFast
		g.requestStop("fast")
		g.event("fired fast " + formatInt(now))
		say("lease deadline: PostgreSQL is stopped fast, " + ago(l.deadline-now) + " before the lease ends")
	}
}

// killForLease is the kill stage: due, or brought forward because a server
// became writable too late.
func (g *guard) killForLease(now int64) {
	left := g.lease.deadline - now
	g.stage = StageKill
	g.kill()
	g.event("fired kill " + formatInt(now))
	say("lease deadline: PostgreSQL is killed, " + ago(left) + " before the lease ends")
}

// ago writes nanoseconds as milliseconds.
func ago(ns int64) string { return formatInt(ns/millisecond) + " ms" }

// disarm stops the kernel's timer first: a lease that is not armed must not
// kill.
func (g *guard) disarm() {
	g.alarm.at(0)
	g.lease = lease{}
}

// reap collects every child that ended: the postmaster, and orphans that
// came to us as their subreaper.
func (g *guard) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			break
		}
		switch {
		case pid == g.undertaker:
			g.undertaker = 0
		case pid == g.server.pid && !g.server.adopted:
			g.serverGone(describe(status))
		}
	}
	if g.server.adopted && g.server.running() {
		if p, ok := readProcess(g.server.pid); !ok || p.start != g.server.start || p.dead() {
			g.serverGone("unknown")
		}
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal:" + formatInt(int64(status.Signal()))
	}
	return "exit:" + formatInt(int64(status.ExitStatus()))
}

func (g *guard) serverGone(status string) {
	g.server.gone, g.server.status = true, status
	g.alarm.at(0) // it could only end us before the rest is killed
	if g.server.pidfd >= 0 {
		syscall.Close(g.server.pidfd)
		g.server.pidfd = -1
	}
	g.event("exited " + formatInt(int64(g.server.pid)) + " " + status + " " + g.stage.String())
}

// kill begins to kill the tree: the postmaster now, so that it makes no more
// children, the rest in rounds.
func (g *guard) kill() {
	if !g.killing {
		g.killing, g.killStart, g.empty = true, bootNow(), 0
	}
	g.server.signal(syscall.SIGKILL)
	g.killRound()
}

// killRound signals everything that is left. Two rounds in a row without
// anything alive prove the tree empty; what is stuck in the kernel with
// SIGKILL pending counts as gone (rulings 12), but we stay until it is.
func (g *guard) killRound() {
	alive, stuck, err := g.tree.Kill()
	if err != nil { // no memory or no /proc: try again, the timer still runs
		g.empty = 0
		return
	}
	g.alive, g.stuck = alive, stuck
	if alive > 0 {
		g.empty = 0
		return
	}
	if g.empty++; g.empty == 2 {
		g.disarm() // nothing is left to be protected from
		if stuck > 0 {
			g.event("fenced " + formatInt(int64(stuck)))
			say("the rest of PostgreSQL is stuck in the kernel with SIGKILL pending")
		}
	}
	if g.empty >= 2 && stuck == 0 && g.server.gone {
		g.event("empty " + formatInt(bootNow()))
		g.leave()
	}
}

// leave ends the process. The lock goes last, with the process. What a later
// agent may want to know stays in LastName.
func (g *guard) leave() {
	g.endUndertaker() // before the lock: it must not meet a successor's server
	if g.server.pid != 0 {
		flags := syscall.O_WRONLY | syscall.O_CREAT | syscall.O_TRUNC | syscall.O_CLOEXEC
		if fd, err := syscall.Open(LastName, flags, 0o600); err == nil {
			syscall.Write(fd, []byte(g.state()+"\n"))
			syscall.Close(fd)
		}
	}
	syscall.Unlink(SocketName)
	if g.group != "" {
		syscall.Rmdir(g.group)
	}
	os.Exit(0)
}
