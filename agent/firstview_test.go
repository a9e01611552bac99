package agent

import (
	"context"
	"testing"
	"time"
)

// An agent that was just started does not answer before its first cycle: it
// would refuse a primary in failsafe mode, because it knows no members yet.
func TestRESTWaitsForTheFirstView(t *testing.T) {
	a, published, done := &agent{}, make(chan struct{}), make(chan struct{})
	go func() {
		a.awaitFirstView(t.Context(), published)
		close(done)
	}()
	select {
	case <-done:
		t.Fatal("answers before it knows anything")
	case <-time.After(200 * time.Millisecond):
	}
	close(published)
	select {
	case <-done:
	case <-time.After(firstViewPatience):
		t.Fatal("waits although the first view is there")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	a.awaitFirstView(ended, make(chan struct{}))
}
