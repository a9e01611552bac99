package etcd

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"pgha/internal/clock"
	"pgha/internal/tlsconf"
)

// endpoint is one client URL of etcd. Its connection is made by the first
// request.
type endpoint struct {
	url        string
	host       string // host:port
	configured bool   // from our own configuration: never dropped

	conn atomic.Pointer[grpc.ClientConn]

	// The pool's mutex guards these.
	member   uint64 // id of the etcd member behind it; 0 unknown
	failedAt clock.Instant
	okAt     clock.Instant
	reason   string // of the last failure; empty: none since the last answer
}

func (e *endpoint) kv() pb.KVClient           { return pb.NewKVClient(e.conn.Load()) }
func (e *endpoint) leases() pb.LeaseClient    { return pb.NewLeaseClient(e.conn.Load()) }
func (e *endpoint) watches() pb.WatchClient   { return pb.NewWatchClient(e.conn.Load()) }
func (e *endpoint) auth() pb.AuthClient       { return pb.NewAuthClient(e.conn.Load()) }
func (e *endpoint) cluster() pb.ClusterClient { return pb.NewClusterClient(e.conn.Load()) }

// dialer makes connections.
type dialer struct {
	tls      tlsconf.Files
	resolver *net.Resolver // nil: the system's

	// TCP keepalive, nanoseconds (contract: dcs-layout.md section 5).
	idle, interval atomic.Int64
}

// Limits of the operating system, and of gRPC, which allows no ping more often.
const (
	maxKeepalive = 32767 * time.Second
	pingEvery    = 10 * time.Second
	pingPatience = 5 * time.Second
)

// set derives TCP keepalive from the timings. Zero timings keep small defaults.
func (d *dialer) set(ttl, loopWait, retryTimeout time.Duration) {
	clamp := func(v time.Duration) int64 { return int64(min(max(v, time.Second), maxKeepalive)) }
	idle := loopWait + retryTimeout
	d.idle.Store(clamp(idle))
	d.interval.Store(clamp((ttl - idle) / 3))
}

// newEndpoint checks the URL and prepares the connection, without making it.
func (d *dialer) newEndpoint(raw string) (*endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", raw, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("endpoint %q: want http://host:port or https://host:port", raw)
	}
	port := u.Port()
	if port == "" {
		port = "2379"
	}
	e := &endpoint{host: net.JoinHostPort(u.Hostname(), port)}
	e.url = u.Scheme + "://" + e.host
	conn, err := d.connect(e)
	if err != nil {
		return nil, err
	}
	e.conn.Store(conn)
	return e, nil
}

// connect returns a connection that is made when it is first used.
func (d *dialer) connect(e *endpoint) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if secure(e.url) {
		host, _, _ := net.SplitHostPort(e.host)
		cfg, err := tlsconf.Client(d.tls, host)
		if err != nil {
			return nil, err
		}
		creds = credentials.NewTLS(cfg)
	}
	conn, err := grpc.NewClient("passthrough:///"+e.host,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableRetry(), // attempts are ours to count
		grpc.WithDisableServiceConfig(),
		grpc.WithStatsHandler(sendWatcher{}),
		grpc.WithContextDialer(d.dial),
		// A dead connection under the watch is noticed by this. It also sets TCP's
		// user timeout to its patience.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingPatience}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	)
	if err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", e.url, err)
	}
	return conn, nil
}

func (d *dialer) dial(ctx context.Context, addr string) (net.Conn, error) {
	nd := net.Dialer{Resolver: d.resolver, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: time.Duration(d.idle.Load()), Interval: time.Duration(d.interval.Load()), Count: 3,
	}}
	return nd.DialContext(ctx, "tcp", addr)
}

func secure(url string) bool { return len(url) > 6 && url[:6] == "https:" }
