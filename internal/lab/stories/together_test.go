package stories

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
	"pgha/internal/watchdog/watchdogtest"
)

// fencedCluster is a cluster in which every member has all that fences one, and
// failsafe mode: guard, watchdog device (required), gate.
func fencedCluster(t *testing.T, fire func()) (*lab.Lab, *lab.Cluster, []*watchdogtest.Device) {
	t.Helper()
	d := devices(t, fire, fire, fire)
	l := long(t)
	c := l.NewCluster(l.StartEtcd(3), failsafeOn(lab.Options{Gate: true}))
	for i, m := range c.Members {
		m.OwnProgram()
		require(m, d[i].Path())
	}
	c.Start()
	listed(l, c)
	return l, c, d
}

// deviceOf is the device of a member.
func deviceOf(c *lab.Cluster, d []*watchdogtest.Device, m *lab.Member) *watchdogtest.Device {
	for i := range c.Members {
		if c.Members[i] == m {
			return d[i]
		}
	}
	return nil
}

// gateIs waits until a member has a gate that lets clients pass, or none.
func gateIs(t *testing.T, l *lab.Lab, m *lab.Member, open bool) {
	t.Helper()
	l.Until(10*time.Second, fmt.Sprintf("%s has a gate: %v", m.Name, open), func() string {
		text := gateTable(t, m)
		if open != strings.Contains(text, "elements = { 5432") || !open && text != "" {
			return "the table: " + text
		}
		return ""
	})
}

// noNetAdmin: none of what the agent has started may touch the gate.
func noNetAdmin(t *testing.T, m *lab.Member, when string) {
	t.Helper()
	if held := holdsNetAdmin(t, m.Agent().Pid); fmt.Sprint(held) != "[Prm Eff]" {
		t.Errorf("%s: the agent has CAP_NET_ADMIN in %v", when, held)
	}
	for what, pid := range map[string]int{"guard": m.Guard(), "undertaker": m.Undertaker(), "postmaster": m.Postmaster()} {
		if held := holdsNetAdmin(t, pid); len(held) > 0 {
			t.Errorf("%s: the %s has CAP_NET_ADMIN in %v", when, what, held)
		}
	}
}

// journalHas waits until the journal of a member, as REST shows it, has a
// record of each kind with that in its text.
func journalHas(l *lab.Lab, m *lab.Member, want ...[2]string) {
	for _, w := range want {
		l.Until(10*time.Second, fmt.Sprintf("a record %v of %s", w, m.Name), func() string {
			code, body, err := m.REST("GET", "/pgha/v1/why", "")
			var answer struct {
				Records []struct {
					Kind, Code, Text string
					Why              []string
				}
			}
			if err != nil || code != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil {
				return fmt.Sprint(code, err, body)
			}
			for _, r := range answer.Records {
				if r.Kind == w[0] && strings.Contains(r.Code+": "+r.Text+" "+strings.Join(r.Why, " "), w[1]) {
					return ""
				}
			}
			return fmt.Sprintf("none of %d", len(answer.Records))
		})
	}
}

