package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func dynamicOf(t *testing.T, json string, previous *Dynamic) (Dynamic, error) {
	t.Helper()
	return ParseDynamic(mustParse(t, json).Map(), previous)
}

func TestDefaultDynamic(t *testing.T) {
	d := DefaultDynamic()
	if d.TTL != 30*time.Second || d.LoopWait != 10*time.Second || d.RetryTimeout != 10*time.Second ||
		d.MaximumLagOnFailover != 1048576 || d.PrimaryStartTimeout != 300*time.Second || d.PrimaryStopTimeout != 0 ||
		d.SynchronousMode != SyncOff || d.SynchronousNodeCount != 1 || d.MaximumLagOnSyncnode != -1 ||
		d.MemberSlotsTTL != 1800*time.Second || !d.UseSlots || d.Pause || d.FailsafeMode || d.StandbyCluster != nil {
		t.Errorf("%+v", d)
	}
	if len(d.Findings)+len(d.Unsupported) != 0 {
		t.Errorf("findings: %v %v", d.Findings, d.Unsupported)
	}
}

func TestTiming(t *testing.T) {
	cases := []struct {
		json     string
		timing   string // ttl loop_wait retry_timeout
		findings int
	}{
		{`{}`, "30 10 10", 0},
		{`{"ttl":"20","loop_wait":5.9,"retry_timeout":" 7 "}`, "20 5 7", 0},
		{`{"ttl":5,"loop_wait":1,"retry_timeout":2}`, "5 1 2", 0},
		{`{"ttl":5,"loop_wait":10,"retry_timeout":10}`, "5 1 2", 1},
		{`{"ttl":1,"loop_wait":0,"retry_timeout":0}`, "5 1 2", 3},
		{`{"ttl":-5,"loop_wait":1,"retry_timeout":2}`, "5 1 2", 1},
		{`{"ttl":20}`, "20 1 9", 1},                                   // shrink both
		{`{"ttl":25}`, "25 5 10", 1},                                  // loop_wait alone
		{`{"ttl":20,"loop_wait":10,"retry_timeout":10}`, "20 1 9", 1}, // as Patroni
		{`{"ttl":"030"}`, "30 10 10", 0},
	}
	for _, c := range cases {
		d, err := dynamicOf(t, c.json, nil)
		if err != nil {
			t.Errorf("%s: %v", c.json, err)
		}
		got := fmt.Sprint(int(d.TTL.Seconds()), " ", int(d.LoopWait.Seconds()), " ", int(d.RetryTimeout.Seconds()))
		if got = strings.Join(strings.Fields(got), " "); got != c.timing || len(d.Findings) != c.findings {
			t.Errorf("%s: %s, findings %v", c.json, got, d.Findings)
		}
		if d.LoopWait+2*d.RetryTimeout > d.TTL {
			t.Errorf("%s: the rule is broken", c.json)
		}
	}
}

