package stories

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// archive are the settings of a cluster that archives into a directory.
func archive(dir string) []string {
	return []string{"archive_mode: 'on'", "archive_command: 'test ! -f " + dir + "/%f && cp %p " + dir + "/%f'"}
}

// backup takes a base backup of the member's server into a directory, as a
// backup program would.
func backup(t *testing.T, m *lab.Member, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	out, code, err := m.Run(ctx, "/usr/bin/env", "PGPASSWORD=andheretoo", filepath.Join(lab.PGBin(t, lab.PGVersion(t)), "pg_basebackup"),
		"-h", m.Addr, "-U", "replicator", "-D", dir, "-X", "none", "--checkpoint=fast", "--no-manifest")
	if err != nil || code != 0 {
		t.Fatalf("pg_basebackup: exit %d %v\n%s", code, err, out)
	}
}

// restoreScript does what a restore program does: it fills --datadir from a
// backup. Its arguments are noted beside it.
func restoreScript(m *lab.Member, from string) string {
	return m.Script("restore", fmt.Sprintf(`
echo "$@" >> %[2]s/restores
for a in "$@"; do case $a in --datadir=*) d=${a#--datadir=};; esac; done
test ! -e "$d/global/pg_control" || echo "kept data" >> %[2]s/restores
mkdir -p "$d" && rm -rf "$d"/* && cp -a %[1]s/. "$d" && chmod 700 "$d"
`, from, m.Dir))
}

