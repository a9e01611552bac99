// Package rest is the Patroni-compatible HTTP server of a member (contract:
// rest-api.md). It shows a published Status and passes requests to the agent;
// it never touches PostgreSQL or the DCS but through its Backend. Health
// checks are pure functions of a Status (health.go), so is the check of a
// switchover (switchover.go); route.go is the table of paths.
package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pgha/internal/clock"
	"pgha/internal/config"
)

// Options is what a Server is made from.
type Options struct {
	Config  config.RestAPI
	Backend Backend
	Clock   clock.Clock
	Log     *slog.Logger
	// Version of the pgha binary, for the header Server.
	Version string
	// Listener is the socket inherited from the process before (rulings 49);
	// nil: New binds Config.Listen.
	Listener net.Listener
	// Own are further paths, /pgha/v1/...
	Own []Route
	// Changes hears of every answered request for a change; may be nil.
	Changes func(Change)
	// Metrics are the sources of pgha's own series.
	Metrics OwnMetrics
	// MaxConnections bounds open connections; beyond it idle ones are closed
	// first. Zero: 512.
	MaxConnections int
}

// Server answers on one address at a time. Make it with New, run it with
// Serve.
type Server struct {
	backend  Backend
	clock    clock.Clock
	log      *slog.Logger
	version  string
	own      []Route
	changes  func(Change)
	settings atomic.Pointer[settings]
	registry *prometheus.Registry
	recorder *Recorder
	ends     *certificates
	written  writtenConfig

	http  *http.Server
	conns *connections
	held  hold

	mu       sync.Mutex // guards what follows
	listener *listener
	// moved tells Serve that listener was replaced.
	moved chan struct{}
}

// New validates the configuration and binds the address. Errors: the address
// is none or cannot be bound, a certificate cannot be used.
func New(o Options) (*Server, error) {
	if o.MaxConnections == 0 {
		o.MaxConnections = 512
	}
	s := &Server{
		backend: o.Backend, clock: o.Clock, log: o.Log, version: o.Version, own: o.Own, changes: o.Changes,
		conns: newConnections(o.MaxConnections),
		moved: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithTimeout(context.Background(), startBudget)
	defer cancel()
	set, err := newSettings(ctx, o.Config, o.Version, o.Log)
	if err != nil {
		return nil, err
	}
	s.settings.Store(set)
	s.registry = newRegistry(o.Backend, o.Clock)
	s.recorder, s.ends = newOwn(s.registry, o)
	s.ends.refresh()
	s.http = s.newHTTP()
	if o.Listener != nil {
		s.listener = s.wrap(o.Listener)
		return s, nil
	}
	s.listener, err = s.listen(ctx, set.address)
	return s, err
}

// startBudget bounds the look-up of names at start and reload.
const startBudget = 10 * time.Second

func (s *Server) newHTTP() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler: s,
		// A client that connects and stays silent costs one goroutine for a
		// few seconds (integrations.md 2), one that sends slowly as well.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ConnState:         s.conns.changed,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		Protocols:         protocols,
		// OPTIONS * would be answered by the library with an empty 200.
		DisableGeneralOptionsHandler: true,
	}
}

// Addr is the address the server is bound to.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener.Addr()
}

// Listener returns the bound socket itself, for handing it to the next
// process (rulings 49).
func (s *Server) Listener() net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener.Listener
}

// Registry takes metrics beside Patroni's; names start with pgha_.
func (s *Server) Registry() prometheus.Registerer { return s.registry }

// shutdownBudget is how long requests may go on once Serve is asked to end.
const shutdownBudget = 2 * time.Second

// Serve answers until ctx ends, then gives running requests a moment. It
// returns nil then, or the error that made accepting impossible. Call it once.
func (s *Server) Serve(ctx context.Context) error {
	var parts sync.WaitGroup
	inner, stop := context.WithCancel(ctx)
	defer parts.Wait()
	defer stop()
	// Handlers that wait (a switchover) end with the server.
	s.http.BaseContext = func(net.Listener) context.Context { return inner }
	parts.Go(func() { s.maintain(inner) })

	for {
		s.mu.Lock()
		current := s.listener
		s.mu.Unlock()
		failed := make(chan error, 1)
		parts.Go(func() { failed <- s.http.Serve(current) })
		if err := s.served(ctx, current, failed); err != nil {
			return err
		}
		if ctx.Err() != nil {
			stop()
			return s.shutdown()
		}
	}
}

