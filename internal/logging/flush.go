package logging

import (
	"errors"
	"time"
)

// errNotFlushed: the destination is slower than Flush's caller may wait.
var errNotFlushed = errors.New("the log's destination does not keep up")

// flushPoll is how often Flush looks at the queue.
const flushPoll = time.Millisecond

// Flush waits until everything logged so far is written, at most that long.
// The Output stays open.
func (o *Output) Flush(atMost time.Duration) error {
	if held := o.filter.flush(); held != nil {
		o.enqueue(held)
	}
	for end := time.Now().Add(atMost); ; {
		o.mu.Lock()
		idle := len(o.queue) == 0 && !o.busy
		o.mu.Unlock()
		if idle {
			return nil
		}
		if time.Now().After(end) {
			return errNotFlushed
		}
		time.Sleep(flushPoll)
	}
}
