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
	for _, u := range urls {
		e, err := d.newEndpoint(strings.TrimSpace(u))
		if err != nil {
			return nil, err
		}
		if p.find(e.url) != nil {
			continue
		}
		e.configured = true
		p.endpoints = append(p.endpoints, e)
	}
	if len(p.endpoints) == 0 {
		return nil, errNoAddress
	}
	return p, nil
}

func (p *pool) find(url string) *endpoint {
	for _, e := range p.endpoints {
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
	e.okAt, e.failedAt = p.clock.Now(), 0
	p.preferred = e
	return nil
}

// failed notes that the endpoint did not answer, or not well, and closes its
// connection: what else waits on it (the watch above all) moves on at once,
// and the next attempt does not inherit a connection that may be dead.
func (p *pool) failed(e *endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.failedAt = p.clock.Now()
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
// are gone. Left out are URLs that would be a step down: http where we were
// given https (a password would travel in clear text), this host's loopback
// where we were given real addresses, and members we reach already.
func (p *pool) merge(members []*pb.Member) (added []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	allSecure, anyLoopback := true, false
	reached := map[uint64]bool{}
	var keep []*endpoint
	for _, e := range p.endpoints {
		if e.configured {
			allSecure = allSecure && secure(e.url)
			anyLoopback = anyLoopback || loopback(e.host)
			reached[e.member] = e.member != 0
			keep = append(keep, e)
		}
	}
	for _, m := range members {
		for _, raw := range m.GetClientURLs() {
			if m.GetIsLearner() || reached[m.GetID()] {
				continue
			}
			e := p.find(raw)
			if e == nil {
				var err error
				if e, err = p.dialer.newEndpoint(raw); err != nil {
					continue
				}
				if p.find(e.url) != nil || allSecure && !secure(e.url) || loopback(e.host) && !anyLoopback {
					_ = e.conn.Load().Close()
					continue
				}
				added = append(added, e.url)
			}
			if !slices.Contains(keep, e) {
				e.member = m.GetID()
				keep = append(keep, e)
			}
		}
	}
	for _, e := range p.endpoints {
		if !slices.Contains(keep, e) {
			_ = e.conn.Load().Close()
			if p.preferred == e {
				p.preferred = nil
			}
		}
	}
	p.endpoints = keep
	return added
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
