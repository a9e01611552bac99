package instance

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgha/internal/postgres"
)

// What each key of postgresql does to a real server. The subtests are named
// after the keys (config contract 4, 5); each starts from the baseline.
func TestKeys(t *testing.T) {
	t.Parallel()
	k := newKeyed(t)
	for _, c := range []struct {
		key string
		run func(*testing.T, *keyed)
	}{
		{"postgresql.parameters", parametersKey},
		{"postgresql.parameters_primary", parametersOfRole("primary", "replica")},
		{"postgresql.parameters_replica", parametersOfRole("replica", "primary")},
		{"postgresql.parameters_standby_leader", parametersOfRole("standby_leader", "primary")},
		{"postgresql.pg_hba", pgHBAKey},
		{"postgresql.pg_hba_primary", rulesOfRole("pg_hba", "primary", "replica")},
		{"postgresql.pg_hba_replica", rulesOfRole("pg_hba", "replica", "primary")},
		{"postgresql.pg_hba_standby_leader", rulesOfRole("pg_hba", "standby_leader", "replica")},
		{"postgresql.pg_ident", pgIdentKey},
		{"postgresql.pg_ident_primary", rulesOfRole("pg_ident", "primary", "replica")},
		{"postgresql.pg_ident_replica", rulesOfRole("pg_ident", "replica", "primary")},
		{"postgresql.pg_ident_standby_leader", rulesOfRole("pg_ident", "standby_leader", "replica")},
		{"postgresql.parameters.hba_file", hbaFileKey},
		{"postgresql.parameters.ident_file", identFileKey},
		{"postgresql.custom_conf", customConfKey},
		{"postgresql.database", databaseKey},
		{"postgresql.use_unix_socket", useUnixSocketKey},
		{"postgresql.use_unix_socket_repl", useUnixSocketReplKey},
		{"postgresql.krbsrvname", krbsrvnameKey},
		{"postgresql.pgpass", pgpassKey},
		{"postgresql.use_slots", useSlotsKey},
		{"postgresql.pg_ctl_timeout", pgCtlTimeoutKey},
		{"postgresql.recovery_conf", recoveryConfKey},
		{"postgresql.config_base_name", configBaseNameKey},
		{"postgresql.config_dir", configDirKey},
		{"postgresql.listen", listenKey},
	} {
		t.Run(c.key, func(t *testing.T) {
			outer := k.t
			k.t, k.node.t = t, t
			defer func() {
				k.t, k.node.t, k.role = outer, outer, ""
				if !t.Failed() {
					k.use("", "")
					k.reload()
				}
			}()
			c.run(t, k)
		})
	}
}

func parametersKey(t *testing.T, k *keyed) {
	k.use("parameters: {work_mem: 5MB}\n", `{"parameters":{"work_mem":"6MB","maintenance_work_mem":"7MB","Statement_Timeout":"9s"}}`)
	if a := k.reload(); !a.Reloaded || len(a.Pending) != 0 {
		t.Fatalf("reload: %+v", a)
	}
	for guc, want := range map[string]string{"work_mem": "5MB", "maintenance_work_mem": "7MB"} {
		if got := k.show(guc); got != want {
			t.Errorf("%s = %s, want %s: the local value wins per parameter", guc, got, want)
		}
	}
	if conf := readAll(t, k.confFile()); !strings.HasPrefix(conf, "# Do not edit") || !strings.Contains(conf, "\nstatement_timeout = '9s'\n") ||
		strings.Index(conf, "maintenance_work_mem") > strings.Index(conf, "work_mem = '5MB'") {
		t.Errorf("postgresql.conf:\n%s", conf)
	}
	// What PostgreSQL would refuse keeps nobody from starting (5.3).
	eff := k.use("", `{"parameters":{"work_mem":"1kB","log_statement":"everything","no_such_thing":"1","bool_less.x":"1","enable_seqscan":"perhaps","wal_buffers":null}}`)
	if a := k.reload(); !a.Reloaded || k.show("work_mem") != "64kB" || k.show("log_statement") != "none" || len(eff.Findings) != 4 {
		t.Errorf("refused ones: %+v, work_mem %s, findings %v", a, k.show("work_mem"), eff.Findings)
	}
	if got := k.show("bool_less.x"); got != "1" || len(k.Rejected()) != 0 {
		t.Errorf("a custom parameter: %q; left to the server to refuse: %v", got, k.Rejected())
	}
}

