package etcd_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/dcs/dcstest"
	"pgha/internal/dcs/etcd"
	"pgha/internal/tlsconf"
)

// embedded is the one etcd that all tests of a plain cluster share.
var embedded struct {
	sync.Once
	url  string
	stop func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if embedded.stop != nil {
		embedded.stop()
	}
	if code == 0 {
		if err := goleak.Find(
			// Package-level workers of libraries the embedded server uses.
			goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
			goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
			goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
			goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// sharedEtcd returns the URL of an etcd inside this process.
func sharedEtcd(t *testing.T) string {
	t.Helper()
	embedded.Do(func() { embedded.url, embedded.stop, embedded.err = startEmbedded(nil) })
	if embedded.err != nil {
		t.Fatal(embedded.err)
	}
	return embedded.url
}

// startEmbedded starts one member; files: it speaks TLS, and to those alone who
// show a certificate of the same authority.
func startEmbedded(files *tlsconf.Files) (string, func(), error) {
	dir, err := os.MkdirTemp("", "petcd")
	if err != nil {
		return "", nil, err
	}
	cfg := embed.NewConfig()
	client, peer := url.URL{Scheme: "http", Host: freeAddress()}, url.URL{Scheme: "http", Host: freeAddress()}
	if files != nil {
		client.Scheme = "https"
		cfg.ClientTLSInfo = transport.TLSInfo{CertFile: files.Cert, KeyFile: files.Key, TrustedCAFile: files.CA, ClientCertAuth: true}
	}
	cfg.Dir = filepath.Join(dir, "data")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.Name + "=" + peer.String()
	cfg.TickMs, cfg.ElectionMs, cfg.UnsafeNoFsync = 50, 500, true
	cfg.BcryptCost = 4 // a login costs nothing
	cfg.LogLevel, cfg.LogOutputs = "error", []string{filepath.Join(dir, "log")}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return "", nil, err
	}
	<-e.Server.ReadyNotify()
	return client.String(), func() { e.Close(); _ = os.RemoveAll(dir) }, nil
}

var scopes atomic.Int64

// harness gives the conformance suite a new scope on the etcd at the URLs.
func harness(t *testing.T, urls []string, more func(*etcd.Options)) dcstest.Harness {
	t.Helper()
	scope := fmt.Sprintf("s%d", scopes.Add(1))
	conn, err := grpc.NewClient(strings.TrimPrefix(urls[0], "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	key := func(k dcs.Key) []byte { return []byte(dcs.Prefix("/service", scope) + string(k)) }
	byHand := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	return dcstest.Harness{
		Open: func(member string, ttl time.Duration) dcs.Store {
			o := etcd.Options{
				Endpoints: urls, Namespace: "/service", Scope: scope, Member: member, TTL: ttl,
				LoopWait: 10 * time.Second, RetryTimeout: 10 * time.Second,
			}
			if more != nil {
				more(&o)
			}
			s, err := etcd.Open(ctx, o)
			byHand(err)
			t.Cleanup(func() { byHand(s.Close()) })
			return s
		},
		Put: func(k dcs.Key, value string) {
			_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: key(k), Value: []byte(value)})
			byHand(err)
		},
		Delete: func(k dcs.Key) {
			_, err := pb.NewKVClient(conn).DeleteRange(ctx, &pb.DeleteRangeRequest{Key: key(k)})
			byHand(err)
		},
		Revoke: func(id dcs.LeaseID) {
			_, err := pb.NewLeaseClient(conn).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(id)})
			byHand(err)
		},
		Pass:     func() { <-time.After(10 * time.Millisecond) },
		Clock:    clock.System{},
		ShortTTL: 2 * time.Second,
	}
}

func TestConforms(t *testing.T) {
	dcstest.Run(t, func(t *testing.T) dcstest.Harness { return harness(t, []string{sharedEtcd(t)}, nil) })
}
