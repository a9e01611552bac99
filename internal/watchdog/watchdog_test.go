package watchdog_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/watchdog"
	"pgha/internal/watchdog/watchdogtest"
)

// mounted is a device of the test's own. Where FUSE cannot be mounted the test
// says so; continuous integration runs as root and has to run it.
func mounted(t *testing.T, o watchdogtest.Options) *watchdogtest.Device {
	t.Helper()
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

// await waits until the device is in a state: its close(2) is told late.
func await(t *testing.T, d *watchdogtest.Device, what string, is func(watchdogtest.State) bool) watchdogtest.State {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		s, changed := d.State()
		if is(s) {
			return s
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s: %+v", what, s)
		}
	}
}

func closed(s watchdogtest.State) bool { return !s.Open }

// The whole life of a device through the kernel's interface: open, timeout,
// keepalive, magic close.
func TestDevice(t *testing.T) {
	d := mounted(t, watchdogtest.Options{})
	w := open(t, d.Path())
	if s := w.Support(); !s.SetsTimeout || !s.Closes || s.Identity != "watchdog of a test" {
		t.Errorf("support %+v", s)
	}
	if got, err := w.Timeout(); got != 60 || err != nil {
		t.Errorf("timeout %d, %v", got, err)
	}
	if err := w.SetTimeout(25); err != nil {
		t.Error(err)
	}
	if got, err := w.Timeout(); got != 25 || err != nil {
		t.Errorf("timeout %d, %v", got, err)
	}
	for range 3 {
		if err := w.Keepalive(); err != nil {
			t.Error(err)
		}
	}
	if s, _ := d.State(); s.Feeds != 3 || !s.Running || s.Timeout != 25 {
		t.Errorf("after three keepalives: %+v", s)
	}
	if err := w.Disable(); err != nil {
		t.Error(err)
	}
	if s := await(t, d, "not closed", closed); s.Running {
		t.Errorf("it counts on after the magic close: %+v", s)
	}
}

// A process that ends with the device open, or leaves it on purpose, does not
// stop it; the next one takes it over.
func TestLeftCounting(t *testing.T) {
	d := mounted(t, watchdogtest.Options{})
	w := open(t, d.Path())
	if err := w.Leave(); err != nil {
		t.Fatal(err)
	}
	if s := await(t, d, "not closed", closed); !s.Running {
		t.Fatalf("stopped by a close without the magic letter: %+v", s)
	}
	w = open(t, d.Path())
	if err := w.Disable(); err != nil {
		t.Fatal(err)
	}
	if s := await(t, d, "not closed", closed); s.Running || s.Opens != 2 {
		t.Errorf("taken over and stopped: %+v", s)
	}
}

// Nobody feeds: the machine is reset after the timeout, not before.
func TestFires(t *testing.T) {
	fired := make(chan struct{})
	d := mounted(t, watchdogtest.Options{Fire: func() { close(fired) }})
	w := open(t, d.Path())
	if err := w.SetTimeout(1); err != nil {
		t.Fatal(err)
	}
	if err := w.Keepalive(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-fired:
	case <-time.After(10 * time.Second):
		t.Fatal("it does not fire")
	}
	if s, _ := d.State(); s.Fired.Sub(s.Fed) < time.Second {
		t.Errorf("fired %v after it was fed", s.Fired.Sub(s.Fed))
	}
	_ = w.Disable()
	await(t, d, "not closed", closed)
}

// Drivers that cannot do everything.
func TestPoorDevices(t *testing.T) {
	t.Run("timeout fixed", func(t *testing.T) {
		d := mounted(t, watchdogtest.Options{NoSetTimeout: true, Default: 15})
		w := open(t, d.Path())
		defer closeAll(t, w, d)
		if w.Support().SetsTimeout {
			t.Error("says it can set its timeout")
		}
		if err := w.SetTimeout(20); err == nil || !errors.Is(err, syscall.EOPNOTSUPP) {
			t.Errorf("set: %v", err)
		}
		if got, err := w.Timeout(); got != 15 || err != nil {
			t.Errorf("timeout %d, %v", got, err)
		}
	})
	t.Run("timeout rounded", func(t *testing.T) {
		d := mounted(t, watchdogtest.Options{Round: func(s int) int { return (s + 9) / 10 * 10 }})
		w := open(t, d.Path())
		defer closeAll(t, w, d)
		if err := w.SetTimeout(25); err != nil {
			t.Error(err)
		}
		if got, err := w.Timeout(); got != 30 || err != nil {
			t.Errorf("timeout %d, %v", got, err)
		}
	})
	t.Run("no magic close", func(t *testing.T) {
		d := mounted(t, watchdogtest.Options{NoMagicClose: true})
		w := open(t, d.Path())
		if w.Support().Closes {
			t.Error("says it can be stopped")
		}
		if err := w.Disable(); err != nil {
			t.Error(err)
		}
		if s := await(t, d, "not closed", closed); !s.Running {
			t.Errorf("stopped: %+v", s)
		}
	})
	t.Run("keepalive fails", func(t *testing.T) {
		d := mounted(t, watchdogtest.Options{})
		w := open(t, d.Path())
		defer closeAll(t, w, d)
		d.Break(syscall.EIO)
		if err := w.Keepalive(); !errors.Is(err, syscall.EIO) || !strings.HasPrefix(err.Error(), d.Path()+": keepalive: ") {
			t.Errorf("keepalive: %v", err)
		}
		d.Break(0)
	})
	t.Run("timeout out of range", func(t *testing.T) {
		d := mounted(t, watchdogtest.Options{})
		w := open(t, d.Path())
		defer closeAll(t, w, d)
		for _, seconds := range []int{0, -5, 65535} {
			if err := w.SetTimeout(seconds); err == nil {
				t.Errorf("%d s was set", seconds)
			}
		}
	})
}

