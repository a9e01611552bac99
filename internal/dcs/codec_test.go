package dcs

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

const memberExample = `{"conn_url":"postgres://10.0.0.2:5432/postgres","api_url":"http://10.0.0.2:8008/patroni","state":"running","role":"replica","version":"4.1.4","tags":{"clonefrom":true},"xlog_location":83886408,"replay_lsn":83886408,"receive_lsn":83886408,"replication_state":"streaming","timeline":2}`

func TestBase(t *testing.T) {
	for _, tt := range []struct{ namespace, scope, want string }{
		{"/service", "demo", "/service/demo"},
		{"/service/", "demo", "/service/demo"},
		{"service", "/demo/", "/service/demo"},
		{"//a//b/", "c", "/a/b/c"},
		{"/", "demo", "/demo"},
	} {
		if got := Base(tt.namespace, tt.scope); got != tt.want {
			t.Errorf("Base(%q, %q) = %q, want %q", tt.namespace, tt.scope, got, tt.want)
		}
	}
}

// Examples of the contract come back byte for byte.
func TestRoundTripOfExamples(t *testing.T) {
	check := func(name, in string, got []byte, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if string(got) != in {
			t.Errorf("%s:\nread    %s\nwritten %s", name, in, got)
		}
	}
	m, err := DecodeMember([]byte(memberExample))
	check("member", memberExample, EncodeMember(m), err)

	in := `{"optime":83886408,"slots":{"node1":83886408,"node2":83886408},"retain_slots":["node1","node2"]}`
	s, err := DecodeStatus([]byte(in))
	check("status", in, EncodeStatus(s), err)

	in = `{"leader":"node1","quorum":0,"sync_standby":"node2"}`
	y, err := DecodeSync([]byte(in))
	check("sync", in, EncodeSync(y), err)

	in = `{"leader":"node1","member":"node2"}`
	f, err := DecodeFailover([]byte(in))
	check("failover", in, EncodeFailover(f), err)

	in = `{"member":"node2","scheduled_at":"2031-01-01T10:00:00+02:00"}`
	f, err = DecodeFailover([]byte(in))
	check("scheduled failover", in, EncodeFailover(f), err)

	in = `{"node1":"http://10.0.0.1:8008/patroni"}`
	fs, err := DecodeFailsafe([]byte(in))
	check("failsafe", in, EncodeFailsafe(fs), err)

	in = `[[1,83886408,"no recovery target specified","2024-05-01T10:00:00.1+00:00","node2"],[2,83886500,"<old>"]]`
	h, err := DecodeHistory([]byte(in))
	check("history", in, EncodeHistory(h), err)

	in = `{"conn_url":"","api_url":"","state":"running","role":"primary","version":"4.1.5","proxy_url":"postgres://p/x","checkpoint_after_promote":false,` +
		`"pending_restart":true,"pending_restart_reason":{"max_connections":{"old_value":"100","new_value":"200"}},"xlog_location":5,` +
		`"scheduled_restart":{"schedule":"2031-01-01T10:00:00+00:00","postmaster_start_time":"2031-02-03 04:05:06.789012+00:00","role":"primary","postgres_version":"15.99","timeout":60,"restart_pending":true},` +
		`"pause":true,"pgha":{"version":"0.1","note":"disk slow"}}`
	m, err = DecodeMember([]byte(in))
	check("full member", in, EncodeMember(m), err)
}

