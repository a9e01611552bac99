package config

import (
	"encoding/json"
	"testing"
)

func TestFailoverTags(t *testing.T) {
	for _, tc := range []struct {
		tags     string
		no       bool
		priority int
	}{
		{`{}`, false, 1},
		{`{"nofailover": true, "failover_priority": 5}`, true, 0},
		{`{"nofailover": false, "failover_priority": 0}`, false, 0},
		{`{"failover_priority": 0}`, true, 0},
		{`{"failover_priority": -1}`, true, 0},
		{`{"failover_priority": "3"}`, false, 3},
		{`{"nofailover": "false"}`, true, 0}, // text counts as true whatever it says (pitfall 172)
	} {
		var tags map[string]any
		if err := json.Unmarshal([]byte(tc.tags), &tags); err != nil {
			t.Fatal(err)
		}
		if NoFailover(tags) != tc.no || FailoverPriority(tags) != tc.priority {
			t.Errorf("%s: %v, %d", tc.tags, NoFailover(tags), FailoverPriority(tags))
		}
	}
}

func TestTopologyTags(t *testing.T) {
	for _, tc := range []struct {
		tags     string
		noStream bool
		from     string
	}{
		{`{}`, false, ""},
		{`{"nostream": true, "replicatefrom": "db2"}`, true, "db2"},
		{`{"nostream": "false"}`, false, ""}, // the one tag whose text is read
		{`{"nostream": "on"}`, true, ""},
		{`{"nostream": 1, "replicatefrom": 2}`, true, "2"},
		{`{"nostream": 0, "replicatefrom": ["db2"]}`, false, ""},
	} {
		var tags map[string]any
		if err := json.Unmarshal([]byte(tc.tags), &tags); err != nil {
			t.Fatal(err)
		}
		if NoStream(tags) != tc.noStream || ReplicateFrom(tags) != tc.from {
			t.Errorf("%s: %v, %q", tc.tags, NoStream(tags), ReplicateFrom(tags))
		}
	}
}
