package dcs

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// seen is what a rule leaves of a value; the fields a rule is not about stay zero.
type seen struct {
	Leader     string
	SystemID   string
	Config     string // text, only when valid
	ConfigAt   Revision
	Member     MemberData
	Members    int
	Status     Status
	Failover   Failover
	FailoverAt Revision
	Sync       Sync
	Timeline   uint32
	Failsafe   map[string]string
}

func see(c *Cluster) (s seen) {
	if c.Leader != nil {
		s.Leader = c.Leader.Name
	}
	if c.Initialize != nil && c.Initialize.SystemID.Valid() {
		s.SystemID = string(c.Initialize.SystemID)
	}
	if c.Config != nil {
		s.ConfigAt = c.Config.Revision
		if c.Config.Valid {
			s.Config = string(c.Config.Raw)
		}
	}
	if s.Members = len(c.Members); s.Members > 0 {
		s.Member = c.Members[0].MemberData
	}
	s.Status = c.Status
	s.Status.Raw, s.Status.Revision = "", 0
	if c.Failover != nil {
		s.Failover = *c.Failover
	}
	s.FailoverAt = c.FailoverRevision
	s.Sync, s.Timeline, s.Failsafe = c.Sync, uint32(c.Timeline()), c.Failsafe
	return s
}

// at is the revision of every key in the tolerance table.
const at Revision = 7

