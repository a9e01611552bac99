package stories

import (
	"testing"
	"time"

	"pgha/internal/lab"
)

// kill -9 of the postmaster on the primary: restarted in place, at once, on
// the same timeline, nothing acknowledged lost. Contract: ha-behaviour.md 5.1.
func TestPostgreSQLKilledOnThePrimary(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	leader := c.Leader()
	pid := leader.Postmaster()

	killed := time.Now()
	leader.KillPostgres()
	// A backend may still answer a moment after its postmaster is gone: what
	// counts is the first row that the next one acknowledges.
	leader.AwaitPostmaster(20*time.Second, pid)
	w.Advance(20 * time.Second)
	gap := w.Gap(killed)
	t.Logf("write gap %v", gap.Round(10*time.Millisecond))
	if gap > 3*time.Second+slack {
		t.Errorf("write gap %v: a crash must not wait for a poll or the ttl", gap)
	}
	if now := c.WaitHealthy(30 * time.Second); now != leader {
		t.Errorf("%s leads after the crash on %s", now.Name, leader.Name)
	}
	if leader.Postmaster() == pid {
		t.Error("the postmaster was not killed")
	}
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d acknowledged rows lost by a crash", len(rows))
	}
	p.NeverTwo()
}
