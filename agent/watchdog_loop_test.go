package agent

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// ledger notes in which order the guard and the watchdog hear of a renewal.
// It is a device of 25 s that can be broken.
type ledger struct {
	Server
	noWatchdog
	heard  []string
	until  []clock.Instant
	broken bool
	fed    clock.Instant
	now    clock.Clock
}

const ledgerTimeout = 25 * time.Second

func (l *ledger) Hold(_ context.Context, until clock.Instant, _ time.Duration) {
	l.heard, l.until = append(l.heard, "guard"), append(l.until, until)
}
func (l *ledger) Feed() {
	l.heard = append(l.heard, "watchdog")
	if !l.broken {
		l.fed = l.now.Now()
	}
}
func (l *ledger) Resets() clock.Instant                 { return l.fed.Add(ledgerTimeout) }
func (l *ledger) IfFed(now clock.Instant) clock.Instant { return now.Add(ledgerTimeout) }
func (l *ledger) Timeout() time.Duration                { return ledgerTimeout }

// A renewal reaches the guard first and the watchdog second (rulings 3), and
// the deadline is never behind the device's own reset (rulings 2).
func TestWatchdogShiftsTheDeadline(t *testing.T) {
	led := &ledger{now: clock.System{}}
	l := &Loop{LoopOptions: LoopOptions{Clock: clock.System{}, Server: led, Watchdog: led}}
	l.settings.TTL = 30 * time.Second
	l.lease = dcs.Lease{TTL: 30 * time.Second}
	ctx := context.Background()

	sent := clock.Now()
	l.fence(ctx, sent.Add(30*time.Second), 30*time.Second)
	if want := []string{"guard", "watchdog"}; !slices.Equal(led.heard, want) {
		t.Errorf("heard by %v, want %v", led.heard, want)
	}
	if l.leaderUntil.After(led.Resets()) || l.leaderUntil != led.until[0] {
		t.Errorf("leader until %v, guard %v, reset %v", l.leaderUntil, led.until, led.Resets())
	}

	// It cannot be fed: the old reset stands, and the guard hears of it.
	led.broken, led.heard = true, nil
	led.fed = sent.Add(-10 * time.Second)
	l.fence(ctx, sent.Add(30*time.Second), 30*time.Second)
	if want := []string{"guard", "watchdog", "guard"}; !slices.Equal(led.heard, want) {
		t.Errorf("heard by %v, want %v", led.heard, want)
	}
	if l.leaderUntil != led.Resets() || led.until[2] != led.Resets() {
		t.Errorf("leader until %v, guard %v, reset %v", l.leaderUntil, led.until, led.Resets())
	}

	// A lease that ends before the device: the lease counts.
	led.broken = false
	l.fence(ctx, sent.Add(12*time.Second), 12*time.Second)
	if l.leaderUntil != sent.Add(12*time.Second) {
		t.Errorf("leader until %v after %v", l.leaderUntil, sent)
	}
	if got := l.term(30 * time.Second); got != ledgerTimeout {
		t.Errorf("leads are parts of %v", got)
	}
}

// Without a device nothing is shifted.
func TestNoWatchdog(t *testing.T) {
	led := &ledger{now: clock.System{}}
	l := NewLoop(LoopOptions{Clock: clock.System{}, Server: led, Settings: fixedSettings{}})
	until := clock.Now().Add(30 * time.Second)
	l.fence(context.Background(), until, 30*time.Second)
	if l.leaderUntil != until || len(led.until) != 1 || led.until[0] != until {
		t.Errorf("leader until %v, guard %v, want %v", l.leaderUntil, led.until, until)
	}
}

type fixedSettings struct{ SettingsSource }

func (fixedSettings) Current() ha.Settings { return ha.Settings{} }
