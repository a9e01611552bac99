package stories

import (
	"testing"
	"time"

	"pgha/internal/lab"
)

// A replica's machine is lost and comes back: writers notice nothing, the
// replica catches up from its slot.
func TestReplicaLostAndBack(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	leader := c.Leader()
	pid := leader.Postmaster()
	w := c.StartWriter()
	replica := c.Others(leader)[0]

	lost := time.Now()
	replica.Lose()
	c.WaitHealthy(20*time.Second, replica)
	l.Until(ttl(c)+slack, "its member key runs out", func() string {
		v, err := c.View()
		if err != nil {
			return err.Error()
		}
		if v.Member(replica.Name) != nil {
			return "still there"
		}
		return ""
	})
	leader.MustQuery("create table meanwhile as select 1 as x")
	replica.Return()
	c.WaitHealthy(40 * time.Second)
	l.Until(10*time.Second, "it has what was written meanwhile", func() string {
		v, err := replica.Query("select x from meanwhile")
		if err != nil {
			return err.Error()
		}
		if v != "1" {
			return v
		}
		return ""
	})
	if gap := w.Gap(lost); gap > 2*time.Second {
		t.Errorf("write gap %v by the loss of a replica", gap)
	}
	sameServer(t, leader, pid)
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
}
