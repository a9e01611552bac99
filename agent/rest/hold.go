package rest

// A moment without connections, for handing the socket to the next program in
// this process (rulings 49). New connections wait in the kernel's backlog
// meanwhile: no load balancer sees a refusal.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// hold keeps the accepting goroutine from taking connections.
type hold struct {
	mu     sync.Mutex
	resume chan struct{} // closed by Resume; nil: not held
	parked chan struct{} // closed once nobody is accepting any more
}

// begin makes the next time-out of Accept park its goroutine.
func (h *hold) begin() (parked <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.resume == nil {
		h.resume, h.parked = make(chan struct{}), make(chan struct{})
	}
	return h.parked
}

func (h *hold) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.resume != nil {
		close(h.resume)
		h.resume, h.parked = nil, nil
	}
}

// park says whether err is what begin brought about, and not a failure: it
// returns once the hold is over.
func (h *hold) park(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	h.mu.Lock()
	resume := h.resume
	if h.parked != nil {
		select {
		case <-h.parked:
		default:
			close(h.parked)
		}
	}
	h.mu.Unlock()
	if resume != nil {
		<-resume
	}
	return true // the deadline may have struck just before the hold ended
}

const (
	// holdPoll is how often the open connections are counted.
	holdPoll = 2 * time.Millisecond
	// holdFresh is how long an accepted connection may take to send a request.
	// One that says nothing is not waited for.
	holdFresh = 300 * time.Millisecond
)

// Hold stops taking connections and waits until every request is answered;
// idle connections are closed. On an error nothing is held. Errors: ctx ended
// first. To be followed by Resume, or by the end of the program.
func (s *Server) Hold(ctx context.Context) error {
	l, err := s.socket()
	if err != nil {
		return err
	}
	parked := s.held.begin()
	s.http.SetKeepAlivesEnabled(false) // closes what is idle, now and after its answer
	_ = l.SetDeadline(time.Unix(1, 0))
	if err := s.quiet(ctx, parked); err != nil {
		s.Resume()
		return err
	}
	return nil
}

func (s *Server) quiet(ctx context.Context, parked <-chan struct{}) error {
	select {
	case <-parked:
	case <-ctx.Done():
		return fmt.Errorf("REST server: it did not stop accepting: %w", ctx.Err())
	}
	tick := time.NewTicker(holdPoll)
	defer tick.Stop()
	for began := time.Now(); ; {
		busy, fresh := s.conns.open()
		if busy == 0 && (fresh == 0 || time.Since(began) > holdFresh) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("REST server: %d requests are still being answered", busy+fresh)
		}
	}
}

// Resume takes connections again.
func (s *Server) Resume() {
	if l, err := s.socket(); err == nil {
		_ = l.SetDeadline(time.Time{})
	}
	s.http.SetKeepAlivesEnabled(true)
	s.held.end()
}

// socket is the bound socket itself.
func (s *Server) socket() (*net.TCPListener, error) {
	l, ok := s.Listener().(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("REST server: it listens on %T, which cannot be handed over", s.Listener())
	}
	return l, nil
}

// open counts the connections with a request under way, and those that have
// not sent one yet.
func (c *connections) open() (busy, fresh int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.busy), len(c.fresh)
}

// spoke keeps the set of connections that have not sent a request yet. Called
// with mu held.
func (c *connections) spoke(conn net.Conn, state http.ConnState) {
	if state == http.StateNew {
		c.fresh[conn] = true
		return
	}
	delete(c.fresh, conn)
}