// archived waits until everything written so far is in the archive.
func archived(t *testing.T, l *lab.Lab, m *lab.Member, dir string) {
	t.Helper()
	segment := m.MustQuery("select pg_walfile_name(pg_switch_wal())")
	l.Until(30*time.Second, segment+" is archived", func() string {
		_, err := os.Stat(filepath.Join(dir, segment))
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

// A new cluster is made of a backup of another, up to the moment before a
// mistake (contract: ha-behaviour.md 3.3, config.md 3.6, 5.6, 6.3). The other's
// log has larger parameters, and its passwords are not known here.
func TestCustomBootstrapToAPointInTime(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(1)
	wal, base := l.Shared("wal"), filepath.Join(l.Shared("backups"), "base")
	first := l.NewCluster(e, lab.Options{Members: []string{"pg01"}, Parameters: append(archive(wal), "max_wal_senders: 20")})
	first.Start()
	a := first.Leader()
	a.MustQuery("create table t as select 1 as x")
	backup(t, a, base)
	a.MustQuery("insert into t values (2)")
	// The primary raises a parameter after the backup: without hot_standby=off
	// recovery would end here.
	if code, body, err := a.REST("PATCH", "/config", `{"postgresql": {"parameters": {"max_connections": 250}}}`); err != nil || code != 200 {
		t.Fatalf("%d %s %v", code, body, err)
	}
	ctl(t, a, 0, words("restart pg-basic --force"))
	first.WaitHealthy(20 * time.Second)
	a.MustQuery("alter role replicator password 'changed'")
	before := a.MustQuery("select clock_timestamp()")
	a.MustQuery("drop table t")
	archived(t, l, a, wal)
	id := a.MustQuery("select system_identifier from pg_control_system()")
	a.Shutdown(20 * time.Second)

	wal2 := l.Shared("wal2")
	second := l.NewCluster(e, lab.Options{Scope: "restored", Members: []string{"pg11", "pg12"}, Parameters: archive(wal2),
		Bootstrap: func(m *lab.Member) []string {
			return []string{"method: from_backup", "post_bootstrap: " + m.Script("post", fmt.Sprintf(
				`echo "$PGOPTIONS" > %[1]s/post.env; shift $(($# - 1)); %[2]s/psql -Xqc "create table made_by_post_bootstrap ()" "$1"`,
				m.Dir, lab.PGBin(t, lab.PGVersion(t)))) + " some 'further words'",
				"from_backup:", "  command: " + restoreScript(m, base), "  stanza: demo",
				"  recovery_conf:", "    restore_command: cp " + wal + "/%f %p", "    recovery_target_time: '" + before + "'",
				"    recovery_target_action: promote", "    recovery_target_timeline: latest"}
		}})
	second.Start()
	b := second.Leader()
	log := b.AgentLog()
	for _, want := range []string{"trying to bootstrap a new cluster", "initialized a new cluster"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if got := b.MustQuery("select string_agg(x::text, ',' order by x) from t"); got != "1,2" {
		t.Errorf("the restored table holds %q", got)
	}
	b.MustQuery("select * from made_by_post_bootstrap")
	if text, _ := os.ReadFile(filepath.Join(b.Dir, "post.env")); strings.TrimSpace(string(text)) != "-c synchronous_commit=local -c statement_timeout=0" {
		t.Errorf("PGOPTIONS of post_bootstrap: %q", text)
	}
	args, _ := os.ReadFile(filepath.Join(b.Dir, "restores"))
	if want := "--scope=restored --datadir=" + b.DataDir() + " --stanza=demo\n"; string(args) != want {
		t.Errorf("the bootstrap command got %q, want %q", args, want)
	}
	if got := b.MustQuery("select system_identifier from pg_control_system()"); got != id {
		t.Errorf("system identifier %s, was %s", got, id)
	}
	if got := b.MustQuery("select timeline_id from pg_control_checkpoint()"); got != "2" {
		t.Errorf("timeline %s", got)
	}
	for setting, want := range map[string]string{"max_connections": "100", "hot_standby": "on", "archive_mode": "on", "recovery_target_time": ""} {
		if got := b.MustQuery("select setting from pg_settings where name = '" + setting + "'"); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if hba, err := os.ReadFile(filepath.Join(b.DataDir(), "pg_hba.conf")); err != nil || !strings.Contains(string(hba), "host all all 0.0.0.0/0 scram-sha-256") ||
		strings.Contains(string(hba), "postgres\" trust") || strings.Contains(string(hba), "replicator\" trust") {
		t.Errorf("pg_hba.conf after the bootstrap: %v\n%s", err, hba)
	}
	// Nothing of the new timeline is missing in its archive.
	archived(t, l, b, wal2)
	if _, err := os.Stat(filepath.Join(wal2, "00000002.history")); err != nil {
		t.Errorf("the new timeline's history is not archived: %v", err)
	}
	if got := second.Others(b)[0].MustQuery("select count(*) from t"); got != "2" {
		t.Errorf("the replica has %s rows", got)
	}
	// The restored cluster fails over like any other.
	w, p := second.StartWriter(), second.StartProber()
	ctl(t, b, 0, words("switchover restored --force"))
	nothingLost(t, w, p, second.WaitHealthy(20*time.Second))
}

// A failed custom bootstrap, or post_bootstrap, is undone, and the next member
// may try.
func TestFailedCustomBootstrapIsUndone(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(1)
	c := l.NewCluster(e, lab.Options{Members: []string{"pg01", "pg02", "pg03"}, Bootstrap: func(m *lab.Member) []string {
		switch m.Name {
		case "pg01":
			return []string{"method: broken", "broken:", "  no_params: true",
				"  command: " + m.Script("broken", "mkdir -p "+m.DataDir()+"; echo half > "+m.DataDir()+"/half; echo 'no backup set found' >&2; exit 7")}
		case "pg02":
			return []string{"post_init: " + m.Script("post", "echo 'cannot load the schema'; exit 4")}
		}
		return nil
	}})
	for i, says := range []string{"no backup set found", "cannot load the schema"} {
		m := c.Members[i]
		m.Start()
		code, err := m.Agent().Wait(60 * time.Second)
		if err != nil || code != 1 {
			t.Fatalf("the agent of %s: exit code %d, %v", m.Name, code, err)
		}
		log := m.AgentLog()
		for _, want := range []string{says, []string{"exit status 7", "exit status 4"}[i], "removing initialize key after failed attempt to bootstrap the cluster", "Failed to bootstrap cluster"} {
			if !strings.Contains(log, want) {
				t.Errorf("the log of %s does not say %q", m.Name, want)
			}
		}
		if _, err := os.Stat(m.DataDir()); err == nil {
			t.Errorf("%s is still there", m.DataDir())
		}
		if _, err := os.Stat(m.DataDir() + ".failed"); err != nil {
			t.Errorf("what failed on %s is not kept: %v", m.Name, err)
		}
		if _, there, err := e.Get(c.Key("initialize")); there || err != nil {
			t.Errorf("initialize after the failure on %s: %t, %v", m.Name, there, err)
		}
	}
	c.Member("pg03").Start()
	c.WaitHealthy(60*time.Second, c.Member("pg01"), c.Member("pg02"))
}

// Replicas are made by the first method that works; what failed is said with
// its exit code and words. keep_data keeps; from_leader is a base backup.
func TestReplicaMethods(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(1)
	wal, base := l.Shared("wal"), filepath.Join(l.Shared("backups"), "base")
	c := l.NewCluster(e, lab.Options{Members: []string{"pg01", "pg02"}, Parameters: archive(wal), PostgreSQL: func(m *lab.Member) []string {
		return []string{"create_replica_methods: [absent, broken, restore, basebackup]",
			"absent: {no_params: true}",
			"broken: {command: " + m.Script("broken", "mkdir -p "+m.DataDir()+"; echo half > "+m.DataDir()+"/half; echo 'repository is locked' >&2; exit 3") + "}",
			"restore: {command: " + restoreScript(m, base) + ", keep_data: true, threads: 2}",
			"recovery_conf: {restore_command: cp " + wal + "/%f %p}"}
	}})
	a, b := c.Member("pg01"), c.Member("pg02")
	a.Start()
	c.WaitHealthy(60*time.Second, b)
	a.MustQuery("create table t as select 1 as x")
	backup(t, a, base)
	a.MustQuery("insert into t values (2)")
	archived(t, l, a, wal)
	b.Start()
	c.WaitHealthy(60 * time.Second)
	log := b.AgentLog()
	for _, want := range []string{"replica method absent: ", "executable file not found", "replica method broken: broken: exit status 3: repository is locked", `"next":"restore"`} {
		if !strings.Contains(log, want) && !strings.Contains(strings.ReplaceAll(log, "next=restore", `"next":"restore"`), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	args, _ := os.ReadFile(filepath.Join(b.Dir, "restores"))
	want := "--keep_data=True --threads=2 --scope=pg-basic --role=replica --datadir=" + b.DataDir() + " --connstring="
	if !strings.HasPrefix(string(args), want) || !strings.Contains(string(args), "host="+a.Addr) || strings.Contains(string(args), "andheretoo") {
		t.Errorf("the method got %q, want %q and the leader's address", args, want)
	}
	if got := b.MustQuery("select count(*) from t"); got != "2" {
		t.Errorf("the replica has %s rows", got)
	}
	// Again: this time there are data to keep, until a method without
	// keep_data removes them.
	b.Shutdown(20 * time.Second)
	c.PostgreSQL = func(m *lab.Member) []string {
		return []string{"create_replica_methods: [restore]", "restore: {command: " + restoreScript(m, base) + ", keep_data: true}",
			"recovery_conf: {restore_command: cp " + wal + "/%f %p}"}
	}
	b.Configure()
	b.Start()
	c.WaitHealthy(20 * time.Second)
	os.Remove(filepath.Join(b.Dir, "restores"))
	ctl(t, a, 0, words("reinit pg-basic pg02 --force --wait"))
	c.WaitHealthy(60 * time.Second)
	if args, _ := os.ReadFile(filepath.Join(b.Dir, "restores")); !strings.Contains(string(args), "kept data") {
		t.Errorf("the method found no data to keep: %q", args)
	}
	os.Remove(filepath.Join(b.Dir, "restores"))
	ctl(t, a, 0, words("reinit pg-basic pg02 --force --wait --from-leader"))
	c.WaitHealthy(60 * time.Second)
	if args, err := os.ReadFile(filepath.Join(b.Dir, "restores")); err == nil {
		t.Errorf("from_leader ran a configured method: %q", args)
	}
}

// The leader's machine is gone for good and the other member's data as well:
// a method with no_leader brings the cluster back from backup and archive.
func TestNoLeaderMethod(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(1)
	wal, base := l.Shared("wal"), filepath.Join(l.Shared("backups"), "base")
	c := l.NewCluster(e, lab.Options{Members: []string{"pg01", "pg02"}, Parameters: archive(wal), PostgreSQL: func(m *lab.Member) []string {
		return []string{"create_replica_methods: [restore, basebackup]",
			"restore: {command: " + restoreScript(m, base) + ", no_leader: true}",
			"recovery_conf: {restore_command: cp " + wal + "/%f %p}"}
	}})
	a, b := c.Member("pg01"), c.Member("pg02")
	a.Start()
	c.WaitHealthy(60*time.Second, b)
	a.MustQuery("create table t as select 1 as x")
	backup(t, a, base)
	a.MustQuery("insert into t values (2)")
	archived(t, l, a, wal)
	a.Shutdown(30 * time.Second)
	b.Start()
	c.WaitLeader(90*time.Second, a)
	if !strings.Contains(b.AgentLog(), "trying to bootstrap (without leader)") {
		t.Error("the log does not say how the replica was made")
	}
	args, _ := os.ReadFile(filepath.Join(b.Dir, "restores"))
	if want := "--no_leader=True --scope=pg-basic --role=replica --datadir=" + b.DataDir() + " --connstring=\n"; string(args) != want {
		t.Errorf("the method got %q, want %q", args, want)
	}
	if got := b.MustQuery("select count(*) from t"); got != "2" {
		t.Errorf("%s rows came back", got)
	}
	// The old leader returns and follows.
	a.Start()
	c.WaitHealthy(60 * time.Second)
}
