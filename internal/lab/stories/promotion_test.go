package stories

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// pendingPromotion is a cluster in which a switchover's candidate was told to
// promote and cannot: its postmaster is frozen by pre_promote, right before.
// From then on pre_promote forbids, and the agent of the candidate is dead.
// asked ends with the request for the switchover.
func pendingPromotion(t *testing.T, l *lab.Lab) (c *lab.Cluster, w *lab.Writer, p *lab.Prober, candidate *lab.Member, asked chan struct{}) {
	t.Helper()
	c = healthyCluster(t, l, lab.Options{TTL: 20, LoopWait: 2, RetryTimeout: 5, PostgreSQL: func(m *lab.Member) []string {
		return []string{"pre_promote: " + m.Script("pre_promote", fmt.Sprintf(`
test ! -e %[1]s/forbid || { echo 'fenced by hand'; exit 9; }
test ! -e %[1]s/freeze || kill -STOP $(head -n 1 %[2]s/postmaster.pid)
`, m.Dir, m.DataDir()))}
	}})
	w, p = c.StartWriter(), c.StartProber()
	old := c.Leader()
	candidate = c.Others(old)[0]
	note(t, candidate, "freeze")
	asked = switchOver(old, candidate)
	l.Until(30*time.Second, "the promotion is asked for", func() string {
		if _, err := os.Stat(filepath.Join(candidate.DataDir(), "promote")); err != nil {
			return err.Error()
		}
		return ""
	})
	candidate.KillAgent()
	note(t, candidate, "forbid")
	return c, w, p, candidate, asked
}

// note leaves an empty file that the member's scripts look for.
func note(t *testing.T, m *lab.Member, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.Dir, name), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// switchOver asks for a switchover and does not wait; the channel is closed
// with the answer, whatever it is.
func switchOver(from, to *lab.Member) chan struct{} {
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		from.REST("POST", "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": %q}`, from.Name, to.Name))
	}()
	return asked
}

// thaw lets a frozen postmaster go on.
func thaw(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatalf("postmaster %d: %v", pid, err)
	}
}

// The agent dies between asking for a promotion and its coming about. The next
// one must not ask pre_promote again, which says no by now: the key would be
// given up, and PostgreSQL become writable without it. It keeps the key and
// waits.
func TestAgentKilledWhileAPromotionIsPending(t *testing.T) {
	l := long(t)
	c, w, p, candidate, asked := pendingPromotion(t, l)
	pid := candidate.Postmaster()
	candidate.Start()
	l.Until(20*time.Second, "the next agent finds the promotion", func() string {
		if !strings.Contains(candidate.AgentLog(), "a promotion of PostgreSQL is under way") {
			return "not said"
		}
		return ""
	})
	// Past every deadline of the lease that the dead agent held.
	l.Never(ttl(c), "the key stays where the promotion is pending", func() string {
		if key, _, err := c.Etcd.Get(c.Key("leader")); err != nil || key != candidate.Name {
			return fmt.Sprintf("leader key %q, %v", key, err)
		}
		if now := candidate.Postmaster(); now != pid {
			return fmt.Sprintf("postmaster %d, was %d", now, pid)
		}
		return ""
	})
	thaw(t, pid)
	if next := c.WaitHealthy(40 * time.Second); next != candidate {
		t.Errorf("%s leads, the promotion was pending on %s", next.Name, candidate.Name)
	}
	sameServer(t, candidate, pid)
	if log := candidate.AgentLog(); strings.Contains(log, "fenced by hand") {
		t.Errorf("pre_promote was asked again for a promotion that could not be taken back")
	}
	<-asked
	nothingLost(t, w, p, candidate)
}

// The key goes to another member while a promotion is pending under no agent:
// the next agent ends PostgreSQL, although it is frozen, and it never accepts
// a write.
func TestPendingPromotionIsEndedWhenAnotherLeads(t *testing.T) {
	l := long(t)
	c, _, p, candidate, asked := pendingPromotion(t, l)
	pid := candidate.Postmaster()
	c.Etcd.Delete(c.Key("leader"))
	next := c.WaitLeader(30*time.Second, candidate)
	candidate.Start()
	took := l.Until(25*time.Second, "PostgreSQL with the pending promotion is ended", func() string {
		if lab.Running(pid) {
			return fmt.Sprintf("%d runs", pid)
		}
		return ""
	})
	t.Logf("ended %v after the start of the agent", took.Round(10*time.Millisecond))
	// A frozen postmaster does not obey: it is the guard's deadline that ends
	// it. Thawed it would have found the agent's request to stop.
	if !strings.Contains(candidate.AgentLog(), "Demoting self (immediate-nolock)") {
		t.Errorf("the agent did not ask PostgreSQL to stop:\n%s", candidate.AgentLog())
	}
	if now := c.WaitHealthy(60 * time.Second); now != next {
		t.Errorf("%s leads, %s did", now.Name, next.Name)
	}
	<-asked
	p.NeverTwo()
	for _, s := range p.Spans() {
		if s.Member == candidate.Name {
			t.Errorf("%s accepted writes from %s to %s", s.Member, s.From.Format("15:04:05.000"), s.To.Format("15:04:05.000"))
		}
	}
}

// kill -9 of the agent in the middle of a promotion that goes well: the next
// agent finishes it.
func TestAgentKilledDuringAPromotion(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{TTL: 20, LoopWait: 2, RetryTimeout: 5})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	candidate := c.Others(old)[0]
	pid := candidate.Postmaster()
	asked := switchOver(old, candidate)
	awaitPromotion(t, candidate)
	candidate.KillAgent()
	candidate.Start()
	if next := c.WaitHealthy(40 * time.Second); next != candidate {
		t.Errorf("%s leads, the promotion was that of %s", next.Name, candidate.Name)
	}
	sameServer(t, candidate, pid)
	<-asked
	nothingLost(t, w, p, candidate)
}

// awaitPromotion returns as soon as the member was told to promote: its
// standby.signal is gone, or the request for it is there.
func awaitPromotion(t *testing.T, m *lab.Member) {
	t.Helper()
	tick, late := time.NewTicker(time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for {
		_, asked := os.Stat(filepath.Join(m.DataDir(), "promote"))
		_, standby := os.Stat(filepath.Join(m.DataDir(), "standby.signal"))
		if asked == nil || os.IsNotExist(standby) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s was not told to promote in 30 s:\n%s", m.Name, m.AgentLog())
		}
	}
}
