package stories

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// failsafeOn is the talk's file with failsafe_mode.
func failsafeOn(o lab.Options) lab.Options {
	o.DCS = append(o.DCS, "failsafe_mode: true")
	return o
}

// listed waits until every member is in /failsafe and knows it.
func listed(l *lab.Lab, c *lab.Cluster) {
	l.Until(30*time.Second, "every member is in /failsafe", func() string {
		for _, m := range c.Members {
			code, body, err := m.REST("GET", "/failsafe", "")
			var known map[string]string
			if err != nil || code != 200 || json.Unmarshal([]byte(body), &known) != nil || len(known) != len(c.Members) {
				return fmt.Sprint(m.Name, code, body, err)
			}
		}
		return ""
	})
}

// pauseEtcd freezes every etcd member; the other two undo it.
func pauseEtcd(c *lab.Cluster) {
	for _, m := range c.Etcd.Members {
		m.Stop()
	}
}

func continueEtcd(c *lab.Cluster) {
	for _, m := range c.Etcd.Members {
		m.Cont()
	}
}

// unnoticed checks for d that PostgreSQL of the leader goes on as a primary
// that REST shows.
func unnoticed(l *lab.Lab, d time.Duration, leader *lab.Member, pid int) {
	l.Never(d, "the outage of etcd must not be noticed", func() string {
		if leader.Postmaster() != pid {
			return "PostgreSQL was stopped"
		}
		if code, _, err := leader.REST("GET", "/primary", ""); err == nil && code != 200 {
			return fmt.Sprintf("GET /primary: %d", code)
		}
		return ""
	})
}

// etcd is silent for longer than the ttl with failsafe_mode on: writes go on,
// nobody changes its role; the log and REST say what is going on.
func TestFailsafe(t *testing.T) { failsafe(t, short(t), lab.Options{}, 14*time.Second) }

// The same for a minute, with the times of a production cluster.
func TestFailsafeForAMinute(t *testing.T) {
	failsafe(t, long(t), lab.Options{TTL: 30, LoopWait: 10, RetryTimeout: 10}, 60*time.Second)
}

