package guard_test

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/clock"
)

// The spike of rulings 55: agent, guard and both are struck with SIGSTOP and
// SIGKILL at every step from "lock acquired" to "promoted". Whatever is
// struck: no write is acknowledged after the lease's end, nothing is promoted
// late, the old tree is gone before anything new starts, and every
// acknowledged row is there afterwards.

const strikeTTL = 5 * time.Second

const (
	fastLead  = 2 * time.Second        // rulings 2 with this ttl
	alarmLead = 500 * time.Millisecond //
)

// stepReached is where the strike falls.
type stepReached string

const (
	stepAcquired stepReached = "acquired" // standby runs, the guard knows no lease yet
	stepArmed    stepReached = "armed"    // the guard holds the deadline
	stepSent     stepReached = "sent"     // promote waits in the frozen guard's socket
	stepPromoted stepReached = "promoted" // clients write
)

type strike struct {
	step   stepReached
	victim string // agent, guard, both
	signal syscall.Signal
	thaw   bool // the guard wakes up between fast stop and kill
	busy   bool // a backend computes and never looks at its client
}

func (s strike) String() string {
	name := fmt.Sprintf("%s/%s/%s", s.step, s.victim, map[syscall.Signal]string{syscall.SIGSTOP: "STOP", syscall.SIGKILL: "KILL"}[s.signal])
	if s.thaw {
		name += "/thaw"
	}
	if s.busy {
		name += "/busy"
	}
	return name
}

func strikes() (all []strike) {
	for _, step := range []stepReached{stepPromoted, stepArmed, stepAcquired} {
		for _, victim := range []string{"agent", "guard", "both"} {
			for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
				if step == stepAcquired && signal == syscall.SIGSTOP && victim != "agent" {
					continue // no lease: a stopped guard of a standby stays as it is
				}
				all = append(all, strike{step: step, victim: victim, signal: signal,
					busy: step == stepPromoted && victim == "guard"})
			}
		}
	}
	return append(all,
		strike{step: stepPromoted, victim: "guard", signal: syscall.SIGSTOP, thaw: true},
		strike{step: stepArmed, victim: "both", signal: syscall.SIGSTOP, thaw: true},
		strike{step: stepSent, victim: "guard", signal: syscall.SIGSTOP},
		strike{step: stepSent, victim: "guard", signal: syscall.SIGSTOP, thaw: true},
		strike{step: stepSent, victim: "both", signal: syscall.SIGSTOP, thaw: true},
		strike{step: stepSent, victim: "guard", signal: syscall.SIGKILL},
	)
}

func TestStrike(t *testing.T) {
	for _, s := range strikes() {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			newStrikeRun(t, s).run()
		})
	}
}

// strikeRun is one scenario under way.
type strikeRun struct {
	strike
	*box
	old      *struck
	guardPID int
	postgres int
	deadline clock.Instant // zero before armed
	w        *writer
	p        *pipeline // promoted only
	queued   net.Conn
}

func newStrikeRun(t *testing.T, s strike) *strikeRun {
	r := &strikeRun{strike: s, box: newBox(t)}
	r.standby()
	r.old = r.agent()
	r.guardPID, _ = strconv.Atoi(r.old.must("spawn 1"))
	r.postgres, _ = strconv.Atoi(r.old.must("start standby"))
	t.Cleanup(func() { // never leave a frozen guard behind
		if alive(r.guardPID) && strings.Contains(commandLine(r.guardPID), "pgha: guard") {
			syscall.Kill(r.guardPID, syscall.SIGKILL)
		}
	})
	r.awaitSQL("select pg_is_in_recovery()", "t")
	return r
}

func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(text)
}

func (r *strikeRun) run() {
	r.reach()
	struckAt := clock.Now()
	r.hit(r.signal)
	r.awaitDeath(struckAt)
	r.judgeWrites()
	r.wake()
	r.successor()
}

// reach brings the old agent to the step.
func (r *strikeRun) reach() {
	r.t.Helper()
	if r.step == stepAcquired {
		r.w = r.write()
		return
	}
	at, err := strconv.ParseInt(r.old.must(fmt.Sprintf("arm %d", strikeTTL.Milliseconds())), 10, 64)
	must(r.t, err)
	r.deadline = clock.Instant(at)
	switch r.step {
	case stepSent:
		syscall.Kill(r.guardPID, syscall.SIGSTOP)
		r.queued, err = net.Dial("unix", r.dir+"/state/guard.sock")
		must(r.t, err)
		r.t.Cleanup(func() { r.queued.Close() })
		_, err = fmt.Fprint(r.queued, "hello 1 1\npromote 0\n")
		must(r.t, err)
	case stepPromoted:
		r.old.must("promote")
		r.awaitSQL("select pg_is_in_recovery()", "f")
		r.p = r.pipeline()
		if r.busy {
			go r.sql("do $$ begin loop perform 1; end loop; end $$")
			r.awaitSQL("select count(*) from pg_stat_activity where query like 'do %' and state = 'active'", "1")
		}
	}
	r.w = r.write()
	if r.step == stepPromoted {
		r.until("first row", r.deadline, func() bool { rows, _ := r.w.acknowledged(); return rows > 0 })
	}
}

func (r *strikeRun) hit(signal syscall.Signal) {
	if r.victim != "guard" {
		r.old.cmd.Process.Signal(signal)
	}
	if r.victim != "agent" {
		syscall.Kill(r.guardPID, signal)
	}
}

