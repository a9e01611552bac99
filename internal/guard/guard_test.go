package guard_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard/client"
)

// value reads one field of the agent's printed state.
func (a *struck) value(field string) string {
	a.t.Helper()
	_, rest, found := strings.Cut(" "+strings.Trim(a.must("state"), "{}"), " "+field+":")
	if !found {
		a.t.Fatalf("no field %s in the state", field)
	}
	v, _, _ := strings.Cut(rest, " ")
	return v
}

func (a *struck) number(field string) int {
	a.t.Helper()
	n, err := strconv.Atoi(a.value(field))
	must(a.t, err)
	return n
}

// startPrimary brings up a guarded primary with that much lease.
func (b *box) startPrimary(a *struck, ttlMilliseconds int) (guardPID, postgres int) {
	b.t.Helper()
	guardPID, _ = strconv.Atoi(a.must("spawn 1"))
	a.must(fmt.Sprintf("arm %d", ttlMilliseconds))
	postgres, _ = strconv.Atoi(a.must("start primary"))
	b.awaitSQL("select pg_is_in_recovery()", "f")
	return guardPID, postgres
}

// A new agent takes the guard over without a gap: PostgreSQL lives past the
// deadline the dead agent left, and the dead agent's epoch is refused.
func TestNewAgentAdoptsGuard(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	old := b.agent()
	_, postgres := b.startPrimary(old, 5000)
	first := clock.Now()
	old.cmd.Process.Signal(syscall.SIGSTOP)
	next := b.agent()
	next.must("connect 2")
	next.must("arm 20000")
	b.until("the old deadline passes", first.Add(10*time.Second), func() bool {
		if !alive(postgres) {
			t.Fatal("PostgreSQL was ended though the lease was extended")
		}
		return clock.Now().After(first.Add(5 * time.Second))
	})
	old.cmd.Process.Signal(syscall.SIGCONT)
	for _, request := range []string{"arm 60000", "disarm", "pause", "promote", "stop fast", "kill", "start primary"} {
		old.refused(request, "stale")
	}
	if got := old.value("Epoch"); got != "2" { // asking is allowed
		t.Errorf("epoch %s, want 2", got)
	}
	next.must("stop fast")
	if got := next.must("exited"); got != "status=exit:0 stage=none lost=false" {
		t.Errorf("exit: %s", got)
	}
}

// The guard gives its deadline up only for what it was told by name, and a
// late or lower deadline not at all.
func TestArmAndDisarm(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	a := b.agent()
	_, postgres := b.startPrimary(a, 20000)
	a.refused("arm 5000", "refused")  // lowers
	a.refused("arm -5000", "refused") // no ttl
	a.refused("arm 900", "deadline")  // its kill stage has passed
	a.refused("disarm", "refused")    // writable
	a.refused("start primary", "refused")
	a.refused("spawn 3", "running")
	a.must("pause")
	if got := a.value("Armed"); got != "false" {
		t.Errorf("armed %s after disarm for pause", got)
	}
	a.refused("promote", "refused") // not armed
	armed := clock.Now()
	a.must("arm 5000")
	if got := a.must("fired"); got != "fast" {
		t.Errorf("fired %s, want fast", got)
	}
	if got := a.must("exited"); got != "status=exit:0 stage=fast lost=false" {
		t.Errorf("exit: %s", got)
	}
	if after := clock.Now().Sub(armed); after < 3*time.Second || after > 4*time.Second {
		t.Errorf("stopped %v after arming with ttl 5 s, want 3 s", after)
	}
	if alive(postgres) || len(b.tree()) > 0 {
		t.Error("something is left")
	}
}

