package agent

import (
	"errors"
	"fmt"
	"time"

	"pgha/internal/clock"
)

// How the countdown of the watchdog device ends, and what is said when it
// cannot be ended.

// Resets implements Watchdog.
func (w *machineWatchdog) Resets() clock.Instant {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resets()
}

// resets is Resets; also of a device that was closed because it took no
// keepalive. Called with mu held.
func (w *machineWatchdog) resets() clock.Instant {
	if w.timeout == 0 {
		return 0
	}
	return w.fed.Add(w.timeout)
}

// IfFed implements Watchdog.
func (w *machineWatchdog) IfFed(now clock.Instant) clock.Instant {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.device == nil {
		return w.resets()
	}
	return now.Add(w.timeout)
}

// Timeout implements Watchdog.
func (w *machineWatchdog) Timeout() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.timeout
}

// Off implements Watchdog.
func (w *machineWatchdog) Off(alive bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.device == nil && w.left == "" || !alive && !w.gone() {
		return // nothing counts; or its guard is still at it: the next cycle comes back
	}
	w.stop("nothing here can write")
}

// Safe is the safe point of a stop: no client is left that could write (14).
func (w *machineWatchdog) Safe() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop("PostgreSQL has no client any more")
}

// stop stops what counts. Called with mu held.
func (w *machineWatchdog) stop(why string) {
	if w.device != nil {
		w.log.Info("the watchdog is switched off", "device", w.device.Path(), "why", why)
		w.close()
	}
	if w.left != "" {
		w.stopLeft()
	}
}

// close gives the open device back: stopped, where that is possible; else fed
// once more, which leaves the most time to whoever looks after the machine.
// Called with mu held.
func (w *machineWatchdog) close() {
	d, closes := w.device, w.device.Support().Closes
	w.device, w.timeout, w.fed, w.broken = nil, 0, 0, false
	w.active.Store(false)
	err := w.calls.do(setUpBound, func() error {
		if closes {
			return d.Disable()
		}
		err := d.Keepalive()
		return errors.Join(err, d.Disable())
	})
	switch {
	case err != nil:
		w.log.Error("the watchdog could not be switched off: the machine may be reset", "err", err)
	case !closes:
		w.log.Warn(d.Path() + " cannot be switched off: the machine will be reset when its countdown ends, unless this member leads again before")
	}
	if err == nil {
		w.note.remove()
	} else {
		w.left = d.Path() // tried again
	}
}

// stopLeft stops a device that an earlier agent left counting: opened, and
// closed with the magic letter. Called with mu held.
func (w *machineWatchdog) stopLeft() {
	path := w.left
	d, err := w.calls.open(path)
	if err != nil {
		if errors.Is(err, errMute) {
			return // tried again
		}
		w.log.Warn("a watchdog device that was left counting cannot be taken over: the machine may be reset", "err", err, "hint", hint(err))
		w.left = ""
		w.note.remove()
		return
	}
	w.left, w.device = "", d
	w.log.Info("the watchdog was left counting and is switched off", "device", path)
	w.close()
}

// abandon closes a device that does not take keepalives, to open it anew.
// Called with mu held.
func (w *machineWatchdog) abandon() {
	d := w.device
	w.device, w.broken = nil, false
	w.active.Store(false)
	w.left = d.Path()
	if err := w.calls.do(setUpBound, d.Leave); err != nil {
		w.log.Error("close the watchdog", "err", err)
	}
}

// End is called when the agent ends. A PostgreSQL that may be a primary runs
// on within its lease, and so does the countdown: the next agent takes both
// over (22).
func (w *machineWatchdog) End(mayWrite bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.device == nil && w.left == "":
	case !mayWrite:
		w.stop("the agent ends")
	case w.device != nil:
		left := w.resets().Sub(w.clock.Now()).Round(time.Second)
		w.log.Warn(fmt.Sprintf("Leaving watchdog running: an agent has to lead here again within %v, or the machine is reset", left), "device", w.device.Path())
	}
}