func TestDecodeMemberTolerates(t *testing.T) {
	for name, tt := range map[string]struct {
		in      string
		want    MemberData
		damaged bool
	}{
		"no JSON":        {"nonsense", MemberData{State: "unknown"}, true},
		"no object":      {"[1]", MemberData{State: "unknown"}, true},
		"empty":          {"", MemberData{State: "unknown"}, true},
		"two values":     {"{}{}", MemberData{State: "unknown"}, true},
		"numeric text":   {`{"state":"running","xlog_location":"123","replay_lsn":"x"}`, MemberData{State: "running", Location: 123}, false},
		"fraction":       {`{"state":"running","timeline":2.0}`, MemberData{State: "running", Timeline: 2}, false},
		"negative":       {`{"state":"running","receive_lsn":-1,"timeline":-3}`, MemberData{State: "running"}, false},
		"wrong types":    {`{"state":1,"role":[],"tags":"x","pgha":3,"conn_url":{}}`, MemberData{State: "unknown"}, false},
		"master":         {`{"state":"running","role":"master"}`, MemberData{State: "running", Role: "master"}, false},
		"legacy URL":     {"postgres://h:5432/db?application_name=http://h:8008/patroni", MemberData{ConnURL: "postgres://h:5432/db", APIURL: "http://h:8008/patroni", State: "unknown"}, false},
		"restart, when?": {`{"state":"running","scheduled_restart":{"schedule":"soon"}}`, MemberData{State: "running"}, true},
		"tag numbers":    {`{"state":"running","tags":{"failover_priority":2,"x":1.5}}`, MemberData{State: "running", Tags: map[string]any{"failover_priority": 2, "x": 1.5}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeMember([]byte(tt.in))
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if (err != nil) != tt.damaged {
				t.Errorf("damaged: %v, want %v", err, tt.damaged)
			}
		})
	}
	// Presence counts, whatever the value.
	for _, v := range []string{"false", "true", "null", `"x"`} {
		d, _ := DecodeMember([]byte(`{"checkpoint_after_promote":` + v + `}`))
		if d.CheckpointAfterPromote == nil {
			t.Errorf("checkpoint_after_promote: %s read as absent", v)
		}
	}
}

func TestEncodeMemberWithTagThatIsNoJSON(t *testing.T) {
	got := string(EncodeMember(MemberData{State: "running", Tags: map[string]any{"x": math.NaN(), "clonefrom": true}}))
	if !strings.Contains(got, `"tags":{"clonefrom":true,"x":"NaN"}`) {
		t.Errorf("tags in %s", got)
	}
}

func TestDecodeStatusTolerates(t *testing.T) {
	for in, want := range map[string]Status{
		"83886408":                   {Optime: 83886408},
		`"83886408"`:                 {Optime: 83886408},
		`{"optime":"12"}`:            {Optime: 12},
		`{"optime":"x"}`:             {},
		`{"optime":null,"slots":[]}`: {},
		`{"optime":1,"slots":"{\"a\":5,\"b\":\"x\"}"}`:        {Optime: 1, Slots: map[string]LSN{"a": 5, "b": 0}},
		`{"optime":1,"slots":"{"}`:                            {Optime: 1},
		`{"optime":1,"retain_slots":"[\"a\"]"}`:               {Optime: 1, RetainSlots: []string{"a"}},
		`{"optime":1,"retain_slots":[1,"b"],"slots":{"a":7}}`: {Optime: 1, RetainSlots: []string{"b"}, Slots: map[string]LSN{"a": 7}},
		`nonsense`: {},
		`[]`:       {},
	} {
		got, _ := DecodeStatus([]byte(in))
		want.Raw = in
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", in, got, want)
		}
	}
}

func TestDecodeFailoverTolerates(t *testing.T) {
	at := time.Date(2031, 1, 1, 10, 0, 0, 0, time.UTC)
	for in, tt := range map[string]struct {
		want    *Failover
		damaged bool
	}{
		"":                                 {},
		"{}":                               {},
		"null":                             {nil, true},
		"[]":                               {nil, true},
		`"a:b"`:                            {nil, true},
		"a:b":                              {&Failover{Leader: "a", Candidate: "b"}, false},
		" a : b ":                          {&Failover{Leader: "a", Candidate: "b"}, false},
		":b":                               {&Failover{Candidate: "b"}, false},
		"a:":                               {&Failover{Leader: "a"}, false},
		":":                                {},
		"a":                                {nil, true},
		`{"leader": "a`:                    {nil, true},
		`{"member":1}`:                     {},
		`{"scheduled_at":"soon"}`:          {nil, true},
		`{"member":"b","scheduled_at":""}`: {&Failover{Candidate: "b"}, false},
		`{"member":"b","scheduled_at":"2031-01-01T10:00:00+00:00"}`: {&Failover{Candidate: "b", ScheduledAt: at}, false},
		`{"member":"b","scheduled_at":"2031-01-01 12:00+02"}`:       {&Failover{Candidate: "b", ScheduledAt: at}, false},
		`{"member":"b","scheduled_at":"2031-01-01T10:00:00.000Z"}`:  {&Failover{Candidate: "b", ScheduledAt: at}, false},
		`{"member":"b","scheduled_at":"2031-01-01 10:00:00 UTC"}`:   {&Failover{Candidate: "b", ScheduledAt: at}, false},
		`{"member":"b","scheduled_at":"2031-01-01 10:00:00 XYZ"}`:   {nil, true},
		`{"member":"b","scheduled_at":"2031-01-01T10:00:00"}`:       {&Failover{Candidate: "b", ScheduledAt: at, NoZone: true}, false},
		`{"member":"b","scheduled_at":17}`:                          {nil, true},
	} {
		got, err := DecodeFailover([]byte(in))
		if got != nil {
			got.ScheduledAt = got.ScheduledAt.UTC()
			if got.ScheduledAt.IsZero() {
				got.ScheduledAt = time.Time{}
			}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", in, got, tt.want)
		}
		if (err != nil) != tt.damaged {
			t.Errorf("%s: damaged: %v, want %v", in, err, tt.damaged)
		}
	}
}

