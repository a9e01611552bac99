package stories

import (
	"fmt"
	"regexp"
	"strings"
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
		for _, m := range c.Others(leader, c.Member("pg02")) {
			body := fmt.Sprintf(`{"name": %q, "conn_url": "postgres://%s:5432/postgres", "api_url": "http://%s:8008/patroni"}`, leader.Name, leader.Addr, leader.Addr)
			if code, text, err := m.REST("POST", "/failsafe", body); code != 502 {
				t.Errorf("POST /failsafe to %s (%s): %d %q %v, want 502", m.Name, m.Kind(), code, text, err)
			}
		}
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
		if leader.Kind() == lab.Patroni {
			// It asked everybody, and one pgha member's answer is enough.
			if log := leader.AgentLog(); !regexp.MustCompile(`Got response from pg0[13] http://\S+/failsafe: `).MatchString(log) ||
				!strings.Contains(log, "demoting self because DCS is not accessible and I was a leader") {
				t.Errorf("the log of %s does not show that it was refused failsafe mode:\n%s", leader.Name, log)
			}
		}
		for _, m := range c.Etcd.Members {
			m.Cont()
		}
		next := c.WaitHealthy(90 * time.Second)
		w.Advance(20 * time.Second)
		t.Logf("etcd silent: %s (%s) stepped down after %v, %s (%s) leads now", leader.Name, leader.Kind(), took.Round(100*time.Millisecond), next.Name, next.Kind())
	}
	nothingLost(t, w, p, c.WaitHealthy(30*time.Second))
}
