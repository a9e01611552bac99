package stories

import (
	"testing"
	"time"

	"pgha/internal/lab"
)

// All of etcd is silent, with failsafe_mode on, under a leader of either kind:
// the members of the other kind agree, and it goes on.
func TestMixedEtcdSilent(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Patroni: []string{"pg02"}, DCS: []string{"failsafe_mode: true"}})
	w, p := c.StartWriter(), c.StartProber()
	for _, leader := range []*lab.Member{c.Member("pg02"), c.Member("pg01")} {
		leads(t, c, leader)
		w.Advance(20 * time.Second)
		listed(l, c)
		pid, from := leader.Postmaster(), time.Now()
		pauseEtcd(c)
		l.Never(ttl(c)+10*time.Second, "the outage of etcd must not be noticed", func() string {
			if leader.Postmaster() != pid {
				return "PostgreSQL was stopped"
			}
			if v, err := leader.Query("select pg_is_in_recovery()"); err == nil && v != "f" {
				return leader.Name + " is no primary"
			}
			return ""
		})
		continueEtcd(c)
		next := c.WaitHealthy(90 * time.Second)
		if next != leader {
			t.Errorf("%s leads after the outage, was %s", next.Name, leader.Name)
		}
		w.Advance(20 * time.Second)
		gap := w.Gap(from)
		if gap > 2*time.Second {
			t.Errorf("write gap %v under %s (%s)", gap, leader.Name, leader.Kind())
		}
		t.Logf("etcd silent: %s (%s) went on, largest write gap %v", leader.Name, leader.Kind(), gap)
	}
	nothingLost(t, w, p, c.WaitHealthy(30*time.Second))
}
