package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/watchdog/watchdogtest"
)

// bench is the agent's watchdog over a device of the test's own.
type bench struct {
	*machineWatchdog
	t        *testing.T
	dir      string
	local    *config.Local
	settings ha.Settings
	log      bytes.Buffer
}

// newBench has ttl 30, loop_wait 10 and what is given of section watchdog.
func newBench(t *testing.T, mode, device string) *bench {
	b := &bench{t: t, dir: t.TempDir(), local: &config.Local{Watchdog: config.Watchdog{Mode: mode, Device: device, SafetyMargin: 5, Driver: "default"}}}
	b.settings.TTL, b.settings.LoopWait = 30*time.Second, 10*time.Second
	b.restart()
	return b
}

// restart is a new agent on the same machine.
func (b *bench) restart() {
	log := slog.New(slog.NewTextHandler(&b.log, nil))
	b.machineWatchdog = newMachineWatchdog(b.dir, clock.System{}, func() *config.Local { return b.local }, newProtection(log), func() bool { return true }, log)
}

// reload puts a changed section in force.
func (b *bench) reload(change func(*config.Local)) {
	next := *b.local
	change(&next)
	b.local = &next
}

// lead is a leader's cycle: look, activate if need be, renewal.
func (b *bench) lead() ha.Outcome {
	state, _ := b.Look(b.settings)
	b.Feed()
	out := ha.NotTried
	if state == ha.WatchdogIdle {
		out = b.Activate()
	}
	return out
}

func (b *bench) said(want string) {
	b.t.Helper()
	if !strings.Contains(b.log.String(), want) {
		b.t.Errorf("not said: %q\n%s", want, &b.log)
	}
}

func (b *bench) shown() string { return b.shields.shown()[partWatchdog] }

