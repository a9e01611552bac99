// Package etcd is dcs.Store on etcd v3, over its native protocol.
//
// It speaks gRPC through the generated stubs instead of clientv3.Client: who
// must know when a lease ends has to see each attempt (when was it sent, was
// it sent at all, who answered), and clientv3 logs in while it connects,
// retries and renews tokens by itself.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/tlsconf"
)

// Options says where etcd is, and whose store this is.
type Options struct {
	// Endpoints are URLs (http or https), at least one unless SRV is set.
	Endpoints []string
	// SRV is a domain whose SRV records name the endpoints; Endpoints are used
	// while they name nobody. SRVSuffix is part of the records' names
	// (contract: config.md 3.2).
	SRV, SRVSuffix string
	// EveryAddress: where the name in an http endpoint has several addresses,
	// each of them is an endpoint.
	EveryAddress bool
	// Resolver answers for both. Nil: the system's.
	Resolver *net.Resolver
	// UseProxies: the endpoints are all there is; members are not looked up.
	UseProxies bool
	// Username is empty where etcd asks for none, or knows us by certificate.
	Username string
	Password config.Secret
	// PasswordFile holds passwords, one a line: tried in turn, read again at
	// each login (rulings 47). Password, when set as well, is tried after them.
	PasswordFile string
	TLS          tlsconf.Files

	Namespace string
	Scope     string
	// Member is our name; empty for an operator's tool, which has no lease.
	Member string

	// TTL of the lease. TTL, LoopWait and RetryTimeout shape TCP keepalive;
	// the time a call may take is its context's.
	TTL          time.Duration
	LoopWait     time.Duration
	RetryTimeout time.Duration

	Clock clock.Clock
	// Log gets what no caller sees: lost watches, discovery. Nil: nothing.
	Log *slog.Logger
}

// Store is one scope in etcd.
type Store struct {
	prefix string
	member string
	clock  clock.Clock
	log    *slog.Logger
	pool   *pool
	auth   *auth
	// locator is nil where Endpoints are all there is to know.
	locator *locator

	ttl   atomic.Int64 // nanoseconds, as asked for
	lease leaseState

	wakes     chan struct{}
	watchOnce sync.Once
	watchWant chan struct{} // closed by the first Wakes

	stop    context.CancelFunc
	closing atomic.Bool
	running sync.WaitGroup
}

var _ dcs.Store = (*Store)(nil)

// Open returns the scope. It connects to nothing: an etcd that cannot be
// reached is ErrUnavailable of the first call. Errors: bad URLs, certificate
// files that cannot be read. The store's watch and discovery keep ctx's
// values, not its end; they end with Close.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		prefix: dcs.Prefix(o.Namespace, o.Scope), member: o.Member, clock: o.Clock,
		log:   o.Log.With("scope", o.Scope),
		auth:  &auth{username: o.Username, password: o.Password, file: o.PasswordFile},
		wakes: make(chan struct{}, 1), watchWant: make(chan struct{}),
	}
	s.lease.turn = make(chan struct{}, 1)
	s.ttl.Store(int64(o.TTL))
	d := &dialer{tls: o.TLS, resolver: o.Resolver}
	d.set(o.TTL, o.LoopWait, o.RetryTimeout)
	if err := checkFiles(o.TLS); err != nil {
		return nil, fmt.Errorf("open etcd: %w", err)
	}
	s.locator = newLocator(o)
	if len(o.Endpoints) == 0 && o.SRV == "" {
		return nil, fmt.Errorf("open etcd: %w", errNoAddress)
	}
	given := o.Endpoints
	if o.SRV != "" {
		given = nil // only what the records leave room for
	}
	var err error
	if s.pool, err = newPool(given, d, o.Clock); err != nil {
		return nil, fmt.Errorf("open etcd: %w", err)
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = cancel
	s.running.Go(func() { s.watch(background) })
	if !o.UseProxies {
		s.running.Go(func() { s.discover(background) })
	}
	return s, nil
}

// SetTiming shapes the TCP keepalive of connections made from now on.
func (s *Store) SetTiming(loopWait, retryTimeout time.Duration) {
	s.pool.dialer.set(time.Duration(s.ttl.Load()), loopWait, retryTimeout)
}

// Wakes implements dcs.Store. The first call starts the watch.
func (s *Store) Wakes() <-chan struct{} {
	s.watchOnce.Do(func() { close(s.watchWant) })
	return s.wakes
}

// Close implements dcs.Store. Calls under way end with ErrUnavailable or
// ErrUnknownOutcome.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	s.stop()
	s.pool.close()
	s.running.Wait()
	return nil
}

// Load implements dcs.Store.
func (s *Store) Load(ctx context.Context) (*dcs.Cluster, error) {
	req := &pb.RangeRequest{Key: []byte(s.prefix), RangeEnd: prefixEnd(s.prefix)}
	resp, err := ask(ctx, s, func(ctx context.Context, e *endpoint) (*pb.RangeResponse, error) {
		return e.kv().Range(ctx, req)
	})
	if err != nil {
		return nil, fmt.Errorf("read cluster %s: %w", s.prefix, err)
	}
	kvs := make([]dcs.KV, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		kvs = append(kvs, dcs.KV{
			Key: dcs.Key(kv.Key[len(s.prefix):]), Value: kv.Value,
			Lease: dcs.LeaseID(kv.Lease), Revision: dcs.Revision(kv.ModRevision),
		})
	}
	return dcs.DecodeCluster(dcs.Revision(resp.Header.GetRevision()), kvs), nil
}

// key is the full key.
func (s *Store) key(k dcs.Key) []byte { return []byte(s.prefix + string(k)) }

// prefixEnd is the first key after all that start with the prefix, which ends
// in a slash.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// errTool: a method for members was called on a tool's store.
var errTool = errors.New("a tool has no member key and no lease")