// parametersOfRole: in force in its role, over parameters; back when the role
// is another; nothing is reloaded when nothing differs (4.3).
func parametersOfRole(role, other string) func(*testing.T, *keyed) {
	return func(t *testing.T, k *keyed) {
		dynamic := `{"parameters":{"work_mem":"5MB"},"parameters_` + role + `":{"work_mem":"7MB","max_connections":"500"}}`
		for _, step := range []struct {
			role, workMem string
			reloaded      bool
		}{{other, "5MB", true}, {role, "7MB", true}, {role, "7MB", false}, {other, "5MB", true}} {
			k.role = step.role
			k.use("", dynamic)
			if a := k.reload(); a.Reloaded != step.reloaded || k.show("work_mem") != step.workMem || len(a.Pending) != 0 {
				t.Fatalf("as %s: %+v, work_mem %s", step.role, a, k.show("work_mem"))
			}
		}
	}
}

func pgHBAKey(t *testing.T, k *keyed) {
	k.use("pg_hba: [local all all trust, 'host all all 127.0.0.1/32 trust', 'host all x 10.0.0.0/8 md5', null]\n", "")
	k.reload()
	if got := k.sql("SELECT string_agg(type || ' ' || array_to_string(user_name, ','), ';' ORDER BY line_number) FROM pg_hba_file_rules"); got != "local all;host all;host x" {
		t.Fatalf("rules in force: %s", got)
	}
	file := filepath.Join(k.dataDir(), "pg_hba.conf")
	if got := readAll(t, file); !strings.HasPrefix(got, "# Do not edit") || mode(t, file) != 0o600 {
		t.Errorf("%o %s", mode(t, file), got)
	}
	good := readAll(t, file)
	if readAll(t, file+".backup") != good {
		t.Error("the copy is not that of the rules in force")
	}
	k.use("pg_hba: [local all all trust, host all all nonsense]\n", "")
	a := k.reload()
	if len(a.BadRules) != 1 || !strings.Contains(a.BadRules[0], "pg_hba.conf line 5: ") || readAll(t, file) != good {
		t.Fatalf("mistakes %q, file:\n%s", a.BadRules, readAll(t, file))
	}
	if a = k.reload(); a.Changed || len(a.BadRules) != 0 {
		t.Errorf("the next cycle: %+v", a)
	}
	if a, err := k.ApplyConfig(within(t, 20*time.Second), true); err != nil || len(a.BadRules) != 1 || readAll(t, file) != good {
		t.Errorf("a reload that was asked for explains it again: %+v, %v", a, err)
	}
	k.restart(StartOptions{Role: postgres.RolePrimary}) // with what was refused still configured
	// An agent that was not there when it was configured cannot ask either:
	// the rules of the last good start are used.
	must(t, k.Stop(within(t, 20*time.Second), StopOptions{}))
	k.mu.Lock()
	k.refused = nil
	k.mu.Unlock()
	k.start(StartOptions{Role: postgres.RolePrimary})
	if readAll(t, file) != good {
		t.Errorf("after the start:\n%s", readAll(t, file))
	}
}

