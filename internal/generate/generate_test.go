package generate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgha/internal/config"
	"pgha/internal/query"
)

var machine = Machine{Name: "db1", Address: "192.0.2.11", BinDir: "/usr/lib/postgresql/17/bin", Version: "1.0"}

// checked loads a generated file as the agent does, and lints it.
func checked(t *testing.T, r Result) *config.Local {
	t.Helper()
	path := filepath.Join(t.TempDir(), "patroni.yml")
	if err := os.WriteFile(path, r.Text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, remark := range config.LintText(r.Text, "generated") {
		t.Errorf("lint: %v", remark)
	}
	local, problems, err := config.Validate(path, nil)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v %v\n%s", problems, err, r.Text)
	}
	if err := local.CheckAgent(); err != nil {
		t.Errorf("the agent refuses it: %v", err)
	}
	return local
}

func TestSample(t *testing.T) {
	r := Sample(machine)
	l := checked(t, r)
	if l.Scope != "main" || l.Name != "db1" || l.PostgreSQL.DataDir != "/var/lib/postgresql/17/main" || l.PostgreSQL.ConnectAddress != "192.0.2.11:5432" {
		t.Errorf("%+v", l.PostgreSQL)
	}
	first, second := l.PostgreSQL.Superuser.Password.Reveal(), l.PostgreSQL.Replication.Password.Reveal()
	if len(first) < 20 || first == second || strings.Contains(string(Sample(machine).Text), first) {
		t.Errorf("passwords %q, %q", first, second)
	}
	if len(r.Hints) != 1 || !strings.Contains(r.Hints[0], "etcd3.hosts") {
		t.Errorf("hints %q", r.Hints)
	}
}

// PATRONI_* variables are on top, as when the file is read.
func TestEnvironmentOnTop(t *testing.T) {
	m := machine
	m.BinDir = ""
	m.Environ = []string{"PATRONI_SCOPE=shop", "PATRONI_ETCD3_HOST=etcd01", "PATRONI_SUPERUSER_PASSWORD=given", "PATRONI_LOG_FILE_NUM=x", "PATH=/bin",
		"PATRONI_POSTGRESQL_DATA_DIR=/srv/pg"}
	r := Sample(m)
	l := checked(t, r)
	if l.Scope != "shop" || l.PostgreSQL.Superuser.Password.Reveal() != "given" || strings.Join(l.Etcd3.Endpoints, " ") != "http://etcd01:2379" || l.PostgreSQL.DataDir != "/srv/pg" {
		t.Errorf("%s", r.Text)
	}
	want := []string{"postgresql.bin_dir: no PostgreSQL", "PATRONI_LOG_FILE_NUM: ignored"}
	if len(r.Hints) != len(want) || !strings.HasPrefix(r.Hints[0], want[0]) || !strings.HasPrefix(r.Hints[1], want[1]) {
		t.Errorf("hints %q", r.Hints)
	}
}

// A server as Debian packages it: files in /etc, a name with a slash, unix
// socket without password, settings the agent does not accept.
func TestWriteDebianServer(t *testing.T) {
	s := &server{
		target: query.Target{Host: "/var/run/postgresql", Port: 5433, User: "postgres"},
		settings: map[string]string{
			"data_directory": "/var/lib/postgresql/17/main", "config_file": "/etc/postgresql/17/main/postgresql.conf",
			"hba_file": "/etc/postgresql/17/main/pg_hba.conf", "ident_file": "/srv/ident.conf", "listen_addresses": "localhost", "port": "5433",
			"cluster_name": "17/main", "max_connections": "20", "wal_level": "minimal", "wal_keep_size": "0", "wal_log_hints": "off",
			"data_checksums": "off", "unix_socket_directories": "/var/run/postgresql", "max_wal_senders": "10",
		},
		files:  map[string]string{"port": "5433", "work_mem": "8MB", "max_connections": "20", "primary_conninfo": "x", "recovery_target_lsn": "0/1", "data_directory": "/d", "log_line_prefix": "%m [%p] %q%u@%d "},
		hba:    []string{"local all postgres peer", "host all all 127.0.0.1/32 scram-sha-256"},
		binDir: "/usr/lib/postgresql/17/bin", standby: true,
	}
	r := s.write(machine)
	l := checked(t, r)
	p := l.PostgreSQL
	if l.Scope != "pg-17-main" || p.Listen != "localhost" || p.Port != 5433 || p.ConfigDir != "/etc/postgresql/17/main" || p.Superuser.Password != "" {
		t.Errorf("scope %q %+v", l.Scope, p)
	}
	eff := config.Merge(l, config.DefaultDynamic(), config.ServerFacts{})
	if !eff.UseUnixSocket || eff.Parameters["work_mem"] != "8MB" || eff.Parameters["unix_socket_directories"] != "/var/run/postgresql" ||
		eff.Parameters["ident_file"] != "/srv/ident.conf" || eff.PgHBA[0] != "local all postgres peer" || len(eff.Recovery) > 0 {
		t.Errorf("%+v", eff)
	}
	dcs := config.BootstrapDocument(l)["postgresql"].(map[string]any)["parameters"].(map[string]any)
	if !config.EqualText(dcs, map[string]any{"max_connections": 100, "wal_level": "replica", "wal_log_hints": "on", "max_wal_senders": 10}) {
		t.Errorf("controlled: %v", dcs)
	}
	hints := strings.Join(r.Hints, "\n")
	for _, want := range []string{
		"max_connections is 20 here, 100 will be used", "wal_level is minimal here, replica will be used", "pg_rewind needs wal_log_hints",
		"postgresql.listen: localhost does not cover 192.0.2.11", "there is no role for replication yet", "no line lets another machine replicate",
		`scope: "pg-17-main" was chosen`, "this server is a standby", "etcd3.hosts",
	} {
		if !strings.Contains(hints, want) {
			t.Errorf("no hint %q in\n%s", want, hints)
		}
	}
}

func TestScopeName(t *testing.T) {
	for in, want := range map[string]string{"": "main", "17/main": "pg-17-main", "shop": "shop", "a b": "a-b", "//": "main", "Größe": "Gr--e"} {
		if got := scopeName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
