package stories

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// The guard dies: PostgreSQL dies with it and is restarted in place under a
// new one (rulings 5), twice, so that what the first left is in the way.
func TestGuardKilled(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	leader := c.Leader()
	for range 2 {
		guard, server := leader.Guard(), leader.Postmaster()
		if guard == 0 {
			t.Fatalf("PostgreSQL of %s (pid %d) has no guard", leader.Name, server)
		}
		killed := time.Now()
		if err := syscall.Kill(guard, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		l.Until(20*time.Second, "PostgreSQL runs under a new guard", func() string {
			if g := leader.Guard(); g == 0 || g == guard || lab.Running(server) {
				return fmt.Sprintf("guard %d, postmaster %d (were %d, %d)", g, leader.Postmaster(), guard, server)
			}
			return ""
		})
		w.Advance(20 * time.Second)
		t.Logf("write gap %v", w.Gap(killed).Round(10*time.Millisecond))
		if now := c.WaitHealthy(20 * time.Second); now != leader {
			t.Errorf("%s leads after the loss of the guard of %s", now.Name, leader.Name)
			leader = now
		}
	}
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}