// rulesOfRole: the file is the role's own, whole; back when the role changes.
func rulesOfRole(key, role, other string) func(*testing.T, *keyed) {
	return func(t *testing.T, k *keyed) {
		common, own := "host all everybody 127.0.0.1/32 trust", "host all special 127.0.0.1/32 trust"
		if key == "pg_ident" {
			common, own = "everybody a b", "special a b"
		}
		file := filepath.Join(k.dataDir(), key+".conf")
		dynamic := `{"` + key + `":["local all all trust","` + common + `"],"` + key + `_` + role + `":["local all all trust","` + own + `"]}`
		if key == "pg_ident" {
			dynamic = strings.ReplaceAll(dynamic, `"local all all trust",`, "")
		}
		k.withoutHBA()
		defer k.withHBA()
		for _, step := range []struct{ role, has, hasNot string }{{other, "everybody", "special"}, {role, "special", "everybody"}, {other, "everybody", "special"}} {
			k.role = step.role
			k.use("", dynamic)
			if a := k.reload(); a.Changed != a.Reloaded || len(a.BadRules) != 0 {
				t.Fatalf("as %s: %+v", step.role, a)
			}
			if got := readAll(t, file); !strings.Contains(got, step.has) || strings.Contains(got, step.hasNot) {
				t.Errorf("as %s:\n%s", step.role, got)
			}
			if a := k.reload(); a.Reloaded {
				t.Errorf("as %s: reloaded without a difference", step.role)
			}
		}
	}
}

// withoutHBA takes the local pg_hba away, which would win over a dynamic one.
func (k *keyed) withoutHBA() {
	file := filepath.Join(k.etc, "1.yml")
	must(k.t, os.WriteFile(filepath.Join(k.etc, "saved"), []byte(readAll(k.t, file)), 0o600))
	var kept strings.Builder
	for line := range strings.Lines(readAll(k.t, file)) {
		if !strings.HasPrefix(line, "  pg_hba:") {
			kept.WriteString(line)
		}
	}
	must(k.t, os.WriteFile(file, []byte(kept.String()), 0o600))
}

func (k *keyed) withHBA() {
	must(k.t, os.Rename(filepath.Join(k.etc, "saved"), filepath.Join(k.etc, "1.yml")))
}

func pgIdentKey(t *testing.T, k *keyed) {
	k.use("pg_ident: [m systemuser databaseuser]\n", "")
	k.reload()
	if v, _ := k.Version(t.Context()); !v.AtLeast(15) { // no view to look into
		if got := readAll(t, filepath.Join(k.dataDir(), "pg_ident.conf")); !strings.HasSuffix(got, "\nm systemuser databaseuser\n") {
			t.Errorf("pg_ident.conf:\n%s", got)
		}
		return
	}
	if got := k.sql("SELECT map_name || ' ' || sys_name || ' ' || pg_username FROM pg_ident_file_mappings"); got != "m systemuser databaseuser" {
		t.Fatalf("mappings: %s", got)
	}
	good := readAll(t, filepath.Join(k.dataDir(), "pg_ident.conf"))
	k.use("pg_ident: [m only-two]\n", "")
	if a := k.reload(); len(a.BadRules) != 1 || readAll(t, filepath.Join(k.dataDir(), "pg_ident.conf")) != good {
		t.Errorf("a mistake: %+v", a)
	}
}

// A file of the user's own is used and never touched (5.6).
func hbaFileKey(t *testing.T, k *keyed) {
	own := filepath.Join(k.dir, "own_hba.conf")
	must(t, os.WriteFile(own, []byte("local all all trust\nhost all all 127.0.0.1/32 trust\n"), 0o600))
	before := readAll(t, filepath.Join(k.dataDir(), "pg_hba.conf"))
	k.use("pg_hba: [local all all trust]\nparameters: {hba_file: "+own+"}\n", "")
	if a := k.reload(); a.Pending["hba_file"].New != own {
		t.Fatalf("hba_file needs a restart: %+v", a)
	}
	k.restart(StartOptions{Role: postgres.RolePrimary})
	if k.show("hba_file") != own || !strings.HasPrefix(readAll(t, own), "local all all trust\nhost") || readAll(t, filepath.Join(k.dataDir(), "pg_hba.conf")) != before {
		t.Errorf("hba_file %s; its content %s", k.show("hba_file"), readAll(t, own))
	}
	k.use("parameters: {hba_file: pg_hba.conf}\n", "") // relative, and the default: managed
	k.restart(StartOptions{Role: postgres.RolePrimary})
	if got := k.show("hba_file"); got != filepath.Join(k.dataDir(), "pg_hba.conf") {
		t.Errorf("relative: %s", got)
	}
}

