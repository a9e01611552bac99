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