func failsafe(t *testing.T, l *lab.Lab, o lab.Options, outage time.Duration) {
	c := healthyCluster(t, l, failsafeOn(o))
	listed(l, c)
	w, p := c.StartWriter(), c.StartProber()
	w.Advance(10 * time.Second)
	leader := c.Leader()
	pid, timeline := leader.Postmaster(), leader.MustQuery("select timeline_id from pg_control_checkpoint()")
	from := time.Now()
	pauseEtcd(c)
	unnoticed(l, outage-3*time.Second, leader, pid)
	for _, m := range c.Members {
		l.Until(3*time.Second, m.Name+" shows failsafe mode", func() string {
			if _, body, err := m.REST("GET", "/patroni", ""); err != nil || !strings.Contains(body, `"failsafe_mode_is_active": true`) {
				return fmt.Sprint(body, err)
			}
			return ""
		})
		if _, body, _ := m.REST("GET", "/metrics", ""); !strings.Contains(body, "patroni_failsafe_mode_is_active{") || !strings.Contains(body, "patroni_failsafe_member{") {
			t.Errorf("%s: /metrics has no failsafe series", m.Name)
		}
		if code, _, _ := m.REST("GET", "/readiness", ""); code != 200 {
			t.Errorf("%s is not ready: %d", m.Name, code)
		}
	}
	continueEtcd(c)
	if now := c.WaitHealthy(60 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	sameServer(t, leader, pid)
	if now := leader.MustQuery("select timeline_id from pg_control_checkpoint()"); now != timeline {
		t.Errorf("timeline %s, was %s", now, timeline)
	}
	w.Advance(10 * time.Second)
	gap := w.Gap(from)
	t.Logf("etcd silent for %v: largest write gap %v", outage, gap)
	if gap > 2*time.Second {
		t.Errorf("write gap %v", gap)
	}
	l.Until(ttl(c)+slack, "the end of failsafe mode is logged", func() string { return lacking(leader.AgentLog(), "failsafe mode ended after ") })
	log := leader.AgentLog()
	for _, line := range []string{"failsafe mode begins: ", "failsafe mode ended after "} {
		if n := strings.Count(log, line); n != 1 {
			t.Errorf("%q %d times in the log of %s", line, n, leader.Name)
		}
	}
	l.Until(ttl(c)+slack, "failsafe mode is over everywhere", func() string {
		for _, m := range c.Members {
			if _, body, err := m.REST("GET", "/patroni", ""); err != nil || strings.Contains(body, "failsafe_mode_is_active") {
				return fmt.Sprint(m.Name, body, err)
			}
		}
		return ""
	})
	p.NeverTwo()
}

// A minute without etcd and without failsafe_mode: the primary stops accepting
// writes within its lease, and is back when etcd is.
func TestEtcdSilentForAMinute(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{TTL: 30, LoopWait: 10, RetryTimeout: 10})
	w, p := c.StartWriter(), c.StartProber()
	from := time.Now()
	pauseEtcd(c)
	took := l.Until(ttl(c)+slack, "no member accepts writes", func() string { return writable(c) })
	t.Logf("no primary after %v", took)
	l.Never(60*time.Second-time.Since(from), "nobody may lead without etcd", func() string {
		if who := writable(c); who != "" {
			return who
		}
		return ""
	})
	continueEtcd(c)
	leader := c.WaitHealthy(60 * time.Second)
	w.Advance(10 * time.Second)
	t.Logf("largest write gap %v", w.Gap(from))
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

// writable names a member that accepts writes; empty: none.
func writable(c *lab.Cluster) string {
	for _, m := range c.Members {
		if v, err := m.Query("select pg_is_in_recovery()"); err == nil && v == "f" {
			return m.Name + " is writable"
		}
	}
	return ""
}

// One member of etcd, then its leader: nobody notices, failsafe_mode is not entered.
func TestFailsafeIsNotEnteredForOneEtcdMember(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, failsafeOn(lab.Options{}))
	listed(l, c)
	w := c.StartWriter()
	leader := c.Leader()
	pid := leader.Postmaster()
	from := time.Now()
	for _, lead := range []bool{false, true} {
		for _, m := range c.Etcd.Members {
			if m.IsLeader() == lead {
				m.Kill()
				unnoticed(l, 2*ttl(c), leader, pid)
				m.Start()
				c.Etcd.WaitHealthy(20 * time.Second)
				break
			}
		}
	}
	if now := c.WaitHealthy(20 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	if gap := w.Gap(from); gap > 2*time.Second {
		t.Errorf("write gap %v", gap)
	}
}

// A member is lost in the midst of failsafe mode: the primary stops accepting
// writes soon after retry_timeout, long before its extension ends.
func TestFailsafeEndsWithAMember(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, failsafeOn(lab.Options{TTL: 30, LoopWait: 2, RetryTimeout: 5}))
	listed(l, c)
	p := c.StartProber()
	leader := c.Leader()
	pid := leader.Postmaster()
	pauseEtcd(c)
	l.Until(20*time.Second, "failsafe mode", func() string { return lacking(leader.AgentLog(), "failsafe mode begins: ") })
	unnoticed(l, 20*time.Second, leader, pid)
	lost := c.Others(leader)[0]
	lost.Lose()
	// A read of etcd that had begun, the round, one more short read, the stop.
	bound := 5*time.Second + 2*time.Second + 5*time.Second + time.Second + slack
	took := l.Until(bound, "no member accepts writes", func() string { return writable(c) })
	t.Logf("no primary %v after the loss of a member", took)
	if why := lacking(leader.AgentLog(), "failsafe mode is not possible: "+lost.Name+" does not answer", "failsafe mode ended after "); why != "" {
		t.Error(why)
	}
	continueEtcd(c)
	c.WaitHealthy(60*time.Second, lost)
	lost.Return()
	c.WaitHealthy(60 * time.Second)
	p.NeverTwo()
}

// lacking says which text is not in the log; empty: all are.
func lacking(log string, texts ...string) string {
	for _, text := range texts {
		if !strings.Contains(log, text) {
			return fmt.Sprintf("the log lacks %q", text)
		}
	}
	return ""
}

// Three seconds of latency between the members: every REST answer takes that
// long, and failsafe mode holds all the same.
func TestFailsafeOverSlowLinks(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(3)
	c := l.NewCluster(e, failsafeOn(lab.Options{TTL: 20, LoopWait: 3, RetryTimeout: 5}))
	for _, m := range c.Members {
		m.Edit("connect_address: "+m.Addr+":8008", "connect_address: "+m.Addr+":18008")
		slowly(t, m, 18008, 8008, 3*time.Second)
	}
	c.Start()
	listed(l, c)
	w, p := c.StartWriter(), c.StartProber()
	w.Advance(10 * time.Second)
	leader := c.Leader()
	pid := leader.Postmaster()
	from := time.Now()
	pauseEtcd(c)
	unnoticed(l, 60*time.Second, leader, pid)
	continueEtcd(c)
	if now := c.WaitHealthy(60 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	if gap := w.Gap(from); gap > 2*time.Second {
		t.Errorf("write gap %v", gap)
	}
	p.NeverTwo()
}

// slowly serves a port of the member by another one, with every answer delayed.
func slowly(t *testing.T, m *lab.Member, port, to int, by time.Duration) {
	t.Helper()
	var listener net.Listener
	if err := m.Inside(func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", m.Addr, port))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := m.Dial(t.Context(), "tcp4", fmt.Sprintf("%s:%d", m.Addr, to))
				if err != nil {
					return
				}
				defer out.Close()
				go func() { io.Copy(out, in); out.Close() }()
				buf := make([]byte, 64<<10)
				for {
					n, err := out.Read(buf)
					if n > 0 {
						<-time.After(by)
						if _, err := in.Write(buf[:n]); err != nil {
							return
						}
					}
					if err != nil {
						return
					}
				}
			}()
		}
	}()
}