func identFileKey(t *testing.T, k *keyed) {
	own := filepath.Join(k.dir, "own_ident.conf")
	must(t, os.WriteFile(own, []byte("m a b\n"), 0o600))
	k.use("pg_ident: [x y z]\nparameters: {ident_file: "+own+"}\n", "")
	k.restart(StartOptions{Role: postgres.RolePrimary})
	if k.show("ident_file") != own || readAll(t, own) != "m a b\n" {
		t.Errorf("ident_file %s: %s", k.show("ident_file"), readAll(t, own))
	}
	k.use("", "")
	k.restart(StartOptions{Role: postgres.RolePrimary})
}

func customConfKey(t *testing.T, k *keyed) {
	own := filepath.Join(k.dir, "own.conf")
	must(t, os.WriteFile(own, []byte("work_mem = 11MB\nmaintenance_work_mem = 12MB\n"), 0o600))
	k.use("custom_conf: "+own+"\nparameters: {maintenance_work_mem: 13MB}\n", "")
	k.reload()
	if k.show("work_mem") != "11MB" || k.show("maintenance_work_mem") != "13MB" {
		t.Errorf("work_mem %s, maintenance_work_mem %s", k.show("work_mem"), k.show("maintenance_work_mem"))
	}
}

func databaseKey(t *testing.T, k *keyed) {
	k.sql("CREATE DATABASE app")
	k.use("", `{"database":"app"}`)
	if _, db, _ := k.session(); db != "app" {
		t.Errorf("connected to %s", db)
	}
}

func useUnixSocketKey(t *testing.T, k *keyed) {
	for value, want := range map[string]string{"true": "socket", "false": "127.0.0.1"} {
		k.use("use_unix_socket: "+value+"\n", "")
		if _, _, from := k.session(); from != want {
			t.Errorf("%s: connected from %s, want %s", value, from, want)
		}
	}
}

func useUnixSocketReplKey(t *testing.T, k *keyed) {
	for value, want := range map[string]bool{"true": true, "false": false} {
		// Only one of the two ways is let in.
		rule := "host replication all 127.0.0.1/32 trust"
		if want {
			rule = "local replication all trust"
		}
		k.use("use_unix_socket_repl: "+value+"\npg_hba: [local all all trust, "+rule+"]\n", "")
		k.reload()
		if _, err := k.identifyLocal(within(t, 20*time.Second)); err != nil || (k.localSource().Host == k.dir) != want {
			t.Errorf("%s: by %s: %v", value, k.localSource().Host, err)
		}
	}
}

func krbsrvnameKey(t *testing.T, k *keyed) {
	k.use("krbsrvname: pgsrv\n", "")
	k.restart(StartOptions{Role: postgres.RolePrimary})
	if env := k.environ(); !slices.Contains(env, "PGKRBSRVNAME=pgsrv") {
		t.Errorf("environment %v", env)
	}
	src := k.source()
	wanted, _, err := k.wantedRecovery(within(t, 20*time.Second), &Follow{Source: &src})
	if err != nil || !strings.Contains(wanted["primary_conninfo"], " krbsrvname=pgsrv") {
		t.Errorf("primary_conninfo %s, %v", wanted["primary_conninfo"], err)
	}
	k.use("", "")
	k.restart(StartOptions{Role: postgres.RolePrimary})
}

