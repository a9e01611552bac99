package stories

import (
	"fmt"
	"testing"
	"time"

	"pgha/internal/lab"
)

// kill -9 of the primary's agent, started again within the ttl: PostgreSQL
// runs on, the key stays, writers notice nothing.
func TestAgentRestartedUnderARunningPostgreSQL(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	leader := c.Leader()
	pid := leader.Postmaster()

	killed := time.Now()
	leader.KillAgent()
	w.Advance(2 * time.Second)
	leader.Start()
	// Past every deadline of the lease that the killed agent held.
	l.Never(ttl(c)+2*time.Second, "the restart must not be noticed", func() string {
		if now := c.Leader(); now != leader {
			return "the leader key changed hands"
		}
		if now := leader.Postmaster(); now != pid {
			return fmt.Sprintf("the postmaster was %d, is %d", pid, now)
		}
		return ""
	})
	if now := c.WaitHealthy(10 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	if gap := w.Gap(killed); gap > time.Second+slack/2 {
		t.Errorf("write gap %v by a restart of the agent", gap)
	}
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

// The primary's agent dies and stays dead: the guard stops PostgreSQL before
// the lease ends, then another member takes over. Design decision 5.
func TestAgentKilledForGood(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	fenced(t, c, func(m *lab.Member) { m.KillAgent() }, func(m *lab.Member) { m.Start() })
}

// The primary's agent is frozen (SIGSTOP) and wakes up much later.
func TestAgentFrozen(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	fenced(t, c, func(m *lab.Member) { m.FreezeAgent() }, func(m *lab.Member) { m.ThawAgent() })
}

// Agent, guard and PostgreSQL are frozen together, as by an overloaded host,
// and wake up after another member has taken over.
func TestWholeMachineFrozen(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	fenced(t, c, func(m *lab.Member) { m.Freeze() }, func(m *lab.Member) { m.Thaw() })
}

// fenced strikes the leader and checks that nobody else accepts writes before
// it has stopped, then repairs it and waits for its return as a replica.
func fenced(t *testing.T, c *lab.Cluster, strike, repair func(*lab.Member)) {
	t.Helper()
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	at := time.Now()
	strike(old)
	next := c.WaitLeader(ttl(c)+1*time.Second+slack, old)
	w.Advance(5 * time.Second)
	t.Logf("%s took over; write gap %v with ttl %v", next.Name, w.Gap(at).Round(10*time.Millisecond), ttl(c))
	repair(old)
	c.WaitHealthy(40 * time.Second)
	p.NeverTwo()
	reportLost(t, w, next)
}
