package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pyYAMLCorpus is read by us, and by PyYAML: its answers are recorded in
// testdata/pyyaml.golden and checked again wherever PyYAML is installed.
var pyYAMLCorpus = []string{
	"on: off\nyes: No\ny: n\nTrue: FALSE\ntRue: oN\n",
	"a: ~\nb: null\nc: Null\nd: NULL\ne:\nf: nUll\n",
	"a: 0644\nb: 0o644\nc: 08\nd: 0x1F\ne: 0b101\nf: 1_000\ng: -012\nh: +7\ni: 0\nj: 00\nk: -0x10\nl: 0_7\n",
	"a: 1:30\nb: 190:20:30\nc: 08:30\nd: 5432:5432\ne: 1:60\nf: -1:30\ng: 1:30.5\n",
	"a: 1e3\nb: 1.0e+3\nc: 1.\nd: .5\ne: 1.5e3\nf: 1_0.5\ng: -.5\nh: .5e-3\ni: +1.25\n",
	"a: 15kB\nb: 1.2.3\nc: 10.0.0.1\nd: ::1\ne: '5'\nf: \"on\"\nh: --\ni: 0x\nj: 1,000\n",
	"a: 123456789012345678901234567890\nb: -9223372036854775808\nc: 9223372036854775807\nd: 9223372036854775808\n",
	"a: 1\nb: 2\na: 3\n",
	"base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo:\n  z: 1\n  <<: [{x: 9}, *b]\n",
	"a: |\n  one\n  two\nb: >-\n  one\n  two\nc: 'it''s'\nd: \"tab\\tend\"\n",
	"a: !!str 5\nb: !!int '7'\nc: ! 5\nd: !!float '1.5'\ne: !!bool 'yes'\nf: !!null ''\n",
	"- 1\n- [a, b: c]\n- {d: e, f}\n- - g\n",
	"a: [1, 2\n  , 3]\nb: # comment\n  c: d # comment\n  e: f#g\n",
	"1: a\n1.5: b\n~: c\nno: d\n",
	"a: first\n  second\n  third\n",
	"", "# only a comment\n", "--- 5\n", "just text\n", "---\na: 1\n...\n",
	"hosts: a:1,b:2\nlisten: '*:5432'\nurl: http://a:1\n",
	"b: <\nc: '<<'\n",
}

// pyYAMLBroken must be refused by both.
var pyYAMLBroken = []string{
	"a: b: c\n", "a: %h\n", "a:\n\tb: 1\n", "a: *x\n", "a: [1\n", "a: 1\n---\nb: 2\n", "a: !foo 1\n",
	"hosts: - a:1\n", "a: @b\n", "g: -\n", "a: 'b\n", "a: 1\n b: 2\n", "? [1]\n: 2\n", "a: \"\\q\"\n",
}

const python = "/usr/bin/python3"

// pyYAML runs a script over JSON, and says whether PyYAML is there.
func pyYAML(t *testing.T, script string, input any) (output string, ok bool) {
	t.Helper()
	if exec.Command(python, "-c", "import yaml").Run() != nil {
		return "", false
	}
	data, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", script)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("python: %v\n%s", err, out)
	}
	return string(out), true
}

func TestAsPyYAML(t *testing.T) {
	var got strings.Builder
	for _, text := range pyYAMLCorpus {
		node, err := DecodeYAML([]byte(text), "")
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		// the JSON writer escapes and orders as json.dumps(sort_keys=True)
		var b strings.Builder
		compactJSON.value(&b, orderedValue(node.Value()))
		got.WriteString(b.String() + "\n")
	}
	golden(t, "pyyaml.golden", got.String())
	const script = `
import sys, json, yaml
for text in json.load(sys.stdin):
    def keys(v):
        if isinstance(v, dict):
            return {list(json.loads(json.dumps({k: 0})))[0]: keys(x) for k, x in v.items()}
        return [keys(x) for x in v] if isinstance(v, list) else v
    print(json.dumps(keys(yaml.safe_load(text)), separators=(',', ':'), sort_keys=True))
`
	if want, ok := pyYAML(t, script, pyYAMLCorpus); ok && got.String() != want {
		gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(want, "\n")
		for i, text := range pyYAMLCorpus {
			if gotLines[i] != wantLines[i] {
				t.Errorf("%q:\nours   %s\nPyYAML %s", text, gotLines[i], wantLines[i])
			}
		}
	}
}

