package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rule says what a package may import from this module, and which outside
// libraries are its alone (docs/ARCHITECTURE.md, "Import direction").
type rule struct {
	pkg    string   // path below the module; a trailing /... covers what is below
	may    []string // module packages it may import; "internal/..." covers what is below
	reason string
}

var rules = []rule{
	{"agent/ha", []string{"internal/clock", "internal/config", "internal/dcs", "internal/postgres"},
		"decisions are pure: simulation and scenarios depend on it"},
	{"agent/rest", []string{"internal/api", "internal/clock", "internal/config", "internal/dcs", "internal/journal", "internal/postgres", "internal/tlsconf"},
		"REST reads a published status and sends requests; it never reaches into the agent"},
	{"ctl", []string{"internal/..."}, "features share internal packages, never each other"},
	{"demo", []string{"internal/..."}, "features share internal packages, never each other"},
	{"demo/etcdtrio", nil, "a program of its own that carries etcd's server; nothing of pgha belongs into it"},
	{"internal/clock", nil, "the bottom: everything may read the clock"},
	{"internal/gate", []string{"internal/clock"}, "it is told until when clients pass; it knows no leases, no cluster and no PostgreSQL"},
	{"internal/guard", nil, "the guard must work when the rest does not, and must stay small"},
	{"internal/guard/client", []string{"internal/clock", "internal/guard"}, "the agent's side of the guard knows nothing of PostgreSQL"},
	{"internal/postgres", nil, "knowledge without effects"},
	{"internal/postgres/gucgen", nil, "a program that writes a table; nothing of pgha belongs into it"},
	{"internal/config", []string{"internal/postgres"}, "configuration is data"},
	{"internal/dcs", []string{"internal/clock", "internal/config", "internal/postgres"}, "the cluster as stored knows no store"},
	{"internal/dcs/etcd", []string{"internal/clock", "internal/config", "internal/dcs", "internal/tlsconf"}, "a store knows the keys and TLS only"},
	{"internal/generate", []string{"internal/config", "internal/postgres", "internal/query"}, "a file from what a server says: no DCS, no agent"},
	{"internal/instance", []string{"internal/clock", "internal/config", "internal/postgres"}, "PostgreSQL control does what it is told: no DCS, no agent"},
	{"internal/watchdog", nil, "the device alone: when it is on and fed is the agent's"},
	{"internal/watchdog/watchdogtest", nil, "a device for tests, which knows nothing of who uses it"},
	{"internal/watchdog/vminit", []string{"internal/watchdog"}, "the first process of the virtual machine of make watchdog"},
	{"internal/tlsconf", []string{"internal/config"}, "the only place that builds TLS configurations"},
	{"internal/journal", nil, "a file of records: it knows nothing of who decides what"},
	{"internal/logging", []string{"internal/config"}, "logging is below everything that logs"},
	{"internal/render", []string{"internal/config", "internal/dcs", "internal/postgres"}, "rows in, text out"},
	{"cmd", []string{"agent", "ctl", "etcdsetup", "backup", "upgrade", "demo", "internal/..."}, "flags to options, one call, errors to text"},
}

// owners are outside libraries confined to some packages.
var owners = []struct {
	module  string
	allowed []string
	reason  string
}{
	{"github.com/spf13/", []string{"cmd"}, "flags and environment end at the command line"},
	{"github.com/olekukonko/tablewriter", []string{"internal/render"}, "one place draws tables"},
	{"go.etcd.io/etcd/client/v3", []string{"internal/dcs/etcd", "internal/etcdadmin"}, "one place speaks to etcd"},
	{"go.etcd.io/etcd/server/v3", []string{"demo/etcdtrio"}, "etcd's server costs every process that links it 7 MB (rulings 36)"},
	{"github.com/jackc/pgx", []string{"internal/instance", "internal/query", "internal/writer", "internal/lab"}, "one place asks PostgreSQL; the measuring client of demo and lab is a client"},
	{"github.com/google/nftables", []string{"internal/gate"}, "one place writes packet filter rules, in one table"},
	{"github.com/mdlayher/netlink", []string{"internal/gate"}, "part of the above"},
	{"go.yaml.in/yaml", []string{"internal/config"}, "YAML is read as PyYAML reads it, or not at all"},
	{"github.com/hanwen/go-fuse/", []string{"internal/watchdog/watchdogtest"}, "files that tests make up; nothing of it belongs into the binary"},
	{"github.com/prometheus/client_golang", []string{"agent/rest"}, "metrics are part of REST"},
}

// pureForbidden are standard packages a decision has no use for.
var pureForbidden = []string{"context", "sync", "sync/atomic", "log", "os", "io", "net", "math/rand", "math/rand/v2", "os/exec"}

type listed struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func allowed(path string, list []string) bool {
	return slices.ContainsFunc(list, func(a string) bool {
		if below, ok := strings.CutSuffix(a, "/..."); ok {
			return path == below || strings.HasPrefix(path, below+"/")
		}
		return path == a
	})
}

func TestImportDirection(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, "pgha/")
		for _, r := range rules {
			if r.pkg != name {
				continue
			}
			for _, imp := range p.Imports {
				if dep, ours := strings.CutPrefix(imp, "pgha/"); ours && !allowed(dep, r.may) {
					t.Errorf("%s imports %s: %s", name, dep, r.reason)
				}
			}
		}
		for _, o := range owners {
			for _, imp := range p.Imports {
				if strings.HasPrefix(imp, o.module) && !slices.ContainsFunc(o.allowed, func(a string) bool { return name == a || strings.HasPrefix(name, a+"/") }) {
					t.Errorf("%s imports %s: %s", name, imp, o.reason)
				}
			}
		}
		switch name {
		case "agent/ha":
			for _, imp := range p.Imports {
				if slices.Contains(pureForbidden, imp) {
					t.Errorf("agent/ha imports %s: a decision knows nothing but its input", imp)
				}
			}
		case "internal/guard":
			for _, imp := range p.Imports {
				if !slices.Contains([]string{"os", "syscall", "runtime", "unsafe"}, imp) {
					t.Errorf("internal/guard imports %s: it pays for every package with memory that it locks (rulings 35)", imp)
				}
			}
		}
	}
}
