package rest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
)

func well() *testAgent {
	return &testAgent{status: primary(clock.Now()), cluster: twoMembers()}
}

// raw sends bytes as they are and returns everything until the server closes
// or the time is over.
func raw(t *testing.T, url, request string) (answer string, closed bool) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	text, err := io.ReadAll(conn)
	return string(text), err == nil
}

func TestWire(t *testing.T) {
	_, url := start(t, well(), func(o *Options) {
		o.Config.HTTPExtraHeaders = map[string]string{"X-Frame-Options": "DENY"}
		o.Config.ServerTokens = "Minimal"
	})
	for _, tc := range []struct {
		name, request, first string
		has, not             []string
		closed               bool
	}{
		{"HTTP/1.1 stays", "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK",
			[]string{"Server: Patroni/4.1.5", "X-Frame-Options: DENY", "Content-Type: application/json\r\n", "Content-Length: ", `{"state": "running"`}, nil, false},
		{"HTTP/1.0 closes", "GET /primary HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", []string{"Connection: close"}, nil, true},
		{"HTTP/1.0 closes even when asked not to", "GET /primary HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.0 200 OK", nil, nil, true},
		{"OPTIONS, as HAProxy's default check", "OPTIONS / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", []string{"Content-Length: 0"}, []string{"Content-Type", "state"}, true},
		{"HEAD", "HEAD /replica HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 Service Unavailable", []string{"Content-Length: 0"}, []string{"Content-Type"}, false},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503", nil, nil, false},
		{"HEAD liveness", "HEAD /liveness HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", []string{"Content-Length: 0"}, nil, false},
		{"OPTIONS readiness", "OPTIONS /readiness HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", []string{"Content-Length: 0"}, nil, false},
		{"GET liveness has no body", "GET /liveness HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", []string{"Content-Length: 0"}, []string{"Content-Type"}, false},
		{"unknown path is never 404", "GET /nosuch HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503", []string{`"role": "primary"`}, nil, false},
		{"only POST has it", "GET /restart HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503", []string{`"role": "primary"`}, nil, false},
		{"rest of the path is ignored", "GET /cluster/anything?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200", []string{`{"members"`}, nil, false},
		{"double slashes", "GET //patroni HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200", []string{`"role": "primary"`}, nil, false},
		{"semicolon", "GET /primary;x=1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200", nil, nil, false},
		{"absolute URL", "GET http://other/leader?x HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200", nil, nil, false},
		{"not decoded", "GET /%70rimary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503", nil, nil, false},
		{"method in lower case", "get /primary HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 501", []string{"Unsupported method ('get')", "501 - Server does not support this operation."}, []string{"X-Frame-Options"}, true},
		{"unknown POST", "POST /nosuch HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 501", []string{"text/html;charset=utf-8"}, nil, true},
		{"POST without length", "POST /switchover HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 411 Length Required", []string{"Connection: close", "411 - Client must specify Content-Length."}, nil, true},
		{"chunked", "POST /switchover HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "HTTP/1.1 411", nil, nil, true},
		{"bad JSON", "POST /switchover HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{a}", "HTTP/1.1 400 Bad Request", nil, nil, true},
		{"text behind JSON", "PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{\"a\": 1} x", "HTTP/1.1 400 Bad Request", nil, nil, true},
		{"plain text is text/html", "POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 202 Accepted", []string{"Content-Type: text/html\r\n", "\r\n\r\nreload scheduled"}, nil, false},
		{"too large", fmt.Sprintf("PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", maxBody+1, strings.Repeat(" ", maxBody+1)), "HTTP/1.1 413", nil, nil, true},
		{"two requests on one connection", "GET /leader HTTP/1.1\r\nHost: x\r\n\r\nGET /replica HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200", []string{"HTTP/1.1 503"}, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // most of the time is waiting whether the server closes
			got, closed := raw(t, url, tc.request)
			if !strings.HasPrefix(got, tc.first) {
				t.Errorf("answer %.200q, want %q", got, tc.first)
			}
			for _, part := range tc.has {
				if !strings.Contains(got, part) {
					t.Errorf("%q is missing in %.600q", part, got)
				}
			}
			for _, part := range tc.not {
				if strings.Contains(got, part) {
					t.Errorf("%q is in %.600q", part, got)
				}
			}
			if closed != tc.closed {
				t.Errorf("connection closed: %v, want %v", closed, tc.closed)
			}
		})
	}
}

