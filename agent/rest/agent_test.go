package rest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// testAgent is a Backend with a cluster in memory.
type testAgent struct {
	mu        sync.Mutex
	status    *Status
	cluster   *dcs.Cluster
	dcsErr    error
	peers     []api.PeerStatus
	requests  []Request
	do        func(Request) Result
	refreshed int
	changed   chan struct{}
}

func (a *testAgent) Snapshot() *Status { a.mu.Lock(); defer a.mu.Unlock(); return a.status }

func (a *testAgent) Refresh(context.Context, time.Duration) *Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refreshed++
	fresh := *a.status
	fresh.At = clock.Now()
	a.status = &fresh
	return a.status
}

func (a *testAgent) Changed() <-chan struct{} { a.mu.Lock(); defer a.mu.Unlock(); return a.changed }

func (a *testAgent) Cluster(context.Context) (*dcs.Cluster, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cluster, a.dcsErr
}

func (a *testAgent) AskPeers(_ context.Context, members []dcs.Member) []api.PeerStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]api.PeerStatus, len(members))
	for i, m := range members {
		out[i] = api.PeerStatus{Name: m.Name, Err: errors.New("not asked to answer")}
		for _, p := range a.peers {
			if p.Name == m.Name {
				out[i] = p
			}
		}
	}
	return out
}

func (a *testAgent) Do(_ context.Context, r Request) Result {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	do := a.do
	a.mu.Unlock()
	if do == nil {
		return Result{}
	}
	return do(r)
}

// become changes the cluster and tells those who wait.
func (a *testAgent) become(c *dcs.Cluster) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cluster = c
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *testAgent) seen() []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Request(nil), a.requests...)
}

// begin is the instant pure tests happen at.
const begin clock.Instant = 1_000_000_000_000

func tlsDefaults() config.Dynamic {
	return config.Dynamic{TTL: 30 * time.Second, LoopWait: 10 * time.Second, RetryTimeout: time.Second, MaximumLagOnFailover: 1 << 20}
}

func twoMembers() *dcs.Cluster {
	return &dcs.Cluster{
		Leader: &dcs.Leader{Name: "db1"},
		Members: []dcs.Member{
			{Name: "db1", MemberData: dcs.MemberData{APIURL: "http://192.0.2.11:8008/patroni", ConnURL: "postgres://192.0.2.11:5432/postgres", State: postgres.StateRunning, Role: postgres.RolePrimary, Timeline: 3}},
			{Name: "db2", MemberData: dcs.MemberData{APIURL: "http://192.0.2.12:8008/patroni", ConnURL: "postgres://192.0.2.12:5432/postgres", State: postgres.StateRunning, Role: postgres.RoleReplica, Timeline: 3,
				ReplicationState: "streaming", Receive: 0x140000060, Replay: 0x140000050, Tags: map[string]any{"dc": "south"}}},
		},
		Config: &dcs.Config{Raw: []byte(`{"ttl":30,"postgresql":{"parameters":{"work_mem":"8MB"}},"loop_wait":10}`), Valid: true, Revision: 7},
		Status: dcs.Status{Optime: 0x140000060},
	}
}

// primary is the leader's status at the instant, with everything well.
func primary(now clock.Instant) *Status {
	cluster := twoMembers()
	cluster.Status.Optime = 5368709120 // where both are
	return &Status{
		At: now, Scope: "shop", Name: "db1", State: postgres.StateRunning, Role: postgres.RolePrimary,
		Server: &Facts{
			PostmasterStart: time.Date(2031, 2, 3, 4, 5, 6, 789012000, time.UTC), Version: 170005, Timeline: 3, Location: 5368709120,
		},
		Cluster: cluster, DCSLastSeen: time.Unix(1927958706, 0), Config: tlsDefaults(),
		LeaseUntil: now.Add(30 * time.Second), NextTick: now.Add(10 * time.Second), SystemID: "7500000000000000001",
	}
}

// replica is a streaming standby's status.
func replica(now clock.Instant) *Status {
	s := primary(now)
	s.Name, s.Role, s.LeaseUntil = "db2", postgres.RoleReplica, 0
	s.Server = &Facts{
		PostmasterStart: time.Date(2031, 2, 3, 4, 6, 0, 100000000, time.UTC), Version: 170005, InRecovery: true, Timeline: 3,
		Received: 5368709120, Replayed: 5368709120, ReplayedAt: time.Date(2031, 2, 3, 9, 0, 0, 1000, time.UTC),
		ReplicationState: "streaming", UpstreamEnd: 5368709120,
	}
	return s
}

// start runs a server for the agent on a port of its own.
func start(t *testing.T, a *testAgent, change func(*Options)) (*Server, string) {
	t.Helper()
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	o := Options{
		Config: config.RestAPI{Listen: "127.0.0.1:0"}, Backend: a, Clock: clock.System{},
		Log: quiet(), Version: "0.1.0",
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, "http://" + s.Addr().String()
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// ask sends one request and returns code and body.
func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
