package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Contract config.md 1.1: sources, and what comes of odd ones.
func TestSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("merge/1.yml", "scope: one\ntags: {a: 1, b: 2}\nrestapi: {listen: 'x:1'}\nkept: [1, 2]\n")
	write("merge/2.yml", "scope: two\ntags: {a: ~, c: ~}\nnew: {inner: ~, other: 1}\nkept: [3]\nrestapi: ~\n")
	write("merge/3.yaml.bak", "scope: no\n")
	if err := os.Mkdir(filepath.Join(dir, "none"), 0o700); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		row, path string
		environ   []string
		want      string // fmt of the tree, or part of the error
	}{
		{"directory: maps merge, scalars and lists replace, null deletes", dir + "/merge", nil,
			"map[kept:[3] new:map[inner:<nil> other:1] scope:two tags:map[b:2]]"},
		{"directory without a file: the environment decides", dir + "/none", []string{"PATRONI_SCOPE=e"}, "map[scope:e]"},
		{"directory without a file and nothing else", dir + "/none", nil, "map[]"},
		{"no mapping: empty file", write("empty.yml", ""), nil, "invalid config file"},
		{"no mapping: comment", write("comment.yml", "# nothing\n"), nil, "invalid config file"},
		{"no mapping: list", write("list.yml", "- a\n"), nil, "invalid config file"},
		{"missing: the variable", dir + "/missing.yml", []string{"PATRONI_CONFIGURATION=scope: whole", "PATRONI_NAME=n"}, "map[scope:whole]"},
		{"missing: the environment", dir + "/missing.yml", []string{"PATRONI_NAME=n"}, "map[name:n]"},
		{"missing, and nothing else", dir + "/missing.yml", []string{"PATRONI_NAME="}, "no such file"},
		{"nothing at all", "", nil, "Config is empty."},
		{"the variable is not looked at beside a file", write("file.yml", "scope: f\n"), []string{"PATRONI_CONFIGURATION=scope: whole"}, "map[scope:f]"},
		{"the environment beats the file", dir + "/file.yml", []string{"PATRONI_SCOPE=e"}, "map[scope:e]"},
		{"an empty variable counts as not set", dir + "/file.yml", []string{"PATRONI_SCOPE="}, "map[scope:f]"},
		{"an empty variable of etcd3 too", write("etcd.yml", "etcd3: {host: h}\n"), []string{"PATRONI_ETCD3_HOST="}, "map[etcd3:map[host:h]]"},
		{"falsy sections are empty maps", write("falsy.yml", "restapi: ~\nlog: 0\ntags: ''\nctl: []\nwatchdog: false\nscope: x\nname: ''\n"), nil,
			"map[ctl:map[] log:map[] restapi:map[] scope:x tags:map[] watchdog:map[]]"},
		{"neither file nor directory", "/dev/null", nil, "invalid config path"},
		{"YAML 1.1", write("yaml11.yml", "watchdog: {mode: off}\nlog: {mode: 0644}\nx: [1_000, '1:30', 1:30, yes]\n"), nil,
			"map[log:map[mode:420] watchdog:map[mode:false] x:[1000 1:30 90 true]]"},
	}
	for _, c := range cases {
		got := ""
		l, err := LoadLocal(c.path, c.environ)
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(l.Tree)
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %s, want %s", c.row, got, c.want)
		}
	}
}

// sampleOf is a value that a key of that kind accepts.
func sampleOf(k Key) any {
	switch k.Kind {
	case KindMap, KindSettings:
		return map[string]any{}
	case KindInt, KindSeconds, KindBytes:
		return int64(77)
	case KindBool, KindTag, KindSwitch:
		return true
	case KindTexts, KindOptions, KindList:
		return []any{"sample"}
	}
	return "sample"
}

