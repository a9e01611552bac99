package stories

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// A PostgreSQL that somebody made by hand becomes a cluster: a file is
// generated from it while it runs, checked, and the agent started with it
// takes that server over; another member is cloned from it.
func TestGeneratedConfigurationTakesOver(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(3)
	c := l.NewCluster(e, lab.Options{Scope: "handmade", Members: []string{"pg01", "pg02"}})
	m := c.Member("pg01")
	if err := os.Remove(m.Config()); err != nil {
		t.Fatal(err)
	}
	bin := lab.PGBin(t, lab.PGVersion(t))
	run := func(argv ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, code, err := m.Run(ctx, argv...)
		if err != nil || code != 0 {
			t.Fatalf("%s: exit code %d, %v\n%s", strings.Join(argv, " "), code, err, out)
		}
		return out
	}
	script := `set -e
printf %s '` + lab.SuperuserPassword + `' >pw
'` + bin + `/initdb' -N -k -A scram-sha-256 --pwfile pw -U postgres -D '` + m.DataDir() + `'
rm pw
cat >>'` + m.DataDir() + `/postgresql.conf' <<X
listen_addresses = '` + m.Addr + `,127.0.0.1'
cluster_name = 'handmade'
max_connections = 60
work_mem = 7MB
unix_socket_directories = '` + m.Dir + `'
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.max = 500
wal_log_hints = on
X
echo 'host all,replication all all scram-sha-256' >>'` + m.DataDir() + `/pg_hba.conf'
'` + bin + `/pg_ctl' -w -D '` + m.DataDir() + `' -l server.log start >/dev/null
export PGPASSWORD='` + lab.SuperuserPassword + `'
'` + bin + `/psql' -X -h 127.0.0.1 -U postgres -c "create role replicator login replication password 'andheretoo'" -c 'create table kept as select generate_series(1,1000)'
`
	run("/bin/sh", "-c", "cd '"+m.Dir+"'\n"+script)
	server := m.Postmaster()

	out := run("/usr/bin/env", "PATRONI_NAME=pg01", "PATRONI_ETCD3_HOSTS="+strings.Join(e.Endpoints(), ","), "PATRONI_REPLICATION_PASSWORD=andheretoo",
		m.Program(), "agent", "--generate-config", m.Config(), "--dsn", "host="+m.Addr+" user=postgres password="+lab.SuperuserPassword)
	t.Logf("hints:\n%s", out)
	if info, err := os.Stat(m.Config()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file holds passwords, its mode is %v, %v", info.Mode(), err)
	}
	if out := run(m.Program(), "config", "lint", m.Config()); !strings.Contains(out, "nothing found") {
		t.Errorf("lint: %s", out)
	}
	if out := run(m.Program(), "agent", "--validate-config", "-i", m.Config()); out != "" {
		t.Errorf("validate: %s", out)
	}

	m.Start()
	c.WaitLeader(30*time.Second + slack)
	sameServer(t, m, server)
	c.Member("pg02").Start()
	c.WaitHealthy(60 * time.Second)
	m.Shutdown(30 * time.Second)
	c.WaitLeader(30*time.Second+slack, m)
	m.Start()
	c.WaitHealthy(60 * time.Second)
	for sql, want := range map[string]string{
		"select count(*) from kept": "1000", "show work_mem": "7MB", "show max_connections": "60", "show cluster_name": "handmade",
		"show pg_stat_statements.max": "500",
	} {
		if got := m.MustQuery(sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
	hba, err := os.ReadFile(filepath.Join(m.DataDir(), "pg_hba.conf"))
	if err != nil || !strings.Contains(string(hba), "host all,replication all all scram-sha-256") {
		t.Errorf("pg_hba.conf: %v\n%s", err, hba)
	}
}
