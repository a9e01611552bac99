package agent

// What the guard reports of PostgreSQL's life and end.

import (
	"fmt"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard"
	"pgha/internal/guard/client"
)

// take makes c the guard and watches over it. Called with mu held.
func (l *launcher) take(c *client.Client) {
	l.guard, l.gone, l.bare = c, make(chan struct{}), nil
	go l.watch(c, l.gone) // ends with the guard: Exited is closed then
}

// watch reports what the guard reports until it is gone, and closes gone then.
func (l *launcher) watch(c *client.Client, gone chan struct{}) {
	defer close(gone)
	exited, fired := c.Exited(), c.Fired()
	for exited != nil {
		select {
		case e, open := <-exited:
			if open && !l.released(c) {
				l.ended(e)
			}
			if e.GuardLost {
				l.awaitEnd()
			}
			exited = nil
		case stage, open := <-fired:
			if !open {
				fired = nil
				continue
			}
			text := fmt.Sprintf("the guard acted: %s, because the lease was not confirmed in time", stage)
			l.log.Error(text)
			l.tell("guard_fired", text)
		}
		select {
		case l.exited <- struct{}{}:
		default:
		}
		l.wake()
	}
	l.mu.Lock()
	if l.guard == c {
		l.guard = nil
	}
	l.mu.Unlock()
	c.Close()
}

// released says whether the guard was left to itself on purpose: the end of
// the connection is no news of it then.
func (l *launcher) released(c *client.Client) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guard != c
}

// ended says how a postmaster ended. A lost guard is counted and explained:
// one primary before availability (rulings 5).
func (l *launcher) ended(e client.Exit) {
	switch {
	case e.GuardLost:
		l.log.Error("the guard of PostgreSQL died, and PostgreSQL dies with it; it is started again under a new one", "pid", l.postmaster())
		l.tell("guard_lost", "the guard of PostgreSQL died, and PostgreSQL with it")
	case e.Stage != guard.StageNone:
		l.log.Warn("PostgreSQL was ended by its guard", "pid", e.PID, "status", e.Status, "stage", e.Stage.String())
		l.tell("guard_ended", fmt.Sprintf("PostgreSQL (pid %d) was ended by its guard: %s", e.PID, e.Stage))
		l.mu.Lock()
		struck := l.struck
		l.mu.Unlock()
		if struck != nil {
			struck()
		}
	default:
		l.log.Info("PostgreSQL has ended", "pid", e.PID, "status", e.Status)
		l.tell("postgres_ended", fmt.Sprintf("PostgreSQL (pid %d) has ended, status %v", e.PID, e.Status))
	}
}

// lostEnd bounds the wait for a postmaster to follow its guard.
const lostEnd = 5 * time.Second

// awaitEnd waits until the postmaster has followed its dead guard: a loop
// woken before would find it alive and rest until the next poll.
func (l *launcher) awaitEnd() {
	pid := l.postmaster()
	for end := clock.Now().Add(lostEnd); pid != 0 && client.Runs(pid) && clock.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

// postmaster is the pid of the last one started or found; 0: none.
func (l *launcher) postmaster() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pid
}