func TestRefusedAsByPyYAML(t *testing.T) {
	for _, text := range pyYAMLBroken {
		if node, err := DecodeYAML([]byte(text), ""); err == nil {
			t.Errorf("%q: accepted as %v", text, node.Value())
		}
	}
	const script = `
import sys, json, yaml
for text in json.load(sys.stdin):
    try: print('accepted: %r' % text, yaml.safe_load(text))
    except (yaml.YAMLError, ValueError): pass
`
	if accepted, ok := pyYAML(t, script, pyYAMLBroken); ok && accepted != "" {
		t.Error(accepted)
	}
}

// trickyValues are what EncodeYAML must write so that PyYAML reads it back.
func trickyValues() []any {
	texts := []string{
		"", " ", "a", "on", "Off", "yes", "NO", "y", "true", "null", "~", "0777", "1_000", "1:30", "1e3", "1.0e+3", ".5", "0x1F",
		"2024-01-02", "2024-01-02 03:04:05", "=", "<<", "-", "- a", "-a", "? a", ": a", ":a", "a: b", "a:", "a:b", "a #b", "a#b",
		"#a", "'a'", "\"a\"", "it's", "[a]", "{a}", "&a", "*a", "*:5432", "!a", "|", ">", "%h", "@a", "`a", "a ", " a", "---", "...",
		"--- a", "line\nbreak", "tab\tend", "bell\a", "ünï", "日本", "\U0001F418", "\u00a0", "\ufeff", "\u2028", "a\\b", "C:\\x",
		"host all all 0.0.0.0/0 scram-sha-256", "%(asctime)s %(levelname)s", "10.0.0.1", "::1", "0b1", "+1", "-.inf", ".nan", "0o7",
		strings.Repeat("long ", 60) + "end", "a,b", "{{x}}", "\x7f", "\r", "?", ",", "]",
	}
	list := make([]any, 0, len(texts))
	keys := map[string]any{}
	for i, s := range texts {
		list = append(list, s)
		keys[s] = int64(i)
	}
	return []any{
		list, keys,
		map[string]any{"a": []any{}, "b": map[string]any{}, "c": nil, "d": true, "e": 1.0, "f": 1e20, "g": 1e-7, "h": int64(-5), "i": 0.1},
		map[string]any{"a": []any{[]any{int64(1), []any{}}, map[string]any{"b": int64(1), "c": []any{"d"}}, nil}, "z": map[string]any{"y": map[string]any{"x": "on"}}},
		"text", int64(7), nil, []any{}, map[string]any{},
	}
}

func TestEncodeYAML(t *testing.T) {
	var all strings.Builder
	var encoded []string
	var want strings.Builder
	for _, v := range trickyValues() {
		out := EncodeYAML(v)
		encoded = append(encoded, string(out))
		all.WriteString("---\n" + string(out))
		compactJSON.value(&want, orderedValue(v))
		want.WriteString("\n")
		node, err := DecodeYAML(out, "")
		if err != nil {
			t.Errorf("our own reader: %v\n%s", err, out)
		} else if !EqualText(node.Value(), v) {
			t.Errorf("read back as %v:\n%s", node.Value(), out)
		}
	}
	golden(t, "encode.golden", all.String())
	const script = `
import sys, json, yaml
for text in json.load(sys.stdin):
    print(json.dumps(yaml.safe_load(text), separators=(',', ':'), sort_keys=True))
`
	if got, ok := pyYAML(t, script, encoded); ok && got != want.String() {
		t.Errorf("PyYAML reads\n%s\nwant\n%s", got, want.String())
	}
}

