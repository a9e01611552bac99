package stories

import (
	"testing"
	"time"

	"pgha/internal/lab"
)

// All of etcd is silent, with failsafe_mode on, under a leader of either kind:
// a pgha member refuses the question of a Patroni primary in failsafe mode, so
// that nobody accepts writes beyond the lease. etcd back, one leads, nothing is
// lost (docs/migrate-from-patroni.md says so).
func TestMixedEtcdSilent(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Patroni: []string{"pg02"}, DCS: []string{"failsafe_mode: true"}})
	w, p := c.StartWriter(), c.StartProber()
	for _, leader := range []*lab.Member{c.Member("pg02"), c.Member("pg01")} {
		leads(t, c, leader)
		w.Advance(20 * time.Second)
		for _, m := range c.Etcd.Members {
			m.Stop()
		}
		took := l.Until(ttl(c)+slack, "no member accepts writes", func() string {
			for _, m := range c.Members {
				if v, err := m.Query("select pg_is_in_recovery()"); err == nil && v == "f" {
					return m.Name + " is writable"
				}
			}
			return ""
		})
		for _, m := range c.Etcd.Members {
			m.Cont()
		}
		next := c.WaitHealthy(90 * time.Second)
		w.Advance(20 * time.Second)
		t.Logf("etcd silent: %s (%s) stepped down after %v, %s (%s) leads now", leader.Name, leader.Kind(), took.Round(100*time.Millisecond), next.Name, next.Kind())
	}
	nothingLost(t, w, p, c.WaitHealthy(30*time.Second))
}
