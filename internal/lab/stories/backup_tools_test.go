package stories

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// pgBackRest finds the program, or says what is missing.
func pgBackRest(t *testing.T) {
	t.Helper()
	out, err := exec.Command("pgbackrest", "version").Output()
	if err != nil {
		t.Skip("pgbackrest is not installed (Debian: apt-get install pgbackrest)")
	}
	var major, minor int
	fmt.Sscanf(string(out), "pgBackRest %d.%d", &major, &minor)
	knows := map[int]int{16: 48, 17: 53, 18: 57} // the first 2.x that knows a server
	if pg := lab.PGVersion(t); pg > 15 && minor < knows[pg] {
		t.Skipf("%s does not know PostgreSQL %d (2.%d does)", strings.TrimSpace(string(out)), pg, knows[pg])
	}
}

// onHost runs a program as the member's user.
func onHost(t *testing.T, m *lab.Member, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	out, code, err := m.Run(ctx, argv...)
	if err != nil || code != 0 {
		t.Fatalf("%s: exit %d %v\n%s", strings.Join(argv, " "), code, err, out)
	}
	return out
}

// The templates of docs/hooks.md with the real program: replicas from the
// repository, and a new cluster at a point in time.
func TestPgBackRest(t *testing.T) {
	l := long(t)
	pgBackRest(t)
	e := l.StartEtcd(1)
	repo := l.Shared("repo")
	rest := func(m *lab.Member) string { return "pgbackrest --config=" + m.Dir + "/pgbackrest.conf --stanza=demo" }
	local := func(m *lab.Member) []string {
		conf := fmt.Sprintf("[global]\nrepo1-path=%s\nrepo1-retention-full=2\nstart-fast=y\nlock-path=%[2]s/lock\nlog-path=%[2]s/log\nspool-path=%[2]s/spool\n"+
			"[demo]\npg1-path=%[3]s\npg1-socket-path=%[2]s\n", repo, m.Dir, m.DataDir())
		if err := os.WriteFile(filepath.Join(m.Dir, "pgbackrest.conf"), []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
		onHost(t, m, "mkdir", "-p", m.Dir+"/lock", m.Dir+"/log", m.Dir+"/spool")
		return []string{"create_replica_methods: [pgbackrest, basebackup]",
			"pgbackrest: {command: " + rest(m) + " --delta --type=standby restore, keep_data: true, no_params: true}",
			`recovery_conf: {restore_command: '` + rest(m) + ` archive-get %f "%p"'}`}
	}
	// The members' own files have one name, so that one command in the dynamic
	// configuration does for all.
	push := []string{"archive_mode: 'on'", "archive_command: pgbackrest --config=$HOME/pgbackrest.conf --stanza=demo archive-push %p"}
	c := l.NewCluster(e, lab.Options{Members: []string{"pg01", "pg02"}, Parameters: push, PostgreSQL: local})
	a, b := c.Member("pg01"), c.Member("pg02")
	a.Start()
	c.WaitHealthy(60*time.Second, b)
	for _, command := range []string{"stanza-create", "check", "backup --type=full"} {
		onHost(t, a, words(rest(a)+" "+command)...)
	}
	a.MustQuery("create table t as select 1 as x")
	b.Start()
	c.WaitHealthy(60 * time.Second)
	if log := b.AgentLog(); !strings.Contains(log, "replica created (method=pgbackrest)") {
		t.Error("the replica was not made from the repository")
	}
	// Again with data there: a delta restore.
	ctl(t, a, 0, words("reinit pg-basic pg02 --force --wait"))
	c.WaitHealthy(60 * time.Second)
	if n := strings.Count(b.AgentLog(), "replica created (method=pgbackrest)"); n != 2 {
		t.Errorf("%d copies were made from the repository, want 2", n)
	}
	// pgBackRest wants a target with whole seconds, after the one in which the
	// backup ended.
	l.Until(5*time.Second, "the next second", func() string {
		if a.MustQuery("select extract(epoch from clock_timestamp())::bigint > extract(epoch from (pg_stat_file('global/pg_control')).modification)::bigint") == "f" {
			return "the same second"
		}
		return ""
	})
	target := a.MustQuery("select date_trunc('second', clock_timestamp()) + interval '1 second'")
	l.Until(5*time.Second, "the target has passed", func() string {
		return map[string]string{"t": "", "f": "not yet"}[a.MustQuery("select clock_timestamp() > '"+target+"'::timestamptz + interval '100 ms'")]
	})
	a.MustQuery("drop table t")
	segment := a.MustQuery("select pg_walfile_name(pg_switch_wal())")
	l.Until(30*time.Second, segment+" is archived", func() string {
		return map[string]string{"t": "", "f": "not yet"}[a.MustQuery("select coalesce(last_archived_wal, '') >= '"+segment+"' from pg_stat_archiver")]
	})
	b.Shutdown(30 * time.Second)
	a.Shutdown(30 * time.Second)

	restored := l.NewCluster(e, lab.Options{Scope: "restored", Members: []string{"pg11", "pg12"}, Parameters: push, PostgreSQL: local,
		Bootstrap: func(m *lab.Member) []string {
			return []string{"method: pgbackrest", "pgbackrest:",
				"  command: " + rest(m) + ` --delta --type=time --target="` + target + `" --target-action=promote restore`,
				"  no_params: true", "  recovery_conf:", `    restore_command: '` + rest(m) + ` archive-get %f "%p"'`,
				`    recovery_target_time: "` + target + `"`, "    recovery_target_timeline: latest", "    recovery_target_action: promote"}
		}})
	restored.Members[0].Start()
	restored.WaitLeader(90 * time.Second)
	restored.Members[1].Start()
	restored.WaitHealthy(60 * time.Second)
	for _, m := range restored.Members {
		if got := m.MustQuery("select count(*) from t"); got != "1" {
			t.Errorf("%s: the dropped table holds %s rows", m.Name, got)
		}
	}
	if log := restored.Members[1].AgentLog(); !strings.Contains(log, "replica created (method=pgbackrest)") {
		t.Error("the replica of the restored cluster was not made from the repository")
	}
}

// The Barman template of docs/hooks.md with the real program: a replica made
// of a backup that streams came to, with WAL from Barman.
func TestBarman(t *testing.T) {
	l := long(t)
	if _, err := exec.LookPath("barman"); err != nil {
		t.Skip("barman is not installed (Debian: apt-get install barman)")
	}
	e := l.StartEtcd(1)
	home := l.Shared("barman")
	conf := home + "/barman.conf"
	barman := "barman -c " + conf
	c := l.NewCluster(e, lab.Options{Members: []string{"pg01", "pg02"}, DCS: []string{"slots: {barman: {type: physical}}"},
		PostgreSQL: func(m *lab.Member) []string {
			return []string{"create_replica_methods: [barman, basebackup]",
				"barman: {command: " + barman + " recover --standby-mode main latest " + m.DataDir() + ", no_params: true}",
				"recovery_conf: {restore_command: 'cp barman_wal/%f %p'}"}
		}})
	a, b := c.Member("pg01"), c.Member("pg02")
	text := fmt.Sprintf("[barman]\nbarman_user = postgres\nbarman_home = %[1]s\nlog_file = %[1]s/barman.log\n[main]\ndescription = demo\n"+
		"conninfo = host=%[2]s user=postgres password=%[3]s dbname=postgres\nstreaming_conninfo = host=%[2]s user=replicator password=andheretoo\n"+
		"backup_method = postgres\nstreaming_archiver = on\nslot_name = barman\npath_prefix = %[4]s\n",
		home, a.Addr, lab.SuperuserPassword, lab.PGBin(t, lab.PGVersion(t)))
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	a.Start()
	c.WaitHealthy(60*time.Second, b)
	l.Until(20*time.Second, "the slot declared in the dynamic configuration", func() string {
		return map[string]string{"1": "", "0": "no slot"}[a.MustQuery("select count(*) from pg_replication_slots where slot_name = 'barman'")]
	})
	a.Host.Start("receive-wal", words(barman+" receive-wal main")...)
	onHost(t, a, words(barman+" switch-wal --force --archive main")...)
	onHost(t, a, words(barman+" backup --wait main")...)
	a.MustQuery("create table t as select 1 as x")
	b.Start()
	c.WaitHealthy(90 * time.Second)
	if log := b.AgentLog(); !strings.Contains(log, "replica created (method=barman)") {
		t.Errorf("the replica was not made by barman:\n%s", log)
	}
	if got := b.MustQuery("select count(*) from t"); got != "1" {
		t.Errorf("the replica has %s rows", got)
	}
}
