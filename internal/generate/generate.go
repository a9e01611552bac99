// Package generate writes a patroni.yml: a sample for a new cluster, or one
// for a PostgreSQL that runs already (contract: config.md 8, integrations.md
// 4). PATRONI_* variables come on top, as they do when the file is read.
package generate

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pgha/internal/config"
)

// Machine is what a file needs to know of the machine it is for.
type Machine struct {
	Name    string // host name: the member's name
	Address string // by which other machines come here
	BinDir  string // of PostgreSQL's programs; empty: not found
	// Environ are NAME=value pairs, of which PATRONI_* count.
	Environ []string
	// Version of this program, for the comment at the top.
	Version string
}

// Result is a configuration file and what there is to say about it.
type Result struct {
	Text  []byte
	Hints []string // one line each: what to look at before the first start
}

// ThisMachine looks at the machine this runs on.
func ThisMachine(environ []string, version string) Machine {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "pg01"
	}
	name, _, _ = strings.Cut(name, ".")
	return Machine{Name: name, Address: ownAddress(), BinDir: newestBinDir(), Environ: environ, Version: version}
}

// ownAddress is the first address that is not of this machine alone; without
// one the host's name has to do.
func ownAddress() string {
	addresses, _ := net.InterfaceAddrs()
	var six string
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		if n.IP.To4() != nil {
			return n.IP.String()
		}
		if six == "" {
			six = n.IP.String()
		}
	}
	if six != "" {
		return "[" + six + "]"
	}
	name, _ := os.Hostname()
	return name
}

// newestBinDir looks in the usual places of Debian and RHEL, then in PATH.
func newestBinDir() string {
	best, bestVersion := "", -1.0
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"} {
		dirs, _ := filepath.Glob(pattern) // the patterns are well-formed
		for _, dir := range dirs {
			if _, err := os.Stat(filepath.Join(dir, "postgres")); err != nil {
				continue
			}
			digits := strings.Trim(strings.TrimPrefix(filepath.Base(filepath.Dir(dir)), "pgsql"), "-")
			if v, err := strconv.ParseFloat(digits, 64); err == nil && v > bestVersion {
				best, bestVersion = dir, v
			}
		}
	}
	if best == "" {
		if path, err := exec.LookPath("postgres"); err == nil {
			best = filepath.Dir(path)
		}
	}
	return best
}

// password makes one that needs no quoting anywhere.
func password() string {
	raw := make([]byte, 18)
	rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// set is Document.Set with a dotted path.
func set(d *config.Document, path string, value any) {
	if path == "postgresql.parameters" || path == "bootstrap.dcs.postgresql.parameters" {
		m, _ := value.(map[string]any)
		for _, name := range sortedNames(m) {
			d.Set(append(strings.Split(path, "."), name), m[name])
		}
		return
	}
	d.Set(strings.Split(path, "."), value)
}

func sortedNames(m map[string]any) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// common writes the head of every file: the member, REST, etcd, and the
// beginning of the dynamic configuration.
func common(d *config.Document, m Machine, scope string) {
	set(d, "scope", scope)
	set(d, "name", m.Name)
	set(d, "restapi.listen", m.Address+":8008")
	set(d, "restapi.connect_address", m.Address+":8008")
	set(d, "etcd3.hosts", m.Address+":2379")
	set(d, "bootstrap.dcs.ttl", 30)
	set(d, "bootstrap.dcs.loop_wait", 10)
	set(d, "bootstrap.dcs.retry_timeout", 10)
	set(d, "bootstrap.dcs.maximum_lag_on_failover", 1<<20)
	set(d, "bootstrap.dcs.postgresql.use_pg_rewind", true)
	set(d, "bootstrap.dcs.postgresql.use_slots", true)
}

// tags ends every file.
func tags(d *config.Document) {
	for _, tag := range []string{"nofailover", "noloadbalance", "clonefrom", "nosync"} {
		set(d, "tags."+tag, false)
	}
}

// finish puts the environment on top and writes the file.
func finish(d *config.Document, m Machine, head string, comments map[string]string, hints []string) Result {
	if slices.ContainsFunc(m.Environ, func(pair string) bool {
		name, value, _ := strings.Cut(pair, "=")
		return value != "" && slices.Contains([]string{"PATRONI_ETCD3_HOST", "PATRONI_ETCD3_SRV", "PATRONI_ETCD3_URL", "PATRONI_ETCD3_PROXY"}, name)
	}) {
		d.Delete([]string{"etcd3", "hosts"}) // another way to name the servers
	}
	for _, f := range d.Overlay(m.Environ) {
		hints = append(hints, f.String())
	}
	comments[""] = fmt.Sprintf("%s by pgha %s.\nCheck it with: pgha agent --validate-config FILE", head, m.Version)
	if _, given := envValue(m.Environ, "PATRONI_ETCD3_HOSTS"); d.Map()["etcd3"] != nil && !given && hasHosts(d) {
		comments["etcd3.hosts"] = "all servers, separated by commas: etcd01:2379,etcd02:2379,etcd03:2379"
		hints = append(hints, "etcd3.hosts: name your etcd servers")
	}
	return Result{Text: d.YAML(comments), Hints: hints}
}

func hasHosts(d *config.Document) bool {
	etcd, _ := d.Map()["etcd3"].(map[string]any)
	return etcd["hosts"] != nil
}

func envValue(environ []string, name string) (string, bool) {
	for _, pair := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(pair, name+"="); ok && value != "" {
			return value, true
		}
	}
	return "", false
}