// awaitDeath checks when PostgreSQL ends.
func (r *strikeRun) awaitDeath(struckAt clock.Instant) {
	r.t.Helper()
	guardStruck := r.victim != "agent"
	switch {
	case guardStruck && r.signal == syscall.SIGKILL:
		r.until("postmaster dies with its guard", struckAt.Add(time.Second), r.dead)
	case r.deadline.IsZero():
		// A standby without a lease: the guard leaves it alone, agent or not.
		r.until("a ttl passes", clock.Now().Add(2*strikeTTL), func() bool {
			if r.dead() {
				r.t.Fatal("a standby without a deadline was ended")
			}
			return clock.Now().After(struckAt.Add(time.Second))
		})
	case r.thaw:
		wakeAt := r.deadline.Add(-fastLead + 200*time.Millisecond)
		r.until("between fast stop and kill", r.deadline, func() bool { return clock.Now().After(wakeAt) })
		syscall.Kill(r.guardPID, syscall.SIGCONT)
		r.until("woken guard stops PostgreSQL", r.deadline, r.dead)
	case guardStruck || r.step == stepSent:
		r.until("kernel timer ends PostgreSQL", r.deadline, r.dead)
		if at := r.deadline.Add(-alarmLead - 50*time.Millisecond); clock.Now().Before(at) {
			r.t.Errorf("ended %v before the timer was due", at.Sub(clock.Now()))
		}
	default:
		r.until("guard stops PostgreSQL", r.deadline, r.dead)
		if at := r.deadline.Add(-fastLead); clock.Now().Before(at) {
			r.t.Errorf("stopped %v before the fast stop was due", at.Sub(clock.Now()))
		}
		if text, _ := os.ReadFile(r.dir + "/log"); !strings.Contains(string(text), "received fast shutdown request") {
			r.t.Error("PostgreSQL was not asked to stop cleanly first")
		}
	}
}

func (r *strikeRun) dead() bool { return !alive(r.postgres) }

// judgeWrites looks at what clients were told.
func (r *strikeRun) judgeWrites() {
	r.t.Helper()
	if !r.deadline.IsZero() {
		r.until("the lease ends", r.deadline.Add(time.Second), func() bool { return clock.Now().After(r.deadline.Add(300 * time.Millisecond)) })
	}
	if r.p != nil {
		r.p.judge(r.t, r.deadline)
	}
	rows, last := r.w.acknowledged()
	switch {
	case r.step != stepPromoted && rows > 0:
		r.t.Fatalf("%d rows acknowledged by a server that must not have been promoted", rows)
	case r.step != stepPromoted:
		if _, err := os.Stat(r.dir + "/data/standby.signal"); err != nil {
			r.t.Errorf("standby.signal is gone: %v", err)
		}
	case last.After(r.deadline):
		r.t.Errorf("a row was acknowledged %v after the lease", last.Sub(r.deadline))
	default:
		r.t.Logf("%d rows, the last %v before the lease ends", rows, r.deadline.Sub(last).Round(time.Millisecond))
	}
}

// wake thaws the old agent, which does not know that time has passed.
func (r *strikeRun) wake() {
	r.t.Helper()
	if r.signal != syscall.SIGSTOP && r.victim != "guard" {
		return // it is dead
	}
	r.old.cmd.Process.Signal(syscall.SIGCONT)
	if r.deadline.IsZero() {
		r.old.refused("promote", "refused", "noguard") // never armed
		return
	}
	r.old.refused("promote", "noguard", "deadline")
	r.old.refused("arm 5000", "noguard", "deadline")
}

// successor is the next agent: it must find nothing alive that it does not
// sweep, start anew, and see every acknowledged row.
func (r *strikeRun) successor() {
	r.t.Helper()
	next := r.agent()
	if alive(r.guardPID) { // the standby without a lease
		next.must("connect 2")
		if r.signal == syscall.SIGSTOP {
			r.old.refused("arm 5000", "stale")
		}
		next.must("stop immediate")
		next.must("exited")
		r.until("guard ends", soon(), func() bool { return !alive(r.guardPID) })
	}
	next.must("spawn 2")
	if r.busy && r.signal == syscall.SIGKILL {
		next.refused("start standby", "occupied", "refused")
	}
	found := next.must("sweep")
	if r.busy && r.victim == "none" && found == "0" {
		r.t.Error("sweep found nothing though a backend was computing")
	}
	if left := r.tree(); len(left) > 0 {
		r.t.Errorf("after the sweep these are left: %v", left)
	}
	must(r.t, removeIfThere(r.dir+"/data/standby.signal"))
	next.refused("start standby", "refused")
	next.refused("start primary", "deadline")
	next.must("arm 20000")
	next.must("start primary")
	r.awaitSQL("select pg_is_in_recovery()", "f")
	if r.p != nil {
		kept, _ := r.p.acknowledged()
		r.awaitSQL(fmt.Sprintf("select count(*) from t where n between %d and %d", pipelineFirst, pipelineFirst+kept-1), strconv.FormatInt(kept, 10))
	}
	rows, _ := r.w.acknowledged()
	r.awaitSQL(fmt.Sprintf("select count(distinct n) from t where n <= %d", rows), strconv.FormatInt(rows, 10))
	if r.signal == syscall.SIGSTOP || r.victim == "guard" {
		r.old.refused("connect 1", "stale")
	}
	next.must("kill")
	next.must("exited")
	if left := r.tree(); len(left) > 0 {
		r.t.Errorf("the guard reported an empty tree, these are left: %v", left)
	}
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