// The look of show-config: what PyYAML itself would print.
func TestEncodeYAMLLooksLikePyYAML(t *testing.T) {
	value := InitialDynamic(mustLoad(t, talk+"pg-basic.yml"))
	const want = `loop_wait: 10
maximum_lag_on_failover: 1048576
postgresql:
  parameters:
    max_connections: 100
  pg_hba:
  - local all postgres peer
  - host replication replicator 0.0.0.0/0 scram-sha-256
  - host all all 0.0.0.0/0 scram-sha-256
  use_pg_rewind: true
  use_slots: true
retry_timeout: 10
ttl: 30
`
	if got := string(EncodeYAML(value)); got != want {
		t.Errorf("got:\n%s", got)
	}
	const script = `
import sys, json, yaml
sys.stdout.write(yaml.safe_dump(json.load(sys.stdin), default_flow_style=False, allow_unicode=True, width=200))
`
	if theirs, ok := pyYAML(t, script, value); ok && theirs != want {
		t.Errorf("PyYAML prints:\n%s", theirs)
	}
}

func TestPositions(t *testing.T) {
	node, err := DecodeYAML([]byte("a:\n  b: 1\n  c: [x,\n    {d: e}]\n"), "f.yml")
	if err != nil {
		t.Fatal(err)
	}
	if p := node.Lookup("a", "b").Pos; p != (Position{File: "f.yml", Line: 2, Column: 6}) {
		t.Errorf("a.b at %+v", p)
	}
	if p := node.Lookup("a", "c").Items[1].Lookup("d").Pos; p.Line != 4 || p.Column != 9 {
		t.Errorf("a.c[1].d at %+v", p)
	}
	if node.Lookup("a", "b", "c") != nil || node.Lookup("x") != nil {
		t.Error("Lookup must be nil beyond a scalar and for missing keys")
	}
}

func TestCorrectedLines(t *testing.T) {
	cases := []struct{ text, remedy string }{
		{"e:\n  hosts: - a:1,b:2\n", "write:\n  hosts: a:1,b:2"},
		{"a: b: c\n", "write:\na: 'b: c'"},
		{"a: it's: c\n", "write:\na: 'it''s: c'"},
		{"l:\n  - *:5432\n", "write:\n  - '*:5432'"},
		{"ttl:30\nb: 1\n", "write in the line before:\nttl: 30"},
		{"a: [1\nb: 2\n", ""}, // no correction helps: none is shown
		{"a:\n  b: 1\n c: 2\n", ""},
	}
	for _, c := range cases {
		_, err := DecodeYAML([]byte(c.text), "f")
		e, ok := err.(*Error)
		if !ok || e.Remedy != c.remedy {
			t.Errorf("%q: %v, remedy %q", c.text, err, e.Remedy)
		}
	}
}

func FuzzDecodeYAML(f *testing.F) {
	for _, text := range append(pyYAMLCorpus, pyYAMLBroken...) {
		f.Add([]byte(text))
	}
	files, _ := filepath.Glob("testdata/*.yml")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return
		}
		node, err := DecodeYAML(data, "f")
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		value := node.Value()
		again, err := DecodeYAML(EncodeYAML(value), "again")
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, EncodeYAML(value))
		}
		if got := again.Value(); fmt.Sprint(got) != fmt.Sprint(value) && !hasNaN(value) {
			t.Fatalf("read %v, wrote\n%s\nread back %v", value, EncodeYAML(value), got)
		}
		if node.Kind == MapNode {
			settleFalsy(node)
			if _, err := checkLocal(node); err == nil {
				l := &Local{tree: node}
				l.build()
				_, _ = ParseDynamic(InitialDynamic(l), nil)
				Merge(l, DefaultDynamic(), ServerFacts{})
			}
		}
	})
}

func hasNaN(v any) bool {
	switch v := v.(type) {
	case float64:
		return math.IsNaN(v)
	case []any:
		for _, item := range v {
			if hasNaN(item) {
				return true
			}
		}
	case map[string]any:
		for _, item := range v {
			if hasNaN(item) {
				return true
			}
		}
	}
	return false
}
