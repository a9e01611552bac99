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