// Contract config.md 1.2: what is accepted from where. What is not is named.
func TestMergeFilter(t *testing.T) {
	local := func(tree map[string]any) *Local {
		l := &Local{tree: nodeOf(tree)}
		l.Tree = tree
		findings, err := checkLocal(l.tree)
		if err != nil {
			t.Fatalf("%v: %v", tree, err)
		}
		l.Warnings = findings
		l.build()
		return l
	}
	base := Merge(local(map[string]any{}), DefaultDynamic(), ServerFacts{})
	base.Findings = nil
	same := func(e Effective) bool {
		e.Findings = nil
		return reflect.DeepEqual(e, base)
	}
	for _, k := range dynamicKeys { // dynamic keys in the file: named, without effect
		if k.Name == "postgresql" {
			continue
		}
		l := local(map[string]any{k.Name: sampleOf(k)})
		if len(l.Warnings) == 0 {
			t.Errorf("%s in the file is not reported", k.Name)
		}
	}
	for _, k := range localKeys { // local keys in the DCS
		if _, both := find(dynamicKeys, k.Name); both || k.Kind == KindNothing {
			continue
		}
		d, err := ParseDynamic(map[string]any{k.Name: sampleOf(k)}, nil)
		if err != nil || len(d.Findings) == 0 {
			t.Errorf("%s in the DCS is not reported, %v", k.Name, err)
		}
	}
	for _, k := range postgresqlKeys {
		section := map[string]any{"postgresql": map[string]any{k.Name: sampleOf(k)}}
		if k.From == FromLocal {
			d, err := ParseDynamic(section, nil)
			if err != nil || len(d.Findings) == 0 {
				t.Errorf("postgresql.%s in the DCS is not reported, %v", k.Name, err)
			}
			if !same(Merge(local(map[string]any{}), d, ServerFacts{})) {
				t.Errorf("postgresql.%s of the DCS has an effect", k.Name)
			}
		}
		if k.From == FromDynamic {
			l := local(section)
			if len(l.Warnings) == 0 || !same(Merge(l, DefaultDynamic(), ServerFacts{})) {
				t.Errorf("postgresql.%s in the file: %v", k.Name, l.Warnings)
			}
		}
	}
	for _, g := range controlledGUCs { // dropped from the file, whatever the spelling
		l := local(map[string]any{"postgresql": map[string]any{"parameters": map[string]any{strings.ToUpper(g.Name): g.Default}}})
		if len(l.Warnings) != 1 || !same(Merge(l, DefaultDynamic(), ServerFacts{})) {
			t.Errorf("%s in the file: %v", g.Name, l.Warnings)
		}
	}
}

// The defaults of the schema are those that hold (config.md 2, 3, 4).
func TestDefaultsHold(t *testing.T) {
	d := DefaultDynamic()
	for _, k := range dynamicValues {
		schema, _ := find(dynamicKeys, k.key)
		if value := k.value(d); value != nil && !EqualText(fmt.Sprint(value), fmt.Sprint(schema.defaultValue())) {
			t.Errorf("%s: %v holds, the schema says %v", k.key, value, schema.defaultValue())
		}
	}
	l := &Local{tree: &Node{Kind: MapNode}}
	l.build()
	e := Merge(l, d, ServerFacts{})
	for path, value := range map[string]any{
		"namespace": l.Namespace, "restapi.request_queue_size": l.RestAPI.RequestQueueSize, "restapi.verify_client": l.RestAPI.VerifyClient,
		"restapi.server_tokens": l.RestAPI.ServerTokens, "restapi.allowlist_include_members": l.RestAPI.AllowlistIncludeMembers,
		"etcd3.use_proxies": l.Etcd3.UseProxies, "ctl.insecure": l.Ctl.Insecure, "etcd3.port": defaultEtcdPort,
		"log.type": l.Log.Type, "log.level": l.Log.Level, "log.traceback_level": l.Log.TracebackLevel, "log.format": l.Log.Format,
		"log.max_queue_size": l.Log.MaxQueueSize, "log.file_num": l.Log.FileNum, "log.file_size": l.Log.FileSize,
		"log.deduplicate_heartbeat_logs": l.Log.DeduplicateHeartbeatLog,
		"watchdog.mode":                  l.Watchdog.Mode, "watchdog.device": l.Watchdog.Device, "watchdog.safety_margin": l.Watchdog.SafetyMargin, "watchdog.driver": l.Watchdog.Driver,
		"tags.nofailover": l.Tags.NoFailover, "tags.failover_priority": l.Tags.FailoverPriority, "tags.nosync": l.Tags.NoSync,
		"tags.sync_priority": l.Tags.SyncPriority, "tags.clonefrom": l.Tags.CloneFrom, "tags.noloadbalance": l.Tags.NoLoadBalance, "tags.nostream": l.Tags.NoStream,
		"pgha.guard": l.Pgha.Guard, "pgha.gate": l.Pgha.Gate, "postgresql.config_base_name": e.ConfigBaseName, "postgresql.database": e.Database,
		"postgresql.use_pg_rewind": e.UsePgRewind, "postgresql.use_unix_socket": e.UseUnixSocket, "postgresql.use_unix_socket_repl": e.UseUnixSocketRepl,
		"postgresql.remove_data_directory_on_rewind_failure":     e.RemoveDataDirectoryOnRewindFailure,
		"postgresql.remove_data_directory_on_diverged_timelines": e.RemoveDataDirectoryOnDivergedTL,
		"postgresql.pg_ctl_timeout":                              int(e.PgCtlTimeout.Seconds()), "postgresql.use_slots": d.UseSlots,
		"postgresql.create_replica_methods": strings.Join(e.CreateReplicaMethods, ","),
	} {
		row, known := schemaRows()[path]
		if !known || !strings.EqualFold(row[2], fmt.Sprint(value)) {
			t.Errorf("%s: %v holds, the schema says %v", path, value, row)
		}
	}
}
