package config

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

const localBase = "scope: demo\nname: a\netcd3: {host: e}\nrestapi: {listen: 'a:8008'}\n"

func merged(t *testing.T, local, dynamic string, server ServerFacts) Effective {
	t.Helper()
	l, err := loadText(t, localBase+"postgresql:\n  listen: 'a,b:5433'\n  data_dir: /d\n"+local)
	if err != nil {
		t.Fatal(err)
	}
	d, err := dynamicOf(t, dynamic, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Merge(l, d, server)
}

func TestMergeDefaults(t *testing.T) {
	e := merged(t, "", "{}", ServerFacts{MajorVersion: 17})
	want := map[string]string{
		"listen_addresses": "a,b", "port": "5433", "cluster_name": "demo", "hot_standby": "on", "wal_level": "replica",
		"max_connections": "100", "max_wal_senders": "10", "max_prepared_transactions": "0", "max_locks_per_transaction": "64",
		"max_worker_processes": "8", "max_replication_slots": "10", "track_commit_timestamp": "off", "wal_log_hints": "on",
		"wal_keep_size": "128MB", "hba_file": "/d/pg_hba.conf", "ident_file": "/d/pg_ident.conf",
	}
	if !maps.Equal(e.Parameters, want) {
		t.Errorf("parameters %v", e.Parameters)
	}
	if e.PgHBA != nil || e.HBAFileCustom || e.Database != "postgres" || e.ConfigBaseName != "postgresql" ||
		e.PgCtlTimeout != time.Minute || !slices.Equal(e.CreateReplicaMethods, []string{"basebackup"}) || len(e.Findings) != 0 {
		t.Errorf("%+v", e)
	}
	for _, name := range CommandLineParameters() {
		if want[name] == "" {
			t.Errorf("%s goes to the command line without a value", name)
		}
	}
}

func TestControlledParameters(t *testing.T) {
	cases := []struct {
		parameters, name, want string
		findings               int
	}{
		{`{"max_connections":"200"}`, "max_connections", "200", 0},
		{`{"MAX_Connections":24}`, "max_connections", "100", 1},
		{`{"max_connections":"0x64"}`, "max_connections", "100", 0},
		{`{"max_connections":null}`, "max_connections", "100", 0},
		{`{"max_connections":262143}`, "max_connections", "262143", 0},
		{`{"max_connections":1000000}`, "max_connections", "100", 1},
		{`{"max_connections":"many"}`, "max_connections", "100", 1},
		{`{"wal_level":"LOGICAL"}`, "wal_level", "logical", 0},
		{`{"wal_level":"hot_standby"}`, "wal_level", "replica", 0},
		{`{"wal_level":"minimal"}`, "wal_level", "replica", 1},
		{`{"hot_standby":false}`, "hot_standby", "on", 1},
		{`{"hot_standby":"on"}`, "hot_standby", "on", 0},
		{`{"wal_log_hints":"off"}`, "wal_log_hints", "off", 0},
		{`{"track_commit_timestamp":true}`, "track_commit_timestamp", "on", 0},
		{`{"wal_keep_size":"1GB"}`, "wal_keep_size", "1GB", 0},
		{`{"wal_keep_size":512}`, "wal_keep_size", "512", 0},
		{`{"wal_keep_size":"8MB"}`, "wal_keep_size", "128MB", 1},
		{`{"wal_keep_segments":"100"}`, "wal_keep_size", "1600MB", 0},
		{`{"wal_keep_segments":100,"wal_keep_size":"64MB"}`, "wal_keep_size", "64MB", 0},
		{`{"wal_keep_segments":0}`, "wal_keep_size", "128MB", 1},
		{`{"wal_keep_segments":100,"wal_keep_size":"1MB"}`, "wal_keep_size", "1600MB", 1},
		{`{"port":1,"cluster_name":"x","listen_addresses":"y"}`, "port", "5433", 0},
	}
	for _, c := range cases {
		e := merged(t, "", `{"postgresql":{"parameters":`+c.parameters+`}}`, ServerFacts{MajorVersion: 17})
		if e.Parameters[c.name] != c.want || len(e.Findings) != c.findings {
			t.Errorf("%s: %q, findings %v", c.parameters, e.Parameters[c.name], e.Findings)
		}
		if _, there := e.Parameters["wal_keep_segments"]; there {
			t.Errorf("%s: wal_keep_segments is no parameter of a supported server", c.parameters)
		}
	}
}

func TestParameterLayers(t *testing.T) {
	e := merged(t, `  parameters:
    Work_Mem: 16MB
    max_connections: 500
    synchronous_commit: off
    log_statement: ~
    random_page_cost: 1.1
    shared_buffers: 131072
    my.setting: yes
  use_slots: false
  bin_dir: /local
`, `{"postgresql":{"bin_dir":"/dyn","use_pg_rewind":true,"parameters":{"work_mem":"4MB","log_statement":"all",
	"archive_mode":true,"preload":["a"],"synchronous_standby_names":"ANY 1 (*)"}}}`, ServerFacts{})
	for name, want := range map[string]string{
		"work_mem": "16MB", "max_connections": "100", "synchronous_commit": "off", "archive_mode": "on", "random_page_cost": "1.1",
		"shared_buffers": "131072", "my.setting": "on", "synchronous_standby_names": "ANY 1 (*)",
	} {
		if got := e.Parameters[name]; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"log_statement", "preload", "Work_Mem"} {
		if v, there := e.Parameters[name]; there {
			t.Errorf("%s must be left out, is %q", name, v)
		}
	}
	if e.BinDir != "/local" || !e.UsePgRewind || len(e.Findings) != 1 {
		t.Errorf("bin_dir %q rewind %v findings %v", e.BinDir, e.UsePgRewind, e.Findings)
	}
}

func TestSynchronousNamesOwnedByAgent(t *testing.T) {
	e := merged(t, "  parameters: {synchronous_standby_names: '*'}\n", `{"synchronous_mode":true}`, ServerFacts{})
	if _, there := e.Parameters["synchronous_standby_names"]; there || len(e.Findings) != 1 {
		t.Errorf("%v", e.Findings)
	}
}

func TestRecoverySettings(t *testing.T) {
	const section = "  recovery_conf: {restore_command: from section, recovery_min_apply_delay: 5s}\n"
	e := merged(t, section, "{}", ServerFacts{})
	if !maps.Equal(e.Recovery, map[string]string{"restore_command": "from section", "recovery_min_apply_delay": "5s"}) {
		t.Errorf("section: %v", e.Recovery)
	}
	e = merged(t, section+"  parameters: {Restore_Command: from parameters}\n", "{}", ServerFacts{})
	if !maps.Equal(e.Recovery, map[string]string{"restore_command": "from parameters"}) || len(e.Findings) != 1 || e.Findings[0].Line == 0 {
		t.Errorf("parameters: %v %v", e.Recovery, e.Findings)
	}
	if _, there := e.Parameters["restore_command"]; there {
		t.Error("a recovery setting is never among the general ones")
	}
}

func TestHBAFiles(t *testing.T) {
	const hba = "  pg_hba: [local all all peer, ~]\n"
	cases := []struct {
		local, file string
		managed     bool
		custom      bool
	}{
		{hba, "/d/pg_hba.conf", true, false},
		{hba + "  parameters: {hba_file: pg_hba.conf}\n", "/d/pg_hba.conf", true, false},
		{hba + "  parameters: {hba_file: /d/pg_hba.conf}\n", "/d/pg_hba.conf", true, false},
		{hba + "  parameters: {hba_file: other.conf}\n", "/d/other.conf", false, true},
		{hba + "  config_dir: /etc/pg\n", "/etc/pg/pg_hba.conf", true, false},
		{"  pg_hba: []\n", "/d/pg_hba.conf", false, false},
	}
	for _, c := range cases {
		e := merged(t, c.local, "{}", ServerFacts{})
		if e.Parameters["hba_file"] != c.file || (e.PgHBA != nil) != c.managed || e.HBAFileCustom != c.custom {
			t.Errorf("%s: %q %q custom %v", c.local, e.Parameters["hba_file"], e.PgHBA, e.HBAFileCustom)
		}
	}
	if got := merged(t, "", `{"postgresql":{"pg_hba":["dyn"],"pg_ident":["map"]}}`, ServerFacts{}); !slices.Equal(got.PgHBA, []string{"dyn"}) || got.PgIdent == nil {
		t.Errorf("dynamic: %q %q", got.PgHBA, got.PgIdent)
	}
}

func TestRoleSections(t *testing.T) {
	const dynamic = `{"postgresql":{"pg_hba":["all"],"pg_hba_replica":["replica"],"parameters":{"work_mem":"4MB"},
		"parameters_replica":{"Work_Mem":"1MB","max_connections":500}}}`
	e := merged(t, "", dynamic, ServerFacts{Role: "replica"})
	if e.Parameters["work_mem"] != "1MB" || e.Parameters["max_connections"] != "100" || e.PgHBA[0] != "replica" || len(e.Findings) != 1 {
		t.Errorf("replica: %v %q %v", e.Parameters["work_mem"], e.PgHBA, e.Findings)
	}
	e = merged(t, "", dynamic, ServerFacts{Role: "primary"})
	if e.Parameters["work_mem"] != "4MB" || e.PgHBA[0] != "all" {
		t.Errorf("primary: %v %q", e.Parameters["work_mem"], e.PgHBA)
	}
}

func TestOptions(t *testing.T) {
	cases := []struct {
		yaml, want string
		major      int
		findings   int
	}{
		{"[max-rate: 100M, verbose]", "--max-rate=100M --verbose", 17, 0},
		{"{max-rate: 100M, checkpoint: fast, label: ''}", "--max-rate=100M --checkpoint=fast", 17, 0},
		{"[pgdata: /x, format=tar, waldir: \"'/a b'\"]", "--waldir=/a b", 17, 2},
		{"[compress: server-zstd]", "--compress=server-zstd", 15, 0},
		{"[compress: server-zstd]", "", 14, 1},
		{"[compress: 5]", "", 17, 1},
		{"[{a: b, c: d}, [x], 5]", "", 17, 3},
		{"[max-rate: [1]]", "", 17, 1},
	}
	for _, c := range cases {
		e := merged(t, "  basebackup: "+c.yaml+"\n", "{}", ServerFacts{MajorVersion: c.major})
		if got := strings.Join(e.BaseBackupOptions, " "); got != c.want || len(e.Findings) != c.findings {
			t.Errorf("%s: %q %v", c.yaml, got, e.Findings)
		}
	}
	if e := merged(t, "  rewind: [debug, source-server: x]\n", "{}", ServerFacts{}); !slices.Equal(e.RewindOptions, []string{"--debug"}) {
		t.Errorf("rewind: %q", e.RewindOptions)
	}
}

func TestInitDBOptions(t *testing.T) {
	for yaml, refused := range map[string]bool{
		"[encoding: UTF8, data-checksums]": false, "{encoding: UTF8}": false, "[pwfile: /x]": true, "[a: 1]": true,
		"[a: true]": true, "[{a: b, c: d}]": true, "[sync-only]": true,
	} {
		l, err := loadText(t, "bootstrap:\n  initdb: "+yaml+"\n")
		if err != nil {
			t.Fatal(err)
		}
		if (l.Bootstrap.InitDBError != nil) != refused {
			t.Errorf("%s: %v", yaml, l.Bootstrap.InitDBError)
		}
	}
}

func TestReplicaMethods(t *testing.T) {
	e := merged(t, "  create_replica_method: [wal-g, bare, basebackup]\n  wal-g: {command: \"/bin/wal-g 'a b'\", no_leader: 1, threads: 4}\n",
		`{"postgresql":{"create_replica_method":["x"],"bare":{"command":"c","no_params":true,"keep_data":true,"x":"y"}}}`, ServerFacts{})
	got, err := e.MethodArguments("wal-g", "demo", "/d", "")
	if want := []string{"/bin/wal-g", "a b", "--no_leader=1", "--threads=4", "--scope=demo", "--role=replica", "--datadir=/d", "--connstring="}; err != nil || !slices.Equal(got, want) {
		t.Errorf("wal-g: %q %v", got, err)
	}
	got, err = e.MethodArguments("bare", "demo", "/d", "host=x")
	if want := []string{"c", "--x=y"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("bare: %q %v", got, err)
	}
	if !e.MethodFlag("wal-g", "no_leader") || !e.MethodFlag("bare", "keep_data") || e.MethodFlag("wal-g", "keep_data") {
		t.Error("flags")
	}
	if !slices.Equal(e.CreateReplicaMethods, []string{"wal-g", "bare", "basebackup"}) || len(e.Methods) != 2 {
		t.Errorf("%q %v", e.CreateReplicaMethods, e.Methods)
	}
}

func TestBehaviourKeys(t *testing.T) {
	for yaml, want := range map[string]time.Duration{"5": 5 * time.Second, "0": 0, "~": 0, "x": time.Minute, "'7'": 7 * time.Second, "1.5": 1500 * time.Millisecond} {
		if got := merged(t, "  pg_ctl_timeout: "+yaml+"\n", `{"postgresql":{"pg_ctl_timeout":9}}`, ServerFacts{}).PgCtlTimeout; got != want {
			t.Errorf("pg_ctl_timeout %s: %v", yaml, got)
		}
	}
	e := merged(t, "  use_unix_socket: 'off'\n  callbacks: {on_start: /bin/cb}\n", `{"postgresql":{"callbacks":{"on_stop":"x"},"use_unix_socket":true}}`, ServerFacts{})
	if e.UseUnixSocket || len(e.Findings) != 1 || !maps.Equal(e.Callbacks, map[string]string{"on_start": "/bin/cb"}) {
		t.Errorf("%v %v %v", e.UseUnixSocket, e.Findings, e.Callbacks)
	}
}

// Wrong types in the dynamic configuration never crash, nor reach PostgreSQL.
func TestMergeOddDynamic(t *testing.T) {
	e := merged(t, "", `{"postgresql":{"callbacks":5,"pg_hba":"x","bin_name":[1],"basebackup":3,"create_replica_methods":{"a":1},
		"recovery_conf":[1],"use_pg_rewind":[1],"parameters":{"a":{"b":1}}}}`, ServerFacts{})
	if e.Callbacks != nil || e.PgHBA != nil || e.UsePgRewind || e.Parameters["a"] != "" || !slices.Equal(e.CreateReplicaMethods, []string{"basebackup"}) {
		t.Errorf("%+v", e)
	}
}

func TestInitialDynamic(t *testing.T) {
	l, err := loadText(t, "bootstrap:\n  dcs: {ttl: 20, postgresql: {use_slots: false, parameters: {a: 1}}}\n"+
		"  postgresql: {use_slots: true, use_pg_rewind: true, parameters: {a: 2, b: 3}}\n")
	if err != nil {
		t.Fatal(err)
	}
	got := InitialDynamic(l)
	want := map[string]any{
		"ttl": 20, "loop_wait": 1, "retry_timeout": 9,
		"postgresql": map[string]any{"use_slots": false, "use_pg_rewind": true, "parameters": map[string]any{"a": 1, "b": 3}},
	}
	if !EqualText(got, want) {
		t.Errorf("got %v", got)
	}
	// A number with a unit is no number here: left out, the rest holds.
	if l, err = loadText(t, "bootstrap:\n  dcs: {ttl: 15s, loop_wait: 5, retry_timeout: 7}\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseDynamic(InitialDynamic(l), nil); err != nil {
		t.Errorf("every member rejects what a bootstrap wrote: %v", err)
	}
	l, err = loadText(t, "scope: a\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := InitialDynamic(l); len(got) != 0 || l.Bootstrap != nil {
		t.Errorf("without bootstrap: %v", got)
	}
	l, err = loadText(t, "bootstrap:\n")
	if err != nil {
		t.Fatal(err)
	}
	if l.Bootstrap == nil || l.Bootstrap.Method != "initdb" {
		t.Error("an empty bootstrap section is one")
	}
}

// One unreadable value must not take the rest of a new cluster's
// configuration with it.
func TestInitialDynamicLeavesUnreadableOut(t *testing.T) {
	l, err := loadText(t, "bootstrap:\n  dcs: {ttl: abc, loop_wait: 2, retry_timeout: 3, standby_cluster: x, postgresql: {parameters: 5, pg_hba: [local all all peer]}}\n")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"loop_wait": 2, "retry_timeout": 3, "postgresql": map[string]any{"pg_hba": []any{"local all all peer"}}}
	if got := InitialDynamic(l); !EqualText(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestCustomBootstrap(t *testing.T) {
	l, err := loadText(t, "bootstrap:\n  method: walg\n  walg: {command: /bin/x y, from: latest, keep_existing_recovery_conf: true}\n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Bootstrap.Arguments("demo", "/d")
	if want := []string{"/bin/x", "y", "--scope=demo", "--datadir=/d", "--from=latest"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v", got, err)
	}
	l, err = loadText(t, "bootstrap:\n  method: walg\n  walg: {}\n")
	if err != nil || l.Bootstrap.Method != "initdb" || len(l.Warnings) != 1 {
		t.Errorf("without command: %v %v", err, l.Warnings)
	}
}

// A slip in bootstrap.dcs must not keep a member of an old cluster from starting.
func TestBootstrapDCSIsLenient(t *testing.T) {
	l, err := loadText(t, "bootstrap:\n  dcs: {ttl: 30, maximum_lag_on_failover: 10MB, postgresql: {callbacks: 5}}\n  postgresql: {use_pg_rewind: perhaps}\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Warnings) != 4 {
		t.Errorf("warnings:\n%s", printFindings(l.Warnings))
	}
}

// What is written to /config stands in the file's order, at every level.
func TestInitialDocumentKeepsTheOrder(t *testing.T) {
	l, err := loadText(t, "bootstrap:\n  dcs: {ttl: 30, postgresql: {parameters: {b: 1, a: 2}, use_slots: true}, loop_wait: 10, slots: {z: {type: physical, cluster_type: primary}, a: {}}, own: [{y: 1, x: 2}]}\n"+
		"  postgresql: {pg_hba: [x], use_pg_rewind: true, parameters: {d: 4, c: 3, a: 5}}\n")
	if err != nil {
		t.Fatal(err)
	}
	got := InitialDocument(l).Compact()
	want := `{"ttl":30,"postgresql":{"parameters":{"b":1,"a":2,"d":4,"c":3},"use_slots":true,"pg_hba":["x"],"use_pg_rewind":true},"loop_wait":10,"slots":{"z":{"type":"physical","cluster_type":"primary"},"a":{}},"own":[{"y":1,"x":2}]}`
	if string(got) != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	l, err = loadText(t, "scope: a\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := InitialDocument(l); !got.IsEmpty() {
		t.Errorf("without bootstrap: %v", got.Keys())
	}
}
