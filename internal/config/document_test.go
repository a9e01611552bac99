package config

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

func mustParse(t *testing.T, text string) Document {
	t.Helper()
	d, err := ParseDocument([]byte(text))
	if err != nil {
		t.Fatalf("ParseDocument(%s): %v", text, err)
	}
	return d
}

func TestDocumentKeepsOrderAndForm(t *testing.T) {
	cases := []struct{ in, compact, python string }{
		{`{}`, `{}`, `{}`},
		{`{"ttl": 30, "a": {"z":1,"b":[1, 2.50, null]}}`, `{"ttl":30,"a":{"z":1,"b":[1,2.5,null]}}`, `{"ttl": 30, "a": {"z": 1, "b": [1, 2.5, null]}}`},
		{`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`, `{"a": 3, "b": 2}`},
		{`{"ü":"\ud83d\udc18<&>\u007f\"\\\/\n"}`, `{"\u00fc":"\ud83d\udc18<&>\u007f\"\\/\n"}`, `{"\u00fc": "\ud83d\udc18<&>\u007f\"\\/\n"}`},
		{`{"n":123456789012345678901234567890,"f":1e22,"g":1.0,"h":0.00001,"i":-0.0}`,
			`{"n":123456789012345678901234567890,"f":1e+22,"g":1.0,"h":1e-05,"i":-0.0}`,
			`{"n": 123456789012345678901234567890, "f": 1e+22, "g": 1.0, "h": 1e-05, "i": -0.0}`},
	}
	var inputs []string
	var spaced, compact strings.Builder
	for _, c := range cases {
		d := mustParse(t, c.in)
		if got := string(d.Compact()); got != c.compact {
			t.Errorf("%s: compact %s", c.in, got)
		}
		if got := string(d.Python()); got != c.python {
			t.Errorf("%s: python %s", c.in, got)
		}
		inputs = append(inputs, c.in)
		spaced.WriteString(c.python + "\n")
		compact.WriteString(c.compact + "\n")
	}
	if exec.Command(python, "-c", "").Run() != nil {
		return // the table above was recorded from it
	}
	for script, want := range map[string]string{
		"import sys,json\nfor t in json.load(sys.stdin): print(json.dumps(json.loads(t)))":                       spaced.String(),
		"import sys,json\nfor t in json.load(sys.stdin): print(json.dumps(json.loads(t), separators=(',',':')))": compact.String(),
	} {
		data, err := json.Marshal(inputs)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(python, "-c", script)
		cmd.Stdin = strings.NewReader(string(data))
		if out, err := cmd.Output(); err != nil || string(out) != want {
			t.Errorf("python3 (%v):\n%s\nwant\n%s", err, out, want)
		}
	}
}

func TestParseDocumentRefuses(t *testing.T) {
	for _, bad := range []string{"", "null", "[]", "1", "{", `{"a":1} x`, `{"a":}`, `{a:1}`, strings.Repeat(`{"a":`, 2000), "{'a':1}"} {
		if d, err := ParseDocument([]byte(bad)); err == nil {
			t.Errorf("%.20q: accepted as %s", bad, d.Compact())
		}
	}
}

// rest-api.md 7.
func TestMergePatch(t *testing.T) {
	cases := []struct {
		name, doc, patch, want string
		changed                bool
	}{
		{"replace", `{"a":1,"b":2}`, `{"a":3}`, `{"a":3,"b":2}`, true},
		{"same text", `{"ttl":20}`, `{"ttl":"20"}`, `{"ttl":20}`, false},
		{"boolean and its text differ", `{"p":true}`, `{"p":"true"}`, `{"p":"true"}`, true},
		{"null deletes", `{"a":1,"b":2}`, `{"a":null}`, `{"b":2}`, true},
		{"null for nothing", `{"b":2}`, `{"a":null}`, `{"b":2}`, false},
		{"recursive", `{"p":{"a":1,"b":{"c":2}}}`, `{"p":{"b":{"c":null,"d":4}}}`, `{"p":{"a":1,"b":{"d":4}}}`, true},
		{"emptied object stays", `{"p":{"a":1}}`, `{"p":{"a":null}}`, `{"p":{}}`, true},
		{"nested null in a new key is kept", `{}`, `{"s":{"host":"h","port":null}}`, `{"s":{"host":"h","port":null}}`, true},
		{"object over scalar", `{"a":1}`, `{"a":{"b":2}}`, `{"a":{"b":2}}`, true},
		{"scalar over object", `{"a":{"b":2}}`, `{"a":1}`, `{"a":1}`, true},
		{"list replaces", `{"a":[1,2]}`, `{"a":[2]}`, `{"a":[2]}`, true},
		{"same list", `{"a":[1,"b",{"c":null}]}`, `{"a":[1,"b",{"c":null}]}`, `{"a":[1,"b",{"c":null}]}`, false},
		{"list items by type", `{"a":[20]}`, `{"a":["20"]}`, `{"a":["20"]}`, true},
		{"new keys go to the end", `{"b":1}`, `{"a":2,"c":3}`, `{"b":1,"a":2,"c":3}`, true},
		{"nothing", `{"a":1}`, `{}`, `{"a":1}`, false},
		{"the talk's attack", `{"postgresql":{"use_slots":true,"pg_hba":["a"]}}`, `{"postgresql":{"pg_hba":["host all all all trust"]}}`,
			`{"postgresql":{"use_slots":true,"pg_hba":["host all all all trust"]}}`, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, patch := mustParse(t, c.doc), mustParse(t, c.patch)
			if changed := d.MergePatch(patch); changed != c.changed || string(d.Compact()) != c.want {
				t.Errorf("changed %v: %s", changed, d.Compact())
			}
			if got := string(patch.Compact()); got != string(mustParse(t, c.patch).Compact()) {
				t.Errorf("the patch itself changed: %s", got)
			}
			if d.MergePatch(patch) && !strings.Contains(c.patch, `"port":null`) {
				t.Errorf("applied twice, changed again: %s", d.Compact())
			}
		})
	}
	t.Run("nothing is shared", func(t *testing.T) {
		var d Document
		patch := mustParse(t, `{"a":{"b":1}}`)
		d.MergePatch(patch)
		d.Set([]string{"a", "b"}, int64(2))
		if got := string(patch.Compact()); got != `{"a":{"b":1}}` {
			t.Errorf("patch is now %s", got)
		}
	})
}