// etcd lost its data and is back empty under running members: the primary
// registers the cluster anew, and PostgreSQL was never stopped.
func TestFailsafeAndAnEmptyEtcd(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, failsafeOn(lab.Options{}))
	listed(l, c)
	changesUnder(t, l, c, func() {
		for _, m := range c.Etcd.Members {
			m.Wipe()
		}
	})
}

// etcd is restored from older data while the members run.
func TestFailsafeAndAnOlderEtcd(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, failsafeOn(lab.Options{}))
	listed(l, c)
	old := map[*lab.EtcdMember]string{}
	for _, m := range c.Etcd.Members {
		m.Kill()
	}
	for _, m := range c.Etcd.Members {
		old[m] = filepath.Join(m.Dir, "older")
		copyTree(t, filepath.Join(m.Dir, "data"), old[m])
		m.Start()
	}
	c.Etcd.WaitHealthy(20 * time.Second)
	c.WaitHealthy(60 * time.Second)
	changesUnder(t, l, c, func() {
		for _, m := range c.Etcd.Members {
			m.Wipe()
			copyTree(t, old[m], filepath.Join(m.Dir, "data"))
		}
	})
}

// changesUnder ends etcd for longer than the ttl, does something to its data,
// and starts it: the leader stays, with the PostgreSQL it had.
func changesUnder(t *testing.T, l *lab.Lab, c *lab.Cluster, change func()) {
	t.Helper()
	w, p := c.StartWriter(), c.StartProber()
	w.Advance(10 * time.Second)
	leader := c.Leader()
	pids := map[*lab.Member]int{}
	for _, m := range c.Members {
		pids[m] = m.Postmaster()
	}
	from := time.Now()
	for _, m := range c.Etcd.Members {
		m.Kill()
	}
	unnoticed(l, ttl(c)+5*time.Second, leader, pids[leader])
	change()
	for _, m := range c.Etcd.Members {
		m.Start()
	}
	c.Etcd.WaitHealthy(20 * time.Second)
	if now := c.WaitHealthy(60 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	for _, m := range c.Members {
		sameServer(t, m, pids[m])
	}
	listed(l, c)
	for _, key := range []string{"initialize", "config", "leader", "status", "failsafe"} {
		if _, there, err := c.Etcd.Get(c.Key(key)); err != nil || !there {
			t.Errorf("key %s: %t %v", key, there, err)
		}
	}
	w.Advance(10 * time.Second)
	gap := w.Gap(from)
	t.Logf("largest write gap %v", gap)
	if gap > 2*time.Second {
		t.Errorf("write gap %v", gap)
	}
	p.NeverTwo()
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// The DCS is empty, all agents are stopped beside a running primary, and each
// member's agent is the first one to be started in turn: only the primary
// ever takes the key, with the PostgreSQL it had.
func TestFailsafeWhoeverStartsFirstAfterALostDCS(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, failsafeOn(lab.Options{}))
	listed(l, c)
	w, p := c.StartWriter(), c.StartProber()
	leader := c.Leader()
	pid := leader.Postmaster()
	for _, first := range c.Members {
		ctl(t, leader, 0, words("pause --wait"), "cluster management is paused")
		for _, m := range append(c.Others(leader), leader) {
			m.Shutdown(30 * time.Second)
		}
		keys, err := c.Etcd.List(c.Key(""))
		if err != nil {
			t.Fatal(err)
		}
		config := strings.Replace(keys[c.Key("config")], `"pause":true`, `"pause":false`, 1)
		if !strings.Contains(config, "failsafe_mode") || strings.Contains(config, `"pause":true`) {
			t.Fatal(config)
		}
		for key := range keys {
			c.Etcd.Delete(key)
		}
		c.Etcd.Put(c.Key("config"), config)
		first.Start()
		if first != leader {
			l.Never(ttl(c)+3*time.Second, first.Name+" must not lead", func() string {
				if now := c.Leader(); now != nil && now != leader {
					return now.Name + " leads"
				}
				return ""
			})
		}
		for _, m := range c.Members {
			if m != first {
				m.Start()
			}
		}
		if now := c.WaitHealthy(60 * time.Second); now != leader {
			t.Fatalf("%s was started first: %s leads", first.Name, now.Name)
		}
		sameServer(t, leader, pid)
		listed(l, c)
	}
	w.Advance(10 * time.Second)
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}
