package agent

import (
	"context"
	"time"

	"pgha/internal/clock"
)

// sleeper is where the production loop waits: on one channel that everybody
// may knock on, and a timer.
type sleeper struct{ wake chan struct{} }

func newSleeper() *sleeper { return &sleeper{wake: make(chan struct{}, 1)} }

// Wake ends the present sleep, or the next one at once. It never blocks.
func (s *sleeper) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Sleep waits until the instant or a knock. Go's timer stands still during a
// suspend, so it is set anew at least every second.
func (s *sleeper) Sleep(ctx context.Context, until clock.Instant) {
	for {
		left := until.Sub(clock.Now())
		if left <= 0 {
			return
		}
		timer := time.NewTimer(min(left, time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
