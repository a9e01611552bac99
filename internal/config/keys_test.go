package config

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// keysTable is one line a configuration key: path, kind, default, layers (L
// local, D dynamic, E environment), variables, when a change takes effect, and
// the test that shows its effect: a test's name, with a subtest's where that
// matters, or "ignored: reason". The first six columns are the schema's (go test -run
// KeysTable -update writes them), the last one is kept by hand.
const keysTable = "testdata/keys.tsv"

// otherVariables set no key.
var otherVariables = map[string]string{
	"PATRONI_CONFIGURATION":  "the whole file in one variable",
	"PG_MALLOC_ARENA_MAX":    "MALLOC_ARENA_MAX of the postmaster",
	"PATRONICTL_CONFIG_FILE": "the file of ctl and config",
}

// schemaRows are the first six columns, by path.
func schemaRows() map[string][]string {
	rows := map[string][]string{}
	var visit func(keys []Key, path string)
	visit = func(keys []Key, path string) {
		for _, k := range keys {
			at := strings.TrimPrefix(path+"."+k.Name, ".")
			if k.Kind == KindMap && len(k.Keys) > 0 {
				visit(k.Keys, at)
				continue
			}
			layers := ""
			if k.From&FromDynamic != 0 {
				layers += "D"
			}
			if k.From&FromLocal != 0 {
				layers += "L"
			}
			var names []string
			for _, v := range variables {
				if strings.Join(v.path, ".") == at {
					names = append(names, v.name)
				}
			}
			if len(names) > 0 {
				layers += "E"
			}
			def := k.Default
			if def == "" {
				def = "-"
			}
			variable := strings.Join(names, ",")
			if variable == "" {
				variable = "-"
			}
			takes := string(k.Takes)
			if takes == "" {
				takes = "reload"
			}
			rows[at] = []string{at, string(k.Kind), def, layers, variable, takes}
		}
	}
	local := slices.DeleteFunc(slices.Clone(localKeys), func(k Key) bool { return k.Name == "postgresql" })
	for i, k := range local {
		if k.Name == "bootstrap" {
			local[i].Keys = slices.DeleteFunc(slices.Clone(k.Keys), func(inner Key) bool { return inner.Name == "dcs" })
		}
	}
	visit(local, "")
	visit(slices.DeleteFunc(slices.Clone(dynamicKeys), func(k Key) bool { return k.Name == "postgresql" }), "")
	visit(postgresqlKeys, "postgresql")
	for name, use := range otherVariables {
		rows[name] = []string{name, "variable", "-", "E", name, use}
	}
	for _, g := range controlledGUCs {
		at := "postgresql.parameters." + g.Name
		takes := "PostgreSQL restart"
		if !g.OnCommandLine {
			takes = "reload"
		}
		rows[at] = []string{at, "controlled parameter", g.Default, "D", "-", takes}
	}
	return rows
}

func TestKeysTable(t *testing.T) {
	want := schemaRows()
	data, err := os.ReadFile(keysTable)
	if err != nil && !*update {
		t.Fatal(err)
	}
	effects := map[string]string{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) != 7 || cells[0] == "key" {
			if cells[0] != "key" {
				t.Errorf("not seven cells: %q", line)
			}
			continue
		}
		effects[cells[0]] = cells[6]
		if row, known := want[cells[0]]; !known && !*update {
			t.Errorf("%s: no such key in the schema", cells[0])
		} else if known && !slices.Equal(row, cells[:6]) && !*update {
			t.Errorf("%s: the table says %q, the schema %q", cells[0], cells[1:6], row[1:])
		}
	}
	var b bytes.Buffer
	b.WriteString("key\tkind\tdefault\tlayers\tvariables\ttakes effect\tshown by\n")
	for _, key := range sortedKeys(want) {
		effect, there := effects[key]
		if !there {
			effect = "-" // which is no test
			if !*update {
				t.Errorf("%s: not in %s", key, keysTable)
			}
		}
		b.WriteString(strings.Join(append(want[key], effect), "\t") + "\n")
	}
	if *update {
		if err := os.WriteFile(keysTable, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := testNames(t)
	for key, effect := range effects {
		if strings.HasPrefix(effect, "ignored: ") {
			for _, m := range regexp.MustCompile(`Test\w+`).FindAllString(effect, -1) {
				if _, there := tests[m]; !there {
					t.Errorf("%s: there is no test %s", key, m)
				}
			}
			continue
		}
		name, sub, _ := strings.Cut(effect, "/")
		dir, there := tests[name]
		if !there || sub != "" && !hasSubtest(t, dir, sub) {
			t.Errorf("%s: there is no test %q", key, effect)
		}
	}
}

// hasSubtest says whether the tests of a directory can have a subtest of that
// name: one of its files of cases is called so, or the name, whole or made of
// two parts, stands in the source in quotes.
func hasSubtest(t *testing.T, dir, name string) bool {
	t.Helper()
	for _, file := range []string{name, name + ".txt"} {
		if _, err := os.Stat(filepath.Join(dir, "testdata", file)); err == nil {
			return true
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		has := func(part string) bool { return part == "" || bytes.Contains(text, []byte(`"`+part+`"`)) }
		for i := range name {
			if has(name[:i]) && has(name[i:]) {
				return true
			}
		}
	}
	return false
}

// testNames are all test functions of the module, each with its directory.
func testNames(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir(filepath.Dir(strings.TrimSpace(string(out))), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(text, -1) {
			names[string(m[1])] = filepath.Dir(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Every variable sets its key, with its type, over a file that says something
// else.
func TestEveryVariable(t *testing.T) {
	samples := map[variableKind][2]any{
		asText: {"text", "text"}, asInt: {"7", int64(7)}, asMode: {"0640", int64(0o640)}, asBool: {"on", true},
		asMap: {"a: b", map[string]any{"a": "b"}}, asList: {"a, b", []any{"a", "b"}}, asFormat: {"%(message)s", "%(message)s"},
	}
	for _, v := range variables {
		environ := []string{fmt.Sprintf("%s=%v", v.name, samples[v.kind][0])}
		if strings.HasPrefix(v.name, "PATRONI_ETCD3_") {
			environ = append(environ, "PATRONI_ETCD3_CACERT=text")
		}
		env := readEnvironment(environ)
		if got := env.root.Lookup(v.path...).Value(); !EqualText(got, samples[v.kind][1]) {
			t.Errorf("%s: %v, want %v", v.name, got, samples[v.kind][1])
		}
		if len(env.findings) > 0 {
			t.Errorf("%s: %v", v.name, env.findings)
		}
		if _, known := schemaRows()[strings.Join(v.path, ".")]; !known {
			t.Errorf("%s sets %s, which is no key", v.name, strings.Join(v.path, "."))
		}
		env = readEnvironment([]string{v.name + "="})
		if env.root.Lookup(v.path...) != nil || len(env.findings) > 0 {
			t.Errorf("%s empty: it counts as not set", v.name)
		}
	}
	for _, bad := range []string{"PATRONI_LOG_FILE_NUM=x", "PATRONI_LOG_MODE=rw", "PATRONI_CTL_INSECURE=maybe", "PATRONI_LOG_LOGGERS=[a]", "PATRONI_RESTAPI_HTTP_EXTRA_HEADERS=[a]"} {
		if env := readEnvironment([]string{bad}); len(env.root.Fields) > 0 || len(env.findings) != 1 {
			t.Errorf("%s: %v, findings %v", bad, env.root.Value(), env.findings)
		}
	}
}