// What cannot be opened says why and what to do, and is never started.
func TestUnusable(t *testing.T) {
	check := func(t *testing.T, err, want error, remedy string) {
		t.Helper()
		var e *watchdog.OpenError
		if !errors.As(err, &e) || !errors.Is(err, want) || !strings.Contains(e.Remedy, remedy) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v (%+v), want %v with the remedy %q", err, e, want, remedy)
		}
	}
	t.Run("missing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "watchdog")
		_, err := watchdog.Open(path)
		check(t, err, watchdog.ErrMissing, "modprobe softdog")
		check(t, watchdog.Usable(path), watchdog.ErrMissing, "modprobe softdog")
	})
	t.Run("busy", func(t *testing.T) {
		d := mounted(t, watchdogtest.Options{})
		d.Hold(true)
		_, err := watchdog.Open(d.Path())
		check(t, err, watchdog.ErrBusy, "fuser")
	})
	t.Run("opened twice", func(t *testing.T) {
		d := mounted(t, watchdogtest.Options{})
		w := open(t, d.Path())
		defer closeAll(t, w, d)
		_, err := watchdog.Open(d.Path())
		check(t, err, watchdog.ErrBusy, "fuser")
	})
	t.Run("not permitted", func(t *testing.T) {
		d := mounted(t, watchdogtest.Options{})
		asNobody(t, func() {
			_, err := watchdog.Open(d.Path())
			check(t, err, watchdog.ErrDenied, "chown")
			check(t, watchdog.Usable(d.Path()), watchdog.ErrDenied, "chown")
		})
		if s, _ := d.State(); s.Opens != 0 {
			t.Errorf("it was opened: %+v", s)
		}
	})
	t.Run("no watchdog", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := watchdog.Open(path)
		check(t, err, watchdog.ErrNoWatchdog, "watchdog.device")
		if text, _ := os.ReadFile(path); string(text) != "precious" {
			t.Errorf("the file was written to: %q", text)
		}
	})
	t.Run("directory", func(t *testing.T) {
		var e *watchdog.OpenError
		if _, err := watchdog.Open(t.TempDir()); !errors.As(err, &e) {
			t.Errorf("got %v", err)
		}
	})
}

// device is a real watchdog to try: `make watchdog` gives softdog's.
var device = flag.String("device", "", "a real watchdog device; its countdown is started and stopped")

// The same calls on a driver of the kernel.
func TestKernelDevice(t *testing.T) {
	if *device == "" {
		t.Skip("no device given; `make watchdog` runs this in a virtual machine")
	}
	w := open(t, *device)
	t.Logf("%s: %+v", *device, w.Support())
	if _, err := watchdog.Open(*device); !errors.Is(err, watchdog.ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	if err := w.SetTimeout(25); err != nil {
		t.Error(err)
	}
	if got, err := w.Timeout(); got != 25 || err != nil {
		t.Errorf("timeout %d, %v", got, err)
	}
	if err := w.Keepalive(); err != nil {
		t.Error(err)
	}
	if err := w.Leave(); err != nil {
		t.Error(err)
	}
	w = open(t, *device) // it counted on; taken over
	if err := w.SetTimeout(3); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); {
		if err := w.Keepalive(); err != nil {
			t.Error(err)
		}
		<-time.After(time.Second)
	}
	if err := w.Disable(); err != nil {
		t.Error(err)
	}
	<-time.After(5 * time.Second) // longer than its timeout: this line is reached only if it stopped
	if err := watchdog.Usable(*device); err != nil {
		t.Error(err)
	}
}

func open(t *testing.T, path string) *watchdog.Device {
	t.Helper()
	w, err := watchdog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func closeAll(t *testing.T, w *watchdog.Device, d *watchdogtest.Device) {
	t.Helper()
	if err := w.Disable(); err != nil {
		t.Error(err)
	}
	await(t, d, "not closed", closed)
}
