package stories

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
	"pgha/internal/watchdog/watchdogtest"
)

// What the stories configure: with ttl 10 the device counts 8 s, loop_wait is 2.
const (
	deviceMargin  = 2
	deviceTimeout = 8 * time.Second
)

// devices are watchdog devices for members of a lab that is made afterwards:
// they have to outlive its processes. What happens when one would reset its
// machine is the story's affair.
func devices(t *testing.T, fire ...func()) []*watchdogtest.Device {
	t.Helper()
	if lab.Mode() != "all" {
		t.Skip("runs with `make lab`")
	}
	var out []*watchdogtest.Device
	for _, f := range fire {
		dir, err := os.MkdirTemp("/tmp", "pghawd")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(dir) })
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		d, err := watchdogtest.Mount(dir, watchdogtest.Options{Mode: 0o666, Fire: f})
		if err != nil {
			t.Fatalf("a watchdog device needs root and /dev/fuse: %v", err)
		}
		t.Cleanup(func() {
			if err := d.Unmount(); err != nil {
				t.Error(err)
			}
		})
		out = append(out, d)
	}
	return out
}

// require configures watchdog.mode: required with a device.
func require(m *lab.Member, device string) {
	m.Edit("mode: automatic", "mode: required")
	m.Edit("device: /dev/watchdog", "device: "+device)
	m.Edit("safety_margin: 5", fmt.Sprintf("safety_margin: %d", deviceMargin))
}

// requiredCluster has three members that require a watchdog; the third has none.
func requiredCluster(l *lab.Lab, d []*watchdogtest.Device) *lab.Cluster {
	c := l.NewCluster(l.StartEtcd(3), lab.Options{})
	require(c.Members[0], d[0].Path())
	require(c.Members[1], d[1].Path())
	require(c.Members[2], filepath.Join(l.Dir, "no", "watchdog"))
	c.Members[0].Start() // it makes the cluster
	c.WaitLeader(60 * time.Second)
	c.Members[1].Start()
	c.Members[2].Start()
	c.WaitHealthy(60 * time.Second)
	return c
}