func TestDecodeSyncTolerates(t *testing.T) {
	for in, want := range map[string]Sync{
		`{"leader":"a","sync_standby":"c, b"}`: {Leader: "a", Standbys: []string{"b", "c"}},
		`{"leader":"a","quorum":null}`:         {Leader: "a"},
		`{"leader":"a","quorum":"2"}`:          {Leader: "a", Quorum: 2},
		`{"leader":"a","quorum":"two"}`:        {},
		`{"quorum":1,"sync_standby":"b"}`:      {},
		`{"leader":null,"sync_standby":"b"}`:   {},
		`[]`:                                   {},
		`x`:                                    {},
		`{"leader":"a","quorum":0,"sync_standby":null}`: {Leader: "a"},
	} {
		if got, _ := DecodeSync([]byte(in)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", in, got, want)
		}
	}
}

func TestClusterTimeline(t *testing.T) {
	for in, want := range map[string]uint32{
		"[]": 1, " []": 0, "": 0, "x": 0, "{}": 0, "[[1,5]]": 2, "[[3]]": 4, "[[1,5],[]]": 0,
		`[[1,5],["x",1,"y"]]`: 0, `["x",[2,1,"y"]]`: 3, "[[4294967295,1]]": 0, "[[0]]": 0,
	} {
		c := DecodeCluster(1, []KV{{Key: KeyHistory, Value: []byte(in), Revision: 1}})
		if got := c.Timeline(); uint32(got) != want {
			t.Errorf("timeline of %q = %d, want %d", in, got, want)
		}
	}
	if got := DecodeCluster(1, nil).Timeline(); got != 0 {
		t.Errorf("timeline without history = %d, want 0", got)
	}
}

func TestDecodeFailsafe(t *testing.T) {
	got, err := DecodeFailsafe([]byte(`{"a":"http://a","b":7}`))
	if want := (map[string]string{"a": "http://a", "b": ""}); !reflect.DeepEqual(got, want) || err == nil {
		t.Errorf("got %v, %v; want %v and a complaint: a listed member is never dropped", got, err, want)
	}
	if got, _ := DecodeFailsafe([]byte(`["a"]`)); got != nil {
		t.Errorf("no object: got %v, want nil", got)
	}
}

