package ctl

// What a person is told who waits for a member.

import (
	"fmt"
	"io"
	"math"
	"time"
)

// sayEvery is after how long a silent member is named, again and again.
const sayEvery = 10 * time.Second

// sayWaiting says on standard error, every 10 s until the returned function is
// called, whom the command waits for and how long at most. Nothing else may be
// written until then. The returned function may be called once.
func (s *Session) sayWaiting(member string, limit time.Duration) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	began := time.Now()
	go func() {
		defer close(ended)
		ticker := time.NewTicker(sayEvery)
		defer ticker.Stop()
		for {
			select {
			case <-end:
				return
			case <-ticker.C:
				if !s.Quiet {
					silent := time.Since(began).Round(time.Second)
					_, _ = io.WriteString(s.Err, fmt.Sprintf("still waiting for %s: its agent has not answered for %s (at most %s)\n",
						member, roughly(silent), roughly(limit)))
				}
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// roughly shows a duration to people: up to two minutes in seconds, then in
// minutes, rounded up.
func roughly(d time.Duration) string {
	if d <= 2*time.Minute {
		return fmt.Sprintf("%.0f s", math.Ceil(d.Seconds()))
	}
	return fmt.Sprintf("%.0f min", math.Ceil(d.Minutes()))
}
