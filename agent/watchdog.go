package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/watchdog"
)

// machineWatchdog decides when the machine's watchdog device is on, and with
// which timeout (contract: ha-behaviour.md 20). It is open while this member
// leads or is about to, and fed right after a confirmed renewal only: an agent
// that hangs, or a machine that does, is reset before another member leads.
//
// What it could not use it forgets until the configuration changes.
type machineWatchdog struct {
	log     *slog.Logger
	clock   clock.Clock
	config  func() *config.Local
	shields *protection
	note    note
	// gone says whether nothing is left of a PostgreSQL that has ended.
	gone func() bool

	// For REST, which must not wait for a device.
	active, failed atomic.Bool

	mu      sync.Mutex
	calls   bounded
	terms   watchdogTerms // what holds
	seen    *config.Local // whose terms these are: each reload is a change
	device  *watchdog.Device
	timeout time.Duration
	fed     clock.Instant
	changed bool   // terms changed since the device was set up
	broken  bool   // the last keepalive failed: to be opened anew
	refused string // why the device is not tried again; empty: it may be
	left    string // a device that an earlier agent left counting
}

// watchdogTerms are the configuration and the settings that the rules are about.
type watchdogTerms struct {
	config.Watchdog
	TTL, LoopWait time.Duration
}

// timeout is the countdown that leaves the safety margin before the end of the
// leader key's ttl, in seconds.
func (t watchdogTerms) timeout() int {
	if t.SafetyMargin == -1 {
		return int(t.TTL/time.Second) / 2
	}
	return min(int(t.TTL/time.Second)-t.SafetyMargin, watchdog.MaxTimeout)
}

func (t watchdogTerms) loopWait() int  { return int(t.LoopWait / time.Second) }
func (t watchdogTerms) required() bool { return t.Mode == "required" }
func (t watchdogTerms) off() bool      { return t.Mode == "off" }

// room is what a countdown has to leave: a pass of the loop, the lead of a
// clean step-down before it ends (rulings 2), and a second for etcd's answer.
// With less, an etcd that is slow once would cost the leader.
func (t watchdogTerms) room(timeout int) bool {
	return timeout >= t.loopWait()+max(3, timeout/5)+1
}

// tooShort says why no device can serve these terms; empty: one can.
func (t watchdogTerms) tooShort() string {
	switch {
	case t.Driver != "default":
		return fmt.Sprintf("watchdog.driver %q is not known; leave it out", t.Driver)
	case t.timeout() < max(t.loopWait(), watchdog.MinTimeout):
		return fmt.Sprintf("ttl %d s and watchdog.safety_margin %d leave a timeout of %d s, but loop_wait is %d s: lower the margin, or raise ttl",
			int(t.TTL/time.Second), t.SafetyMargin, t.timeout(), t.loopWait())
	}
	return ""
}

func newMachineWatchdog(stateDir string, c clock.Clock, local func() *config.Local, shields *protection, gone func() bool, log *slog.Logger) *machineWatchdog {
	w := &machineWatchdog{log: log, clock: c, config: local, shields: shields, note: newNote(stateDir), gone: gone}
	w.left = w.note.device()
	return w
}

// Look implements Watchdog.
func (w *machineWatchdog) Look(s ha.Settings) (ha.Watchdog, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	local := w.config()
	if now := (watchdogTerms{local.Watchdog, s.TTL, s.LoopWait}); now != w.terms || local != w.seen {
		w.changed, w.refused = w.changed || now != w.terms, ""
		w.terms, w.seen = now, local
	}
	if w.terms.off() {
		w.stop("watchdog.mode is off")
		w.failed.Store(false)
		w.shields.forget(partWatchdog)
		return ha.WatchdogUnused, false
	}
	if w.broken { // the next step of a leader opens it anew
		w.abandon()
	}
	why := w.unusable()
	failed := w.terms.required() && why != ""
	w.failed.Store(failed)
	switch {
	case w.device != nil:
		return ha.WatchdogActive, failed
	case why == "":
		w.shields.works(partWatchdog, "ready")
	case failed:
		w.shields.lacks(partWatchdog, why, "it is required: this member cannot lead", "the watchdog is required and cannot be used: "+why)
	default:
		w.shields.lacks(partWatchdog, why, "", "")
	}
	if w.terms.required() || w.refused == "" {
		return ha.WatchdogIdle, failed
	}
	return ha.WatchdogUnused, false
}

// unusable says why the device is not healthy (20); empty: it is. Called with
// mu held.
func (w *machineWatchdog) unusable() string {
	if why := w.terms.tooShort(); why != "" {
		return why
	}
	if w.refused != "" {
		return w.refused
	}
	if w.device == nil {
		if err := watchdog.Usable(w.terms.Device); err != nil {
			return withRemedy(err)
		}
	}
	return ""
}

// withRemedy is an error in one line, with what to do.
func withRemedy(err error) string {
	if h := hint(err); h != "" {
		return err.Error() + ": " + h
	}
	return err.Error()
}

// Activate implements Watchdog.
func (w *machineWatchdog) Activate() ha.Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.terms.off() || w.device != nil:
		return ha.Done
	case w.refused == "":
		w.activate()
	}
	if w.device == nil && w.terms.required() {
		w.failed.Store(true)
		return ha.Refused
	}
	return ha.Done
}