func TestDecodeCluster(t *testing.T) {
	c := DecodeCluster(99, []KV{
		{Key: "config", Value: []byte(`{"ttl":`), Revision: 4},
		{Key: "failover", Value: []byte(`{"member":"b","scheduled_at":"soon"}`), Revision: 5},
		{Key: "initialize", Value: []byte(""), Revision: 2},
		{Key: "leader", Value: []byte("a"), Lease: 7, Revision: 6},
		{Key: "members/b", Value: []byte("x"), Lease: 8, Revision: 8},
		{Key: "members/a", Value: []byte(memberExample), Lease: 7, Revision: 7},
		{Key: "members/a/b", Value: []byte("{}"), Revision: 9},
		{Key: "members/", Value: []byte("{}"), Revision: 9},
		{Key: "optime/leader", Value: []byte("55"), Revision: 10},
		{Key: "pgha/lock", Value: []byte("x"), Revision: 11},
		{Key: "sync", Value: []byte("x"), Revision: 12},
		{Key: "0/leader", Value: []byte("citus"), Revision: 12},
	})
	if c.Revision != 99 || c.Initialize == nil || c.Initialize.SystemID != "" || c.Initialize.Revision != 2 {
		t.Errorf("revision %d, initialize %+v", c.Revision, c.Initialize)
	}
	if c.Config == nil || c.Config.Valid || c.Config.Revision != 4 {
		t.Errorf("config %+v, want invalid with revision 4", c.Config)
	}
	if c.Failover != nil || c.FailoverRevision != 5 {
		t.Errorf("failover %+v at %d, want none at 5", c.Failover, c.FailoverRevision)
	}
	if c.Leader == nil || *c.Leader != (Leader{Name: "a", Lease: 7, Revision: 6}) {
		t.Errorf("leader %+v", c.Leader)
	}
	if len(c.Members) != 2 || c.Members[0].Name != "a" || c.Members[1].Name != "b" || c.Members[1].State != "unknown" {
		t.Errorf("members %+v", c.Members)
	}
	if c.Status.Optime != 55 || c.Status.Revision != 0 || c.Status.Raw != "" {
		t.Errorf("status %+v, want optime/leader's position and nothing else", c.Status)
	}
	if !reflect.DeepEqual(c.Sync, Sync{Revision: 12}) {
		t.Errorf("sync %+v, want empty with revision 12", c.Sync)
	}
	if len(c.Damaged) != 4 {
		t.Errorf("damaged %q, want config, failover, members/b and sync", c.Damaged)
	}
	c = DecodeCluster(1, []KV{
		{Key: "optime/leader", Value: []byte("55"), Revision: 1},
		{Key: "status", Value: []byte(`{"optime":1}`), Revision: 1},
		{Key: "leader", Value: nil, Revision: 1},
	})
	if c.Status.Optime != 1 || c.Leader != nil {
		t.Errorf("status %+v, leader %+v; want optime/leader ignored and no leader", c.Status, c.Leader)
	}
}

func FuzzDecodeCluster(f *testing.F) {
	f.Add("members/a", []byte(memberExample))
	f.Add("members/a", []byte("postgres://h/db?application_name=http://x"))
	f.Add("status", []byte(`{"optime":1,"slots":"{\"a\":5}","retain_slots":["b"]}`))
	f.Add("failover", []byte(`{"member":"b","scheduled_at":"2031-01-01T10:00:00+00:00"}`))
	f.Add("failover", []byte("a:b"))
	f.Add("sync", []byte(`{"leader":"a","quorum":1,"sync_standby":"b,c"}`))
	f.Add("history", []byte(`[[1,2,"x"],[2,3,"y","z","n"]]`))
	f.Add("failsafe", []byte(`{"a":"b"}`))
	f.Fuzz(func(t *testing.T, key string, raw []byte) {
		c := DecodeCluster(1, []KV{{Key: Key(key), Value: raw, Revision: 1}})
		_ = c.Timeline()
		// Writing what was read and reading it again changes nothing.
		for _, m := range c.Members {
			once := EncodeMember(m.MemberData)
			again, err := DecodeMember(once)
			if err != nil || !EqualMember(m.MemberData, again) {
				t.Fatalf("member\nonce  %s\nagain %s (%v)", once, EncodeMember(again), err)
			}
		}
		stable(t, c.Status, EncodeStatus, DecodeStatus)
		stable(t, c.Sync, EncodeSync, DecodeSync)
		stable(t, c.Failover, EncodeFailover, DecodeFailover)
		stable(t, c.History, EncodeHistory, DecodeHistory)
		stable(t, c.Failsafe, EncodeFailsafe, DecodeFailsafe)
	})
}

func stable[T any](t *testing.T, v T, enc func(T) []byte, dec func([]byte) (T, error)) {
	t.Helper()
	once := enc(v)
	again, err := dec(once)
	if err != nil || string(enc(again)) != string(once) {
		t.Fatalf("once  %s\nagain %s (%v)", once, enc(again), err)
	}
}
