package agent

// The rules of the device's timeout, and of a driver that is missing, busy or unsuitable.

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/agent/ha"
	"pgha/internal/config"
	"pgha/internal/watchdog/watchdogtest"
)

// What happens when there is no device, by mode (20, "not available"): mode
// automatic, Patroni's default, is quiet.
func TestWatchdogMissing(t *testing.T) {
	b := newBench(t, "automatic", filepath.Join(t.TempDir(), "watchdog"))
	for range 3 {
		if out := b.lead(); out == ha.Refused {
			t.Error("automatic: refused")
		}
	}
	if b.log.Len() != 0 {
		t.Errorf("not quiet:\n%s", &b.log)
	}
	if state, failed := b.Look(b.settings); state != ha.WatchdogUnused || failed {
		t.Errorf("automatic: %v %v", state, failed)
	}
	if got := b.shown(); !strings.HasPrefix(got, "no: ") || !strings.Contains(got, "modprobe softdog") {
		t.Errorf("shown %q", got)
	}

	b = newBench(t, "required", filepath.Join(t.TempDir(), "watchdog"))
	if state, failed := b.Look(b.settings); state != ha.WatchdogIdle || !failed {
		t.Errorf("required: %v %v", state, failed)
	}
	for range 3 {
		if out := b.lead(); out != ha.Refused {
			t.Errorf("required: %v", out)
		}
	}
	if n := strings.Count(b.log.String(), "this member cannot lead"); n != 2 { // protection, activation: once each
		t.Errorf("said %d times:\n%s", n, &b.log)
	}
	b.said("modprobe softdog")
	if n := b.shields.note(); !strings.Contains(n, "the watchdog is required and cannot be used: ") {
		t.Errorf("note %q", n)
	}
}

// Somebody else has it: each mode says so once, with the remedy, and the next
// configuration change tries again (20, "pgha may retry").
func TestWatchdogBusy(t *testing.T) {
	for _, mode := range []string{"automatic", "required"} {
		t.Run(mode, func(t *testing.T) {
			d := device(t, watchdogtest.Options{})
			d.Hold(true)
			b := newBench(t, mode, d.Path())
			want := map[string]ha.Outcome{"automatic": ha.Done, "required": ha.Refused}[mode]
			if out := b.lead(); out != want {
				t.Errorf("%v, want %v", out, want)
			}
			b.said("another program holds the device")
			d.Hold(false)
			b.lead()
			if s, _ := d.State(); s.Opens != 0 {
				t.Error("tried again without a change")
			}
			b.reload(func(*config.Local) {})
			if out := b.lead(); out != ha.Done {
				t.Errorf("after a reload: %v", out)
			}
			if state, failed := b.Look(b.settings); state != ha.WatchdogActive || failed {
				t.Errorf("after a reload: %v %v", state, failed)
			}
			b.Off(true)
			await(t, d, "off", off)
		})
	}
}

