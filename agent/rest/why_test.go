package rest

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/journal"
)

// GET /pgha/v1/why: protected as state changes are, bounded, and in nobody's
// way: other paths below /pgha are the health check that they always were.
func TestWhyRoute(t *testing.T) {
	dir := t.TempDir()
	w := journal.Start(journal.Options{Dir: dir, Member: "db1", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	for n := range 50 {
		w.Add(journal.Record{At: at.Add(time.Duration(n) * time.Second), Member: "db1", Kind: journal.KindOther, Code: "c"})
	}
	w.Close(t.Context())
	route := WhyRoute(WhyOptions{Member: "db1", Scope: "shop", Dir: dir, Lost: func() int { return 7 }, Clock: clock.System{}})
	_, url := start(t, well(), func(o *Options) { o.Own = []Route{route} })
	_, locked := start(t, well(), func(o *Options) {
		o.Own, o.Config.Username, o.Config.Password = []Route{route}, "u", "p"
	})
	for _, tc := range []struct {
		url, method, path string
		code, records     int
		text              string
	}{
		{url, "GET", "/pgha/v1/why", 200, 50, `"lost":7`},
		{url, "GET", "/pgha/v1/why?limit=3", 200, 3, `"cut":true`},
		{url, "GET", "/pgha/v1/why?since=2031-02-03T04:05:46Z", 200, 10, `"member":"db1"`},
		{url, "GET", "/pgha/v1/why?until=2031-02-03T05:05:10%2B01:00", 200, 5, `"scope":"shop"`},
		{url, "GET", "/pgha/v1/why?limit=0", 400, -1, "limit: "},
		{url, "GET", "/pgha/v1/why?since=yesterday", 400, -1, "RFC 3339 is expected"},
		{url, "GET", "/pgha/v1/whynot", 503, -1, `"role": "primary"`},
		{url, "GET", "/pgha", 503, -1, `"role": "primary"`},
		{locked, "GET", "/pgha/v1/why", 401, -1, "no auth header"},
	} {
		code, body := ask(t, tc.method, tc.url+tc.path, "")
		var a journal.Answer
		records := -1
		if code == 200 {
			if err := json.Unmarshal([]byte(body), &a); err != nil {
				t.Fatal(err)
			}
			records = len(a.Records)
		}
		if code != tc.code || records != tc.records || !strings.Contains(body, tc.text) {
			t.Errorf("%s: %d, %d records, %.300s", tc.path, code, records, body)
		}
	}
	broken := WhyRoute(WhyOptions{Dir: "/dev/null", Lost: func() int { return 0 }, Clock: clock.System{}})
	_, bad := start(t, well(), func(o *Options) { o.Own = []Route{broken} })
	if code, body := ask(t, "GET", bad+"/pgha/v1/why", ""); code != 500 || !strings.Contains(body, "cannot be read") {
		t.Errorf("an unreadable journal: %d %s", code, body)
	}
}

// What operators ask for is reported with the answer they got; strangers and
// members' own questions are not.
func TestChangesAreTold(t *testing.T) {
	var mu sync.Mutex
	var told []string
	hear := func(c Change) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, c.Method+" "+c.Path+" from "+c.Client+" ["+c.Asked+"] "+http.StatusText(c.Code)+": "+c.Answer)
	}
	a := well()
	a.peers = []api.PeerStatus{}
	_, url := start(t, a, func(o *Options) { o.Changes = hear })
	ask(t, "POST", url+"/reload", "")
	ask(t, "POST", url+"/switchover", `{"leader":"b"}`)
	ask(t, "POST", url+"/switchover", `{"leader":"nobody"}`)
	ask(t, "GET", url+"/config", "")
	ask(t, "GET", url+"/primary", "")
	ask(t, "POST", url+"/failsafe", `{"name":"x"}`)
	_, locked := start(t, well(), func(o *Options) { o.Changes, o.Config.Username, o.Config.Password = hear, "u", "p" })
	ask(t, "POST", locked+"/reload", "")
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 3 || told[0] != "POST /reload from 127.0.0.1 [] Accepted: reload scheduled" ||
		!slices.Contains(told, "POST /switchover from 127.0.0.1 [switchover from nobody to any member] Precondition Failed: leader name does not match") {
		t.Errorf("told:\n%s", strings.Join(told, "\n"))
	}
}