// TestLockChecksNeverAsk: an old snapshot is good enough for the leader key's
// questions, and is renewed for the others.
func TestLockChecksNeverAsk(t *testing.T) {
	a := well()
	a.status.At = 1 // long ago
	_, url := start(t, a, nil)
	for _, path := range []string{"/", "/primary", "/leader", "/standby-leader", "/read-write", "/liveness", "/readiness"} {
		ask(t, http.MethodGet, url+path, "")
		if a.refreshed != 0 {
			t.Fatalf("GET %s asked PostgreSQL", path)
		}
	}
	ask(t, http.MethodGet, url+"/replica", "")
	ask(t, http.MethodGet, url+"/read-only", "")
	if a.refreshed != 1 {
		t.Errorf("two checks within a second asked PostgreSQL %d times, want once", a.refreshed)
	}
}

// TestSilentClients: clients that connect and say nothing, more than there
// are places, do not keep others out.
func TestSilentClients(t *testing.T) {
	const places = 8
	_, url := start(t, well(), func(o *Options) { o.MaxConnections = places })
	for range 3 * places {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if code, _ := ask(t, http.MethodGet, url+"/primary", ""); code != 200 {
		t.Errorf("GET /primary: %d", code)
	}
}

// TestSlowBody: a body that never ends is given up, and its connection closed.
func TestSlowBody(t *testing.T) {
	_, url := startWith(t, 200*time.Millisecond)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if resp.StatusCode != 400 || !resp.Close {
		t.Errorf("%d, close %v", resp.StatusCode, resp.Close)
	}
}

// startWith runs a server that gives clients that long to send a request.
func startWith(t *testing.T, patience time.Duration) (*Server, string) {
	t.Helper()
	a := well()
	a.changed = make(chan struct{})
	s, err := New(Options{Config: config.RestAPI{Listen: "127.0.0.1:0"}, Backend: a, Clock: clock.System{}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	s.http.ReadTimeout = patience
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s, "http://" + s.Addr().String()
}

// TestLongRequestOutlivesReading: a restart without body may take longer than
// reading a request may.
func TestLongRequestOutlivesReading(t *testing.T) {
	s, url := startWith(t, 200*time.Millisecond)
	a := s.backend.(*testAgent)
	ended := make(chan error, 1)
	a.do = func(Request) Result { <-ended; return RestartDone }
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() {
			select {
			case <-r.Context().Done():
				ended <- r.Context().Err()
			case <-time.After(600 * time.Millisecond):
				ended <- nil
			}
		}()
		s.ServeHTTP(w, r)
		if r.Context().Err() != nil {
			t.Error("the request's context ended with the time for reading")
		}
	})
	if code, text := ask(t, http.MethodPost, url+"/restart", ""); code != 200 {
		t.Errorf("%d %s", code, text)
	}
}

func TestMove(t *testing.T) {
	s, url := start(t, well(), nil)
	old := s.Addr().String()
	_, port, _ := net.SplitHostPort(old)

	if err := s.Reconfigure(context.Background(), config.RestAPI{Listen: "192.0.2.1:1"}); err == nil {
		t.Error("an address of another machine was accepted")
	}
	if code, _ := ask(t, http.MethodGet, url+"/primary", ""); code != 200 {
		t.Error("the old address is gone after a bad one")
	}
	// The same port on all addresses: only possible once the old socket is closed.
	if err := s.Reconfigure(context.Background(), config.RestAPI{Listen: "*:" + port}); err != nil {
		t.Fatal(err)
	}
	if code, _ := ask(t, http.MethodGet, url+"/primary", ""); code != 200 {
		t.Error("no answer on the widened address")
	}
	for range 5 { // moves in a row must not leave Serve waiting for a socket nobody closes
		if err := s.Reconfigure(context.Background(), config.RestAPI{Listen: "127.0.0.1:0"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Reconfigure(context.Background(), config.RestAPI{Listen: "localhost:0"}); err != nil {
			t.Fatal(err)
		}
	}
	if code, _ := ask(t, http.MethodGet, "http://"+s.Addr().String()+"/primary", ""); code != 200 {
		t.Error("no answer on the new address")
	}
	if conn, err := net.Dial("tcp", old); err == nil {
		conn.Close()
		t.Error("the old address still accepts")
	}
}

func TestBadAddress(t *testing.T) {
	_, err := New(Options{Config: config.RestAPI{Listen: "8008"}, Backend: well(), Clock: clock.System{}, Log: quiet()})
	want := `Invalid "restapi" config: expected <HOST>:<PORT> for "listen", but got "8008"`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestReads(t *testing.T) {
	a := well()
	a.status.Failsafe = map[string]string{"db2": "http://b/patroni", "db1": "http://a/patroni"}
	a.status.Cluster.History = []dcs.HistoryRow{{Timeline: 1, Switch: 5, Reason: "r"}}
	_, url := start(t, a, nil)
	for path, want := range map[string]string{
		"/failsafe": `{"db1": "http://a/patroni", "db2": "http://b/patroni"}`,
		"/history":  `[[1, 5, "r"]]`,
		"/config":   `{"ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB"}}, "loop_wait": 10}`,
	} {
		if code, text := ask(t, http.MethodGet, url+path, ""); code != 200 || text != want {
			t.Errorf("GET %s: %d %s, want %s", path, code, text, want)
		}
	}
	gone := *a.Snapshot()
	gone.Cluster, gone.Failsafe = nil, nil
	a.mu.Lock()
	a.status, a.dcsErr = &gone, dcs.ErrUnavailable
	a.mu.Unlock()
	for path, want := range map[string]int{"/failsafe": 502, "/history": 503, "/config": 503, "/cluster": 503, "/patroni": 200, "/metrics": 200} {
		if code, _ := ask(t, http.MethodGet, url+path, ""); code != want {
			t.Errorf("without DCS: GET %s: %d, want %d", path, code, want)
		}
	}
}

func TestOwnRoute(t *testing.T) {
	_, url := start(t, well(), func(o *Options) {
		o.Own = []Route{{Method: http.MethodGet, Path: "/pgha/v1/why", Handle: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "because")
		}}}
	})
	if code, text := ask(t, http.MethodGet, url+"/pgha/v1/why?n=1", ""); code != 200 || text != "because" {
		t.Errorf("%d %s", code, text)
	}
	if code, _ := ask(t, http.MethodGet, url+"/pgha/v1/other", ""); code != 503 {
		t.Errorf("another path: %d", code)
	}
}

// frozenAgent never learns anything new, as with a stopped PostgreSQL.
type frozenAgent struct{ testAgent }

func (a *frozenAgent) Refresh(context.Context, time.Duration) *Status { return a.Snapshot() }

// TestFrozenPostgres: what PostgreSQL said long ago does not keep a replica
// in the load balancer, and does not take the leader out of it.
func TestFrozenPostgres(t *testing.T) {
	a := &frozenAgent{testAgent{status: replica(clock.Now()), cluster: twoMembers(), changed: make(chan struct{})}}
	a.status.At = clock.Now().Add(-time.Minute)
	a.status.LeaseUntil = clock.Now().Add(time.Minute)
	_, url := start(t, &a.testAgent, func(o *Options) { o.Backend = a })
	for path, want := range map[string]int{"/health": 503, "/replica": 503, "/primary": 200, "/patroni": 200} {
		code, body := ask(t, http.MethodGet, url+path, "")
		if code != want {
			t.Errorf("GET %s: %d, want %d", path, code, want)
		}
		if path != "/primary" && !strings.HasPrefix(body, `{"state": "unknown", "role": "replica", "dcs_last_seen"`) {
			t.Errorf("GET %s: %s", path, body)
		}
	}
}

// TestPanic: one broken handler is one bad answer.
func TestPanic(t *testing.T) {
	a := well()
	a.do = func(Request) Result { panic("broken") }
	_, url := start(t, a, nil)
	if code, _ := ask(t, http.MethodPost, url+"/reload", ""); code != 500 {
		t.Errorf("%d", code)
	}
	if code, _ := ask(t, http.MethodGet, url+"/primary", ""); code != 200 {
		t.Errorf("afterwards: %d", code)
	}
}

// A refusal leaves the body unread; the client must get it all the same, on
// connections that it wants to keep.
func TestRefusalWithABodyIsDelivered(t *testing.T) {
	_, url := start(t, well(), func(o *Options) { o.Config.Username, o.Config.Password = "u", "p" })
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	for i := range 300 {
		answer, err := client.Post(url+"/switchover", "application/json", strings.NewReader(`{"leader": "db1"}`))
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%s", answer.Status)
		}
	}
}

// TestRequestLog is the line at level DEBUG that rest-api.md section 1 asks for.
func TestRequestLog(t *testing.T) {
	var text lockedBuffer
	_, url := start(t, well(), func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ask(t, http.MethodGet, url+"/replica?lag=1", "")
	line := regexp.MustCompile(`level=DEBUG msg="API thread: 127\.0\.0\.1 - - \\"GET /replica\?lag=1 HTTP/1\.1\\" 503 - latency: \d+\.\d{3} ms"`)
	deadline := time.After(5 * time.Second)
	for !line.MatchString(text.String()) { // written behind the answer
		select {
		case <-deadline:
			t.Fatalf("log:\n%s", text.String())
		case <-time.After(time.Millisecond):
		}
	}
}

// lockedBuffer is a buffer that is written and read at the same time.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }
