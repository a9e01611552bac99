package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

func TestMarshal(t *testing.T) {
	o := &Object{}
	o.Set("z", 1)
	o.Set("a", []any{nil, true, "é\U0001F600\n\"\x7f", 1.0, 1e16, 0.00001, 1.5, json.Number("12")})
	o.Set("z", uint64(1<<63))
	o.Set("m", map[string]any{"b": []string{"x"}, "a": &Object{}})
	want := `{"z": 9223372036854775808, "a": [null, true, "\u00e9\ud83d\ude00\n\"\u007f", 1.0, 1e+16, 1e-05, 1.5, 12], "m": {"a": {}, "b": ["x"]}}`
	if got := string(Marshal(o)); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestParseSchedule(t *testing.T) {
	for _, tc := range []struct {
		text  string
		want  string // RFC 3339; empty: refused
		zoned bool
	}{
		{"2031-01-01T10:00+00", "2031-01-01T10:00:00Z", true},
		{"2031-01-01 10:00 UTC", "2031-01-01T10:00:00Z", true},
		{"2031-01-01T10:00:30.25+02:00", "2031-01-01T10:00:30.25+02:00", true},
		{"2031-01-01t10:00:30-0330", "2031-01-01T10:00:30-03:30", true},
		{"20310101T100000Z", "2031-01-01T10:00:00Z", true},
		{" 2031-01-01 10:00:00 +01:00 ", "2031-01-01T10:00:00+01:00", true},
		{"2031-01-01T10:00", "2031-01-01T10:00:00Z", false},
		{"2031-01-01", "2031-01-01T00:00:00Z", false},
		{"2031-02-30T10:00Z", "", false},
		{"2031-01-01T25:00Z", "", false},
		{"tomorrow", "", false},
		{"", "", false},
	} {
		got, zoned, err := ParseSchedule(tc.text)
		if (err == nil) != (tc.want != "") || zoned != tc.zoned || err == nil && got.Format(time.RFC3339Nano) != tc.want {
			t.Errorf("%q: %v, %v, %v", tc.text, got, zoned, err)
		}
	}
}

func TestParsePeer(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		bad        bool
		check      func(PeerStatus) bool
	}{
		{"a primary of old times", `{"role": "master", "xlog": {"location": 67108960}}`, false, func(p PeerStatus) bool {
			return p.Role == postgres.RolePrimary && !p.InRecovery && p.Location == 67108960 && p.Timeline == 0
		}},
		{"wal instead of xlog, text for numbers", `{"role": "replica", "wal": {"received_location": "20", "replayed_location": 30}, "timeline": "4"}`, false, func(p PeerStatus) bool {
			return p.InRecovery && p.Location == 30 && p.Received == 20 && p.Timeline == 4
		}},
		{"wrong types read as absent", `{"role": 5, "xlog": {"received_location": null, "replayed_location": -1}, "tags": [], "timeline": null, "pgha": 1}`, false, func(p PeerStatus) bool {
			return p.InRecovery && p.Location == 0 && p.Tags == nil && p.Pgha == nil
		}},
		{"flags", `{"role": "replica", "xlog": {}, "watchdog_failed": true, "pause": true, "failsafe_mode_is_active": true, "pgha": {"version": "1", "lease_held": true}}`, false, func(p PeerStatus) bool {
			return p.WatchdogFailed && p.Pause && p.FailsafeActive && p.Pgha.LeaseHeld
		}},
		{"no position", `{"state": "stopped", "role": "replica"}`, true, nil},
		{"no object", `[1]`, true, nil},
		{"null", `null`, true, nil},
		{"a page", `<html>`, true, nil},
	} {
		p, err := ParsePeer([]byte(tc.body))
		if (err != nil) != tc.bad || err == nil && !tc.check(p) {
			t.Errorf("%s: %+v, %v", tc.name, p, err)
		}
	}
}

func FuzzParsePeer(f *testing.F) {
	f.Add([]byte(`{"role": "replica", "xlog": {"received_location": 1}, "tags": {"failover_priority": "x"}}`))
	f.Fuzz(func(_ *testing.T, body []byte) {
		p, _ := ParsePeer(body)
		p.NoFailover()
		p.FailoverPriority()
	})
}

