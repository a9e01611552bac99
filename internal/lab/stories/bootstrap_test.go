package stories

import (
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// Three machines, the talk's file on each, agents started: one initialises,
// two copy, and psql reaches the cluster.
func TestBootstrapOfThree(t *testing.T) {
	l := short(t)
	e := l.StartEtcd(3)
	c := l.NewCluster(e, lab.Options{})
	start := time.Now()
	c.Start()
	t.Logf("three members healthy after %v", time.Since(start).Round(10*time.Millisecond))

	leader := c.Leader()
	id, _, err := e.Get(c.Key("initialize"))
	if err != nil || len(id) < 10 {
		t.Fatalf("initialize: %q, %v", id, err)
	}
	for _, m := range c.Members {
		s, err := m.Status()
		if err != nil || s.SystemID != id {
			t.Errorf("%s: system identifier %q, %v; want %s", m.Name, s.SystemID, err, id)
		}
	}
	// bootstrap.postgresql and initdb of the talk's file were applied (rulings 23).
	for setting, want := range map[string]string{"data_checksums": "on", "max_connections": "100", "wal_log_hints": "on"} {
		if got := leader.MustQuery("show " + setting); got != want {
			t.Errorf("%s = %s, want %s", setting, got, want)
		}
	}
	out, code := leader.Ctl("list")
	if code != 0 || strings.Count(out, "streaming") != 2 || !strings.Contains(out, "Cluster: pg-basic ("+id+")") {
		t.Errorf("ctl list: exit %d\n%s", code, out)
	}
	c.StartWriter().Advance(5 * time.Second)
	if code, body, err := leader.REST("GET", "/primary", ""); code != 200 {
		t.Errorf("GET /primary of the leader: %d, %v\n%s", code, err, body)
	}
	for _, m := range c.Others(leader) {
		if code, _, err := m.REST("GET", "/primary", ""); code != 503 {
			t.Errorf("GET /primary of %s: %d, %v", m.Name, code, err)
		}
	}
}

// All agents at once, no member has data: one initialises, the others wait.
func TestTwoBootstrapsRace(t *testing.T) {
	l := long(t)
	c := l.NewCluster(l.StartEtcd(3), lab.Options{Members: []string{"pg01", "pg02"}})
	started := make(chan struct{}, 2)
	for _, m := range c.Members {
		go func() { m.Start(); started <- struct{}{} }()
	}
	<-started
	<-started
	leader := c.WaitHealthy(60 * time.Second)
	var ids []string
	for _, m := range c.Members {
		s, err := m.Status()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.SystemID)
	}
	if ids[0] != ids[1] {
		t.Errorf("two clusters: %v", ids)
	}
	if got := leader.MustQuery("select count(*) from pg_stat_replication"); got != "1" {
		t.Errorf("%s replicates to %s members", leader.Name, got)
	}
}