func pgpassKey(t *testing.T, k *keyed) {
	file := filepath.Join(k.dir, "elsewhere")
	k.use("pgpass: "+file+"\n", "")
	src := Source{Host: "h1,h2,/run/x", Port: "5432"}
	wanted, lines, err := k.wantedRecovery(within(t, 20*time.Second), &Follow{Source: &src})
	must(t, err)
	must(t, k.writePgpass(lines))
	const password = `:*:repl:re"p'l\\ pass\:` + "\n"
	want := `h1:5432` + password + `h2:5432` + password + `/run/x:5432` + password + `localhost:5432` + password
	if got := readAll(t, file); got != want || mode(t, file) != 0o600 || !strings.Contains(wanted["primary_conninfo"], "passfile="+file) {
		t.Errorf("%o %q, want %q; %s", mode(t, file), got, want, wanted["primary_conninfo"])
	}
}

func useSlotsKey(t *testing.T, k *keyed) {
	k.use("use_slots: false\n", "") // not from the local file: the cluster must agree
	if k.OwnSlot() != "a" {
		t.Errorf("own slot %q", k.OwnSlot())
	}
	k.use("", `{"use_slots":"off"}`)
	if k.OwnSlot() != "" {
		t.Errorf("switched off: %q", k.OwnSlot())
	}
}

// 0 and null: the start is not waited for.
func pgCtlTimeoutKey(t *testing.T, k *keyed) {
	for _, value := range []string{"0", "null"} {
		if eff := k.use("", `{"pg_ctl_timeout":`+value+`}`); eff.PgCtlTimeout != 0 {
			t.Fatalf("%s: %s", value, eff.PgCtlTimeout)
		}
		must(t, k.Stop(within(t, 20*time.Second), StopOptions{}))
		r, err := k.Start(within(t, 20*time.Second), StartOptions{Role: postgres.RolePrimary})
		if r != StartPending && r != StartReady || err != nil {
			t.Fatalf("%s: %s, %v", value, r, err)
		}
		until(t, "it runs", func() (bool, any) { o := k.observe(); return o.State == postgres.StateRunning && o.Row != nil, o })
	}
}

// Recovery settings reach a standby only, but for what belongs to the agent;
// those among parameters replace the section (5.2, 5.4).
func recoveryConfKey(t *testing.T, k *keyed) {
	k.use("recovery_conf: {recovery_min_apply_delay: 3s, restore_command: 'false %f', recovery_target: immediate}\n", "")
	if a := k.reload(); a.Changed {
		t.Errorf("written on a primary: %s", readAll(t, k.confFile()))
	}
	k.restart(standbyOfNobody)
	if k.show("recovery_min_apply_delay") != "3s" || k.show("restore_command") != "false %f" || k.show("recovery_target") != "" || k.show("recovery_target_timeline") != "latest" {
		t.Errorf("delay %s, restore_command %s, target %q", k.show("recovery_min_apply_delay"), k.show("restore_command"), k.show("recovery_target"))
	}
	k.use("recovery_conf: {recovery_min_apply_delay: 3s}\nparameters: {recovery_end_command: 'true'}\n", "")
	if _, err := k.Follow(within(t, 20*time.Second), &Follow{}); err != nil {
		t.Fatal(err)
	}
	if k.show("recovery_min_apply_delay") != "0" || k.show("recovery_end_command") != "true" {
		t.Errorf("delay %s, end command %s", k.show("recovery_min_apply_delay"), k.show("recovery_end_command"))
	}
	must(t, k.Promote(within(t, 20*time.Second), nil))
}

func configBaseNameKey(t *testing.T, k *keyed) {
	k.use("", `{"config_base_name":"mine","parameters":{"work_mem":"9MB"}}`)
	k.restart(StartOptions{Role: postgres.RolePrimary})
	conf := filepath.Join(k.dataDir(), "mine.conf")
	if k.show("config_file") != conf || k.show("work_mem") != "9MB" || !strings.Contains(readAll(t, conf), "include 'mine.base.conf'") {
		t.Errorf("config_file %s:\n%s", k.show("config_file"), readAll(t, conf))
	}
	k.use("", "")
	k.restart(StartOptions{Role: postgres.RolePrimary})
}