// served waits until the listener is not the one to serve any more (nil), ctx
// ends (nil), or accepting failed although nobody replaced it.
func (s *Server) served(ctx context.Context, current *listener, failed <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.moved:
			// The notice may be of a move that current is the result of.
			if s.replaced(current) {
				<-failed // the old socket is closed; its connections go on
				return nil
			}
		case err := <-failed:
			if s.replaced(current) {
				return nil
			}
			return fmt.Errorf("REST server: %w", err)
		}
	}
}

func (s *Server) replaced(old *listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener != old
}

func (s *Server) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownBudget)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // what is still open has had its moment
	}
	return nil
}

// Reconfigure takes a new configuration: from the next request on, or for the
// address and TLS from the next connection on. On an error the old one stays
// in force and its socket open. Errors: as New.
func (s *Server) Reconfigure(ctx context.Context, conf config.RestAPI) error {
	ctx, cancel := context.WithTimeout(ctx, startBudget)
	defer cancel()
	set, err := newSettings(ctx, conf, s.version, s.log)
	if err != nil {
		return err
	}
	s.ends.refresh()
	old := s.settings.Load()
	if old.address == set.address {
		s.settings.Store(set)
		return nil
	}
	if err := s.move(ctx, set.address); err != nil {
		return err
	}
	s.settings.Store(set)
	return nil
}

// move binds the new address before it closes the old one. Where both want
// the same port that cannot work: then the old one closes first, and comes
// back if the new one fails.
func (s *Server) move(ctx context.Context, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.listener.Addr().String()
	next, err := s.listen(ctx, to)
	if err != nil && samePort(from, to) {
		_ = s.listener.Close()
		if next, err = s.listen(ctx, to); err != nil {
			back, errBack := s.listen(ctx, from)
			if errBack != nil {
				return errors.Join(err, fmt.Errorf("and the old address is lost: %w", errBack))
			}
			next = back
		}
	}
	if next == nil {
		return err
	}
	_ = s.listener.Close()
	s.listener = next
	select {
	case s.moved <- struct{}{}:
	default: // Serve has not seen the last move yet, and takes this one with it
	}
	return err
}

func samePort(a, b string) bool {
	_, portA, errA := net.SplitHostPort(a)
	_, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB
}

// maintainEvery is how often files and names are looked at without being told.
const maintainEvery = 10 * time.Second

// maintain follows what changes without a reload: certificate files, and
// allowlist names that could not be resolved.
func (s *Server) maintain(ctx context.Context) {
	ticker := time.NewTicker(maintainEvery)
	defer ticker.Stop()
	var lastErr string
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			lastErr = s.maintainOnce(ctx, lastErr)
		}
	}
}

// maintainOnce returns the error it met, so that the next call says only what
// is new.
func (s *Server) maintainOnce(ctx context.Context, lastErr string) string {
	set := s.settings.Load()
	s.ends.refresh()
	if len(set.policy.unresolved) > 0 {
		again := *set
		again.policy = newPolicy(ctx, set.conf)
		// A reload in between wins: its policy is at least as new.
		s.settings.CompareAndSwap(set, &again)
	}
	if set.tls == nil {
		return ""
	}
	changed, err := set.tls.Reload()
	switch {
	case err != nil && err.Error() != lastErr:
		s.log.Warn("restapi: the changed certificate files cannot be used, the old ones stay in force", "err", err)
		return err.Error()
	case err != nil:
		return lastErr
	case changed:
		s.log.Info("restapi: certificate files changed, new connections use them")
	}
	return ""
}

// dcsBudget bounds one read or write of the DCS for a client.
func (s *Server) dcsBudget() time.Duration {
	return max(s.backend.Snapshot().Config.RetryTimeout, time.Second)
}

// tlsConfig is what a new connection is answered with; nil: plain.
func (s *Server) tlsConfig() *tls.Config {
	if set := s.settings.Load(); set.tls != nil {
		return set.tls.Config()
	}
	return nil
}
