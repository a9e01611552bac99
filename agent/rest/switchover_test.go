package rest

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
)

func document(t *testing.T, text string) config.Document {
	t.Helper()
	d, err := config.ParseDocument([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

var noon = time.Date(2031, 1, 1, 12, 0, 0, 0, time.UTC)

// TestWishChecks is the table of rest-api.md 10.2, checks 1 to 7.
func TestWishChecks(t *testing.T) {
	const (
		unparsable = "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"
		fine       = ""
	)
	for _, tc := range []struct {
		asked  action
		paused bool
		body   string
		code   int
		text   string
	}{
		{failover, false, `{"leader": "a"}`, 400, "Failover could be performed only to a specific candidate"},
		{switchover, false, `{"candidate": "b"}`, 400, "Switchover could be performed only from a specific leader"},
		{switchover, false, `{"leader": null, "candidate": "b"}`, 400, "Switchover could be performed only from a specific leader"},
		{failover, false, `{"candidate": "b", "scheduled_at": "2031-01-01T13:00Z"}`, 400, "Failover can't be scheduled"},
		{switchover, true, `{"leader": "a", "scheduled_at": "nonsense"}`, 400, "Can't schedule switchover in the paused state"},
		{switchover, false, `{"leader": "a", "scheduled_at": "2031-01-01T13:00"}`, 400, "Timezone information is mandatory for the scheduled switchover"},
		{switchover, false, `{"leader": "a", "scheduled_at": "2031-01-01T11:59:59+00"}`, 422, "Cannot schedule switchover in the past"},
		{switchover, false, `{"leader": "a", "scheduled_at": "soon"}`, 422, unparsable},
		{switchover, true, `{"leader": "a"}`, 400, "Switchover is possible only to a specific candidate in a paused state"},
		{switchover, false, `{"leader": "a", "candidate": "a"}`, 400, "Switchover target and source are the same"},
		{failover, false, `{"leader": "a", "candidate": "a"}`, 400, "Switchover target and source are the same"},
		{switchover, false, `{"leader": "a", "candidate": "a", "scheduled_at": "2031-01-01T13:00Z"}`, 400, "Switchover target and source are the same"},
		{switchover, false, `{"leader": "a", "scheduled_at": ""}`, 0, fine},
		{switchover, false, `{"leader": "a", "member": "b"}`, 0, fine},
		{switchover, true, `{"leader": "a", "candidate": "b"}`, 0, fine},
		{failover, true, `{"candidate": "b"}`, 0, fine},
		{switchover, false, `{"leader": "a", "scheduled_at": "2031-01-01 13:00 UTC", "extra": 1}`, 0, fine},
	} {
		_, refusal := parseWish(document(t, tc.body), tc.asked, tc.paused, noon)
		checkRefusal(t, fmt.Sprintf("%s %s", tc.asked, tc.body), refusal, tc.code, tc.text)
	}
	w, _ := parseWish(document(t, `{"leader": "a", "member": "b"}`), failover, false, noon)
	if w.action != switchover || w.candidate != "b" {
		t.Errorf("a failover with a leader is read as %+v", w)
	}
}

func checkRefusal(t *testing.T, what string, refusal *answer, code int, text string) {
	t.Helper()
	var gotCode int
	var gotText string
	if refusal != nil {
		gotCode, gotText = refusal.code, string(refusal.body)
	}
	if gotCode != code || gotText != text {
		t.Errorf("%s: %d %q, want %d %q", what, gotCode, gotText, code, text)
	}
}

// TestCandidates is checks 8 to 12.
func TestCandidates(t *testing.T) {
	member := func(name, url string) dcs.Member {
		return dcs.Member{Name: name, MemberData: dcs.MemberData{APIURL: url}}
	}
	three := &dcs.Cluster{Leader: &dcs.Leader{Name: "a"}, Sync: dcs.Sync{Standbys: []string{"B"}},
		Members: []dcs.Member{member("a", "http://a/"), member("b", "http://b/"), member("c", "http://c/")}}
	noSync := *three
	noSync.Sync = dcs.Sync{}
	alone := &dcs.Cluster{Leader: &dcs.Leader{Name: "a"}, Members: []dcs.Member{member("a", "http://a/"), member("b", "")}}
	unled := &dcs.Cluster{Members: three.Members}

	for _, tc := range []struct {
		name    string
		wish    wish
		cluster *dcs.Cluster
		mode    config.SyncMode
		members string
		text    string
	}{
		{"wrong leader", wish{action: switchover, leader: "b"}, three, config.SyncOff, "[]", "leader name does not match"},
		{"no leader", wish{action: switchover, leader: "a"}, unled, config.SyncOff, "[]", "leader name does not match"},
		{"candidate not synchronous", wish{action: switchover, leader: "a", candidate: "c"}, three, config.SyncOn, "[]", "candidate name does not match with sync_standby"},
		{"candidate synchronous", wish{action: switchover, leader: "a", candidate: "b"}, three, config.SyncOn, "[b]", ""},
		{"quorum does not restrict", wish{action: switchover, leader: "a", candidate: "c"}, three, config.SyncQuorum, "[c]", ""},
		{"failover to an asynchronous one", wish{action: failover, candidate: "c"}, three, config.SyncOn, "[c]", ""},
		{"unknown candidate", wish{action: switchover, leader: "a", candidate: "x"}, three, config.SyncOff, "[]", "candidate does not exists"},
		{"any synchronous one", wish{action: switchover, leader: "a"}, three, config.SyncOn, "[b]", ""},
		{"no synchronous one", wish{action: switchover, leader: "a"}, &noSync, config.SyncOn, "[]", "switchover is not possible: can not find sync_standby"},
		{"any", wish{action: switchover, leader: "a"}, three, config.SyncOff, "[b c]", ""},
		{"nobody else", wish{action: switchover, leader: "a"}, alone, config.SyncOff, "[]", "switchover is not possible: cluster does not have members except leader"},
		{"failover without leader", wish{action: failover, candidate: "c"}, unled, config.SyncOff, "[c]", ""},
	} {
		members, refusal := tc.wish.candidates(tc.cluster, tc.mode)
		names := []string{}
		for _, m := range members {
			names = append(names, m.Name)
		}
		if got := fmt.Sprint(names); got != tc.members {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.members)
		}
		code := 0
		if tc.text != "" {
			code = 412
		}
		checkRefusal(t, tc.name, refusal, code, tc.text)
	}
}

// TestUnfit is check 13, and what the leader would refuse after it.
func TestUnfit(t *testing.T) {
	leader := &dcs.Member{Name: "a", MemberData: dcs.MemberData{Timeline: 3}}
	good := func(change func(*api.PeerStatus)) api.PeerStatus {
		p := api.PeerStatus{Name: "b", Location: 100 << 20, Timeline: 3, ReplicationState: "streaming", Pgha: &api.PeerPgha{}}
		if change != nil {
			change(&p)
		}
		return p
	}
	for _, tc := range []struct {
		action action
		leader *dcs.Member
		peer   api.PeerStatus
		want   string
	}{
		{switchover, leader, good(nil), ""},
		{switchover, leader, api.PeerStatus{Name: "b", Err: errors.New("refused")}, "not reachable: refused"},
		{switchover, leader, good(func(p *api.PeerStatus) { p.WatchdogFailed = true }), "watchdog failed"},
		{switchover, leader, good(func(p *api.PeerStatus) { p.Tags = map[string]any{"nofailover": true} }), "nofailover"},
		{switchover, leader, good(func(p *api.PeerStatus) { p.Tags = map[string]any{"failover_priority": 0} }), "nofailover"},
		{switchover, leader, good(func(p *api.PeerStatus) { p.Tags = map[string]any{"failover_priority": 2} }), ""},
		{switchover, leader, good(func(p *api.PeerStatus) { p.ReplicationState = "" }), "not streaming"},
		{switchover, leader, good(func(p *api.PeerStatus) { p.ReplicationState = "in archive recovery" }), "not streaming"},
		{switchover, leader, good(func(p *api.PeerStatus) { p.ReplicationState, p.Pgha = "", nil }), ""}, // a Patroni member
		{failover, leader, good(func(p *api.PeerStatus) { p.ReplicationState = "" }), ""},
		{failover, nil, good(func(p *api.PeerStatus) { p.Timeline, p.Location = 1, 1 }), ""},
		{switchover, leader, good(func(p *api.PeerStatus) { p.Timeline = 2 }), "on timeline 2, the leader is on 3"},
		{switchover, leader, good(func(p *api.PeerStatus) { p.Location = 52 << 20 }), "lag 48 MB over maximum_lag_on_failover 1 MB"},
		{failover, leader, good(func(p *api.PeerStatus) { p.Location = 52 << 20 }), "lag 48 MB over maximum_lag_on_failover 1 MB"},
		{failover, leader, good(func(p *api.PeerStatus) { p.Location, p.State = 0, "starting" }), "its position is unknown (starting)"},
		{switchover, leader, good(func(p *api.PeerStatus) { p.Location = 99 << 20 }), ""},
		{switchover, leader, good(func(p *api.PeerStatus) { p.Location = 101 << 20 }), ""},
	} {
		y := yardstick{action: tc.action, leader: tc.leader, end: 100 << 20, maxLag: 1 << 20}
		if got := y.unfit(tc.peer); got != tc.want {
			t.Errorf("%s %+v: %q, want %q", tc.action, tc.peer, got, tc.want)
		}
		want := ""
		if tc.want != "" {
			want = "c: not reachable: another; b: " + tc.want
		}
		if got := y.noGood([]api.PeerStatus{{Name: "c", Err: errors.New("another")}, tc.peer}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOutcome(t *testing.T) {
	led := func(name string, wishLeft bool) *dcs.Cluster {
		c := &dcs.Cluster{}
		if name != "" {
			c.Leader = &dcs.Leader{Name: name}
		}
		if wishLeft {
			c.Failover = &dcs.Failover{Candidate: "b"}
		}
		return c
	}
	for _, tc := range []struct {
		wish    wish
		cluster *dcs.Cluster
		code    int
		text    string
	}{
		{wish{action: switchover, candidate: "b"}, led("a", true), 0, ""},
		{wish{action: switchover, candidate: "b"}, led("", true), 0, ""},
		{wish{action: switchover, candidate: "b"}, led("b", false), 200, `Successfully switched over to "b"`},
		{wish{action: switchover}, led("c", true), 200, `Successfully switched over to "c"`},
		{wish{action: failover, candidate: "b"}, led("b", true), 200, `Successfully failed over to "b"`},
		{wish{action: switchover, candidate: "b"}, led("c", true), 200, `Switched over to "c" instead of "b"`},
		{wish{action: failover, candidate: "b"}, led("c", true), 200, `Failed over to "c" instead of "b"`},
		{wish{action: switchover, candidate: "b"}, led("a", false), 503, "Switchover failed"},
		{wish{action: failover, candidate: "a"}, led("a", false), 503, "Failover failed"},
	} {
		checkRefusal(t, fmt.Sprintf("%+v", tc.wish), tc.wish.outcome("a", tc.cluster), tc.code, tc.text)
	}
}

func switchedAgent(now clock.Instant) *testAgent {
	a := &testAgent{status: primary(now), cluster: twoMembers(), peers: []api.PeerStatus{{Name: "db2", Location: 5368709120}}, changed: make(chan struct{})}
	return a
}

// TestSwitchoverWaitsForTheNewLeader goes the whole way over HTTP.
func TestSwitchoverWaitsForTheNewLeader(t *testing.T) {
	a := switchedAgent(clock.Now())
	a.do = func(r Request) Result {
		if f, isFailover := r.(FailoverRequest); isFailover {
			asked := twoMembers()
			asked.Failover = &f.Failover
			a.become(asked)
			go func() { // the cluster switches after the answer
				switched := twoMembers()
				switched.Leader = &dcs.Leader{Name: "db2"}
				a.become(switched)
			}()
		}
		return Result{}
	}
	_, url := start(t, a, nil)
	code, text := ask(t, http.MethodPost, url+"/switchover", `{"leader": "db1", "candidate": "db2"}`)
	if code != 200 || text != `Successfully switched over to "db2"` {
		t.Errorf("%d %q", code, text)
	}
	want := FailoverRequest{dcs.Failover{Leader: "db1", Candidate: "db2"}}
	if got := a.seen(); len(got) != 1 || got[0] != want {
		t.Errorf("the agent was asked %+v", got)
	}
}

func TestSwitchoverRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		change     func(*testAgent)
		code       int
		text       string
	}{
		{"wrong leader", `{"leader": "db2"}`, nil, 412, "leader name does not match"},
		{"nobody good", `{"leader": "db1"}`, func(a *testAgent) { a.peers = nil }, 412, "switchover is not possible: no good candidates have been found (db2: not reachable: not asked to answer)"},
		{"key not written", `{"leader": "db1"}`, func(a *testAgent) { a.do = func(Request) Result { return Result{Err: dcs.ErrUnavailable} } }, 503, "failed to write failover key into DCS"},
		{"DCS lost", `{"leader": "db1"}`, func(a *testAgent) { a.dcsErr = dcs.ErrUnavailable }, 503, "DCS is not accessible"},
		{"scheduled is not compared", `{"leader": "nobody", "scheduled_at": "2131-01-01T00:00+00:00"}`, nil, 202, "Switchover scheduled"},
		{"vanished", `{"leader": "db1"}`, nil, 503, "Switchover failed"},
	} {
		a := switchedAgent(clock.Now())
		if tc.change != nil {
			tc.change(a)
		}
		_, url := start(t, a, nil)
		if code, text := ask(t, http.MethodPost, url+"/switchover", tc.body); code != tc.code || text != tc.text {
			t.Errorf("%s: %d %q, want %d %q", tc.name, code, text, tc.code, tc.text)
		}
	}
}

// TestSwitchoverGivesUpWaiting: 2 x max(10 s, loop_wait), and then nobody
// claims that it failed (section 10.3).
func TestSwitchoverGivesUpWaiting(t *testing.T) {
	for _, tc := range []struct {
		loopWait time.Duration
		want     string
	}{
		{2 * time.Second, "Switchover status unknown after 20 seconds; operation may still be in progress"},
		{15 * time.Second, "Switchover status unknown after 30 seconds; operation may still be in progress"},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := switchedAgent(clock.Now())
			a.cluster.Failover = &dcs.Failover{Leader: "db1"} // nobody takes it up
			begin := time.Now()
			got := (&Server{backend: a}).awaitLeader(t.Context(), wish{action: switchover}, "db1", tc.loopWait)
			checkRefusal(t, "time is over", &got, 503, tc.want)
			if took := time.Since(begin); took != 2*max(10*time.Second, tc.loopWait) {
				t.Errorf("after %v", took)
			}
		})
	}
}