// activate opens the configured device, or notes why not. Called with mu held.
func (w *machineWatchdog) activate() {
	if why := w.terms.tooShort(); why != "" {
		w.log.Warn("the watchdog is not used: " + why)
		w.refuse(why)
		return
	}
	d, err := w.open(w.terms.Device)
	if err != nil {
		w.sayMissing(err)
		w.refuse(withRemedy(err))
		return
	}
	if w.left != "" && w.left != w.terms.Device {
		w.stopLeft()
	}
	w.left, w.device, w.fed, w.broken = "", d, w.clock.Now(), false
	if !w.setUp() {
		return
	}
	w.log.Info(fmt.Sprintf("%s activated with %d second timeout, timing slack %d seconds", d.Path(), int(w.timeout/time.Second), int(w.timeout/time.Second)-w.terms.loopWait()))
}

// open notes and opens a device. Called with mu held.
func (w *machineWatchdog) open(path string) (*watchdog.Device, error) {
	if err := watchdog.Usable(path); err != nil {
		return nil, err // nothing to be noted
	}
	if err := w.note.write(path); err != nil {
		return nil, err
	}
	d, err := w.calls.open(path)
	if err != nil && !errors.Is(err, errMute) && w.left == "" {
		w.note.remove()
	}
	return d, err
}

// sayMissing: a machine without a device is nothing to speak of in mode
// automatic; one whose device cannot be used is, once.
func (w *machineWatchdog) sayMissing(err error) {
	switch {
	case w.terms.required():
		w.log.Warn("the watchdog device cannot be used", "err", err)
		w.log.Error("the watchdog is required and could not be activated: this member cannot lead", "hint", hint(err))
	case errors.Is(err, watchdog.ErrMissing):
		w.log.Debug("there is no watchdog device", "err", err)
	default:
		w.log.Info("there is a watchdog device, but it cannot be used; the guard ends PostgreSQL with the lease all the same", "err", err, "hint", hint(err))
	}
}

// refuse forgets the device until the configuration changes.
// What counts without being fed is stopped, as far as that is possible.
// Called with mu held.
func (w *machineWatchdog) refuse(why string) {
	w.refused, w.timeout = why, 0
	if w.left != "" {
		w.stopLeft()
	}
	w.active.Store(w.device != nil)
}

// setUp sets the open device's timeout and judges what came of it: false when
// the device is not used. Called with mu held.
func (w *machineWatchdog) setUp() bool {
	want, loopWait := w.terms.timeout(), w.terms.loopWait()
	got, err := w.negotiate(want)
	w.changed = false
	closes := w.device.Support().Closes
	switch {
	case err != nil:
		return w.drop(err.Error())
	case got < loopWait:
		why := fmt.Sprintf("%s counts %d s at most, which is less than loop_wait, %d s", w.device.Path(), got, loopWait)
		w.log.Error("the watchdog resets the machine between two renewals: " + why)
		if closes || w.terms.required() {
			return w.drop(why)
		}
	case got > want && w.terms.required():
		// Left open it would count, and the next look would take that for success.
		return w.drop(fmt.Sprintf("%s counts %d s, but %d s are wanted: another member may lead before the machine is reset", w.device.Path(), got, want))
	case got > want:
		w.log.Warn(fmt.Sprintf("%s counts %d s instead of %d s: another member may lead before the machine is reset", w.device.Path(), got, want))
	}
	if !w.terms.room(got) {
		why := fmt.Sprintf("a timeout of %d s with loop_wait %d s leaves no time to stop PostgreSQL before the machine is reset; lower watchdog.safety_margin or loop_wait", got, loopWait)
		if !w.terms.required() && closes {
			return w.drop(why)
		}
		w.log.Warn("the watchdog is required: " + why)
	}
	w.timeout = time.Duration(got) * time.Second
	w.active.Store(true)
	if !closes {
		w.log.Warn(w.device.Path() + " cannot be stopped once it counts: the machine will be reset after this member has led, unless it leads again in time")
	}
	w.shields.works(partWatchdog, fmt.Sprintf("active, %d s", got))
	return true
}

// negotiate sets the timeout where that can be done, and asks what it is.
func (w *machineWatchdog) negotiate(want int) (got int, err error) {
	d, sets := w.device, w.device.Support().SetsTimeout
	err = w.calls.do(setUpBound, func() error {
		if sets {
			if err := d.SetTimeout(want); err != nil {
				return err
			}
		}
		got, err = d.Timeout()
		return err
	})
	if err != nil {
		return 0, err // got belongs to a call that may still run
	}
	return got, nil
}

// drop gives an unsuitable device back. Called with mu held.
func (w *machineWatchdog) drop(why string) bool {
	if w.terms.required() {
		w.log.Error("the watchdog is required and could not be activated: this member cannot lead", "why", why)
	} else {
		w.log.Warn("the watchdog is not used: " + why)
	}
	w.close()
	w.refuse(why)
	return false
}

// Feed implements Watchdog.
func (w *machineWatchdog) Feed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.device == nil:
		return
	case w.changed && w.device.Path() != w.terms.Device:
		w.exchange()
		return
	}
	at := w.clock.Now() // from before: the countdown starts no earlier
	if err := w.calls.do(feedBound, w.device.Keepalive); err != nil {
		w.log.Error("the watchdog could not be fed; PostgreSQL is stopped before it resets the machine, unless the next attempt works", "err", err)
		w.broken = !errors.Is(err, errMute)
		return
	}
	w.fed, w.broken = at, false
	if w.changed {
		w.setUp()
	}
}

// exchange takes another device in place of the open one.
func (w *machineWatchdog) exchange() {
	w.log.Info("watchdog.device has changed", "from", w.device.Path(), "to", w.terms.Device)
	w.close()
	w.refused = ""
	w.activate()
}
