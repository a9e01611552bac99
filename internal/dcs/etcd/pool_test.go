package etcd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pgha/internal/clock"
	"pgha/internal/dcs"
)

func poolOf(t *testing.T, urls ...string) *pool {
	t.Helper()
	p, err := newPool(urls, &dialer{}, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func urlsOf(t *testing.T, p *pool) (urls []string) {
	t.Helper()
	list, err := p.order()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		urls = append(urls, e.url)
	}
	return urls
}

func TestPoolRanks(t *testing.T) {
	p := poolOf(t, "http://a:1", "http://b:1", "http://c:1", " http://a:1")
	want := func(step string, urls ...string) {
		t.Helper()
		if got := urlsOf(t, p); !slices.Equal(got, urls) {
			t.Errorf("%s: order %v, want %v", step, got, urls)
		}
	}
	a, b, c := p.endpoints[0], p.endpoints[1], p.endpoints[2]
	want("as configured, without the duplicate", "http://a:1", "http://b:1", "http://c:1")
	if err := p.answered(b, &pb.ResponseHeader{RaftTerm: 2, MemberId: 7}); err != nil {
		t.Fatal(err)
	}
	want("the one that answered is kept", "http://b:1", "http://a:1", "http://c:1")
	p.failed(b)
	want("until it fails", "http://a:1", "http://c:1", "http://b:1")
	p.failed(a)
	p.failed(c)
	want("then the oldest failure is tried first", "http://b:1", "http://a:1", "http://c:1")
}

// pitfalls.md 22.
func TestPoolRefusesPastTerms(t *testing.T) {
	p := poolOf(t, "http://a:1", "http://b:1")
	a, b := p.endpoints[0], p.endpoints[1]
	header := func(cluster, term uint64) *pb.ResponseHeader {
		return &pb.ResponseHeader{ClusterId: cluster, RaftTerm: term}
	}
	for _, step := range []struct {
		e             *endpoint
		cluster, term uint64
		want          error
	}{
		{a, 1, 5, nil}, {b, 1, 4, errStale}, {a, 1, 5, nil}, {b, 1, 6, nil}, {a, 1, 5, errStale},
		{a, 2, 1, nil}, // another cluster, after a restore
	} {
		if err := p.answered(step.e, header(step.cluster, step.term)); !errors.Is(err, step.want) {
			t.Errorf("term %d of cluster %d: %v, want %v", step.term, step.cluster, err, step.want)
		}
	}
}

// pitfalls.md 30.
func TestPoolMergesMembers(t *testing.T) {
	member := func(id uint64, urls ...string) *pb.Member { return &pb.Member{ID: id, ClientURLs: urls} }
	for _, tt := range []struct {
		name       string
		configured []string
		members    []*pb.Member
		want       []string
	}{
		{"new ones and duplicates", []string{"http://a:1"},
			[]*pb.Member{member(1, "http://a:1", "http://a:1"), member(2, "http://b:1", "http://b:1")},
			[]string{"http://a:1", "http://b:1"}},
		{"loopback and any address", []string{"http://a:1"},
			[]*pb.Member{member(2, "http://localhost:1", "http://127.0.0.1:1", "http://0.0.0.0:1", "http://[::1]:1")},
			[]string{"http://a:1"}},
		{"loopback is fine in a demo", []string{"http://127.0.0.1:1"},
			[]*pb.Member{member(2, "http://127.0.0.1:2")},
			[]string{"http://127.0.0.1:1", "http://127.0.0.1:2"}},
		{"no step down from TLS", []string{"https://a:1"},
			[]*pb.Member{member(2, "http://b:1", "https://b:2")},
			[]string{"https://a:1", "https://b:2"}},
		{"learners, nonsense", []string{"http://a:1"},
			[]*pb.Member{{ID: 2, IsLearner: true, ClientURLs: []string{"http://l:1"}}, member(3, "unix://x", "%")},
			[]string{"http://a:1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := poolOf(t, tt.configured...)
			p.merge(tt.members)
			if got := urlsOf(t, p); !slices.Equal(got, tt.want) {
				t.Errorf("endpoints %v, want %v", got, tt.want)
			}
			p.merge(nil) // all gone: what was configured stays
			if got := urlsOf(t, p); !slices.Equal(got, tt.configured) {
				t.Errorf("endpoints %v after the members left, want %v", got, tt.configured)
			}
		})
	}
	p := poolOf(t, "http://name:1")
	if err := p.answered(p.endpoints[0], &pb.ResponseHeader{MemberId: 2}); err != nil {
		t.Fatal(err)
	}
	p.merge([]*pb.Member{member(2, "http://10.0.0.2:1"), member(3, "http://10.0.0.3:1")})
	if got, want := urlsOf(t, p), []string{"http://name:1", "http://10.0.0.3:1"}; !slices.Equal(got, want) {
		t.Errorf("endpoints %v, want %v: one member under two names is one endpoint", got, want)
	}
}

// contract: dcs-layout.md section 5.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		code codes.Code
		text string
		want verdict
		// safe: a write that was sent and got this surely did not happen.
		safe bool
	}{
		{codes.Unavailable, "connection refused", elsewhere, false},
		{codes.Unavailable, "etcdserver: request timed out", elsewhere, false},
		{codes.Unavailable, "etcdserver: request timed out, possibly due to previous leader failure", elsewhere, false},
		{codes.Unavailable, "etcdserver: no leader", elsewhere, true},
		{codes.Unavailable, "etcdserver: leader changed", elsewhere, false},
		{codes.Unavailable, "etcdserver: server stopped", elsewhere, false},
		{codes.Unknown, "not a primary lessor", elsewhere, false},
		{codes.Unknown, "raft proposal dropped", elsewhere, false},
		{codes.DeadlineExceeded, "context deadline exceeded", elsewhere, false},
		{codes.FailedPrecondition, "etcdserver: not capable", elsewhere, false},
		{codes.FailedPrecondition, "etcdserver: not leader", elsewhere, true},
		{codes.Internal, "unexpected HTTP status code", elsewhere, false},
		{codes.ResourceExhausted, "etcdserver: too many requests", elsewhere, true},
		{codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded", refused, true},
		{codes.InvalidArgument, "etcdserver: user name is empty", authenticate, true},
		{codes.Unauthenticated, "etcdserver: invalid auth token", authenticate, true},
		{codes.InvalidArgument, "etcdserver: revision of auth store is old", authenticate, true},
		{codes.PermissionDenied, "etcdserver: permission denied", authenticate, true},
		{codes.NotFound, "etcdserver: requested lease not found", refused, true},
		{codes.InvalidArgument, "etcdserver: request is too large", refused, true},
		{codes.Unimplemented, "unknown service", refused, true},
	} {
		err := status.Error(tt.code, tt.text)
		if got := judge(err); got != tt.want {
			t.Errorf("%v: verdict %d, want %d", err, got, tt.want)
		}
		if got := notDone(err, true); got != tt.safe {
			t.Errorf("%v: surely not done is %v, want %v", err, got, tt.safe)
		}
		if !notDone(err, false) {
			t.Errorf("%v: a request that was never sent happened", err)
		}
	}
	if judge(fmt.Errorf("log in: %w", dcs.ErrDenied)) != refused {
		t.Error("a refused login is tried elsewhere")
	}
	if !leaseGone(status.Error(codes.NotFound, "etcdserver: requested lease not found")) {
		t.Error("a lease that is gone is not recognised")
	}
}

