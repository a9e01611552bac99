package etcd

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"pgha/internal/clock"
)

// pool ranks the endpoints: the one that answered last, then those that have
// not failed, then those whose failure is longest ago.
type pool struct {
	dialer *dialer
	clock  clock.Clock

	mu        sync.Mutex
	endpoints []*endpoint
	preferred *endpoint
	closed    bool
	cluster   uint64 // id of the etcd cluster
	term      uint64 // highest raft term seen in it
}

var (
	errStale     = errors.New("answer of an etcd member that missed an election (older raft term)")
	errClosed    = errors.New("the store is closed")
	errNoAddress = errors.New("no endpoint given")
)

func newPool(urls []string, d *dialer, c clock.Clock) (*pool, error) {
	p := &pool{dialer: d, clock: c}
	if err := p.configure(urls); err != nil {
		return nil, err
	}
	return p, nil
}

// configure makes these the endpoints given: those that were and are not any
// more go, with their connections. Errors: a URL that is none; nothing is
// changed then.
func (p *pool) configure(urls []string) error {
	var fresh []*endpoint
	for _, u := range urls {
		e, err := p.dialer.newEndpoint(strings.TrimSpace(u))
		if err != nil {
			closeAll(fresh)
			return err
		}
		fresh = append(fresh, e)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var given []*endpoint
	for _, e := range fresh {
		known := find(p.endpoints, e.url)
		if p.closed || known != nil || find(given, e.url) != nil {
			_ = e.conn.Load().Close()
			if e = known; e == nil {
				continue
			}
		}
		if !slices.Contains(given, e) {
			e.configured = true
			given = append(given, e)
		}
	}
	for _, e := range p.endpoints {
		switch {
		case slices.Contains(given, e):
		case !e.configured:
			given = append(given, e)
		default:
			p.forget(e)
		}
	}
	p.endpoints = given
	return nil
}

// forget closes an endpoint's connection; the caller holds mu.
func (p *pool) forget(e *endpoint) {
	_ = e.conn.Load().Close()
	if p.preferred == e {
		p.preferred = nil
	}
}

func closeAll(list []*endpoint) {
	for _, e := range list {
		_ = e.conn.Load().Close()
	}
}

// allFailed says whether no endpoint has answered since it failed last.
func (p *pool) allFailed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(p.endpoints, func(e *endpoint) bool { return e.failedAt.IsZero() })
}

func find(list []*endpoint, url string) *endpoint {
	for _, e := range list {
		if e.url == url {
			return e
		}
	}
	return nil
}

// order returns the endpoints, the best first.
func (p *pool) order() ([]*endpoint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	if len(p.endpoints) == 0 {
		return nil, errNoAddress
	}
	list := slices.Clone(p.endpoints)
	slices.SortStableFunc(list, func(a, b *endpoint) int {
		if a == p.preferred || b == p.preferred {
			return cmp.Compare(boolRank(a == p.preferred), boolRank(b == p.preferred))
		}
		return cmp.Compare(a.failedAt, b.failedAt) // zero: never failed
	})
	return list, nil
}

// boolRank sorts true first.
func boolRank(b bool) int {
	if b {
		return 0
	}
	return 1
}

// answered notes an answer. An answer out of a past term is none: its member
// is cut off from the others, or was (contract: pitfalls.md 22).
func (p *pool) answered(e *endpoint, h *pb.ResponseHeader) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.GetClusterId() != p.cluster {
		p.cluster, p.term = h.GetClusterId(), 0
	}
	if h.GetRaftTerm() < p.term {
		return errStale
	}
	p.term = h.GetRaftTerm()
	e.member = h.GetMemberId()
	e.okAt, e.failedAt, e.reason = p.clock.Now(), 0, ""
	p.preferred = e
	return nil
}

// failed notes that the endpoint did not answer, or not well, and closes its
// connection: what else waits on it (the watch above all) moves on at once,
// and the next attempt does not inherit a connection that may be dead.
func (p *pool) failed(e *endpoint) { p.failedWith(e, textSilent) }

// failedWith is failed with the reason. Silence does not hide an earlier
// reason that tells more: the end of our own patience looks the same.
func (p *pool) failedWith(e *endpoint, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.failedAt = p.clock.Now()
	if e.reason == "" || reason != textSilent {
		e.reason = reason
	}
	if p.preferred == e {
		p.preferred = nil
	}
	if p.closed {
		return
	}
	conn, err := p.dialer.connect(e)
	if err != nil { // certificates unreadable now: keep what we have
		return
	}
	if old := e.conn.Swap(conn); old != nil {
		_ = old.Close()
	}
}

// reasons says why each endpoint that failed last time did.
func (p *pool) reasons() (list []EndpointError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		if e.reason != "" {
			list = append(list, EndpointError{e.url, e.reason})
		}
	}
	return list
}

// fresh returns the preferred endpoint if it answered within the age.
func (p *pool) fresh(age time.Duration) *endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.preferred; e != nil && !p.closed && p.clock.Now().Sub(e.okAt) <= age {
		return e
	}
	return nil
}

// merge adds the client URLs members advertise and drops discovered ones that
// are gone. It returns what it added.
func (p *pool) merge(members []*pb.Member) (added []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	given := p.configured()
	keep := slices.Clone(given)
	for _, m := range members {
		for _, raw := range m.GetClientURLs() {
			if m.GetIsLearner() || slices.ContainsFunc(given, func(e *endpoint) bool { return e.member != 0 && e.member == m.GetID() }) {
				continue // cannot answer, or is reached already
			}
			e := p.discovered(given, raw)
			if e == nil || slices.Contains(keep, e) {
				continue
			}
			if find(p.endpoints, e.url) == nil {
				p.endpoints = append(p.endpoints, e)
				added = append(added, e.url)
			}
			e.member = m.GetID()
			keep = append(keep, e)
		}
	}
	for _, e := range p.endpoints {
		if !slices.Contains(keep, e) {
			p.forget(e)
		}
	}
	p.endpoints = keep
	return added
}

// configured returns the endpoints we were given; the caller holds mu.
func (p *pool) configured() (list []*endpoint) {
	for _, e := range p.endpoints {
		if e.configured {
			list = append(list, e)
		}
	}
	return list
}

// discovered returns the endpoint for an advertised URL, nil when it is of no
// use: not a URL, or a step down from the endpoints given (http where all are
// https, so that a password would travel in clear text; this host's loopback
// where none is). The caller holds mu.
func (p *pool) discovered(given []*endpoint, raw string) *endpoint {
	e, err := p.dialer.newEndpoint(raw)
	if err != nil {
		return nil
	}
	insecure := func(e *endpoint) bool { return !secure(e.url) }
	local := func(e *endpoint) bool { return loopback(e.host) }
	known := find(p.endpoints, e.url)
	useless := insecure(e) && !slices.ContainsFunc(given, insecure) || local(e) && !slices.ContainsFunc(given, local)
	if known != nil || useless {
		_ = e.conn.Load().Close()
		if useless {
			return nil
		}
		return known
	}
	return e
}

func loopback(hostport string) bool {
	host, _, _ := net.SplitHostPort(hostport)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// close ends all connections; requests under way fail.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, e := range p.endpoints {
		_ = e.conn.Load().Close()
	}
}