// Each row is one tolerance rule of the key layout contract (1, 1.1 and 1.3):
// what the key holds, how it is read, and whether that is said in the log.
// Several values may show one rule.
func TestToleranceRules(t *testing.T) {
	unknown := MemberData{State: "unknown"}
	legacy := MemberData{ConnURL: "postgres://h:5432/db", APIURL: "http://h:8008/patroni", State: "unknown"}
	deep := strings.Repeat("[", 20000)
	nested := `{"postgresql":` + strings.Repeat(`{"a":`, 600) + "1" + strings.Repeat("}", 601)
	huge := strings.Repeat("x", 1<<20)
	for _, rule := range []struct {
		rule    string
		key     Key
		values  []string
		want    seen
		damaged bool
	}{
		{"every other key below base is ignored", "other", []string{"x"}, seen{}, false},
		{"a group level is not supported", "0/leader", []string{"a"}, seen{}, false},
		{"a group's members are not ours", "0/members/a", []string{"{}"}, seen{}, false},
		{"a member key has exactly one slash", "members/a/b", []string{"{}"}, seen{}, false},
		{"a member key has a name", "members/", []string{"{}"}, seen{}, false},
		{"key names are fixed", "LEADER", []string{"a"}, seen{}, false},

		{"leader: any name is a valid owner", KeyLeader, []string{"ghost"}, seen{Leader: "ghost"}, false},
		{"leader: the text as it stands", KeyLeader, []string{" a\n"}, seen{Leader: " a\n"}, true},
		{"leader: empty is nobody", KeyLeader, []string{""}, seen{}, true},
		{"leader: not shown whole when it is no name", KeyLeader, []string{huge}, seen{Leader: huge}, true},

		{"initialize: empty while bootstrapping", KeyInitialize, []string{""}, seen{}, false},
		{"initialize: valid is 10 digits or more", KeyInitialize, []string{"7012345678901234567"}, seen{SystemID: "7012345678901234567"}, false},
		{"initialize: anything else is invalid", KeyInitialize, []string{"123456789", "70123456789x", "{}", "\xff\xfe", "-7012345678901234567", " 7012345678901234567"}, seen{}, true},

		{"config: not JSON or not an object counts as absent", KeyConfig, []string{"", "x", "[]", "null", "5", `{"ttl":`, "{}{}", deep, nested, `{"ttl":1e999}`, "\xff"}, seen{ConfigAt: at}, true},
		{"config: an object is kept as it stands", KeyConfig, []string{`{"pause":true,"ttl":"x"}`}, seen{ConfigAt: at, Config: `{"pause":true,"ttl":"x"}`}, false},

		{"member: non-JSON or non-object is {}", "members/a", []string{"", "x", "[1]", "null", "5", `"x"`, "{}{}", `{"state":`, deep, "\x00\x01", huge}, seen{Members: 1, Member: unknown}, true},
		{"member: postgres... is the legacy URL", "members/a", []string{"postgres://h:5432/db?application_name=http://h:8008/patroni"}, seen{Members: 1, Member: legacy}, false},
		{"member: LSN fields may be numeric text", "members/a", []string{`{"xlog_location":"5","replay_lsn":"6","receive_lsn":"7"}`}, seen{Members: 1, Member: MemberData{State: "unknown", Location: 5, Replay: 6, Receive: 7}}, false},
		{"member: missing state is unknown, missing tags are none", "members/a", []string{"{}", `{"state":null,"tags":null}`, `{"state":5,"tags":[1]}`}, seen{Members: 1, Member: unknown}, false},
		{"member: fields of a wrong type are absent", "members/a", []string{
			`{"conn_url":5,"api_url":{},"role":[],"version":4.1,"timeline":"x","pending_restart":[],"pending_restart_reason":"x","replication_state":1,"pgha":[],"xlog_location":{},"pause":""}`,
			`{"timeline":-1,"xlog_location":-1,"receive_lsn":1e400,"replay_lsn":"0/1"}`, `{"timeline":99999999999}`}, seen{Members: 1, Member: unknown}, false},
		{"member: unknown fields are ignored", "members/a", []string{`{"state":"unknown","x":{"y":[1]}}`}, seen{Members: 1, Member: unknown}, false},
		{"member: odd names are names", "members/\x1b[31m \xff'\"é", []string{"{}"}, seen{Members: 1, Member: unknown}, false},
		{"member: a schedule that is no time is none", "members/a", []string{`{"scheduled_restart":{"schedule":"soon"}}`, `{"scheduled_restart":5}`}, seen{Members: 1, Member: unknown}, true},

		{"status: a bare integer is a legacy optime", KeyStatus, []string{"5", `"5"`, " 5 "}, seen{Status: Status{Optime: 5}}, false},
		{"status: unparsable or non-numeric optime is 0", KeyStatus, []string{`{"optime":"x"}`, `{"optime":null}`, `{"optime":[5]}`, `{"optime":"0/5"}`, `{"optime":-5}`, `{"optime":1e400}`, `{}`}, seen{}, false},
		{"status: neither an object nor a number is no position", KeyStatus, []string{"", "x", "[]", "null", "true", "1 2", deep, huge}, seen{}, true},
		{"status: slots may be JSON in a string", KeyStatus, []string{`{"slots":"{\"a\":5}"}`}, seen{Status: Status{Slots: map[string]LSN{"a": 5}}}, false},
		{"status: an unparsable slot LSN is 0", KeyStatus, []string{`{"slots":{"a":"x"}}`, `{"slots":{"a":null}}`, `{"slots":"{\"a\":[]}"}`, `{"slots":{"a":-1}}`}, seen{Status: Status{Slots: map[string]LSN{"a": 0}}}, false},
		{"status: slots that are no object are none", KeyStatus, []string{`{"slots":[]}`, `{"slots":"{"}`, `{"slots":"[]"}`, `{"slots":5}`, `{"retain_slots":{}}`, `{"retain_slots":"x"}`}, seen{}, false},
		{"status: retain_slots may be JSON in a string", KeyStatus, []string{`{"retain_slots":"[\"a\"]"}`}, seen{Status: Status{RetainSlots: []string{"a"}}}, false},
		{"status: what is no slot's name is not retained", KeyStatus, []string{`{"retain_slots":[1,"b","a b","",null,"Ü","` + strings.Repeat("x", 64) + `"]}`}, seen{Status: Status{RetainSlots: []string{"b"}}}, true},
		{"optime/leader: read if status is absent", "optime/leader", []string{"5"}, seen{Status: Status{Optime: 5}}, false},
		{"optime/leader: unparsable is 0", "optime/leader", []string{"x", ""}, seen{}, true},

		{"failover: empty, or naming nobody, is no request", KeyFailover, []string{"", " ", "{}", `{"leader":"","member":null}`, `{"leader":5}`}, seen{FailoverAt: at}, false},
		{"failover: JSON but not an object is no request", KeyFailover, []string{"[]", "null", "5", `"a:b"`, "true"}, seen{FailoverAt: at}, true},
		{"failover: the legacy text is accepted", KeyFailover, []string{"a:b", " a : b "}, seen{FailoverAt: at, Failover: Failover{Leader: "a", Candidate: "b", Revision: at}}, false},
		{"failover: broken JSON is not the legacy text", KeyFailover, []string{`{"leader":"a"`, `{leader:b}`, "a", huge, deep}, seen{FailoverAt: at}, true},
		{"failover: an unparsable scheduled_at counts as empty", KeyFailover, []string{`{"member":"b","scheduled_at":"soon"}`, `{"member":"b","scheduled_at":5}`, `{"member":"b","scheduled_at":["2031-01-01T10:00:00Z"]}`}, seen{FailoverAt: at}, true},
		{"failover: unknown fields are ignored", KeyFailover, []string{`{"member":"b","x":1,"pause":true}`}, seen{FailoverAt: at, Failover: Failover{Candidate: "b", Revision: at}}, false},

		{"sync: not an object is empty, its revision counts", KeySync, []string{"", "x", "[]", "null", "5", deep}, seen{Sync: Sync{Revision: at}}, true},
		{"sync: without leader is empty", KeySync, []string{`{}`, `{"sync_standby":"b"}`, `{"leader":null,"sync_standby":"b"}`, `{"leader":5}`}, seen{Sync: Sync{Revision: at}}, false},
		{"sync: a non-numeric quorum is empty", KeySync, []string{`{"leader":"a","quorum":"x"}`, `{"leader":"a","quorum":[]}`, `{"leader":"a","quorum":-1}`}, seen{Sync: Sync{Revision: at}}, true},
		{"sync: a missing quorum is 0", KeySync, []string{`{"leader":"a"}`, `{"leader":"a","quorum":null}`, `{"leader":"a","sync_standby":5}`}, seen{Sync: Sync{Leader: "a", Revision: at}}, false},
		{"sync: names are comma-joined", KeySync, []string{`{"leader":"a","quorum":"1","sync_standby":" c,,b"}`}, seen{Sync: Sync{Leader: "a", Quorum: 1, Standbys: []string{"b", "c"}, Revision: at}}, false},

		{"history: the text [] is timeline 1", KeyHistory, []string{"[]"}, seen{Timeline: 1}, false},
		{"history: the last row's timeline plus one", KeyHistory, []string{`[[1,5,"x"]]`, `[[1]]`, `[["1","5"]]`}, seen{Timeline: 2}, false},
		{"history: bad is 0", KeyHistory, []string{"", "x", "{}", "5", "null", `[["x"]]`, `[5]`, `[[]]`, "[[4294967295,1]]", deep}, seen{}, true},

		{"failsafe: not an object is inactive", KeyFailsafe, []string{"", "x", "[]", "null", deep}, seen{}, true},
		{"failsafe: a member without a URL stays listed", KeyFailsafe, []string{`{"a":5}`}, seen{Failsafe: map[string]string{"a": ""}}, true},
	} {
		t.Run(rule.rule, func(t *testing.T) {
			for _, value := range rule.values {
				c := DecodeCluster(9, []KV{{Key: rule.key, Value: []byte(value), Revision: at}})
				if got := see(c); !reflect.DeepEqual(got, rule.want) {
					t.Errorf("%.60q\ngot  %.600s\nwant %.600s", value, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", rule.want))
				}
				if len(c.Damaged) > 0 != rule.damaged {
					t.Errorf("%.60q: damaged %.200q, want some: %v", value, c.Damaged, rule.damaged)
				}
				for _, line := range c.Damaged {
					if len(line) > 500 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
						t.Errorf("%.60q: no line for a log: %.200q", value, line)
					}
				}
			}
		})
	}
}

// `status` is there: `optime/leader` is not read, damaged or not.
func TestLegacyOptimeIsNotReadBesideStatus(t *testing.T) {
	c := DecodeCluster(9, []KV{{Key: "optime/leader", Value: []byte("x"), Revision: at}, {Key: KeyStatus, Value: []byte("{}"), Revision: at}})
	if c.Status.Optime != 0 || len(c.Damaged) != 0 {
		t.Errorf("status %+v, damaged %q", c.Status, c.Damaged)
	}
}