// What a peer port answers to /members.
func FuzzMembersAnswer(f *testing.F) {
	for _, s := range []string{`[{"id":1,"peerURLs":["http://a:2380"],"name":"a","clientURLs":["http://a:2379"]}]`, `[]`, `{}`, `[{"clientURLs":null}]`, `[{"isLearner":true,"clientURLs":["x"]}]`, "<html>", `[{"clientURLs":[1]}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		urls, err := parseMembers(text)
		if (err == nil) == (len(urls) == 0) {
			t.Fatalf("%q: %q, %v", text, urls, err)
		}
	})
}

// Whatever a connection fails with, a person reads one line of it.
func FuzzReason(f *testing.F) {
	for _, s := range []string{`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`,
		`context deadline exceeded while waiting for connections to become ready; latest balancer error: last connection error: connection error: desc = "x`, "EOF", `"`, "a\nb", ""} {
		f.Add(s, uint32(codes.Unavailable))
		f.Add(s, uint32(codes.DeadlineExceeded))
	}
	f.Fuzz(func(t *testing.T, text string, code uint32) {
		for _, err := range []error{errors.New(text), status.Error(codes.Code(code%17), text)} {
			if err != nil && strings.ContainsAny(reason(err), "\n\r") {
				t.Fatalf("%q: %q", text, reason(err))
			}
		}
	})
}
