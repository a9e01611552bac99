package instance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// keyed is a server that is configured by documents as operators write them:
// a patroni.yml, and what they add to it or to the dynamic configuration.
type keyed struct {
	*node
	etc  string // directory with the local configuration
	role string
}

// baseline is the local configuration that every case starts from.
const baseline = `scope: demo
name: a
etcd3: {host: 'e:2379'}
restapi: {listen: 'x:8008'}
postgresql:
  listen: 127.0.0.1:%[1]d
  data_dir: %[2]s/data
  bin_dir: %[3]s
  pgpass: %[2]s/pgpass
  use_unix_socket: true
  pg_hba: [local all all trust, local replication all trust, host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
  authentication:
    superuser: {username: postgres}
    replication: {username: repl, password: 're"p''l\ pass:'}
    rewind: {username: rewinder, password: rewind pass}
  parameters: {unix_socket_directories: %[2]s, fsync: off, shared_buffers: 16MB, log_min_messages: fatal}
`

// newKeyed makes a running primary.
func newKeyed(t *testing.T) *keyed {
	t.Helper()
	k := &keyed{node: newNode(t, clusterDir(t), "a")}
	k.etc = filepath.Join(k.dir, "etc")
	must(t, os.Mkdir(k.etc, 0o700))
	must(t, os.WriteFile(filepath.Join(k.etc, "1.yml"), fmt.Appendf(nil, baseline, k.port, k.dir, binDir()), 0o600))
	k.use("", "")
	k.primary()
	return k
}

// use puts a configuration in force: local is YAML below postgresql, dynamic
// JSON below postgresql; both may be empty.
func (k *keyed) use(local, dynamic string) config.Effective {
	k.t.Helper()
	if dynamic == "" {
		dynamic = "{}"
	}
	added := filepath.Join(k.etc, "2.yml")
	must(k.t, os.WriteFile(added, []byte(document(local)), 0o600))
	l, err := config.LoadLocal(k.etc, nil)
	must(k.t, err)
	doc, err := config.ParseDocument([]byte(`{"postgresql":` + dynamic + `}`))
	must(k.t, err)
	d, err := config.ParseDynamic(doc.Map(), nil)
	must(k.t, err)
	version, err := k.binaryVersion(k.t.Context())
	must(k.t, err)
	k.eff, k.dyn = config.Merge(l, d, config.ServerFacts{MajorVersion: version.Major(), Role: k.role, Described: k.Described(k.t.Context())}), d
	k.SetLocal(l)
	k.Configure(k.eff, k.dyn)
	return k.eff
}

// document puts lines below postgresql.
func document(lines string) string {
	var b strings.Builder
	b.WriteString("postgresql:\n  pg_rewind: null\n")
	for line := range strings.Lines(lines) {
		b.WriteString("  " + line)
	}
	return b.String()
}

// reload applies what is in force.
func (k *keyed) reload() Applied {
	k.t.Helper()
	a, err := k.ApplyConfig(within(k.t, 20*time.Second), false)
	must(k.t, err)
	return a
}

func (k *keyed) restart(o StartOptions) {
	k.t.Helper()
	must(k.t, k.Stop(within(k.t, 20*time.Second), StopOptions{Restarting: true}))
	k.start(o)
}

// show is a setting of the running server.
func (k *keyed) show(guc string) string {
	k.t.Helper()
	return k.sql("SELECT current_setting('" + guc + "')")
}

// session tells who the agent's own connection is and how it came.
func (k *keyed) session() (user, database, from string) {
	k.t.Helper()
	err := k.withLocal(within(k.t, 20*time.Second), func(c *pgx.Conn) error {
		return c.QueryRow(k.t.Context(), `SELECT session_user, current_database(), COALESCE(host(client_addr), 'socket')
			FROM pg_stat_activity WHERE pid = pg_backend_pid()`).Scan(&user, &database, &from)
	})
	must(k.t, err)
	return user, database, from
}

// environ is the postmaster's environment.
func (k *keyed) environ() []string {
	k.t.Helper()
	p, ok := k.findPostmaster()
	if !ok {
		k.t.Fatal("no postmaster")
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
	must(k.t, err)
	return strings.Split(string(b), "\x00")
}

func mode(t *testing.T, file string) os.FileMode {
	t.Helper()
	fi, err := os.Stat(file)
	must(t, err)
	return fi.Mode().Perm()
}

// standbyOfNobody is a standby's start without a source.
var standbyOfNobody = StartOptions{Role: postgres.RoleReplica, Recovery: &Follow{}}