func TestAdjustedTimingIsAccepted(t *testing.T) {
	d, err := dynamicOf(t, `{"ttl":20,"loop_wait":10,"pause":true}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"ttl": 20, "loop_wait": 1, "retry_timeout": 9, "pause": true}
	if !EqualText(d.Accepted, want) {
		t.Errorf("accepted %v", d.Accepted)
	}
	if !EqualText(d.Document, map[string]any{"ttl": 20, "loop_wait": 10, "pause": true}) {
		t.Errorf("the raw document must stay: %v", d.Document)
	}
}

func TestPatroniFloors(t *testing.T) {
	d, err := dynamicOf(t, `{"ttl":5,"loop_wait":1,"retry_timeout":2}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	raised, findings := d.WithFloors(PatroniFloors)
	if raised.TTL != 20*time.Second || raised.RetryTimeout != 3*time.Second || raised.LoopWait != time.Second || len(findings) != 2 {
		t.Errorf("%v %v %v %v", raised.TTL, raised.LoopWait, raised.RetryTimeout, findings)
	}
}

// A rejected document: timing and postgresql stay, the rest holds at once.
func TestRejected(t *testing.T) {
	previous, err := dynamicOf(t, `{"ttl":40,"postgresql":{"parameters":{"work_mem":"8MB"}}}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := loadText(t, "scope: s\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		`{"ttl":null,"pause":true}`, `{"ttl":"10.5","pause":true}`, `{"ttl":"x","pause":true}`, `{"loop_wait":true,"pause":true}`,
		`{"retry_timeout":[1],"pause":true}`, `{"postgresql":[1],"pause":true}`, `{"postgresql":{"parameters":["a"]},"pause":true}`,
		`{"postgresql":{"parameters":[]},"pause":true}`, `{"standby_cluster":"x","pause":true}`, `{"ttl":1e300,"pause":true}`,
	} {
		d, err := dynamicOf(t, bad, &previous)
		if !errors.Is(err, ErrRejected) {
			t.Errorf("%s: %v", bad, err)
			continue
		}
		if !d.Pause || d.TTL != 40*time.Second || Merge(l, d, ServerFacts{}).Parameters["work_mem"] != "8MB" {
			t.Errorf("%s: pause %v ttl %v", bad, d.Pause, d.TTL)
		}
		if d, _ := dynamicOf(t, bad, nil); d.TTL != 30*time.Second || !d.Pause {
			t.Errorf("%s without a previous one: ttl %v", bad, d.TTL)
		}
	}
	for _, good := range []string{
		`{"postgresql":null}`, `{"postgresql":""}`, `{"postgresql":[]}`, `{"postgresql":{"parameters":null}}`, `{"standby_cluster":null}`, `{"standby_cluster":0}`,
	} {
		if _, err := dynamicOf(t, good, &previous); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

func TestDynamicValues(t *testing.T) {
	cases := []struct {
		json string
		ok   func(Dynamic) bool
	}{
		{`{"maximum_lag_on_failover":"0x10"}`, func(d Dynamic) bool { return d.MaximumLagOnFailover == 16 }},
		{`{"maximum_lag_on_failover":"10MB"}`, func(d Dynamic) bool { return d.MaximumLagOnFailover == 1048576 && len(d.Findings) == 1 }},
		{`{"maximum_lag_on_failover":null}`, func(d Dynamic) bool { return d.MaximumLagOnFailover == 1048576 && len(d.Findings) == 0 }},
		{`{"maximum_lag_on_failover":2.5e1}`, func(d Dynamic) bool { return d.MaximumLagOnFailover == 25 }},
		{`{"member_slots_ttl":"1h"}`, func(d Dynamic) bool { return d.MemberSlotsTTL == time.Hour }},
		{`{"primary_race_backoff":3}`, func(d Dynamic) bool { return len(d.Findings) == 1 && d.Findings[0].Path == "primary_race_backoff" }},
		{`{"member_slots_ttl":0}`, func(d Dynamic) bool { return d.MemberSlotsTTL == 0 }},
		{`{"primary_start_timeout":0}`, func(d Dynamic) bool { return d.PrimaryStartTimeout == 0 }},
		{`{"master_start_timeout":7}`, func(d Dynamic) bool { return d.PrimaryStartTimeout == 7*time.Second }},
		{`{"master_start_timeout":7,"primary_start_timeout":"x"}`, func(d Dynamic) bool { return d.PrimaryStartTimeout == 300*time.Second }},
		{`{"primary_stop_timeout":3e20}`, func(d Dynamic) bool { return d.PrimaryStopTimeout == 0 }},
		{`{"pause":"ON","failsafe_mode":1}`, func(d Dynamic) bool { return d.Pause && d.FailsafeMode }},
		{`{"pause":"maybe"}`, func(d Dynamic) bool { return !d.Pause && len(d.Findings) == 1 }},
		{`{"postgresql":{"use_slots":"off"}}`, func(d Dynamic) bool { return !d.UseSlots }},
		{`{"synchronous_mode":"Quorum"}`, func(d Dynamic) bool { return d.SynchronousMode == SyncQuorum && len(d.Unsupported) == 1 }},
		{`{"synchronous_mode":true}`, func(d Dynamic) bool { return d.SynchronousMode == SyncOn && len(d.Unsupported) == 1 }},
		{`{"synchronous_mode":"off"}`, func(d Dynamic) bool { return d.SynchronousMode == SyncOff && len(d.Unsupported) == 0 }},
		{`{"synchronous_mode":"what"}`, func(d Dynamic) bool { return d.SynchronousMode == SyncOff && len(d.Findings) == 1 }},
		{`{"synchronous_mode_strict":true,"synchronous_node_count":0}`, func(d Dynamic) bool { return d.SynchronousNodeCount == 1 }},
		{`{"standby_cluster":{"host":"","port":0}}`, func(d Dynamic) bool { return d.StandbyCluster == nil && len(d.Unsupported) == 0 }},
		{`{"standby_cluster":{"restore_command":"x"},"synchronous_mode":true}`, func(d Dynamic) bool {
			return d.StandbyCluster != nil && d.SynchronousMode == SyncOff && len(d.Unsupported) == 1
		}},
		{`{"slots":{"a":null},"permanent_slots":{"b":{"type":"physical"}},"permanent_replication_slots":{}}`, func(d Dynamic) bool {
			return len(d.Slots) == 1 && d.Slots["b"].Type == "physical"
		}},
		{`{"slots":{"a":null,"l":{"database":"d","plugin":"p"},"Bad":{},"x":{"type":"logical"},"y":5,"z":{"type":"odd"},"w":{"cluster_type":"odd"},"s":{"cluster_type":"standby"}}}`, func(d Dynamic) bool {
			return len(d.Slots) == 3 && d.Slots["l"].Type == "logical" && d.Slots["s"].ClusterType == "standby" && len(d.Findings) == 5 && len(d.Unsupported) == 1
		}},
		{`{"ignore_slots":[{"name":"a","x":1},{},5]}`, func(d Dynamic) bool {
			return len(d.IgnoreSlots) == 2 && len(d.IgnoreSlots[0]) == 1 && len(d.Findings) == 1
		}},
		{`{"tags":{},"tll":1,"postgresql":{"listen":"*","parameters":{"port":1}}}`, func(d Dynamic) bool { return len(d.Findings) == 4 }},
	}
	for _, c := range cases {
		d, err := dynamicOf(t, c.json, nil)
		if err != nil || !c.ok(d) {
			t.Errorf("%s: %v\n%+v", c.json, err, d)
		}
	}
}

func TestDynamicFindingsNameTheirPlace(t *testing.T) {
	d, err := dynamicOf(t, `{"tags":{},"postgresql":{"data_dir":"/d"},"max_connections":5}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range d.Findings {
		got = append(got, f.Path+": "+f.Message)
	}
	want := []string{
		"max_connections: ignored here: belongs in postgresql.parameters.max_connections",
		"postgresql.data_dir: ignored in the dynamic configuration: it differs between members",
		"tags: ignored here: belongs in tags",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s", strings.Join(got, "\n"))
	}
}
