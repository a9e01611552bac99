package stories

import (
	"testing"
	"time"

	"pgha/internal/lab"
)

// etcd loses its leader: no write gap, no change.
func TestEtcdLeaderLost(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w := c.StartWriter()
	leader := c.Leader()
	pid := leader.Postmaster()
	from := time.Now()
	for _, m := range c.Etcd.Members {
		if m.IsLeader() {
			m.Kill()
			break
		}
	}
	l.Never(2*ttl(c), "the loss of etcd's leader must not be noticed", func() string {
		if leader.Postmaster() != pid {
			return "PostgreSQL was stopped"
		}
		return ""
	})
	if gap := w.Gap(from); gap > 2*time.Second {
		t.Errorf("write gap %v", gap)
	}
	if now := c.WaitHealthy(10 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
}

// All of etcd is gone, failsafe is off: the primary stops accepting writes
// within its lease; etcd back, it leads again.
func TestEtcdGoneAndBack(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	for _, m := range c.Etcd.Members {
		m.Kill()
	}
	l.Until(ttl(c)+slack, "no member accepts writes", func() string {
		for _, m := range c.Members {
			if v, err := m.Query("select pg_is_in_recovery()"); err == nil && v == "f" {
				return m.Name + " is writable"
			}
		}
		return ""
	})
	for _, m := range c.Etcd.Members {
		m.Start()
	}
	c.Etcd.WaitHealthy(20 * time.Second)
	leader := c.WaitHealthy(60 * time.Second)
	w.Advance(10 * time.Second)
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost by an outage of etcd", len(rows))
	}
	p.NeverTwo()
}

// A short outage of etcd is ridden through (rulings 2).
func TestEtcdShortlyFrozen(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{TTL: 20, LoopWait: 2, RetryTimeout: 5})
	w := c.StartWriter()
	leader := c.Leader()
	pid := leader.Postmaster()
	from := time.Now()
	for _, m := range c.Etcd.Members {
		m.Stop()
	}
	l.Never(6*time.Second, "a short outage must not be noticed", func() string {
		if leader.Postmaster() != pid {
			return "PostgreSQL was stopped"
		}
		return ""
	})
	for _, m := range c.Etcd.Members {
		m.Cont()
	}
	if now := c.WaitHealthy(20 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	if gap := w.Gap(from); gap > 2*time.Second {
		t.Errorf("write gap %v", gap)
	}
}
