package render

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestLikePython compares with what PyYAML 6 and Python's json wrote for the
// same documents (testdata/record.py).
func TestLikePython(t *testing.T) {
	file := "testdata/pyyaml.json"
	if other := os.Getenv("PYYAML_CASES"); other != "" {
		file = other
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ JSON, Block, Flow string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 200 {
		t.Fatalf("only %d recorded cases", len(cases))
	}
	for _, tc := range cases {
		d := json.NewDecoder(strings.NewReader(tc.JSON))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if got := EncodeYAML(v); got != tc.Block {
			t.Errorf("block YAML of %s\ngot:\n%s\nPyYAML:\n%s", tc.JSON, got, tc.Block)
		}
		if got := FlowYAML(v); got != tc.Flow && !strings.Contains(tc.Flow, "\n") && !strings.Contains(tc.Flow, "? ") {
			t.Errorf("flow YAML of %s\ngot:\n%s\nPyYAML:\n%s", tc.JSON, got, tc.Flow)
		}
		if got := EncodeJSON(v); got != tc.JSON {
			t.Errorf("JSON\ngot:    %s\nPython: %s", got, tc.JSON)
		}
	}
}