// awaitDevice waits until a device is in a state.
func awaitDevice(l *lab.Lab, d *watchdogtest.Device, what string, is func(watchdogtest.State) bool) {
	l.Until(15*time.Second, what, func() string {
		if s, _ := d.State(); !is(s) {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
}

func deviceOff(s watchdogtest.State) bool { return !s.Open && !s.Running }
func deviceOn(s watchdogtest.State) bool {
	return s.Open && s.Running && time.Duration(s.Timeout)*time.Second == deviceTimeout
}

// The device is on at the leader alone, fed by each renewal, and off once the
// member does not lead. A member without one is not electable, and says so.
func TestWatchdogFollowsTheLeader(t *testing.T) {
	reset := func() { t.Error("a machine would have been reset") }
	d := devices(t, reset, reset)
	l := long(t)
	c := requiredCluster(l, d)
	p := c.StartProber()
	one, two, three := c.Members[0], c.Members[1], c.Members[2]

	awaitDevice(l, d[0], "the leader's device is on", deviceOn)
	if s, _ := d[1].State(); s.Opens != 0 {
		t.Errorf("the replica's device was opened: %+v", s)
	}
	before, _ := d[0].State()
	l.Never(3*time.Duration(c.LoopWait)*time.Second, "fed in time", func() string {
		if s, _ := d[0].State(); time.Since(s.Fed) > deviceTimeout/2 {
			return fmt.Sprintf("last fed %v ago", time.Since(s.Fed))
		}
		return ""
	})
	if s, _ := d[0].State(); s.Feeds-before.Feeds < 2 {
		t.Errorf("fed %d times in three passes of the loop", s.Feeds-before.Feeds)
	}
	protected(t, one, `"watchdog": "active, 8 s"`, true)
	protected(t, two, `"watchdog": "ready"`, true)
	protected(t, one, `"watchdog_failed": true`, false)
	protected(t, three, `"watchdog_failed": true`, true)
	if out, _ := one.Ctl("list"); !strings.Contains(out, "the watchdog is required and cannot be used") {
		t.Errorf("ctl list does not say why pg03 cannot lead:\n%s", out)
	}
	out, code := one.Ctl("switchover", "--candidate", three.Name, "--force")
	if code == 0 && !strings.Contains(out, "no good candidates have been found") {
		t.Errorf("a switchover to a member without its watchdog: %d\n%s", code, out)
	}
	if now := c.Leader(); now != one {
		t.Fatalf("%v leads", now)
	}

	if out, code := one.Ctl("switchover", "--candidate", two.Name, "--force"); code != 0 {
		t.Fatalf("switchover: %d\n%s", code, out)
	}
	c.WaitLeader(15*time.Second, one)
	awaitDevice(l, d[1], "the new leader's device is on", deviceOn)
	awaitDevice(l, d[0], "the former leader's device is off", deviceOff)
	c.WaitHealthy(40 * time.Second)

	// Pause, and its end.
	if out, code := two.Ctl("pause", "--wait"); code != 0 {
		t.Fatalf("pause: %d\n%s", code, out)
	}
	awaitDevice(l, d[1], "off in pause", deviceOff)
	if out, code := two.Ctl("resume", "--wait"); code != 0 {
		t.Fatalf("resume: %d\n%s", code, out)
	}
	awaitDevice(l, d[1], "on again after the pause", deviceOn)

	// The device goes away by a change of the configuration: not the leader.
	two.Edit("device: "+d[1].Path(), "device: /dev/no-such-watchdog")
	two.Reload()
	c.WaitLeader(20*time.Second, two)
	if !strings.Contains(two.AgentLog(), "Demoting self because watchdog could not be activated") {
		t.Error("pg02 does not say why it gave the key up")
	}
	awaitDevice(l, d[1], "off", deviceOff)
	awaitDevice(l, d[0], "on", deviceOn)
	c.WaitHealthy(40 * time.Second)

	// A clean end.
	c.Leader().Shutdown(30 * time.Second)
	awaitDevice(l, d[0], "off after the shutdown", deviceOff)
	p.NeverTwo()
}

// The leader's agent is frozen, as by a hanging machine, or killed: the guard
// has stopped PostgreSQL before the device resets the machine.
func TestWatchdogFiresAfterTheGuard(t *testing.T) {
	for name, strike := range map[string]func(*lab.Member){
		"frozen": (*lab.Member).FreezeAgent,
		"killed": (*lab.Member).KillAgent,
	} {
		t.Run(name, func(t *testing.T) {
			fired := make(chan time.Time, 2)
			fire := func() { fired <- time.Now() }
			d := devices(t, fire, fire)
			l := long(t)
			c := requiredCluster(l, d)
			w, p := c.StartWriter(), c.StartProber()
			old := c.Leader()
			if old != c.Members[0] {
				t.Fatalf("%s leads", old.Name)
			}
			awaitDevice(l, d[0], "on", deviceOn)
			w.Advance(2 * time.Second)
			pid := old.Postmaster()

			strike(old)
			struck, _ := d[0].State()
			var down time.Time
			l.Until(2*deviceTimeout, "PostgreSQL is down", func() string {
				if lab.Running(pid) {
					return "it runs"
				}
				down = time.Now()
				return ""
			})
			select {
			case at := <-fired:
				if s, _ := d[0].State(); s.Fired.Sub(struck.Fed) < deviceTimeout {
					t.Errorf("fired %v after the last feeding", s.Fired.Sub(struck.Fed))
				}
				t.Logf("PostgreSQL was down %v after the last feeding, the reset came %v after that", down.Sub(struck.Fed).Round(10*time.Millisecond), at.Sub(down).Round(10*time.Millisecond))
				if !at.After(down) {
					t.Error("the machine would have been reset under a running PostgreSQL")
				}
			case <-time.After(2 * deviceTimeout):
				t.Error("the device does not fire")
			}
			if limit := struck.Fed.Add(deviceTimeout); !down.Before(limit) {
				t.Errorf("PostgreSQL was down %v after the time at which the device could fire", down.Sub(limit))
			}
			next := c.WaitLeader(ttl(c)+1*time.Second+slack, old)
			if next != c.Members[1] {
				t.Errorf("%s leads, which has no watchdog", next.Name)
			}
			awaitDevice(l, d[1], "the new leader's device is on", deviceOn)
			w.Advance(3 * time.Second)
			if rows := w.Lost(next); len(rows) > 0 {
				t.Errorf("%d rows lost", len(rows))
			}
			p.NeverTwo()
			old.Lose() // the reset
		})
	}
}

// The leader's agent is killed and started again: it takes the countdown over.
func TestWatchdogTakenOverByTheNextAgent(t *testing.T) {
	reset := func() { t.Error("a machine would have been reset") }
	d := devices(t, reset, reset)
	l := long(t)
	c := requiredCluster(l, d)
	leader := c.Leader()
	pid := leader.Postmaster()
	for i := range 2 {
		awaitDevice(l, d[0], "on", deviceOn)
		leader.KillAgent()
		leader.Start()
		awaitDevice(l, d[0], "taken over", func(s watchdogtest.State) bool { return s.Opens == i+2 && deviceOn(s) })
	}
	l.Never(2*deviceTimeout, "nobody notices", func() string {
		if now := c.Leader(); now != leader {
			return "the leader key changed hands"
		}
		if now := leader.Postmaster(); now != pid {
			return fmt.Sprintf("the postmaster was %d, is %d", pid, now)
		}
		return ""
	})

	// And one that comes too late for PostgreSQL stops the countdown.
	leader.KillAgent()
	l.Until(2*deviceTimeout, "the guard has stopped PostgreSQL", func() string {
		if lab.Running(pid) {
			return "it runs"
		}
		return ""
	})
	leader.Start()
	c.WaitHealthy(40 * time.Second)
	if now := c.Leader(); now == c.Members[0] {
		awaitDevice(l, d[0], "on", deviceOn)
		return
	}
	awaitDevice(l, d[0], "off", deviceOff)
}

// protected checks what GET /patroni shows.
func protected(t *testing.T, m *lab.Member, text string, there bool) {
	t.Helper()
	_, body, err := m.REST("GET", "/patroni", "")
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(body, text) != there {
		t.Errorf("GET /patroni of %s: %s in it is not %v:\n%s", m.Name, text, there, body)
	}
}