// device mounts a device for the user who runs the test.
func device(t *testing.T, o watchdogtest.Options) *watchdogtest.Device {
	t.Helper()
	o.Owner = uint32(os.Geteuid())
	d, err := watchdogtest.Mount(t.TempDir(), o)
	if err != nil {
		if os.Getenv("CI") == "" && os.Geteuid() != 0 {
			t.Skipf("needs root and /dev/fuse: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// await waits for what the kernel tells the device late: its closing.
func await(t *testing.T, d *watchdogtest.Device, what string, is func(watchdogtest.State) bool) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		s, changed := d.State()
		if is(s) {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("not %s: %+v", what, s)
		}
	}
}

func off(s watchdogtest.State) bool   { return !s.Open && !s.Running }
func alone(s watchdogtest.State) bool { return !s.Open && s.Running }

// A leader's device: activated, fed by renewals, off when nothing can write.
func TestWatchdogOfALeader(t *testing.T) {
	d := device(t, watchdogtest.Options{})
	b := newBench(t, "required", d.Path())
	if out := b.lead(); out != ha.Done {
		t.Fatalf("activation: %v\n%s", out, &b.log)
	}
	b.said(d.Path() + " activated with 25 second timeout, timing slack 15 seconds")
	if got := b.shown(); got != "active, 25 s" {
		t.Errorf("shown %q", got)
	}
	before, _ := d.State()
	at := clock.Now()
	if out := b.lead(); out != ha.NotTried {
		t.Errorf("activated twice: %v", out)
	}
	after, _ := d.State()
	if after.Feeds != before.Feeds+1 {
		t.Errorf("fed %d times by a renewal", after.Feeds-before.Feeds)
	}
	if r := b.Resets(); r.Before(at.Add(25*time.Second)) || r.After(clock.Now().Add(25*time.Second)) {
		t.Errorf("resets in %v", r.Sub(clock.Now()))
	}
	b.Off(true)
	await(t, d, "off", off)
	if r := b.Resets(); !r.IsZero() {
		t.Errorf("off, and resets in %v", r.Sub(clock.Now()))
	}
	if b.Look(b.settings); b.shown() != "ready" {
		t.Errorf("shown %q", b.shown())
	}
	if _, err := os.Stat(b.note.path); err == nil {
		t.Error("the note of a countdown is left")
	}
}

// A postmaster is gone, but its guard still ends what it left: not yet.
func TestWatchdogWaitsForTheGuard(t *testing.T) {
	d := device(t, watchdogtest.Options{})
	b := newBench(t, "automatic", d.Path())
	gone := false
	b.gone = func() bool { return gone }
	b.lead()
	b.Off(false)
	if s, _ := d.State(); !s.Running {
		t.Error("off while something is left")
	}
	gone = true
	b.Off(false)
	await(t, d, "off", off)
}

// Changes of the configuration while the device is active (20).
func TestWatchdogReload(t *testing.T) {
	one, two := device(t, watchdogtest.Options{}), device(t, watchdogtest.Options{})
	b := newBench(t, "required", one.Path())
	b.lead()
	timeout := func(d *watchdogtest.Device, want int) {
		t.Helper()
		if s, _ := d.State(); s.Timeout != want || !s.Open {
			t.Errorf("%+v, want a timeout of %d s", s, want)
		}
	}
	b.reload(func(l *config.Local) { l.Watchdog.SafetyMargin = 10 })
	b.Look(b.settings)
	timeout(one, 25) // at the next keepalive, not before
	b.Feed()
	timeout(one, 20)
	b.settings.TTL = 40 * time.Second // the dynamic configuration
	b.lead()
	timeout(one, 30)
	b.reload(func(l *config.Local) { l.Watchdog.Device = two.Path() })
	b.lead()
	await(t, one, "off", off)
	timeout(two, 30)
	b.reload(func(l *config.Local) { l.Watchdog.Mode = "off" })
	b.Look(b.settings) // at once
	await(t, two, "off", off)
	if got, there := b.shields.shown()[partWatchdog]; there {
		t.Errorf("shown %q", got)
	}
	// To something that cannot work, required: not the leader any more.
	b.reload(func(l *config.Local) { l.Watchdog.Mode = "required" })
	b.lead()
	b.reload(func(l *config.Local) { l.Watchdog.SafetyMargin = 35 })
	b.lead()
	if out := b.lead(); out != ha.Refused {
		t.Errorf("%v", out)
	}
	await(t, two, "off", off)
}

// An agent that dies leaves the countdown running. The next one takes it over
// when it leads, stops it when it does not, and knows of a reset in between.
func TestWatchdogLeftByADeadAgent(t *testing.T) {
	die := func(b *bench, d *watchdogtest.Device) {
		t.Helper()
		b.lead()
		if err := b.device.Leave(); err != nil { // what the kernel does at the end of a process
			t.Fatal(err)
		}
		await(t, d, "counting alone", alone)
		b.restart()
	}
	t.Run("leads again", func(t *testing.T) {
		d := device(t, watchdogtest.Options{})
		b := newBench(t, "automatic", d.Path())
		die(b, d)
		if state, _ := b.Look(b.settings); state != ha.WatchdogIdle {
			t.Errorf("state %v", state)
		}
		b.lead()
		if s, _ := d.State(); !s.Open || s.Opens != 2 {
			t.Errorf("%+v", s)
		}
		b.Off(true)
		await(t, d, "off", off)
	})
	t.Run("does not lead", func(t *testing.T) {
		d := device(t, watchdogtest.Options{})
		b := newBench(t, "automatic", d.Path())
		die(b, d)
		b.Off(true)
		await(t, d, "off", off)
		b.said("was left counting and is switched off")
		b.restart()
		if b.left != "" {
			t.Errorf("still noted: %s", b.left)
		}
	})
	t.Run("may not use it any more", func(t *testing.T) {
		d := device(t, watchdogtest.Options{})
		b := newBench(t, "automatic", d.Path())
		die(b, d)
		b.local.Watchdog.SafetyMargin = 25
		b.lead()
		await(t, d, "off", off)
	})
	t.Run("mode off now", func(t *testing.T) {
		d := device(t, watchdogtest.Options{})
		b := newBench(t, "automatic", d.Path())
		die(b, d)
		b.local.Watchdog.Mode = "off"
		b.Look(b.settings)
		await(t, d, "off", off)
	})
	t.Run("after a reset", func(t *testing.T) {
		d := device(t, watchdogtest.Options{})
		b := newBench(t, "automatic", d.Path())
		die(b, d)
		text := fmt.Sprintf("another boot\n%s\n", d.Path())
		if err := os.WriteFile(b.note.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.restart()
		b.Off(true)
		if s, _ := d.State(); s.Opens != 1 {
			t.Errorf("opened by the note of an earlier boot: %+v", s)
		}
	})
}

// The end of an agent: PostgreSQL that may write keeps the countdown running.
func TestWatchdogAtTheEnd(t *testing.T) {
	d := device(t, watchdogtest.Options{})
	b := newBench(t, "automatic", d.Path())
	b.lead()
	b.End(true)
	if s, _ := d.State(); !s.Running {
		t.Error("stopped")
	}
	b.said("Leaving watchdog running")
	b.End(false)
	await(t, d, "off", off)
}

// A keepalive that fails: the deadline stays where the device will fire, and
// the device is opened anew.
func TestWatchdogThatTakesNoKeepalive(t *testing.T) {
	for _, mode := range []string{"automatic", "required"} {
		t.Run(mode, func(t *testing.T) {
			d := device(t, watchdogtest.Options{})
			b := newBench(t, mode, d.Path())
			b.lead()
			before := b.Resets()
			d.Break(syscall.EIO)
			b.Look(b.settings)
			b.Feed()
			b.said("the watchdog could not be fed")
			if r := b.Resets(); r != before {
				t.Errorf("the reset has moved by %v", r.Sub(before))
			}
			if state, _ := b.Look(b.settings); state != ha.WatchdogIdle {
				t.Errorf("state %v", state)
			}
			if r := b.IfFed(clock.Now()); r != before {
				t.Errorf("closed, and would reset in %v", r.Sub(clock.Now()))
			}
			d.Break(0)
			await(t, d, "closed", alone)
			b.Feed() // nothing is open
			if out := b.Activate(); out != ha.Done || b.Resets().Before(before) {
				t.Errorf("opened anew: %v", out)
			}
			b.Off(true)
			await(t, d, "off", off)
		})
	}
}

// A call whose answer was heard needs a moment to end: the next one waits for
// it instead of taking the device for mute. One that hangs is not waited for.
func TestWatchdogCallsAreBounded(t *testing.T) {
	var b bounded
	hang := make(chan struct{})
	if err := b.do(time.Millisecond, func() error { <-hang; return nil }); err != errMute {
		t.Fatalf("a call that hangs: %v", err)
	}
	if err := b.do(time.Millisecond, func() error { return nil }); err != errMute {
		t.Errorf("beside a call that hangs: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(hang) })
	if err := b.do(10*time.Second, func() error { return nil }); err != nil {
		t.Errorf("after it: %v", err)
	}
}