func TestDocuments(t *testing.T) {
	var c Cluster
	text := `{"members": [{"name": "a", "role": "leader", "state": "running", "api_url": null, "port": 5432, "timeline": 3}, {"name": "b", "lag": "unknown", "receive_lag": 16, "lsn": "0/1"}], "pause": true, "scope": "s"}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if b := c.Members[1]; b.Lag.Known || b.ReceiveLag != (Lag{16, true}) || c.Members[0].Lag.Known || !c.Pause || c.Members[0].Timeline != 3 {
		t.Errorf("%+v", c)
	}
	var rows []HistoryRow
	if err := json.Unmarshal([]byte(`[[1, 5, "r"], [2, 6, "r", "2031-01-01T00:00:00+00:00", "db"]]`), &rows); err != nil {
		t.Fatal(err)
	}
	if rows[0] != (HistoryRow{Timeline: 1, Switch: 5, Reason: "r"}) || rows[1].NewLeader != "db" {
		t.Errorf("%+v", rows)
	}
	if json.Unmarshal([]byte(`[[1, 5]]`), &rows) == nil {
		t.Error("a row of two was read")
	}
}

func TestDo(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintf(w, "%s %s %s:%s %s %s", r.Method, r.URL, user, password, body, r.UserAgent())
	}))
	defer srv.Close()
	c := NewClient(ClientOptions{Username: "u", Password: "p", UserAgent: "pgha/1"})
	defer c.CloseIdle()
	a, err := c.Do(context.Background(), http.MethodPost, srv.URL+"/patroni", "switchover?x=1", Switchover{Leader: "a"})
	if err != nil || a.Code != http.StatusConflict || a.Text() != `POST /switchover?x=1 u:p {"leader":"a"} pgha/1` {
		t.Errorf("%d %s, %v", a.Code, a.Text(), err)
	}
	for _, bad := range []string{"", "ftp://x/", "http://", "%"} {
		if _, err := c.Do(context.Background(), http.MethodGet, bad, "x", nil); !errors.Is(err, ErrNoURL) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestOnlyConnectingIsRepeated: a request whose connection broke after it was
// sent may have been acted upon.
func TestOnlyConnectingIsRepeated(t *testing.T) {
	var arrived, retried atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived.Add(1)
		panic(http.ErrAbortHandler)
	}))
	c := NewClient(ClientOptions{ConnectRetries: 3, Retrying: func(string, error) { retried.Add(1) }})
	if _, err := c.Do(context.Background(), http.MethodPost, srv.URL, "restart", nil); err == nil || arrived.Load() != 1 || retried.Load() != 0 {
		t.Errorf("arrived %d times, repeated %d times, %v", arrived.Load(), retried.Load(), err)
	}
	srv.Close()
	if _, err := c.Do(context.Background(), http.MethodPost, srv.URL, "restart", nil); err == nil || retried.Load() != 3 {
		t.Errorf("connecting was repeated %d times, %v", retried.Load(), err)
	}
}

// A machine that is off answers no connection: all tries together take the
// time given for connecting (contract: ctl.md section 10 item 2).
func TestConnectingIsBounded(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	for { // until the queue is full and connecting meets silence
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	c := NewClient(ClientOptions{ConnectTimeout: 300 * time.Millisecond, ConnectRetries: 3, Timeout: time.Minute})
	began := time.Now()
	_, err = c.Do(t.Context(), http.MethodGet, "http://"+address, "patroni", nil)
	if took := time.Since(began); err == nil || took > 5*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
}

func member(name, url string) dcs.Member {
	return dcs.Member{Name: name, MemberData: dcs.MemberData{APIURL: url}}
}

// TestAskAll: a dead leader is waited for only a moment once all others have
// answered; a slow other is waited for.
func TestAskAll(t *testing.T) {
	silent := make(chan struct{})
	mute := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-silent:
		case <-r.Context().Done():
		}
	}))
	defer mute.Close()
	defer close(silent)
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"role": "replica", "xlog": {"received_location": 7}}`)
	}))
	defer good.Close()
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		fmt.Fprint(w, `{"role": "primary", "xlog": {"location": 9}}`)
	}))
	defer failing.Close()
	c := NewClient(ClientOptions{})
	defer c.CloseIdle()

	began := time.Now()
	got := c.AskAll(context.Background(), []dcs.Member{member("dead", mute.URL), member("b", good.URL), member("c", failing.URL), member("none", "")},
		Ask{Dead: "dead", PerPeer: 30 * time.Second, Grace: 50 * time.Millisecond})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the dead member was waited for %v", took)
	}
	if got[0].Reachable() || got[0].Name != "dead" || got[1].Location != 7 || got[2].Code != 503 || got[2].InRecovery || !errors.Is(got[3].Err, ErrNoURL) {
		t.Errorf("%+v", got)
	}

	began = time.Now()
	got = c.AskAll(context.Background(), []dcs.Member{member("slow", mute.URL), member("b", good.URL)},
		Ask{Dead: "b", PerPeer: 300 * time.Millisecond, Grace: time.Millisecond})
	if took := time.Since(began); took < 300*time.Millisecond || got[0].Reachable() || !got[1].Reachable() {
		t.Errorf("after %v: %+v", took, got)
	}
	if got := c.AskAll(context.Background(), nil, Ask{}); len(got) != 0 {
		t.Errorf("nobody: %+v", got)
	}
}

