package agent

import (
	"os"
	"sync"
	"time"
)

// lookWait is how long the loop waits for a look at a file. Longer, and a disk
// that hangs would take the lease with it.
const lookWait = 500 * time.Millisecond

// fileLook says whether a file is there, on a disk that may hang: one look is
// under way at a time, and until it comes back the last answer stands.
type fileLook struct {
	path string

	mu   sync.Mutex
	done chan struct{} // closed when the look under way is over; nil: none
	last bool
}

// there looks, and waits at most lookWait.
func (f *fileLook) there() bool {
	f.mu.Lock()
	done := f.done
	if done == nil {
		done = make(chan struct{})
		f.done = done
		go func() { // ends when the disk answers; no second one starts before
			_, err := os.Lstat(f.path)
			f.mu.Lock()
			f.last, f.done = err == nil, nil
			f.mu.Unlock()
			close(done)
		}()
	}
	f.mu.Unlock()
	timer := time.NewTimer(lookWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}
