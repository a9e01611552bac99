package guard_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"pgha/internal/clock"
)

// What systemd permits with AmbientCapabilities=CAP_SYS_RESOURCE CAP_IPC_LOCK
// and LimitMEMLOCK=infinity.
const (
	capIPCLock     = 14
	capSysResource = 24
	rlimitMemlock  = 8
)

// permitted starts an agent that may lock memory and, if this process may hand
// that on (containers often may not), lower oom_score_adj.
func (b *box) permitted() (a *struck, oomToo bool) {
	b.t.Helper()
	if os.Getuid() != 0 {
		b.t.Skip("handing on capabilities needs root")
	}
	attr := asPostgres()
	attr.AmbientCaps = []uintptr{capIPCLock}
	status, err := os.ReadFile("/proc/self/status")
	must(b.t, err)
	_, caps, _ := strings.Cut(string(status), "CapEff:\t")
	caps, _, _ = strings.Cut(caps, "\n")
	mask, err := strconv.ParseUint(caps, 16, 64)
	must(b.t, err)
	if mask>>capSysResource&1 == 0 {
		return b.agentWith(attr), false
	}
	attr.AmbientCaps = append(attr.AmbientCaps, capSysResource)
	a = b.agentWith(attr)
	endless := syscall.Rlimit{Cur: ^uint64(0), Max: ^uint64(0)}
	_, _, e := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(a.cmd.Process.Pid), rlimitMemlock,
		uintptr(unsafe.Pointer(&endless)), 0, 0, 0)
	if e != 0 {
		b.t.Fatalf("lift the limit of locked memory: %v", e)
	}
	return a, true
}

// session is the session id of a process (proc(5), stat, field 6).
func session(t *testing.T, pid int) (sid int) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	var state string
	var ppid, pgrp int
	_, err = fmt.Sscan(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), &state, &ppid, &pgrp, &sid)
	must(t, err)
	return sid
}

// Where it is permitted to, the guard keeps its memory and is not chosen when
// memory runs out, its undertaker neither; PostgreSQL is as killable as before.
// All have sessions of their own: what ends the agent's ends none of them.
func TestProtected(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	a, oomToo := b.permitted()
	wantLock, wantOOM := "all", "-1000"
	if !oomToo {
		t.Log("no CAP_SYS_RESOURCE here: neither oom_score_adj nor the lock of future memory is tried")
		wantLock, wantOOM = "current", "0"
	}
	guardPID, postgres := b.startPrimary(a, 60000)
	undertaker := a.number("UndertakerPID")
	if lock, oom := a.value("MemoryLockNote"), a.value("OOMNote"); lock != wantLock || oom != wantOOM {
		t.Errorf("the state says memory %q, oom %q; want %s, %s", lock, oom, wantLock, wantOOM)
	}
	for name, c := range map[string]struct {
		pid    int
		oom    string
		locked bool
	}{"guard": {guardPID, wantOOM, true}, "undertaker": {undertaker, wantOOM, true}, "postmaster": {postgres, "0", false}} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", c.pid))
		if got := strings.TrimSpace(string(text)); err != nil || got != c.oom {
			t.Errorf("%s: oom_score_adj %q %v, want %s", name, got, err, c.oom)
		}
		if kb := kilobytes(c.pid, "VmLck:", "status"); c.locked != (kb > 0) {
			t.Errorf("%s: %d kB locked", name, kb)
		}
		if sid := session(t, c.pid); sid != c.pid {
			t.Errorf("%s: process %d is in session %d", name, c.pid, sid)
		}
	}
	must(t, syscall.Kill(-a.cmd.Process.Pid, syscall.SIGKILL)) // its process group, which is its session's
	a.cmd.Process.Wait()
	killed := clock.Now()
	next := b.agent()
	next.must("connect 2")
	next.must("arm 60000")
	t.Logf("taken over %v after the agent's end", clock.Now().Sub(killed))
	if !alive(guardPID) || !alive(undertaker) || !alive(postgres) {
		t.Error("the end of the agent's process group ended the guard, its undertaker or PostgreSQL")
	}
	next.must("kill")
	next.must("exited")
}