// Nothing but SIGKILL ends the guard or its undertaker, and a lost undertaker
// is replaced.
func TestSignals(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	a := b.agent()
	guardPID, postgres := b.startPrimary(a, 60000)
	undertaker := a.number("UndertakerPID")
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE,
		syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM} {
		must(t, syscall.Kill(guardPID, sig))
		must(t, syscall.Kill(undertaker, sig))
	}
	a.must("state")
	// It shares the lock: no successor can start while it works.
	if lock, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/3", undertaker)); lock != b.dir+"/state/guard.lock" {
		t.Errorf("the undertaker's descriptor 3 is %q", lock)
	}
	must(t, syscall.Kill(undertaker, syscall.SIGKILL))
	b.until("another undertaker", soon(), func() bool {
		n := a.number("UndertakerPID")
		return n != 0 && n != undertaker
	})
	if !alive(postgres) || a.number("GuardPID") != guardPID {
		t.Error("PostgreSQL or the guard ended")
	}
	// PostgreSQL itself obeys, whatever dispositions it inherited.
	must(t, syscall.Kill(postgres, syscall.SIGTERM))
	if got := a.must("exited"); got != "status=exit:0 stage=none lost=false" {
		t.Errorf("exit: %s", got)
	}
}

// Agent, guard and undertaker are all stopped: the kernel's timer kills the
// guard, the guard's death wakes the undertaker, the undertaker kills the rest.
func TestAllFrozen(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	a := b.agent()
	guardPID, postgres := b.startPrimary(a, 60000)
	limit := clock.Now().Add(5 * time.Second)
	a.must("shorten 5000")
	p := b.pipeline()
	undertaker := a.number("UndertakerPID")
	for _, pid := range []int{a.cmd.Process.Pid, guardPID, undertaker} {
		must(t, syscall.Kill(pid, syscall.SIGSTOP))
	}
	b.until("the kernel's timer ends guard and postmaster", limit, func() bool { return !alive(postgres) && !alive(guardPID) })
	t.Logf("guard and postmaster ended %v before the lease ends", limit.Sub(clock.Now()))
	b.until("the undertaker ends the rest", limit, func() bool { return len(b.tree()) == 0 })
	b.until("the undertaker ends", soon(), func() bool { return !alive(undertaker) })
	p.judge(t, limit)
}

// A postmaster that somebody else started is protected as well.
func TestAdopt(t *testing.T) {
	t.Parallel()
	for _, guardDies := range []bool{false, true} {
		b := newBox(t)
		foreign := exec.Command(pgBin(t)+"/postgres", "-D", b.dir+"/data", "-c", "listen_addresses=", "-c", "unix_socket_directories="+b.dir)
		foreign.Dir, foreign.Env, foreign.SysProcAttr = b.dir, []string{"LC_ALL=C.UTF-8"}, asPostgres()
		must(t, foreign.Start())
		pid := foreign.Process.Pid
		go foreign.Wait() // reaped, else it would stay a zombie; ends with it
		b.awaitSQL("select pg_is_in_recovery()", "f")
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		must(t, err)
		ticks := strings.Fields(string(stat))[21] // "(postgres)" has no space
		a := b.agent()
		guardPID, _ := strconv.Atoi(a.must("spawn 1"))
		a.refused("start primary", "deadline", "occupied")
		a.refused("start unguarded-bootstrap", "occupied")
		a.refused(fmt.Sprintf("adopt %d 1", pid), "refused")
		a.refused(fmt.Sprintf("adopt %d %s", os.Getpid(), ticks), "refused")
		a.must(fmt.Sprintf("adopt %d %s", pid, ticks))
		if got := a.value("Protection"); got != "walk" {
			t.Errorf("protection %s, want walk", got)
		}
		b.pipeline()
		if guardDies {
			must(t, syscall.Kill(guardPID, syscall.SIGKILL))
		} else {
			a.must("arm 5000")
		}
		a.must("exited")
		b.until("the adopted tree is gone", clock.Now().Add(time.Second), func() bool { return len(b.tree()) == 0 })
	}
}

