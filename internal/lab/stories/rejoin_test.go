package stories

import (
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// The primary's agent is stopped in order (SIGTERM): it hands over at once,
// no ttl passes, and later follows the new leader without a rewind.
func TestPrimaryStoppedAndBack(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()

	stopped := time.Now()
	old.Shutdown(20 * time.Second)
	if old.Postmaster() != 0 {
		t.Error("PostgreSQL runs after the agent's clean end")
	}
	next := c.WaitLeader(ttl(c), old)
	w.Advance(5 * time.Second)
	gap := w.Gap(stopped)
	t.Logf("%s took over; write gap %v", next.Name, gap.Round(10*time.Millisecond))
	if gap >= ttl(c) {
		t.Errorf("write gap %v: the ttl was waited for", gap)
	}
	old.Start()
	c.WaitHealthy(40 * time.Second)
	if strings.Contains(old.AgentLog(), "running pg_rewind") {
		t.Error("rewound without divergence")
	}
	if rows := w.Lost(next); len(rows) > 0 {
		t.Errorf("%d acknowledged rows lost by an orderly stop", len(rows))
	}
	p.NeverTwo()
}

// The primary has written what no replica received, then its machine is lost.
// Back again it finds another timeline that forked off before its own end: it
// must rewind, whatever crash recovery made of its directory, and follow.
func TestOldPrimaryReturnsWithDivergence(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c := healthyCluster(t, l, lab.Options{})
	p := c.StartProber()
	old := c.Leader()
	for _, m := range c.Others(old) {
		old.Block(lab.Both, m.Host)
	}
	old.MustQuery("create table only_here as select generate_series(1, 1000) as x")
	old.Lose()
	next := c.WaitLeader(ttl(c)+1*time.Second+slack, old)
	c.WaitHealthy(20*time.Second, old)
	next.MustQuery("create table meanwhile as select 1 as x")

	old.Heal()
	old.Start()
	c.WaitHealthy(40 * time.Second)
	if got := old.MustQuery("select to_regclass('only_here') is null"); got != "t" {
		t.Errorf("%s still has what no other member ever had", old.Name)
	}
	p.NeverTwo()
}

// PostgreSQL of the primary crashes with WAL that no replica has, and cannot
// be started again (its port is taken). The key goes to another member; later,
// under the same agent, the old primary must still find that it has diverged.
func TestCrashedPrimaryThatCannotStartRejoins(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c := healthyCluster(t, l, lab.Options{})
	p := c.StartProber()
	old := c.Leader()
	for _, m := range c.Others(old) {
		old.Block(lab.Both, m.Host)
	}
	old.MustQuery("create table only_here as select generate_series(1, 1000) as x")
	old.FreezeAgent() // or it is quicker than we are
	pid := old.Postmaster()
	old.KillPostgres()
	l.Until(5*time.Second, "PostgreSQL is gone", func() string {
		if lab.Running(pid) {
			return "it runs"
		}
		return ""
	})
	release := old.Occupy(5432)
	old.ThawAgent()
	next := c.WaitLeader(ttl(c)+20*time.Second+slack, old)
	next.MustQuery("create table meanwhile as select 1 as x")
	release()
	old.Heal()
	c.WaitHealthy(40 * time.Second)
	if got := old.MustQuery("select to_regclass('only_here') is null"); got != "t" {
		t.Errorf("%s still has what no other member ever had", old.Name)
	}
	p.NeverTwo()
}
