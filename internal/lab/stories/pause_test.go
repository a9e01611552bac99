package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// Paused: the leader key vanishes and nothing happens. Resumed: the running
// primary leads again. Contract: ha-behaviour.md, pause.
func TestPauseAndResume(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	w := c.StartWriter()
	leader := c.Leader()
	pids := map[*lab.Member]int{}
	for _, m := range c.Members {
		pids[m] = m.Postmaster()
	}

	out, code := leader.Ctl("pause", "--wait")
	if code != 0 || !strings.Contains(out, "Success: cluster management is paused") {
		t.Fatalf("pause: exit %d\n%s", code, out)
	}
	from := time.Now()
	leader.KillAgent()
	c.Etcd.Delete(c.Key("leader"))
	l.Never(ttl(c)+2*time.Second, "in pause nothing may happen", func() string {
		for m, pid := range pids {
			if now := m.Postmaster(); now != pid {
				return fmt.Sprintf("PostgreSQL of %s was %d, is %d", m.Name, pid, now)
			}
		}
		if now := c.Leader(); now != nil {
			return now.Name + " took the leader key"
		}
		return ""
	})
	leader.Start()
	c.WaitLeader(15*time.Second + slack)
	out, code = leader.Ctl("resume", "--wait")
	if code != 0 || !strings.Contains(out, "Success: cluster management is resumed") {
		t.Fatalf("resume: exit %d\n%s", code, out)
	}
	if now := c.WaitHealthy(20 * time.Second); now != leader {
		t.Errorf("%s leads after resume", now.Name)
	}
	for m, pid := range pids {
		sameServer(t, m, pid)
	}
	if gap := w.Gap(from); gap > 2*time.Second {
		t.Errorf("write gap %v while paused", gap)
	}
}
