package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgha/internal/watchdog"
)

// What stands between the rules of watchdog.go and the device: a bound on
// every call, because some drivers ask a management controller; a moment's
// patience with a device whose last holder is just ending; and the note by
// which the next agent learns that the countdown runs.

// The loop stands still during a call of the device. A keepalive that is late
// is tried again at the next renewal; what is late while the device is set up
// or stopped counts as a failure, so that more time is given to it.
const (
	feedBound  = time.Second
	setUpBound = 3 * time.Second
)

// busyPatience is how long an opening waits for a holder that is ending: the
// kernel closes the files of a killed agent one after the other, and its
// state directory's lock may be free before the device is.
const busyPatience = time.Second

// errMute: the device does not answer. A call is still under way.
var errMute = errors.New("the watchdog device does not answer")

// bounded runs one call of a device in a goroutine, which outlives it only
// while the driver holds it up; no other call is begun meanwhile.
type bounded struct {
	under chan struct{} // closed when the call under way has returned; nil: none
}

// begin runs call after the earlier one, unless that is still under way when
// the time is over. One whose answer has been heard may need a moment to end.
func (b *bounded) begin(late <-chan time.Time, call func()) bool {
	if b.under != nil {
		select {
		case <-b.under:
		case <-late:
			return false
		}
	}
	under := make(chan struct{})
	b.under = under
	go func() {
		defer close(under)
		call()
	}()
	return true
}

// do waits for one call. Errors: errMute, and the call's.
func (b *bounded) do(limit time.Duration, call func() error) error {
	result := make(chan error, 1)
	late := time.NewTimer(limit)
	defer late.Stop()
	if !b.begin(late.C, func() { result <- call() }) {
		return errMute
	}
	select {
	case err := <-result:
		return err
	case <-late.C:
		return errMute
	}
}

// open opens the device. One that opens too late is stopped again: nobody
// would feed it.
func (b *bounded) open(path string) (*watchdog.Device, error) {
	taken, failed, late := make(chan *watchdog.Device), make(chan error, 1), make(chan struct{})
	timer := time.NewTimer(setUpBound)
	defer timer.Stop()
	begun := b.begin(timer.C, func() {
		d, err := patientOpen(path)
		if err != nil {
			failed <- err
			return
		}
		select {
		case taken <- d:
		case <-late:
			_ = d.Disable()
		}
	})
	if !begun {
		return nil, errMute
	}
	select {
	case d := <-taken:
		return d, nil
	case err := <-failed:
		return nil, err
	case <-timer.C:
		close(late)
		return nil, errMute
	}
}

// patientOpen opens a device that its last holder may be about to close.
func patientOpen(path string) (*watchdog.Device, error) {
	for end := time.Now().Add(busyPatience); ; {
		d, err := watchdog.Open(path)
		if !errors.Is(err, watchdog.ErrBusy) || time.Now().After(end) {
			return d, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// note is a file in the state directory that says which device an agent has
// set counting. It names the boot it belongs to: a machine that was reset
// counts no more.
type note struct {
	path string
	boot string
}

func newNote(stateDir string) note {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return note{path: filepath.Join(stateDir, "watchdog.counting"), boot: strings.TrimSpace(string(boot))}
}

// write notes the device before it is opened.
func (n note) write(device string) error {
	if err := os.WriteFile(n.path, []byte(n.boot+"\n"+device+"\n"), 0o600); err != nil {
		return fmt.Errorf("note that the watchdog counts: %w", err)
	}
	return nil
}

// remove is called once the countdown has been stopped.
func (n note) remove() { os.Remove(n.path) }

// device is what an earlier agent left counting; empty: nothing.
func (n note) device() string {
	text, err := os.ReadFile(n.path)
	if err != nil {
		return ""
	}
	boot, device, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if boot != n.boot {
		return ""
	}
	return device
}
