package rest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// foreign is a server whose handlers are called directly, on a cluster of two
// where everything would be carried out.
func foreign(t testing.TB) (*Server, *testAgent) {
	t.Helper()
	a := &testAgent{status: primary(clock.Now()), cluster: twoMembers(), changed: make(chan struct{}), peers: []api.PeerStatus{{Name: "db2", Code: 200, State: postgres.StateRunning, Timeline: 3, Location: 0x140000060}}}
	a.status.Config.FailsafeMode = true
	a.do = func(r Request) Result {
		if f, is := r.(FailoverRequest); is && f.Failover.ScheduledAt.IsZero() {
			moved := twoMembers()
			moved.Leader = &dcs.Leader{Name: "db2"}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.cluster = moved
		}
		return Result{Code: http.StatusOK, Text: "done"}
	}
	s, err := New(Options{Config: config.RestAPI{Listen: "127.0.0.1:0"}, Backend: a, Clock: clock.System{}, Log: quiet(), Version: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	s.listener.Close() // the handlers are called directly
	return s, a
}

// send makes one request and returns the code, the answer and what the
// backend was asked to do. Wake-ups do nothing.
func (a *testAgent) send(s *Server, method, target, body string) (code int, text string, done []Request) {
	a.mu.Lock()
	a.requests, a.cluster = nil, twoMembers()
	a.mu.Unlock()
	r := httptest.NewRequest(method, "http://127.0.0.1:8008/", strings.NewReader(body))
	r.URL.Path, r.RequestURI, r.RemoteAddr = target, target, "127.0.0.1:40000"
	r.Header.Set("Content-Length", fmt.Sprint(len(body)))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	for _, request := range a.seen() {
		if _, wake := request.(WakeRequest); !wake {
			done = append(done, request)
		}
	}
	return w.Code, w.Body.String(), done
}

// endpoint is one that takes a body, with a body that it accepts.
type endpoint struct {
	method, path string
	body         map[string]any
	// free are the keys that take a value of any type, or none, by the contract
	// (truth values, texts that are optional).
	free []string
}

var endpoints = []endpoint{
	{"POST", "/switchover", map[string]any{"leader": "db1", "candidate": "db2"}, nil},
	{"POST", "/switchover", map[string]any{"leader": "db1", "candidate": "db2", "scheduled_at": "2131-02-03T04:05:06+00:00"}, nil},
	{"POST", "/failover", map[string]any{"candidate": "db2"}, nil},
	{"POST", "/restart", map[string]any{"schedule": "2131-02-03T04:05:06+00:00", "role": "primary", "postgres_version": "17.1", "timeout": 10, "restart_pending": true}, []string{"restart_pending"}},
	{"POST", "/failsafe", map[string]any{"name": "db1", "conn_url": "postgres://h:5432/x", "api_url": "http://h:8008/patroni", "slots": map[string]any{"a": 5}}, []string{"slots"}},
}

// wrong are values of types that no key but a truth value takes.
var wrong = []any{17, -1, 1.5, true, "", " ", "\x00", []any{}, []any{"db2"}, map[string]any{}, map[string]any{"a": nil}}

// A body with one key dropped or replaced by something of another type is
// refused, and nothing is done (contract: rest-api.md sections 9 to 12). What
// a key may lack or be is in the table above and below.
func TestMutatedBodiesAreRefused(t *testing.T) {
	s, a := foreign(t)
	// Absent, these keys have a meaning of their own.
	optional := []string{"candidate", "scheduled_at", "schedule", "role", "postgres_version", "timeout", "restart_pending", "slots"}
	// Empty, they count as absent.
	emptyIsAbsent := []string{"candidate", "scheduled_at"}
	for _, e := range endpoints {
		if e.path == "/failsafe" {
			a.status = replica(clock.Now())
			a.status.Config.FailsafeMode = true
		}
		if code, text, done := a.send(s, e.method, e.path, encoded(t, e.body)); code >= 300 || len(done) != 1 {
			t.Fatalf("%s %v as it should be: %d %s, %v", e.path, e.body, code, text, done)
		}
		refused := func(what string, body map[string]any) {
			t.Helper()
			code, text, done := a.send(s, e.method, e.path, encoded(t, body))
			if code < 400 || code >= 500 || len(done) != 0 {
				t.Errorf("%s, %s %s: %d %q, done %v", what, e.path, encoded(t, body), code, text, done)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(e.body)) {
			if !slices.Contains(optional, key) || e.path == "/failover" {
				without := maps.Clone(e.body)
				delete(without, key)
				refused("without "+key, without)
			}
			if slices.Contains(e.free, key) {
				continue
			}
			for _, value := range wrong {
				if key == "timeout" && (value == 17 || value == 1.5) || anyText(value) && key != "role" && key != "timeout" && key != "schedule" && key != "scheduled_at" && key != "postgres_version" ||
					value == "" && slices.Contains(emptyIsAbsent, key) && e.path != "/failover" {
					continue
				}
				changed := maps.Clone(e.body)
				changed[key] = value
				refused(fmt.Sprintf("%s as %T", key, value), changed)
			}
		}
		for _, body := range []string{"", "{}", "[]", "null", "5", `"x"`, "{", "{}{}", "\xff", strings.Repeat("[", 5000), strings.Repeat(" ", maxBody+1)} {
			code, text, done := a.send(s, e.method, e.path, body)
			if e.path == "/restart" && (body == "" || body == "{}") {
				continue // no filter: a restart
			}
			if code < 400 || code >= 500 || len(done) != 0 {
				t.Errorf("%s %.20q: %d %q, done %v", e.path, body, code, text, done)
			}
		}
	}
}

// anyText: each may be somebody's name, or an address.
func anyText(v any) bool { return v == " " || v == "\x00" }

func encoded(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Any method, path and body: an answer, no broken handler, and nothing done
// by a request that is answered as refused.
func FuzzRequests(f *testing.F) {
	for _, e := range endpoints {
		f.Add(e.method, e.path, []byte(encoded(f, e.body)))
		f.Add(e.method, e.path+"?x", []byte("{"))
	}
	for _, path := range []string{"/config", "/reinitialize", "/mpp", "/citus", "/reload", "/sigterm"} {
		f.Add("POST", path, []byte(`{"force":true,"from_leader":"x"}`))
		f.Add("PATCH", path, []byte(`{"ttl":null,"postgresql":{"parameters":{"a":1}}}`))
		f.Add("PUT", path, []byte(`{"a":[[],{}],"b":1e308}`))
		f.Add("DELETE", path, []byte(""))
	}
	for _, path := range []string{"/patroni", "/cluster", "/history", "/metrics", "/replica?lag=%zz", "/replica?lag=99999999999999999999GB&tag_a=b", "/%", "*", "//", "/asynchronous?lag=-1"} {
		f.Add("GET", path, []byte(nil))
		f.Add("OPTIONS", path, []byte(nil))
	}
	var once sync.Once
	var s *Server
	var a *testAgent
	f.Fuzz(func(t *testing.T, method, target string, body []byte) {
		once.Do(func() { s, a = foreign(t) })
		if method == "" || strings.ContainsAny(method, " \t\r\n/()<>@,;:\\\"[]?={}\x7f") || strings.IndexFunc(method, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			method = http.MethodPost
		}
		code, text, done := a.send(s, method, target, string(body))
		if strings.Contains(text, "internal error") {
			t.Fatalf("%s %q %q: %d %s", method, target, body, code, text)
		}
		if code >= 400 && len(done) > 0 {
			t.Fatalf("%s %q %q: %d %q, and yet done: %#v", method, target, body, code, text, done)
		}
	})
}
