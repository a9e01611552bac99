package stories

import (
	"testing"
	"time"

	"pgha/internal/lab"
)

// The primary's cable is pulled. It runs on, cut off, and must stop accepting
// writes before anybody else starts; what it wrote alone is gone after it has
// rejoined by pg_rewind.
func TestPrimaryCutOff(t *testing.T) {
	l := short(t)
	l.NeedNetwork()
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()

	old.Unplug()
	old.MustQuery("create table only_here (x int)")
	next := c.WaitLeader(ttl(c)+1*time.Second+slack, old)
	w.Advance(5 * time.Second)
	if old.Postmaster() != 0 {
		if v, err := old.Query("select pg_is_in_recovery()"); err == nil && v == "f" {
			t.Errorf("%s is still writable, %s is the primary", old.Name, next.Name)
		}
	}
	old.Heal()
	c.WaitHealthy(40 * time.Second)
	p.NeverTwo()
	if got := old.MustQuery("select to_regclass('only_here') is null"); got != "t" {
		t.Errorf("%s still has what it wrote while it was cut off", old.Name)
	}
	w.Stop()
}

// The primary reaches its replicas and clients, but not etcd: it demotes, and
// one that reaches etcd takes over.
func TestPrimaryCutFromEtcdOnly(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()

	cut := time.Now()
	old.Block(lab.Both, c.Etcd.Hosts()...)
	c.WaitLeader(ttl(c)+1*time.Second+slack, old)
	w.Advance(5 * time.Second)
	t.Logf("write gap %v", w.Gap(cut).Round(10*time.Millisecond))
	old.Heal()
	next := c.WaitHealthy(40 * time.Second)
	p.NeverTwo()
	reportLost(t, w, next)
}

// One way only: etcd's answers do not reach the primary, its requests do.
func TestEtcdsAnswersDoNotReachThePrimary(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()

	old.Block(lab.In, c.Etcd.Hosts()...)
	c.WaitLeader(2*ttl(c)+slack, old)
	w.Advance(5 * time.Second)
	old.Heal()
	next := c.WaitHealthy(40 * time.Second)
	p.NeverTwo()
	reportLost(t, w, next)
}

// reportLost logs what the asynchronous path lost (rulings 11).
func reportLost(t *testing.T, w *lab.Writer, primary *lab.Member) {
	t.Helper()
	t.Logf("%d acknowledged rows lost (asynchronous)", len(w.Lost(primary)))
}