// Guard, watchdog device, gate, failsafe mode and hand-over on one primary,
// beside each other: its agent is replaced, etcd is silent for four times the
// ttl and a hand-over is refused in the midst of it, pause and its end, a
// restart. A client from elsewhere on one connection, a load balancer and a
// machine that would be reset notice nothing but the restart.
func TestEverythingThatFences(t *testing.T) {
	l, c, d := fencedCluster(t, func() { t.Error("a machine would have been reset") })
	leader := c.Leader()
	device := deviceOf(c, d, leader)
	awaitDevice(l, device, "the leader's device is on", deviceOn)
	gateIs(t, l, leader, true)
	w, p, checks := c.StartWriter(), c.StartProber(), startChecks(t, leader)
	client := steadyClient(t, leader, "select 1")
	pid, server, guard := leader.Agent().Pid, leader.Postmaster(), leader.Guard()
	from := time.Now()

	// The hand-over, on the leader and on a standby.
	opens, _ := device.State()
	leader.Install(lab.NextBinary(t))
	for _, m := range []*lab.Member{leader, c.Others(leader)[0]} {
		send(t, m, syscall.SIGUSR2)
		awaitHandOvers(l, m, 1)
	}
	awaitDevice(l, device, "taken over by the next program", func(s watchdogtest.State) bool { return s.Opens == opens.Opens+1 && deviceOn(s) })
	gateIs(t, l, leader, true)
	noNetAdmin(t, leader, "after a hand-over")
	protected(t, leader, `"watchdog": "active, 8 s"`, true)
	protected(t, leader, `"gate": "`+"clients pass while the lease lasts"+`"`, true)
	client.mustGoOn(t, "a hand-over")

	// etcd is silent. A hand-over waits for its moment and is refused.
	pauseEtcd(c)
	silent := time.Now()
	l.Until(20*time.Second, "failsafe mode", func() string { return lacking(leader.AgentLog(), "failsafe mode begins: ") })
	leader.Install(lab.Binary(t))
	send(t, leader, syscall.SIGUSR2)
	l.Never(4*ttl(c)-time.Since(silent), "etcd's silence must not be noticed", func() string {
		if leader.Postmaster() != server {
			return "PostgreSQL was stopped"
		}
		if s, _ := device.State(); time.Since(s.Fed) > deviceTimeout*3/4 {
			return fmt.Sprintf("the device was last fed %v ago", time.Since(s.Fed))
		}
		if _, err := client.state(); err != nil {
			return "the client was cut off: " + err.Error()
		}
		return ""
	})
	gateIs(t, l, leader, true)
	l.Until(20*time.Second, "the hand-over is refused", func() string {
		return lacking(leader.AgentLog(), "hand-over refused, the running agent goes on: etcd does not answer (waited 30s")
	})
	if n := handOvers(leader); n != 1 {
		t.Errorf("%d hand-overs", n)
	}
	continueEtcd(c)
	if now := c.WaitHealthy(60 * time.Second); now != leader {
		t.Fatalf("%s leads", now.Name)
	}
	w.Advance(10 * time.Second)
	gap := w.Gap(from)
	t.Logf("hand-over, then etcd silent for %v: largest write gap %v; %s", 4*ttl(c), gap.Round(time.Millisecond), checks.stop())
	if gap > 2*time.Second || checks.bad != "" {
		t.Errorf("write gap %v, GET /primary: %s", gap, checks.bad)
	}
	client.mustGoOn(t, "etcd's silence")
	journalHas(l, leader, [2]string{"agent", "handed_over: "}, [2]string{"agent", "hand_over_refused: etcd does not answer"},
		[2]string{"failsafe", "failsafe mode begins: "}, [2]string{"failsafe", "failsafe mode ended after "})

	// Pause: nothing fences. A hand-over in it, and the end of it.
	ctl(t, leader, 0, words("pause --wait"))
	awaitDevice(l, device, "off in pause", deviceOff)
	gateIs(t, l, leader, false)
	send(t, leader, syscall.SIGUSR2)
	awaitHandOvers(l, leader, 2)
	awaitDevice(l, device, "off in pause", deviceOff)
	gateIs(t, l, leader, false)
	ctl(t, leader, 0, words("resume --wait"))
	awaitDevice(l, device, "on after the pause", deviceOn)
	gateIs(t, l, leader, true)
	client.mustGoOn(t, "pause")
	if now := leader.Guard(); now != guard || leader.Agent().Pid != pid || leader.Postmaster() != server {
		t.Errorf("agent %d (was %d), guard %d (was %d), postmaster %d (was %d)", leader.Agent().Pid, pid, now, guard, leader.Postmaster(), server)
	}

	// What the second program starts has no capability either.
	ctl(t, leader, 0, words("restart pg-basic "+leader.Name+" --force"))
	leader.AwaitPostmaster(20*time.Second, server)
	if now := c.WaitHealthy(40 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	noNetAdmin(t, leader, "after a restart by the next program")
	gateIs(t, l, leader, true)
	awaitDevice(l, device, "on after a restart", deviceOn)
	w.Advance(5 * time.Second)
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

// Only the leader is cut off from etcd: it goes on in failsafe mode while its
// key is gone for everybody else. A standby's agent that is killed and started
// in the midst of it knows nothing of what it agreed to, reads that nobody
// leads, and does not race.
func TestFailsafeAndARestartedStandby(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c := healthyCluster(t, l, failsafeOn(lab.Options{}))
	listed(l, c)
	w, p := c.StartWriter(), c.StartProber()
	leader := c.Leader()
	pid := leader.Postmaster()
	from := time.Now()
	leader.Block(lab.Both, c.Etcd.Hosts()...)
	l.Until(2*ttl(c)+slack, "nobody holds the leader key", func() string {
		if now := c.Leader(); now != nil {
			return now.Name
		}
		return ""
	})
	for _, m := range c.Others(leader) {
		m.KillAgent()
		m.Start()
		l.Never(ttl(c)+3*time.Second, "nobody may race", func() string {
			if now := c.Leader(); now != nil {
				return now.Name + " leads"
			}
			if leader.Postmaster() != pid {
				return "PostgreSQL was stopped:\n" + leader.AgentLog()
			}
			return ""
		})
	}
	leader.Heal()
	if now := c.WaitHealthy(60 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	sameServer(t, leader, pid)
	w.Advance(5 * time.Second)
	gap := w.Gap(from)
	t.Logf("largest write gap %v", gap)
	if gap > 2*time.Second {
		t.Errorf("write gap %v", gap)
	}
	p.NeverTwo()
}
