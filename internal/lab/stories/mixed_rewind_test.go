package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// A leader is cut off and goes on alone for a while; the other kind takes over.
// When the network is back, the former leader's own rows are rewound and it
// follows. Both ways: what either kind publishes about histories and the
// checkpoint after a promotion is what the other's rewind needs.
func TestMixedCutOffLeaderIsRewound(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c, ours, theirs := pair(t, l, lab.Options{})
	for _, old := range []*lab.Member{theirs, ours} {
		leads(t, c, old)
		old.MustQuery("create table if not exists alone (member text)")
		p := c.StartProber()
		next := c.Others(old)[0]
		cut := time.Now()
		old.Unplug()
		rows := 0
		for time.Since(cut) < 3*time.Second {
			if _, err := old.Query(fmt.Sprintf("insert into alone values ('%s')", old.Name)); err == nil {
				rows++
			}
		}
		if rows == 0 {
			t.Fatalf("%s took no row of its own after it was cut off", old.Name)
		}
		if now := c.WaitLeader(ttl(c)+15*time.Second, old); now != next {
			t.Fatalf("%s leads", now.Name)
		}
		next.MustQuery("insert into alone values ('both')")
		old.Plug()
		c.WaitHealthy(60 * time.Second)
		if !strings.Contains(old.AgentLog(), "running pg_rewind") {
			t.Errorf("%s (%s) took %d rows alone and was not rewound", old.Name, old.Kind(), rows)
		}
		if v := old.MustQuery(fmt.Sprintf("select count(*) from alone where member = '%s'", old.Name)); v != "0" {
			t.Errorf("%s still has %s rows of its own", old.Name, v)
		}
		t.Logf("%s (%s) was rewound from %s (%s): %d rows were its alone", old.Name, old.Kind(), next.Name, next.Kind(), rows)
		p.NeverTwo()
	}
}

// Equal positions: failover_priority decides, whichever kind has it.
func TestMixedFailoverPriority(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c := l.NewCluster(l.StartEtcd(3), lab.Options{Patroni: []string{"pg01", "pg02"}})
	prioritize(c)
	c.Start()
	leads(t, c, c.Member("pg01"))
	byPriority(t, c)
}

// prioritize gives pg02 the highest failover_priority and pg01 the lowest.
func prioritize(c *lab.Cluster) {
	for name, n := range map[string]int{"pg01": 1, "pg02": 3, "pg03": 2} {
		c.Member(name).Edit("  nofailover: false\n", fmt.Sprintf("  failover_priority: %d\n", n))
	}
}

// byPriority loses the leader pg01, which only pg02 may follow, then pg02,
// which only pg03 may: with pg01 and pg02 under Patroni and pg03 under pgha
// each kind stands back for the other once.
func byPriority(t *testing.T, c *lab.Cluster) {
	t.Helper()
	for _, want := range []string{"pg02", "pg03"} { // the best that is left
		old := c.Leader()
		old.Lose()
		if now := c.WaitLeader(ttl(c)+15*time.Second, old); now.Name != want {
			t.Errorf("%s (%s) took over from %s, %s has the highest priority", now.Name, now.Kind(), old.Name, want)
		}
		if want == "pg03" {
			return
		}
		old.Return()
		c.WaitHealthy(2 * time.Minute) // how long its recovery takes is not the point
	}
}
