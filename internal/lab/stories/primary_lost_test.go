package stories

import (
	"testing"
	"time"

	"pgha/internal/lab"
)

// The primary's machine is gone. Somebody else is primary after ttl + 1 s, no
// acknowledged row is missing on the synchronous path, and the old machine
// comes back as a replica.
func TestPrimaryMachineLost(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, syncPath)
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()

	lost := time.Now()
	old.Lose()
	next := c.WaitLeader(ttl(c)+1*time.Second+slack, old)
	w.Advance(5 * time.Second)
	gap := w.Gap(lost)
	t.Logf("%s took over from %s; write gap %v with ttl %v", next.Name, old.Name, gap.Round(10*time.Millisecond), ttl(c))
	if gap > ttl(c)+1*time.Second+slack {
		t.Errorf("write gap %v", gap)
	}
	c.WaitHealthy(20*time.Second, old)

	old.Return()
	c.WaitHealthy(40 * time.Second)
	if rows := w.Lost(next); len(rows) > 0 {
		t.Errorf("%d acknowledged rows lost on the synchronous path, first: %+v", len(rows), rows[0])
	}
	p.NeverTwo()
}

// Asynchronous: what is lost is counted and reported, and nothing that a
// survivor had received is among it.
func TestPrimaryMachineLostAsynchronously(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{TTL: 5, LoopWait: 1, RetryTimeout: 2})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()

	lost := time.Now()
	old.Lose()
	next := c.WaitLeader(ttl(c)+1*time.Second+slack, old)
	w.Advance(5 * time.Second)
	t.Logf("write gap %v with ttl %v", w.Gap(lost).Round(10*time.Millisecond), ttl(c))
	old.Return()
	c.WaitHealthy(40 * time.Second)
	for _, row := range w.Lost(next) {
		if age := lost.Sub(row.Acked); age > time.Second {
			t.Errorf("row %d, acknowledged %v before the loss, is missing", row.ID, age)
		}
	}
	p.NeverTwo()
}
