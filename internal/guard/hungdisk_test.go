package guard_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/clock"
)

// newFrozenBox has its data directory on a file system of its own, which
// freeze makes hang as a dead disk does: writers stick in the kernel.
func newFrozenBox(t *testing.T) (b *box, freeze, thaw func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system to freeze needs root")
	}
	b = newBox(t)
	image, data := b.dir+"/image", b.dir+"/data"
	owner := postgresUser()
	for _, step := range [][]string{
		{"mv", data, b.dir + "/moved"}, {"mkdir", data}, {"truncate", "-s", "150M", image},
		{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, data},
	} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no file system to freeze: %v: %v %s", step, err, out)
		}
	}
	t.Cleanup(func() {
		b.until("unmount", soon(), func() bool { return exec.Command("umount", data).Run() == nil })
	})
	must(t, exec.Command("cp", "-a", b.dir+"/moved/.", data).Run())
	must(t, os.Chown(data, int(owner.Uid), int(owner.Gid)))
	must(t, os.Chmod(data, 0o700))
	thaw = func() { exec.Command("fsfreeze", "-u", data).Run() }
	freeze = func() {
		must(t, exec.Command("fsfreeze", "-f", data).Run())
		timer := time.AfterFunc(20*time.Second, thaw) // whatever the test does meanwhile
		t.Cleanup(func() { timer.Stop(); thaw() })
	}
	return b, freeze, thaw
}

// Backends stuck in the kernel with SIGKILL pending count as gone (rulings
// 12): the guard says so, stays until they are, and starts nothing meanwhile.
func TestHungDisk(t *testing.T) {
	t.Parallel()
	b, freeze, thaw := newFrozenBox(t)
	a := b.agent()
	_, postgres := b.startPrimary(a, 20000)
	deadline := clock.Now().Add(20 * time.Second)
	p := b.pipeline()
	b.until("rows", soon(), func() bool { rows, _ := p.acknowledged(); return rows > 10 })
	freeze()
	b.until("a writer stuck in the kernel", soon(), func() bool { return stuckIn(b) > 0 })
	a.must("kill")
	b.until("fenced", deadline, func() bool { return a.value("Fenced") == "true" })
	if n := a.number("Stuck"); n == 0 {
		t.Error("nothing is stuck: the disk did not hang")
	}
	if got := a.number("Alive"); got != 0 {
		t.Errorf("%d alive though fenced", got)
	}
	a.refused("start primary", "refused")
	a.refused("spawn 3", "running")
	rows, _ := p.acknowledged()
	thaw()
	a.must("exited")
	if after, _ := p.acknowledged(); after != rows {
		t.Errorf("%d rows were acknowledged after the fence", after-rows)
	}
	if alive(postgres) || len(b.tree()) > 0 {
		t.Error("something is left")
	}
}

// stuckIn counts the data directory's processes in uninterruptible sleep.
func stuckIn(b *box) (n int) {
	for _, pid := range b.tree() {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if s := string(stat); strings.HasPrefix(s[strings.LastIndexByte(s, ')')+1:], " D") {
			n++
		}
	}
	return n
}

// The guard itself hangs on the disk, in the middle of a promotion, past the
// deadline: it cannot be killed, and the undertaker does not wait for that.
func TestGuardHangsInPromote(t *testing.T) {
	t.Parallel()
	b, freeze, thaw := newFrozenBox(t)
	b.standby()
	a := b.agent()
	guardPID, _ := strconv.Atoi(a.must("spawn 1"))
	a.must("start standby")
	b.awaitSQL("select pg_is_in_recovery()", "t")
	freeze()
	armed := clock.Now()
	a.must("arm 5000")
	conn, err := net.Dial("unix", b.dir+"/state/guard.sock")
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "hello 1 1\npromote 0\n")
	must(t, err)
	// The strikes measure when clients hear the last of it. Here only counts
	// that nobody waits for the guard, so a busy machine may take its time.
	b.until("the tree is dead or stuck", armed.Add(7*time.Second), func() bool {
		return len(b.tree()) == stuckIn(b)
	})
	if !alive(guardPID) {
		t.Log("the guard did not hang")
	}
	thaw()
	b.until("everything has ended", soon(), func() bool { return !alive(guardPID) && len(b.tree()) == 0 })
	if _, err := os.Stat(b.dir + "/data/standby.signal"); err != nil {
		t.Errorf("promoted: %v", err)
	}
}

// The disk comes back between the first stage and the kernel's timer: the
// promotion that waited for it is too late, and ends in a kill.
func TestPromoteOnSlowDisk(t *testing.T) {
	t.Parallel()
	b, freeze, thaw := newFrozenBox(t)
	b.standby()
	a := b.agent()
	guardPID, _ := strconv.Atoi(a.must("spawn 1"))
	postgres, _ := strconv.Atoi(a.must("start standby"))
	b.awaitSQL("select pg_is_in_recovery()", "t")
	freeze()
	armed := clock.Now()
	a.must("arm 5000")
	conn, err := net.Dial("unix", b.dir+"/state/guard.sock")
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "hello 1 1\npromote 0\n")
	must(t, err)
	b.until("between the stages", armed.Add(5*time.Second), func() bool { return clock.Now().After(armed.Add(3200 * time.Millisecond)) })
	thaw()
	b.until("everything has ended", armed.Add(5*time.Second), func() bool { return !alive(postgres) && len(b.tree()) == 0 })
	b.until("the guard ends", soon(), func() bool { return !alive(guardPID) })
	answers := make([]byte, 4096)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n := 0
	for n < len(answers) {
		m, err := conn.Read(answers[n:])
		n += m
		if err != nil {
			break
		}
	}
	if !strings.Contains(string(answers[:n]), "\nerror deadline ") {
		t.Errorf("answers: %s", answers[:n])
	}
	if _, err := os.Stat(b.dir + "/data/standby.signal"); err != nil {
		t.Errorf("promoted: %v", err)
	}
}

// A server that does not obey the fast stop (here its postmaster is stopped,
// its backends are not) is killed a stage later, still before the deadline.
func TestKillStage(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	a := b.agent()
	_, postgres := b.startPrimary(a, 5000)
	armed := clock.Now()
	a.must("arm 5000")
	p := b.pipeline()
	must(t, syscall.Kill(postgres, syscall.SIGSTOP))
	if got := a.must("exited"); got != "status=signal:9 stage=kill lost=false" {
		t.Errorf("exit: %s", got)
	}
	if after := clock.Now().Sub(armed); after < 4*time.Second || after > 4500*time.Millisecond {
		t.Errorf("killed %v after arming with ttl 5 s, want 4 s", after)
	}
	p.judge(t, armed.Add(4*time.Second+200*time.Millisecond))
}