func TestPostFailsafe(t *testing.T) {
	var tries atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.URL.Path != "/failsafe" || !strings.Contains(string(body), `"slots":{}`):
			w.WriteHeader(400)
		case tries.Add(1) == 1:
			panic(http.ErrAbortHandler)
		default:
			w.Header()["lsn"] = []string{"42"}
			fmt.Fprint(w, "Accepted")
		}
	}))
	defer srv.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, "Running as a leader")
	}))
	defer refusing.Close()
	c := NewClient(ClientOptions{Timeout: 2 * time.Second})
	body := Failsafe{Name: "db1", ConnURL: "postgres://x", APIURL: "http://x"}
	if a := c.PostFailsafe(context.Background(), "db2", srv.URL+"/patroni", body); !a.Accepted || a.LSN != 42 || a.Err != nil {
		t.Errorf("%+v", a)
	}
	if a := c.PostFailsafe(context.Background(), "db2", refusing.URL, body); a.Accepted || !a.Refused || a.Code != 500 {
		t.Errorf("%+v", a)
	}
	gone, _ := url.Parse(refusing.URL)
	gone.Host = "127.0.0.1:1"
	if a := c.PostFailsafe(context.Background(), "db2", gone.String(), body); a.Accepted || a.Refused || a.Err == nil {
		t.Errorf("%+v", a)
	}
}

// Times that operators write: what is read with a zone and written for the
// members is the same instant.
func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"2031-02-03T04:05:06+02:00", "20310203 0405 Z", "2031-02-03", "2031-02-03T04:05:06,123456789-0330", "2031-02-30T00:00Z",
		"2031-02-03T24:00Z", "2031-02-03T04:05:60Z", "2031-02-03T04:05+99:99", "soon", "2031-02-03T04:05:06 utc", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, zoned, err := ParseSchedule(text)
		if err != nil {
			if !at.IsZero() || zoned {
				t.Fatalf("%q: %v %v with %v", text, at, zoned, err)
			}
			return
		}
		written := FormatTime(at, 'T')
		again, zone, err := ParseSchedule(written)
		if err != nil || !zone || !again.Equal(at.Truncate(time.Microsecond)) {
			t.Fatalf("%q is %v, written %q, read %v %v", text, at, written, again, err)
		}
	})
}

// A member's address out of the DCS: a URL of that member, or none.
func FuzzEndpointURL(f *testing.F) {
	for _, s := range []string{"http://h:8008/patroni", "https://[::1]:8008", "http://u:p@h/x?y#z", "ftp://h", "//h", "http://", "\x00", "http://h:99999", "http://h%zz", "http://h\n:1/"} {
		f.Add(s, "switchover")
	}
	f.Fuzz(func(t *testing.T, apiURL, endpoint string) {
		target, err := endpointURL(apiURL, endpoint)
		if err != nil {
			if !errors.Is(err, ErrNoURL) {
				t.Fatalf("%q: %v", apiURL, err)
			}
			return
		}
		given, err := url.Parse(apiURL)
		if err != nil {
			t.Fatal(err)
		}
		if made, err := url.Parse(target); err == nil && made.Host != given.Host {
			t.Fatalf("%q with %q goes to %q", apiURL, endpoint, made.Host)
		}
	})
}
