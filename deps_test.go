package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// goPackage is what `go list -json` says of one package.
type goPackage struct {
	ImportPath string
	Name       string
	Doc        string
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// inside says which packages of the module a package may import. A name ending
// in / stands for everything below it. Packages not listed may import what is
// below internal/.
var inside = []struct {
	pkg     string
	allowed []string
	why     string
}{
	{"pgha", []string{"cmd", "internal/guard"}, "main starts the command line, and the guard before anything else"},
	{"agent/ha", []string{"internal/clock", "internal/config", "internal/dcs", "internal/postgres"},
		"decisions are a pure function of what was observed; whoever wants effects asks the agent for an action"},
	{"agent/rest", []string{"internal/api", "internal/clock", "internal/config", "internal/dcs", "internal/postgres", "internal/tlsconf"},
		"REST reads a published snapshot and sends requests; it must not reach into the agent"},
	{"agent", []string{"agent/", "internal/"}, "the daemon knows nothing of the other features"},
	{"agent/sim", []string{"agent/", "internal/"}, "the simulator runs the agent's own code"},
	{"cmd", []string{"agent", "backup", "ctl", "demo", "etcdsetup", "upgrade", "internal/"}, "cmd calls features; nobody imports it but main"},
	{"internal/guard", nil, "the guard must work when the rest does not"},
	{"internal/guard/client", []string{"internal/clock", "internal/guard"}, "the guard's client knows its protocol and nothing of the agent"},
	{"internal/clock", nil, "everything rests on it"},
	{"internal/postgres", nil, "knowledge of PostgreSQL, without effects"},
	{"internal/config", []string{"internal/postgres"}, "configuration is read before anything else exists"},
	{"internal/dcs", []string{"internal/clock", "internal/config", "internal/postgres"}, "the cluster as stored, whatever stores it"},
	{"internal/dcs/etcd", []string{"internal/clock", "internal/config", "internal/dcs", "internal/postgres", "internal/tlsconf"}, "a store knows the vocabulary and its own connection"},
	{"internal/dcs/dcstest", []string{"internal/clock", "internal/config", "internal/dcs", "internal/postgres"}, "a store knows the vocabulary and its own connection"},
	{"internal/instance", []string{"internal/clock", "internal/config", "internal/postgres"}, "PostgreSQL is controlled without knowing of a cluster"},
}

// testOnly packages are for tests; shipped code must not reach them.
var testOnly = []string{"internal/lab", "internal/dcs/dcstest", "agent/sim"}

// outside says who alone may use a library, by import path prefix.
var outside = []struct {
	library string
	users   []string
	why     string
}{
	{"github.com/spf13/", []string{"cmd"}, "flags and environment end in cmd; features get options structs"},
	{"github.com/jackc/pgx/", []string{"internal/instance", "internal/query", "internal/writer", "internal/lab"}, "SQL goes through one place a purpose"},
	{"go.etcd.io/etcd/server/", []string{"demo/etcdtrio"}, "linked into the agent, etcd's server would cost every process 7 MB (rulings 36)"},
	{"go.etcd.io/etcd/client/pkg/", []string{"internal/tlsconf"}, "tlsconf is the only place that builds a TLS configuration (rulings 39)"},
	{"go.etcd.io/etcd/", []string{"internal/dcs/etcd", "internal/etcdadmin", "internal/tlsconf", "demo/etcdtrio"}, "etcd is spoken by the store and by the administrator's package"},
	{"google.golang.org/grpc", []string{"internal/dcs/etcd", "internal/etcdadmin"}, "etcd is spoken by the store and by the administrator's package"},
	{"github.com/olekukonko/", []string{"internal/render"}, "rows become text in one place"},
	{"go.yaml.in/", []string{"internal/config"}, "YAML is read as PyYAML reads it, in one place"},
	{"github.com/prometheus/", []string{"agent/rest"}, "metrics are an answer of the REST API"},
	{"github.com/google/nftables", []string{"internal/gate", "internal/lab"}, "the gate owns its nftables element"},
}

// effects are standard packages that a decision has no use for.
var effects = []string{"context", "io", "io/fs", "log", "math/rand", "math/rand/v2", "net", "net/http", "os", "os/exec", "sync", "sync/atomic", "syscall"}

func TestDeps(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, "pgha/")
		for _, imp := range p.Imports {
			if in, ok := strings.CutPrefix(imp, "pgha/"); ok {
				checkInside(t, name, in)
			}
			checkOutside(t, name, imp)
			if name == "agent/ha" && slices.Contains(effects, imp) {
				t.Errorf("agent/ha imports %s: decisions are pure: no I/O, no time, no randomness, no goroutines", imp)
			}
			if name == "internal/guard" && !slices.Contains([]string{"os", "runtime", "syscall", "unsafe"}, imp) {
				t.Errorf("internal/guard imports %s: it stays small and starts before everything else (rulings 35)", imp)
			}
		}
	}
}

func checkInside(t *testing.T, name, imp string) {
	t.Helper()
	if within(imp, testOnly) && !within(name, testOnly) {
		t.Errorf("%s imports %s: that is for tests only", name, imp)
	}
	if within(name, []string{"internal/lab"}) {
		return // tests of everything
	}
	for _, rule := range inside {
		if rule.pkg == name {
			if !permitted(imp, rule.allowed) {
				t.Errorf("%s imports %s: %s", name, imp, rule.why)
			}
			return
		}
	}
	if !strings.HasPrefix(imp, "internal/") {
		t.Errorf("%s imports %s: features do not know each other; what they share lives below internal/", name, imp)
	}
}

func checkOutside(t *testing.T, name, imp string) {
	t.Helper()
	for _, rule := range outside {
		if strings.HasPrefix(imp, rule.library) {
			if !within(name, rule.users) {
				t.Errorf("%s imports %s, which belongs to %s: %s", name, imp, strings.Join(rule.users, ", "), rule.why)
			}
			return
		}
	}
}

// permitted says whether imp is in the list, or below an entry that ends in /.
func permitted(imp string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return imp == a || strings.HasSuffix(a, "/") && strings.HasPrefix(imp, a)
	})
}

// within says whether name is one of the packages or below one.
func within(name string, packages []string) bool {
	return slices.ContainsFunc(packages, func(p string) bool {
		return name == p || strings.HasPrefix(name, p+"/")
	})
}

// slogUse is a use of log/slog; slogValues are the names that make values and
// log nothing.
var (
	slogUse    = regexp.MustCompile(`\bslog\.(\w+)`)
	slogValues = []string{"Any", "AnyValue", "Attr", "GroupValue", "Int", "Int64", "LogValuer", "String", "StringValue", "Value"}
)

// A reason knows how it looks in a log line, but decisions do not log.
func TestDecisionsDoNotLog(t *testing.T) {
	files, err := filepath.Glob("agent/ha/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in agent/ha: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range slogUse.FindAllSubmatch(text, -1) {
			if !slices.Contains(slogValues, string(m[1])) && !strings.HasSuffix(file, "_test.go") {
				t.Errorf("%s uses %s: decisions do not log", file, m[0])
			}
		}
	}
}

// Every package says what it is for.
func TestPackageDoc(t *testing.T) {
	for _, p := range listPackages(t) {
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s has no package comment beginning with %q", p.ImportPath, want)
		}
	}
}