// Start refuses while anything of the data directory lives; Sweep ends it and
// leaves an administrator's terminal alone.
func TestOccupiedAndSweep(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	leftover := exec.Command("sleep", "600")
	leftover.Dir, leftover.SysProcAttr = b.dir+"/data", asPostgres()
	must(t, leftover.Start())
	t.Cleanup(func() { leftover.Process.Kill() })
	go leftover.Wait() // ends with it
	shell := exec.Command("script", "-qec", "cd "+b.dir+"/data && echo ready && exec sleep 600", "/dev/null")
	shell.Dir, shell.SysProcAttr = b.dir, asPostgres()
	out, err := shell.StdoutPipe()
	must(t, err)
	must(t, shell.Start())
	t.Cleanup(func() { shell.Process.Kill(); shell.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("shell: %q %v", line, err)
	}
	b.until("both are in the data directory", soon(), func() bool { return len(b.tree()) == 2 })
	a := b.agent()
	a.must("spawn 1")
	a.must("arm 20000")
	a.refused("start primary", "occupied")
	if got := a.must("sweep"); got != "1" {
		t.Errorf("sweep found %s, want 1", got)
	}
	if left := b.tree(); len(left) != 1 {
		t.Errorf("left %v, want the terminal's process alone", left)
	}
	a.must("start primary")
	a.must("kill")
	a.must("exited")
}

// Clients that send garbage, too much, or do not read never hold up the guard.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	a := b.agent()
	b.startPrimary(a, 60000)
	dial := func() net.Conn {
		c, err := net.Dial("unix", b.dir+"/state/guard.sock")
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c net.Conn, line, want string) {
		t.Helper()
		fmt.Fprintln(c, line)
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if got, _ := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(got, want) {
			t.Errorf("%q answered %q, want %q", line, got, want)
		}
	}
	c := dial()
	ask(c, "arm 1 1", "error hello-first")
	ask(c, "hello 99 1 surplus words", "ok 1 ")
	ask(c, "frobnicate now", "error unknown frobnicate")
	ask(c, "", "error syntax")
	ask(c, "arm x", "error syntax")
	ask(c, "start", "error syntax")
	ask(c, "promote 1", "error expired")
	ask(c, "arm 99999999999999999 5000000000", "error bad-deadline")
	ask(c, "state", "ok protocol=1 ")
	observer := dial()
	ask(observer, "hello 1 0", "ok 1 ")
	ask(observer, "state", "ok protocol=1 ")
	ask(observer, "kill", "error stale-epoch 1")
	flood := dial() // asks and never reads: dropped when its buffer is full
	fmt.Fprintln(flood, "hello 1 1")
	for i := 0; ; i++ {
		if _, err := fmt.Fprint(flood, strings.Repeat("state\n", 100)); err != nil {
			break
		}
		if i > 10000 {
			t.Fatal("a client that does not read was not dropped")
		}
	}
	long := dial()
	if _, err := long.Write(make([]byte, 1<<20)); err == nil {
		t.Error("an endless line was taken")
	}
	for range 40 { // more than the guard keeps; our agent is of the highest epoch
		ask(dial(), "hello 1 0", "ok 1 ")
	}
	a.must("arm 60000")
	a.must("kill")
	a.must("exited")
}

// What is left of the machine's processes after a life: no guard, no
// undertaker, no lock, no socket; and the last state says why.
func TestLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	a := b.agent()
	guardPID, _ := b.startPrimary(a, 20000)
	undertaker := a.number("UndertakerPID")
	a.must("stop fast")
	a.must("exited")
	b.until("guard and undertaker end", soon(), func() bool { return !alive(guardPID) && !alive(undertaker) })
	if _, err := os.Stat(filepath.Join(b.dir, "state", "guard.sock")); !os.IsNotExist(err) {
		t.Errorf("socket: %v", err)
	}
	last, ok, err := client.LastState(b.dir + "/state")
	if err != nil || !ok || last.Status != "exit:0" || last.GuardPID != guardPID || !last.Fenced {
		t.Errorf("last state: %+v %v %v", last, ok, err)
	}
	a.refused("connect 1", "noguard")
}

// The postmaster alone is killed (the kernel was out of memory, say): the
// guard ends the backends that would go on, and reports.
func TestPostmasterKilled(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	a := b.agent()
	_, postgres := b.startPrimary(a, 60000)
	p := b.pipeline()
	b.until("rows", soon(), func() bool { rows, _ := p.acknowledged(); return rows > 10 })
	must(t, syscall.Kill(postgres, syscall.SIGKILL))
	if got := a.must("exited"); got != "status=signal:9 stage=none lost=false" {
		t.Errorf("exit: %s", got)
	}
	if left := b.tree(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	a.must("spawn 2")
	a.must("arm 60000")
	a.must("start primary") // at once: no zombie, no shared memory in its way
	b.awaitSQL("select pg_is_in_recovery()", "f")
	a.must("kill")
	a.must("exited")
}