// ctl.md 5.6.
func TestSetPair(t *testing.T) {
	cases := []struct{ doc, pair, want string }{
		{`{"ttl":30}`, "ttl=20", `{"ttl":20}`},
		{`{}`, "pause=on", `{"pause":true}`},
		{`{}`, "a.b.c=[x, 1]", `{"a":{"b":{"c":["x",1]}}}`},
		{`{}`, "s={b: 1, a: x}", `{"s":{"a":"x","b":1}}`},
		{`{"a":{"b":{"c":1}},"d":1}`, "a.b.c=null", `{"d":1}`},
		{`{"a":{"b":1,"c":2}}`, "a.b=", `{"a":{"c":2}}`},
		{`{"a":5}`, "a.b=1", `{"a":{"b":1}}`},
		{`{"a":5}`, "b.c.d=null", `{"a":5}`},
		{`{}`, "postgresql.parameters.auto_explain.log_min_duration=5", `{"postgresql":{"parameters":{"auto_explain.log_min_duration":5}}}`},
		{`{"postgresql":{"parameters":{"a.b":1}}}`, "postgresql.parameters.a.b=null", `{}`},
		{`{}`, "postgresql.parameters.work_mem=4MB", `{"postgresql":{"parameters":{"work_mem":"4MB"}}}`},
		{`{}`, "cmd=a=b", `{"cmd":"a=b"}`},
		{`{}`, "n=0755", `{"n":493}`},
	}
	for _, c := range cases {
		d := mustParse(t, c.doc)
		if err := d.SetPair(c.pair); err != nil {
			t.Errorf("%s: %v", c.pair, err)
		}
		if got := string(d.Compact()); got != c.want {
			t.Errorf("%s on %s: %s", c.pair, c.doc, got)
		}
	}
	for _, bad := range []string{"ttl", "", "=5", "a=[1", "a=*x"} {
		var d Document
		if err := d.SetPair(bad); err == nil || err.Error() != "Invalid parameter setting "+bad {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestDocumentEqual(t *testing.T) {
	cases := []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":{"c":2}}`, `{"b":{"c":"2"},"a":1}`, true},
		{`{"a":true}`, `{"a":"true"}`, false},
		{`{"a":101}`, `{"a":"101"}`, true},
		{`{"a":{}}`, `{"a":null}`, false},
		{`{"a":1}`, `{"a":1,"b":1}`, false},
		{`{"a":[1]}`, `{"a":["1"]}`, false},
	}
	for _, c := range cases {
		a, b := mustParse(t, c.a), mustParse(t, c.b)
		if a.Equal(b) != c.want || b.Equal(a) != c.want {
			t.Errorf("%s and %s: want equal %v", c.a, c.b, c.want)
		}
	}
	if !(Document{}).Equal(mustParse(t, "{}")) {
		t.Error("the zero document is the empty one")
	}
}

func TestDocumentFromYAMLKeepsOrder(t *testing.T) {
	d, err := DocumentFromYAML([]byte("z: 1\na: {y: on, b: ~}\n"), "f")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(d.Compact()); got != `{"z":1,"a":{"y":true,"b":null}}` {
		t.Errorf("got %s", got)
	}
	if _, err := DocumentFromYAML([]byte("- a\n"), "f"); err == nil {
		t.Error("a list is no document")
	}
	if got := string(DocumentFromMap(d.Map()).Compact()); got != `{"a":{"b":null,"y":true},"z":1}` {
		t.Errorf("from a map: %s", got)
	}
}

func FuzzParseDocument(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,2.5,"x",null,{"b":true}]}`, `{"a":1e400}`, `{"a":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseDocument(data)
		if err != nil {
			return
		}
		again, err := ParseDocument(d.Compact())
		if err != nil || string(again.Compact()) != string(d.Compact()) || !again.Equal(d) {
			t.Fatalf("%s: read back %v as %s", d.Compact(), err, again.Compact())
		}
		patched := d.Clone()
		if patched.MergePatch(Document{}) || !patched.Equal(d) {
			t.Fatal("an empty patch changes nothing")
		}
		if _, err := ParseDynamic(d.Map(), nil); err == nil {
			Merge(&Local{}, DefaultDynamic(), ServerFacts{})
		}
	})
}
