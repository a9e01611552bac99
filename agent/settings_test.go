package agent

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/instance"
	"pgha/internal/postgres"
)

// testLocal reads a patroni.yml with these lines below postgresql.
func testLocal(t *testing.T, postgresql string) *config.Local {
	t.Helper()
	file := filepath.Join(t.TempDir(), "patroni.yml")
	text := fmt.Sprintf("scope: demo\nname: a\netcd3: {host: 'e:2379'}\nrestapi: {listen: '127.0.0.1:8008'}\npostgresql:\n  listen: '127.0.0.1:5433'\n"+
		"  data_dir: %s/data\n  pgpass: %s/pgpass\n%s", t.TempDir(), t.TempDir(), postgresql)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	local, err := config.LoadLocal(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return local
}

// testSettings is the agent's settings over a PostgreSQL that does not run.
func testSettings(t *testing.T, postgresql, dynamic string) (*settings, *bytes.Buffer) {
	t.Helper()
	local := testLocal(t, postgresql)
	inst, err := instance.New(instance.Options{Local: local, Launcher: instance.NewDirectLauncher()})
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	s := newSettings(local, inst, slog.New(slog.NewTextHandler(&said, nil)))
	learn(s, 1, dynamic)
	s.dirty = false
	return s, &said
}

func learn(s *settings, revision dcs.Revision, dynamic string) {
	s.Learn(&dcs.Config{Raw: []byte(dynamic), Valid: true, Revision: revision})
}

// The sections of a role follow the role, and only a difference is applied
// (config contract 4.3, parameters_primary and its like).
func TestSettingsFollowTheRole(t *testing.T) {
	s, _ := testSettings(t, "", `{"postgresql":{"pg_hba":["all"],"pg_hba_replica":["replica"],"pg_ident_primary":["m a b"],
		"parameters":{"work_mem":"4MB"},"parameters_replica":{"work_mem":"1MB"},"parameters_standby_leader":{"work_mem":"2MB"}}}`)
	for _, step := range []struct {
		role          postgres.Role
		workMem, hba  string
		ident, change bool
	}{
		{postgres.RoleUninitialized, "4MB", "all", false, false},
		{postgres.RoleReplica, "1MB", "replica", false, true},
		{postgres.RoleDemoted, "1MB", "replica", false, false},
		{postgres.RolePromoted, "4MB", "all", true, true},
		{postgres.RolePrimary, "4MB", "all", true, false},
		{postgres.RoleUninitialized, "4MB", "all", true, false},
		{postgres.RoleStandbyLeader, "2MB", "all", false, true},
	} {
		s.SetRole(step.role)
		e := s.Effective()
		if e.Parameters["work_mem"] != step.workMem || e.PgHBA[0] != step.hba || (len(e.PgIdent) > 0) != step.ident || s.Changed() != step.change {
			t.Errorf("%s: work_mem %s, pg_hba %v, pg_ident %v, changed %v", step.role, e.Parameters["work_mem"], e.PgHBA, e.PgIdent, s.Changed())
		}
		s.dirty = false
	}
	plain, _ := testSettings(t, "", `{"postgresql":{"parameters":{"work_mem":"4MB"}}}`)
	plain.SetRole(postgres.RoleReplica)
	if plain.Changed() {
		t.Error("a role without sections of its own has something to apply")
	}
}

// What a restart of the agent is for stays, whoever changes it, and is said.
// The rest of the document holds (config contract 4.1).
func TestSettingsKeepWhatIsFixed(t *testing.T) {
	s, said := testSettings(t, "", `{"postgresql":{"config_base_name":"mine","parameters":{"work_mem":"4MB"}}}`)
	if got := s.Effective().ConfigBaseName; got != "mine" {
		t.Fatalf("before the loop begins: %q", got)
	}
	s.Fix()
	learn(s, 2, `{"postgresql":{"config_base_name":"other","bin_dir":"/x","database":"db","parameters":{"work_mem":"8MB"}}}`)
	e := s.Effective()
	if e.ConfigBaseName != "mine" || e.BinDir != "" || e.Database != "postgres" || e.Parameters["work_mem"] != "8MB" {
		t.Errorf("after a change: %+v", e)
	}
	for _, key := range []string{"config_base_name", "bin_dir", "database"} {
		if !strings.Contains(said.String(), "postgresql."+key+" changed from") {
			t.Errorf("nothing said of %s:\n%s", key, said)
		}
	}
	pgpass := s.Local().PostgreSQL.PgPass
	s.Reload(testLocal(t, ""))
	if s.Local().PostgreSQL.PgPass != pgpass || !strings.Contains(said.String(), "postgresql.pgpass changed from") {
		t.Errorf("pgpass %q:\n%s", s.Local().PostgreSQL.PgPass, said)
	}
}

// The guard is chosen at the start: PostgreSQL has it as its parent. The
// watchdog follows a reload.
func TestReloadKeepsTheGuard(t *testing.T) {
	s, _ := testSettings(t, "  use_pg_rewind: true\n", `{}`)
	s.Reload(testLocal(t, "  use_pg_rewind: false\nwatchdog: {mode: required, device: /dev/wd}\npgha: {guard: false}\n"))
	if got := s.Local(); !got.Pgha.Guard || got.Watchdog.Mode != "required" || got.Watchdog.Device != "/dev/wd" {
		t.Errorf("after a reload: guard %v, %+v", got.Pgha.Guard, got.Watchdog)
	}
	if s.Effective().UsePgRewind {
		t.Error("the rest of the file is not in force")
	}
}

// A copy of the dynamic configuration that could not be written is written as
// soon as it can be, though nothing has changed since.
func TestFailedCacheWriteIsRepeated(t *testing.T) {
	s, said := testSettings(t, "", `{"ttl":33}`)
	dir := s.Local().PostgreSQL.DataDir
	control := filepath.Join(dir, "global", "pg_control")
	if err := os.MkdirAll(filepath.Dir(control), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(control, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := filepath.Join(dir, cacheFile)
	if err := os.MkdirAll(filepath.Join(blocked, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.dirty = true
	s.Apply(t.Context())
	if !s.Changed() || !strings.Contains(said.String(), "keep the dynamic configuration beside the data") {
		t.Fatalf("after a failed write: something to do %v\n%s", s.Changed(), said)
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	s.Apply(t.Context())
	if doc, err := readCache(dir); err != nil || string(doc.Compact()) != `{"ttl":33}` || s.Changed() {
		t.Errorf("after the next cycle: %s, %v, something to do %v", doc.Compact(), err, s.Changed())
	}
}

// What is written back to a lost /config has the order in which it was written
// (contract: integrations.md, requirement 15), also after a document that was
// rejected.
func TestWrittenBackInOrder(t *testing.T) {
	s, _ := testSettings(t, "", `{"ttl":30,"postgresql":{"use_slots":true,"parameters":{"b":1,"a":2}},"loop_wait":10,"retry_timeout":10}`)
	want := string(s.Document())
	if !strings.HasPrefix(want, `{"ttl":30,"postgresql":{"use_slots":true,"parameters":{"b":1,"a":2}},"loop_wait":10`) {
		t.Errorf("written back: %s", want)
	}
	learn(s, 2, `{"postgresql":5,"ttl":"x","loop_wait":10}`)
	if got := string(s.Document()); got != want {
		t.Errorf("after a rejected one: %s, want %s", got, want)
	}
	if note := s.note(); !strings.Contains(note, "ttl") || !strings.Contains(note, "edit-config") {
		t.Errorf("the list does not say what is rejected: %q", note)
	}
	learn(s, 3, want)
	if note := s.note(); note != "" {
		t.Errorf("mended, and still: %q", note)
	}
}

// A finding about a parameter is said once, and again at a reload.
func TestSettingsSayFindingsOnce(t *testing.T) {
	s, said := testSettings(t, "  parameters: {log_statement: everything}\n", `{}`)
	s.SetServer(15, map[string]postgres.SettingInfo{"log_statement": {}})
	count := func() int { return strings.Count(said.String(), "parameters.log_statement: left out") }
	learn(s, 2, `{"postgresql":{"parameters":{"work_mem":"4MB"}}}`)
	if count() != 1 {
		t.Fatalf("said %d times:\n%s", count(), said)
	}
	s.Reload(s.Local())
	if count() != 2 {
		t.Errorf("after a reload said %d times:\n%s", count(), said)
	}
}

// Directories are made, and it is said which one cannot be (config contract 6.4).
func TestCheckDirectories(t *testing.T) {
	root := t.TempDir()
	with := func(sockets string, change func(*config.Local, *config.Effective)) error {
		local := testLocal(t, "")
		eff := config.Effective{Parameters: map[string]string{"unix_socket_directories": sockets}}
		if change != nil {
			change(local, &eff)
		}
		return checkDirectories(local, eff)
	}
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := with(root+"/a/b, "+root+"/c,@abstract,inside", nil); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"a/b", "c"} {
		if info, err := os.Stat(filepath.Join(root, dir)); err != nil || !info.IsDir() {
			t.Errorf("%s was not made: %v", dir, err)
		}
	}
	pgpass := func(path string) func(*config.Local, *config.Effective) {
		return func(l *config.Local, _ *config.Effective) { l.PostgreSQL.PgPass = path }
	}
	if err := with("", pgpass(root+"/new/pgpass")); err != nil {
		t.Errorf("pgpass in a new directory: %v", err)
	}
	kerberos := func(l *config.Local, e *config.Effective) {
		e.KrbSrvName = "pg"
		l.PostgreSQL.PgPass = root + "/krb/pgpass"
	}
	if err := with("", kerberos); err != nil {
		t.Errorf("with krbsrvname: %v", err)
	}
	if _, err := os.Stat(root + "/krb"); err == nil {
		t.Error("with krbsrvname the directory of pgpass was made")
	}
	for want, err := range map[string]error{
		"postgresql.parameters.unix_socket_directories": with(file+"/s", nil),
		"postgresql.pgpass: " + root:                    with("", pgpass(root)),
		"postgresql.pgpass: mkdir":                      with("", pgpass(file+"/x/pgpass")),
	} {
		exit := new(ExitError)
		if !errors.As(err, &exit) || exit.Code != exitConfig || !strings.Contains(err.Error(), want) || exit.Hint() == "" {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// The addresses of the member key (config contract 4.1).
func TestMemberAddresses(t *testing.T) {
	for _, c := range []struct {
		postgresql  string
		running     int
		conn, proxy string
	}{
		{"", 0, "postgres://localhost:5433/postgres", ""},
		{"  connect_address: 'db1:5433'\n  proxy_address: 'db1:6432'\n", 5433, "postgres://db1:5433/postgres", "postgres://db1:6432/postgres"},
		{"  connect_address: '[fd00::1]:5433'\n  database: app\n", 0, "postgres://[fd00::1]:5433/app", ""},
		// The port was changed, and PostgreSQL waits for its restart.
		{"  connect_address: 'db1:5433'\n", 5432, "postgres://db1:5432/postgres", ""},
		{"  connect_address: '[fd00::1]:5433'\n", 5432, "postgres://[fd00::1]:5432/postgres", ""},
		{"  connect_address: 'nat:6000'\n", 5432, "postgres://nat:6000/postgres", ""},
	} {
		local := testLocal(t, c.postgresql)
		eff := config.Merge(local, config.DefaultDynamic(), config.ServerFacts{})
		d := memberData(identityOf(local, c.running, eff.Database, "test"), View{}, instance.Observation{}, nil, false, nil, nil)
		if d.ConnURL != c.conn || d.ProxyURL != c.proxy {
			t.Errorf("%q: conn_url %s, proxy_url %s", c.postgresql, d.ConnURL, d.ProxyURL)
		}
	}
}