func configDirKey(t *testing.T, k *keyed) {
	etc := filepath.Join(k.dir, "pgetc")
	must(t, os.Mkdir(etc, 0o755))
	k.use("config_dir: "+etc+"\n", "")
	k.restart(StartOptions{Role: postgres.RolePrimary})
	conf := filepath.Join(etc, "postgresql.conf")
	if k.show("config_file") != conf || k.show("hba_file") != filepath.Join(etc, "pg_hba.conf") || mode(t, conf)|0o200 == 0o600 {
		t.Errorf("config_file %s, hba_file %s, mode %o", k.show("config_file"), k.show("hba_file"), mode(t, conf))
	}
	k.use("", "")
	must(t, k.Stop(within(t, 20*time.Second), StopOptions{}))
	must(t, os.Chmod(k.dataDir(), 0o750)) // group access: the files follow (5.4)
	must(t, os.Remove(k.confFile()))
	k.start(StartOptions{Role: postgres.RolePrimary})
	if got := mode(t, k.confFile()); got != 0o640 {
		t.Errorf("mode %o in a directory with group access", got)
	}
	// Copies of the files are kept beside the data, for clones (5.6).
	for _, name := range []string{"postgresql.conf", "postgresql.base.conf", "pg_hba.conf", "pg_ident.conf"} {
		if got, want := readAll(t, filepath.Join(k.dataDir(), name+".backup")), readAll(t, filepath.Join(k.dataDir(), name)); got != want {
			t.Errorf("%s.backup:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// Addresses and port wait for a restart, and so do the agent's own
// connections; the command line keeps ALTER SYSTEM out.
func listenKey(t *testing.T, k *keyed) {
	port := freePort(t)
	k.use("use_unix_socket: false\n", "")
	listen := "use_unix_socket: false\nlisten: 127.0.0.2,127.0.0.3:" + strconv.Itoa(port) + "\npg_hba: [local all all trust, host all all 127.0.0.0/8 trust]\n"
	k.use(listen, "")
	a := k.reload()
	want := postgres.Change{Old: "127.0.0.1", New: "127.0.0.2,127.0.0.3"}
	if len(a.Pending) != 2 || a.Pending["listen_addresses"] != want || a.Pending["port"].New != strconv.Itoa(port) {
		t.Fatalf("pending %v", a.Pending)
	}
	if _, _, from := k.session(); from != "127.0.0.1" {
		t.Errorf("before the restart from %s", from)
	}
	second := k.open() // another agent, with the new configuration, finds the old server
	l, _, _ := k.values()
	second.SetLocal(l)
	second.Configure(k.eff, k.dyn)
	if found, err := second.Adopt(within(t, 20*time.Second)); err != nil || found.Row == nil {
		t.Errorf("a second agent: %+v, %v", found, err)
	}
	k.restart(StartOptions{Role: postgres.RolePrimary})
	if k.show("port") != strconv.Itoa(port) || k.show("listen_addresses") != "127.0.0.2,127.0.0.3" || len(k.Pending()) != 0 {
		t.Errorf("after the restart: %s %s, pending %v", k.show("listen_addresses"), k.show("port"), k.Pending())
	}
	if host, _ := k.localHost(false); host != "127.0.0.2" {
		t.Errorf("own connections to %s", host)
	}
	k.use("listen: '*:"+strconv.Itoa(k.port)+"'\n", "")
	k.restart(StartOptions{Role: postgres.RolePrimary})
	if host, _ := k.localHost(false); host != "localhost" || k.show("listen_addresses") != "*" {
		t.Errorf("listen *: %s, own connections to %s", k.show("listen_addresses"), host)
	}
	k.use("", "")
	k.restart(StartOptions{Role: postgres.RolePrimary})
}
