package rest

import (
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

func TestParseRestart(t *testing.T) {
	const timeoutText = "Timeout should be a positive number of seconds"
	for _, tc := range []struct {
		body   string
		paused bool
		code   int
		text   string
	}{
		{`{}`, true, 0, ""},
		{`{"role": "leader", "schedule": null}`, true, 500, "Can't schedule restart in the paused state"},
		{`{"schedule": "2031-01-01T13:00"}`, false, 400, "Timezone information is mandatory for the scheduled restart"},
		{`{"schedule": "2031-01-01T10:00+00"}`, false, 422, "Cannot schedule restart in the past"},
		{`{"schedule": ""}`, false, 422, "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"},
		{`{"schedule": null}`, false, 422, "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"},
		{`{"schedule": "2031-01-01 13:00 UTC", "role": "replica"}`, false, 0, ""},
		{`{"role": "leader"}`, false, 400, "PostgreSQL role should be either primary, standby_leader, or replica"},
		{`{"role": "master"}`, false, 400, "PostgreSQL role should be either primary, standby_leader, or replica"},
		{`{"postgres_version": "9.6"}`, false, 400, "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 9.6"},
		{`{"postgres_version": "15"}`, false, 400, "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 15"},
		{`{"postgres_version": "15.x"}`, false, 400, "Invalid PostgreSQL version: 15.x"},
		{`{"postgres_version": 15.2}`, false, 400, "Invalid PostgreSQL version: 15.2 is not a text"},
		{`{"postgres_version": "9.6.24"}`, false, 0, ""},
		{`{"timeout": 0}`, false, 400, timeoutText},
		{`{"timeout": null}`, false, 400, timeoutText},
		{`{"timeout": true}`, false, 400, timeoutText},
		{`{"timeout": "1minute"}`, false, 400, timeoutText},
		{`{"unknown": 1, "role": "leader"}`, false, 400, "Unknown filter for the scheduled restart: unknown"},
		{`{"role": "leader", "unknown": 1}`, false, 400, "PostgreSQL role should be either primary, standby_leader, or replica"},
	} {
		_, refusal := parseRestart(document(t, tc.body), tc.paused, noon)
		checkRefusal(t, tc.body, refusal, tc.code, tc.text)
	}
	got, _ := parseRestart(document(t, `{"timeout": "1min", "restart_pending": false, "postgres_version": "15.3"}`), false, noon)
	if want := (RestartRequest{Timeout: time.Minute, PostgresVersion: "15.3"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestRestartUnmet(t *testing.T) {
	for _, tc := range []struct {
		request RestartRequest
		unmet   bool
	}{
		{RestartRequest{}, false},
		{RestartRequest{Role: "replica"}, false},
		{RestartRequest{Role: "primary"}, true},
		{RestartRequest{PostgresVersion: "15.19"}, false},
		{RestartRequest{PostgresVersion: "15.18"}, true},
		{RestartRequest{RestartPending: true}, true},
	} {
		if got := tc.request.Unmet(postgres.RoleReplica, 150018, false); (got != "") != tc.unmet {
			t.Errorf("%+v: %q", tc.request, got)
		}
	}
}

func TestOperations(t *testing.T) {
	unled := twoMembers()
	unled.Leader = nil
	scheduled := twoMembers()
	scheduled.Failover, scheduled.FailoverRevision = &dcs.Failover{Leader: "db1", ScheduledAt: noon}, 9

	onReplica := func(a *testAgent) { a.status = replica(clock.Now()) }
	failsafe := func(a *testAgent) { onReplica(a); a.status.Config.FailsafeMode = true }
	const notice = `{"name": "db1", "conn_url": "postgres://db1/", "api_url": "http://db1/", "slots": {"db2": 42}}`

	for _, tc := range []struct {
		name, method, path, body string
		change                   func(*testAgent)
		result                   Result
		code                     int
		text                     string
		asked                    Request
	}{
		{"reload", "POST", "/reload", "", nil, Result{}, 202, "reload scheduled", ReloadRequest{}},
		{"sigterm", "POST", "/sigterm", "", nil, Result{}, 202, "shutdown scheduled", nil},
		{"restart without body", "POST", "/restart", "", nil, RestartDone, 200, "restarted successfully", RestartRequest{}},
		{"restart, busy", "POST", "/restart", "{}", nil, InProgress("reinitialize"), 503, "reinitialize already in progress", RestartRequest{}},
		{"restart, DCS lost", "POST", "/restart", "", func(a *testAgent) { a.dcsErr = errors.New("gone") }, RestartDone, 503, "DCS is not accessible", nil},
		{"delete restart", "DELETE", "/restart", "", nil, NoRestartScheduled, 404, "no restarts are scheduled", CancelRestartRequest{}},
		{"reinitialize", "POST", "/reinitialize", `{"force": "yes", "from-leader": 1}`, onReplica, ReinitStarted, 200, "reinitialize started", ReinitRequest{Force: true, FromLeader: true}},
		{"reinitialize the leader", "POST", "/reinitialize", "", nil, ReinitStarted, 503, "I am the leader, can not reinitialize", nil},
		{"reinitialize, no leader", "POST", "/reinitialize", "", func(a *testAgent) { a.cluster = unled }, ReinitStarted, 503, "Cluster has no leader, can not reinitialize", nil},
		{"reinitialize, bad body", "POST", "/reinitialize", `[1]`, onReplica, ReinitStarted, 400, "", nil},
		{"failsafe", "POST", "/failsafe", notice, failsafe, FailsafeAccepted(77), 200, "Accepted", FailsafeRequest{"db1", "postgres://db1/", "http://db1/", map[string]postgres.LSN{"db2": 42}, 0}},
		{"failsafe, off", "POST", "/failsafe", notice, onReplica, Result{}, 502, "", nil},
		{"failsafe, key missing", "POST", "/failsafe", `{"name": "db1"}`, failsafe, Result{}, 400, "", nil},
		{"failsafe on a primary", "POST", "/failsafe", `{"any": 1}`, func(a *testAgent) { a.status.Config.FailsafeMode = true }, Result{}, 500, "Running as a leader", nil},
		{"mpp", "POST", "/mpp", `{"a": 1}`, nil, Result{}, 200, "OK", nil},
		{"delete switchover", "DELETE", "/switchover", "", func(a *testAgent) { a.cluster = scheduled }, Result{}, 200, "scheduled switchover deleted", ClearFailoverRequest{9}},
		{"delete switchover, conflict", "DELETE", "/switchover", "", func(a *testAgent) { a.cluster = scheduled }, Result{Err: dcs.ErrConflict}, 409, "", ClearFailoverRequest{9}},
		{"delete switchover, none", "DELETE", "/switchover", "", nil, Result{}, 404, "no switchover is scheduled", nil},
		{"delete failover", "DELETE", "/failover", "", nil, Result{}, 501, "", nil},
		{"post config", "POST", "/config", "{}", nil, Result{}, 501, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &testAgent{status: primary(clock.Now()), cluster: twoMembers(), do: func(Request) Result { return tc.result }}
			if tc.change != nil {
				tc.change(a)
			}
			_, url := start(t, a, nil)
			code, text := ask(t, tc.method, url+tc.path, tc.body)
			if code != tc.code || tc.text != "" && text != tc.text {
				t.Errorf("%d %q, want %d %q", code, text, tc.code, tc.text)
			}
			var want []Request
			if tc.asked != nil {
				want = []Request{tc.asked}
			}
			if got := a.seen(); !reflect.DeepEqual(got, want) {
				t.Errorf("the agent was asked %+v, want %+v", got, want)
			}
		})
	}
}

// TestConfig: PATCH and PUT by rest-api.md section 7, and a GET right after
// a write shows what was written.
func TestConfig(t *testing.T) {
	const stored = `{"ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB"}}, "loop_wait": 10}`
	for _, tc := range []struct {
		name, method, body string
		change             func(*testAgent)
		code               int
		text               string
		written            *ConfigRequest
		wakes              bool
	}{
		{"merge", "PATCH", `{"loop_wait": null, "postgresql": {"parameters": {"a": null, "jit": false}}, "pause": true}`, nil, 200,
			`{"ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB", "jit": false}}, "pause": true}`,
			&ConfigRequest{[]byte(`{"ttl":30,"postgresql":{"parameters":{"work_mem":"8MB","jit":false}},"pause":true}`), dcs.Guard{Revision: 7}}, true},
		{"same text is no change", "PATCH", `{"ttl": "30"}`, nil, 200, stored, nil, true},
		{"conflict", "PATCH", `{"ttl": 40}`, func(a *testAgent) { a.do = func(Request) Result { return Result{Err: dcs.ErrConflict} } }, 409, "",
			&ConfigRequest{[]byte(`{"ttl":40,"postgresql":{"parameters":{"work_mem":"8MB"}},"loop_wait":10}`), dcs.Guard{Revision: 7}}, false},
		{"no configuration", "PATCH", `{"ttl": 40}`, func(a *testAgent) { a.cluster.Config = nil }, 503, "", nil, false},
		{"empty object", "PATCH", `{}`, nil, 400, "", nil, false},
		{"no object", "PATCH", `[1]`, nil, 400, "", nil, false},
		{"replace", "PUT", `{"z": 1, "a": {"b": null}}`, nil, 200, `{"z": 1, "a": {"b": null}}`, &ConfigRequest{[]byte(`{"z":1,"a":{"b":null}}`), dcs.Guard{}}, false},
		{"replace by the same", "PUT", `{"loop_wait": "10", "ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB"}}}`, nil, 200, "", nil, false},
		{"replace fails", "PUT", `{"z": 1}`, func(a *testAgent) { a.do = func(Request) Result { return Result{Err: dcs.ErrUnavailable} } }, 502, "", &ConfigRequest{[]byte(`{"z":1}`), dcs.Guard{}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &testAgent{status: primary(clock.Now()), cluster: twoMembers()}
			if tc.change != nil {
				tc.change(a)
			}
			_, url := start(t, a, nil)
			code, text := ask(t, tc.method, url+"/config", tc.body)
			if code != tc.code || tc.text != "" && text != tc.text {
				t.Errorf("%d %s, want %d %s", code, text, tc.code, tc.text)
			}
			var want []Request
			if tc.written != nil {
				want = append(want, *tc.written)
			}
			if tc.wakes {
				want = append(want, WakeRequest{})
			}
			if got := a.seen(); !reflect.DeepEqual(got, want) {
				t.Errorf("the agent was asked %s, want %s", got, want)
			}
			// The published view still has the old document.
			shown := stored
			if tc.written != nil && code == 200 {
				shown = tc.text
			}
			if _, text := ask(t, http.MethodGet, url+"/config", ""); text != shown {
				t.Errorf("GET after it: %s, want %s", text, shown)
			}
		})
	}
}

// TestConfigOfOthersWins: a newer revision in the published view ends the
// memory of our own write.
func TestConfigOfOthersWins(t *testing.T) {
	a := &testAgent{status: primary(clock.Now()), cluster: twoMembers()}
	_, url := start(t, a, nil)
	ask(t, http.MethodPatch, url+"/config", `{"ttl": 40}`)
	newer := *a.Snapshot()
	view := *newer.Cluster
	view.Config = &dcs.Config{Raw: []byte(`{"ttl":50}`), Valid: true, Revision: 12}
	newer.Cluster = &view
	a.mu.Lock()
	a.status = &newer
	a.mu.Unlock()
	if _, text := ask(t, http.MethodGet, url+"/config", ""); text != `{"ttl": 50}` {
		t.Errorf("GET: %s", text)
	}
}

// TestConfigKeyMissing: nothing to show is a bare 502; PATCH has nothing to
// change; PUT makes the key (sections 6.4 and 7).
func TestConfigKeyMissing(t *testing.T) {
	for name, key := range map[string]*dcs.Config{"missing": nil, "damaged": {Raw: []byte(`{"ttl": 10`), Revision: 8}} {
		a := &testAgent{status: primary(clock.Now()), cluster: twoMembers()}
		a.cluster.Config = key
		view := *a.status.Cluster
		view.Config = key
		a.status.Cluster = &view
		_, url := start(t, a, nil)
		for _, step := range []struct {
			method, body string
			code         int
		}{{"GET", "", 502}, {"PATCH", `{"ttl": 40}`, 503}, {"PUT", `{"ttl": 40}`, 200}, {"GET", "", 200}} {
			if code, text := ask(t, step.method, url+"/config", step.body); code != step.code {
				t.Errorf("%s: %s: %d %s, want %d", name, step.method, code, text, step.code)
			}
		}
		if got := a.seen(); len(got) != 1 || !reflect.DeepEqual(got[0], ConfigRequest{[]byte(`{"ttl":40}`), dcs.Guard{}}) {
			t.Errorf("%s: the agent was asked %s", name, got)
		}
	}
}