// The rules of the timeout (20): wanted, by the device, and too short.
func TestWatchdogTimeouts(t *testing.T) {
	up := func(s int) int { return (s + 9) / 10 * 10 }
	for _, c := range []struct {
		name     string
		mode     string
		options  watchdogtest.Options
		margin   int
		ttl      int
		want     ha.Outcome
		running  bool
		timeout  int
		sentence string
	}{
		{"margin", "required", watchdogtest.Options{}, 5, 30, ha.Done, true, 25, "activated with 25 second timeout, timing slack 15 seconds"},
		{"half", "required", watchdogtest.Options{}, -1, 31, ha.Done, true, 15, "activated with 15 second timeout, timing slack 5 seconds"},
		{"margin leaves less than loop_wait", "automatic", watchdogtest.Options{}, 21, 30, ha.Done, false, 0, "leave a timeout of 9 s, but loop_wait is 10 s"},
		{"the same, required", "required", watchdogtest.Options{}, 21, 30, ha.Refused, false, 0, "leave a timeout of 9 s, but loop_wait is 10 s"},
		{"margin beyond ttl", "required", watchdogtest.Options{}, 40, 30, ha.Refused, false, 0, "leave a timeout of -10 s"},
		{"longer than wanted", "automatic", watchdogtest.Options{Round: up}, 5, 30, ha.Done, true, 30, "counts 30 s instead of 25 s"},
		{"the same, required", "required", watchdogtest.Options{Round: up}, 5, 30, ha.Refused, false, 0, "counts 30 s, but 25 s are wanted"},
		{"shorter than loop_wait", "automatic", watchdogtest.Options{NoSetTimeout: true, Default: 8}, 5, 30, ha.Done, false, 0, "less than loop_wait"},
		{"the same, required", "required", watchdogtest.Options{NoSetTimeout: true, Default: 8}, 5, 30, ha.Refused, false, 0, "less than loop_wait"},
		{"the same, cannot be closed", "automatic", watchdogtest.Options{NoSetTimeout: true, NoMagicClose: true, Default: 8}, 5, 30, ha.Done, true, 8, "less than loop_wait"},
		{"no room to stop", "automatic", watchdogtest.Options{}, 18, 30, ha.Done, false, 0, "leaves no time to stop PostgreSQL"},
		{"the same, required", "required", watchdogtest.Options{}, 18, 30, ha.Done, true, 12, "leaves no time to stop PostgreSQL"},
		{"fixed and fine", "required", watchdogtest.Options{NoSetTimeout: true, Default: 15}, 5, 30, ha.Done, true, 15, "activated with 15 second timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := device(t, c.options)
			b := newBench(t, c.mode, d.Path())
			b.local.Watchdog.SafetyMargin = c.margin
			b.settings.TTL = time.Duration(c.ttl) * time.Second
			if out := b.lead(); out != c.want {
				t.Errorf("%v, want %v", out, c.want)
			}
			b.said(c.sentence)
			if c.running {
				if s, _ := d.State(); !s.Open || s.Timeout != c.timeout {
					t.Errorf("%+v", s)
				}
			} else {
				await(t, d, "off", off)
			}
			if _, failed := b.Look(b.settings); failed != (c.want == ha.Refused) {
				t.Errorf("failed: %v", failed)
			}
			b.Off(true)
			await(t, d, "closed", func(s watchdogtest.State) bool { return !s.Open })
		})
	}
}

// Only the kernel's interface is known; another driver's name means no watchdog.
func TestWatchdogDriver(t *testing.T) {
	for mode, want := range map[string]ha.Outcome{"automatic": ha.Done, "required": ha.Refused} {
		d := device(t, watchdogtest.Options{})
		b := newBench(t, mode, d.Path())
		b.local.Watchdog.Driver = "testing"
		if out := b.lead(); out != want {
			t.Errorf("%s: %v, want %v", mode, out, want)
		}
		b.said(`watchdog.driver \"testing\" is not known`)
		if s, _ := d.State(); s.Opens != 0 {
			t.Errorf("%s: opened", mode)
		}
	}
}

// An unsuitable device is closed, and not taken for a success by the next
// cycle: the reference leaves it open and armed.
func TestWatchdogUnsuitableIsClosed(t *testing.T) {
	d := device(t, watchdogtest.Options{Round: func(int) int { return 60 }})
	b := newBench(t, "required", d.Path())
	for range 3 {
		if out := b.lead(); out != ha.Refused {
			t.Errorf("%v", out)
		}
	}
	await(t, d, "off", off)
	if s, _ := d.State(); s.Opens != 1 {
		t.Errorf("opened %d times", s.Opens)
	}
}

// A device that cannot be stopped: one last keepalive, and a warning.
func TestWatchdogThatCannotBeStopped(t *testing.T) {
	d := device(t, watchdogtest.Options{NoMagicClose: true})
	b := newBench(t, "automatic", d.Path())
	b.lead()
	before, _ := d.State()
	b.Off(true)
	await(t, d, "closed and counting", alone)
	if s, _ := d.State(); s.Feeds <= before.Feeds {
		t.Error("no last keepalive")
	}
	b.said("cannot be switched off: the machine will be reset")
}
