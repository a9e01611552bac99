package config

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the goldens anew")

const talk = "../../testdata/talk/"

func mustLoad(t *testing.T, path string, environ ...string) *Local {
	t.Helper()
	l, err := LoadLocal(path, environ)
	if err != nil {
		t.Fatalf("LoadLocal(%q): %v", path, err)
	}
	return l
}

// loadText loads a configuration written in the test.
func loadText(t *testing.T, yaml string, environ ...string) (*Local, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "patroni.yml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadLocal(file, environ)
}

// golden compares with a file, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", file, got)
	}
}

// describe prints the typed configuration with its findings.
func describe(t *testing.T, l *Local) string {
	t.Helper()
	copied := *l
	copied.Tree, copied.Warnings = nil, nil
	data, err := json.MarshalIndent(copied, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n" + printFindings(l.Warnings)
}

func printFindings(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func TestLoadLocal(t *testing.T) {
	for _, name := range []string{"full", "warnings"} {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".golden", describe(t, mustLoad(t, "testdata/"+name+".yml", "HOME=/home/pg")))
		})
	}
}

// The talk's first file, as printed: one slip, named once, and applied.
func TestTalkBasicAsPrinted(t *testing.T) {
	l := mustLoad(t, talk+"pg-basic.yml", "HOME=/home/pg")
	if len(l.Warnings) != 1 || l.Warnings[0].Path != "bootstrap.postgresql" || l.Warnings[0].Line != 18 {
		t.Errorf("want one warning about bootstrap.postgresql in line 18, got:\n%s", printFindings(l.Warnings))
	}
	if err := l.CheckAgent(); err != nil {
		t.Errorf("CheckAgent: %v", err)
	}
	if l.PostgreSQL.Listen != "pg01,127.0.0.1" || l.PostgreSQL.Port != 5432 {
		t.Errorf("listen: %q port %d", l.PostgreSQL.Listen, l.PostgreSQL.Port)
	}
	want := []string{"http://etcd01:2379", "http://etcd02:2379", "http://etcd03:2379"}
	if !slices.Equal(l.Etcd3.Endpoints, want) {
		t.Errorf("endpoints %q", l.Etcd3.Endpoints)
	}
	if got := l.Bootstrap.InitDB; !slices.Equal(got, []string{"--encoding=UTF8", "--data-checksums"}) {
		t.Errorf("initdb options %q", got)
	}
	if l.Pgha.StateDir != "/var/lib/pgsql/17/data.pgha" {
		t.Errorf("state directory %q", l.Pgha.StateDir)
	}
	if l.Tags.Published != nil || l.Tags.FailoverPriority != 1 {
		t.Errorf("tags %+v", l.Tags)
	}
	// Printed and repaired file make the same cluster (rulings 23).
	repaired := mustLoad(t, talk+"pg-basic.repaired.yml")
	if len(repaired.Warnings) != 0 {
		t.Errorf("repaired file: %s", printFindings(repaired.Warnings))
	}
	if a, b := InitialDynamic(l), InitialDynamic(repaired); !EqualText(a, b) {
		t.Errorf("initial dynamic configuration differs:\n%v\n%v", a, b)
	}
}

func TestTalkFixed(t *testing.T) {
	_, err := LoadLocal(talk+"pg-fixed.bad.yml", nil)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("want *Error, got %v", err)
	}
	if e.Line != 9 || e.Column != 10 || e.Remedy != "write:\n  hosts: etcd04:2379,etcd05:2379,etcd06:2379" {
		t.Errorf("line %d column %d remedy %q", e.Line, e.Column, e.Remedy)
	}
	for _, file := range []string{"pg-fixed.repaired.yml", "pg-fixed-restapi.yml"} {
		l := mustLoad(t, talk+file)
		if err := l.CheckDCS(); err != nil || len(l.Warnings) != 0 {
			t.Errorf("%s: %v\n%s", file, err, printFindings(l.Warnings))
		}
		if len(l.Etcd3.Endpoints) != 3 || l.Etcd3.Endpoints[0] != "https://etcd04:2379" {
			t.Errorf("%s: endpoints %q", file, l.Etcd3.Endpoints)
		}
	}
}

// The slide about local configuration shows replication one level too high.
func TestTalkReplicationMisplaced(t *testing.T) {
	l := mustLoad(t, talk+"pg-basic-local.slide.yml")
	if len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0].Remedy, "postgresql.authentication.replication") {
		t.Errorf("warnings:\n%s", printFindings(l.Warnings))
	}
	if l.PostgreSQL.Replication.Username != "" {
		t.Error("the misplaced section must not be used beside authentication")
	}
}

// Every bad file has a message here, and only these are there.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad files: %v", err)
	}
	var b strings.Builder
	for _, file := range files {
		_, err := LoadLocal(file, nil)
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s: want *Error, got %v", file, err)
			continue
		}
		if strings.Contains(e.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", file, e.Error())
		}
		b.WriteString(e.Error() + "\n")
		for line := range strings.SplitSeq(e.Remedy, "\n") {
			if line != "" {
				b.WriteString("    " + line + "\n")
			}
		}
	}
	golden(t, "bad.golden", b.String())
}

func TestCheckAgent(t *testing.T) {
	const etcd = "etcd3: {host: e}\n"
	const rest = "restapi: {listen: 'a:8008'}\n"
	const pg = "postgresql: {listen: 'a:5432', data_dir: /d}\n"
	cases := []struct{ name, yaml, want string }{
		{"complete", "name: a\nscope: s\n" + rest + pg + etcd, ""},
		{"name", "scope: s\n" + rest + pg + etcd, "name: required"},
		{"scope", "name: a\n" + rest + pg + etcd, "scope: required"},
		{"restapi", "name: a\nscope: s\n" + pg + etcd, "restapi.listen: required"},
		{"listen", "name: a\nscope: s\n" + rest + "postgresql: {data_dir: /d}\n" + etcd, "postgresql.listen: required"},
		{"data_dir", "name: a\nscope: s\n" + rest + "postgresql: {listen: a}\n" + etcd, "postgresql.data_dir: required"},
		{"reserved name", "name: " + reservedName + "\nscope: s\n" + rest + pg + etcd, "reserved"},
		{"REST without port", "name: a\nscope: s\nrestapi: {listen: a}\n" + pg + etcd, `expected <HOST>:<PORT> for "listen", but got "a"`},
		{"port in the middle", "name: a\nscope: s\n" + rest + "postgresql: {listen: 'a:5432,b', data_dir: /d}\n" + etcd, "the port stands once"},
		{"bad port", "name: a\nscope: s\n" + rest + "postgresql: {listen: 'a:pg', data_dir: /d}\n" + etcd, `port "pg"`},
		{"no DCS", "name: a\nscope: s\n" + rest + pg, "etcd3: required"},
		{"other DCS", "name: a\nscope: s\n" + rest + pg + "consul: {host: c}\n", "consul: this kind of configuration store is not supported"},
		{"no address", "name: a\nscope: s\n" + rest + pg + "etcd3: {protocol: https, srv_suffix: x}\n", "names no server"},
		{"protocol", "name: a\nscope: s\n" + rest + pg + "etcd3: {host: e, protocol: ftp}\n", "expected http or https"},
		{"state inside data", "name: a\nscope: s\n" + rest + pg + etcd + "pgha: {state_dir: /d/state}\n", "lies inside"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l, err := loadText(t, c.yaml)
			if err != nil {
				t.Fatal(err)
			}
			err = l.CheckAgent()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestListen(t *testing.T) {
	cases := []struct {
		text, addresses string
		port            int
	}{
		{"*", "*", 5432}, {"*:5433", "*", 5433}, {"pg01,127.0.0.1:5432", "pg01,127.0.0.1", 5432},
		{"pg01, 127.0.0.1 :6000", "pg01,127.0.0.1", 6000}, {"[::1]:5433", "::1", 5433}, {"[::1]", "::1", 5432},
		{"::1:5433", "::1", 5433}, {"::1", "::1", 5432}, {"0.0.0.0,[::]:5432", "0.0.0.0,::", 5432},
		{"2001:db8:0:0:0:0:0:1", "2001:db8:0:0:0:0:0:1", 5432},
	}
	for _, c := range cases {
		addresses, port, err := splitListen(c.text, 5432)
		if err != nil || addresses != c.addresses || port != c.port {
			t.Errorf("%q: %q %d %v", c.text, addresses, port, err)
		}
	}
	for _, bad := range []string{"a:0", "a:70000", "a:b:c", ",a:5432", "a:", ""} {
		if addresses, port, err := splitListen(bad, 5432); err == nil {
			t.Errorf("%q: accepted as %q %d", bad, addresses, port)
		}
	}
}

func TestEtcdAddresses(t *testing.T) {
	cases := []struct{ name, yaml, endpoints, user string }{
		{"host", "host: e", "http://e:2379", ""},
		{"port beats host", "host: 'e:1'\n  port: 2", "http://e:2", ""},
		{"port is the default of hosts", "hosts: 'a:1, b'\n  port: 2", "http://a:1 http://b:2", ""},
		{"hosts before host", "hosts: a\n  host: b", "http://a:2379", ""},
		{"list", "hosts: [a, 'b:1,c']\n  protocol: https", "https://a:2379 https://b:1 https://c:2379", ""},
		{"IPv6", "hosts: '[::1]:1,::2,[::3]'", "http://[::1]:1 http://[::2]:2379 http://[::3]:2379", ""},
		{"url", "url: https://u:p@e\n  hosts: x\n  username: other", "https://e:2379", "u"},
		{"url without user", "url: http://[::1]:1\n  username: other", "http://[::1]:1", ""},
		{"proxy", "proxy: https://e:443", "https://e:443", ""},
		{"scheme in hosts", "hosts: 'https://a:1/'", "https://a:1", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l, err := loadText(t, "etcd3:\n  "+c.yaml+"\n")
			if err == nil {
				err = l.CheckDCS()
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(l.Etcd3.Endpoints, " "); got != c.endpoints || l.Etcd3.Username != c.user {
				t.Errorf("endpoints %q user %q", got, l.Etcd3.Username)
			}
			if c.name == "proxy" && !l.Etcd3.UseProxies {
				t.Error("proxy must imply use_proxies")
			}
		})
	}
	for _, bad := range []string{"host: 'e:x'", "url: e:2379", "hosts: ':2379'", "port: 70000\n  host: e", "url: 'http://u:secret@'"} {
		l, err := loadText(t, "etcd3:\n  "+bad+"\n")
		if err == nil {
			err = l.CheckDCS()
		}
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestTags(t *testing.T) {
	cases := []struct {
		yaml       string
		nofailover bool
		priority   int
		published  string
	}{
		{"{}", false, 1, "null"},
		{"{nofailover: true}", true, 0, `{"nofailover":true}`},
		{"{nofailover: false}", false, 1, "null"},
		{"{failover_priority: 0}", true, 0, `{"failover_priority":0}`},
		{"{failover_priority: 7}", false, 7, `{"failover_priority":7}`},
		{"{nofailover: false, failover_priority: 0}", false, 0, `{"failover_priority":0,"nofailover":false}`},
		{"{nofailover: true, failover_priority: 3}", true, 0, `{"failover_priority":3,"nofailover":true}`},
		{"{nofailover: 'false'}", true, 0, `{"nofailover":"false"}`},
		{"{failover_priority: x}", false, 1, `{"failover_priority":"x"}`},
		{"{rack: a, replicatefrom: b, noloadbalance: 0}", false, 1, `{"rack":"a","replicatefrom":"b"}`},
	}
	for _, c := range cases {
		l, err := loadText(t, "scope: s\ntags: "+c.yaml+"\n")
		if err != nil {
			t.Fatal(err)
		}
		published, err := json.Marshal(l.Tags.Published)
		if err != nil {
			t.Fatal(err)
		}
		if l.Tags.NoFailover != c.nofailover || l.Tags.FailoverPriority != c.priority || string(published) != c.published {
			t.Errorf("%s: nofailover %v priority %d published %s", c.yaml, l.Tags.NoFailover, l.Tags.FailoverPriority, published)
		}
	}
}

func TestEnvironment(t *testing.T) {
	l, err := loadText(t, "scope: file\nname: a\netcd3: {hosts: x, protocol: https}\npostgresql: {parameters: {a.b: 1}}\n",
		"PATRONI_SCOPE=env", "PATRONI_NAME=", "PATRONI_ETCD3_HOSTS='a:1','b:2'", "PATRONI_ETCD3_USERNAME=u",
		"PATRONI_LOGLEVEL=ERROR", "PATRONI_LOG_LEVEL=debug", "PATRONI_LOG_MODE=0644", "PATRONI_LOG_STATIC_FIELDS=app: x",
		"PATRONI_SUPERUSER_PASSWORD=p:a: ss", "PATRONI_POSTGRESQL_BIN_PG_CTL=ctl", "PATRONI_RESTAPI_ALLOWLIST=10.0.0.1, b",
		"PATRONI_RESTAPI_LISTN=x", "PATRONI_XYZZY=1", "PATRONI_LOG_FILE_NUM=many", "RUNTIME_DIRECTORY=/run/pgha", "STATE_DIRECTORY=/var/lib/pgha:/var/lib/two", "NOT=ours")
	if err != nil {
		t.Fatal(err)
	}
	if l.Scope != "env" || l.Name != "a" || l.Log.Level != "DEBUG" || l.Log.Mode != 0o644 || l.Log.FileNum != 4 {
		t.Errorf("scope %q name %q level %q mode %o", l.Scope, l.Name, l.Log.Level, l.Log.Mode)
	}
	if got := strings.Join(l.Etcd3.Endpoints, " "); got != "https://a:1 https://b:2" || l.Etcd3.Username != "u" {
		t.Errorf("endpoints %q user %q", got, l.Etcd3.Username)
	}
	if l.PostgreSQL.Superuser.Password.Reveal() != "p:a: ss" || l.Log.StaticFields["app"] != "x" {
		t.Errorf("password %q fields %v", l.PostgreSQL.Superuser.Password.Reveal(), l.Log.StaticFields)
	}
	if !slices.Equal(l.RestAPI.Allowlist, []string{"10.0.0.1", "b"}) || l.Pgha.StateDir != "/var/lib/pgha" {
		t.Errorf("allowlist %q state %q", l.RestAPI.Allowlist, l.Pgha.StateDir)
	}
	want := "PATRONI_LOG_FILE_NUM: ignored: the value cannot be read\n" +
		"PATRONI_RESTAPI_LISTN: unknown variable, ignored; did you mean PATRONI_RESTAPI_LISTEN?\n" +
		"PATRONI_XYZZY: unknown variable, ignored\n"
	if got := printFindings(l.Warnings); got != want {
		t.Errorf("warnings:\n%s", got)
	}
}

func TestEnvironmentAlone(t *testing.T) {
	if _, err := LoadLocal("", nil); err == nil || err.Error() != "Config is empty." {
		t.Errorf("nothing at all: %v", err)
	}
	if _, err := LoadLocal("/does/not/exist.yml", nil); err == nil || !strings.Contains(err.Error(), "/does/not/exist.yml") {
		t.Errorf("missing file: %v", err)
	}
	l := mustLoad(t, "/does/not/exist.yml", "PATRONI_SCOPE=s", "PATRONI_ETCD3_HOST=e")
	if l.Scope != "s" || l.Path != "" || len(l.Warnings) != 1 {
		t.Errorf("scope %q path %q %v", l.Scope, l.Path, l.Warnings)
	}
	l = mustLoad(t, "", "PATRONI_CONFIGURATION=scope: whole", "PATRONI_SCOPE=s")
	if l.Scope != "whole" {
		t.Errorf("PATRONI_CONFIGURATION: scope %q", l.Scope)
	}
	l = mustLoad(t, "", "PATRONI_SCOPE=s", "PATRONI_ETCD3_PASSWORD=p")
	if l.Etcd3.Password != "" || len(l.Warnings) != 1 {
		t.Errorf("credentials without any other etcd3 variable: %v", l.Warnings)
	}
	_, err := LoadLocal("", []string{"PATRONI_SCOPE=s", "PATRONI_POSTGRESQL_LISTEN=a:5432", "PATRONI_THREAD_POOL_SIZE=x"})
	if err == nil || !strings.Contains(err.Error(), "PATRONI_THREAD_POOL_SIZE") {
		t.Errorf("an error must name its variable: %v", err)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"10-base.yml":    "scope: a\nname: n\ntags: {x: 1, y: 2}\npostgresql: {pg_hba: [one, two]}\n",
		"20-more.yaml":   "tags: {x: null, z: 3}\npostgresql: {pg_hba: [three]}\nlog: {dir: null}\n",
		"30-ignored.txt": "scope: [",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "40-sub.yml"), 0o700); err != nil {
		t.Fatal(err)
	}
	l := mustLoad(t, dir)
	want := map[string]any{"y": int64(2), "z": int64(3)}
	if l.Scope != "a" || !EqualText(l.Tags.Published, want) {
		t.Errorf("scope %q tags %v", l.Scope, l.Tags.Published)
	}
	if got := Merge(l, DefaultDynamic(), ServerFacts{}).PgHBA; !slices.Equal(got, []string{"three"}) {
		t.Errorf("pg_hba %q", got)
	}
	if f := l.tree.Lookup("tags", "z"); filepath.Base(f.Pos.File) != "20-more.yaml" {
		t.Errorf("position %+v", f.Pos)
	}
	if _, err := LoadLocal("/dev/null", nil); err == nil || !strings.Contains(err.Error(), "invalid config path") {
		t.Errorf("device: %v", err)
	}
	if l := mustLoad(t, t.TempDir(), "PATRONI_SCOPE=s"); l.Scope != "s" {
		t.Error("an empty directory leaves it to the environment")
	}
}

func TestLegacyCredentials(t *testing.T) {
	l, err := loadText(t, "postgresql:\n  name: old\n  superuser: {username: s}\n  replication: {username: r}\n  pg_rewind: {username: w}\n")
	if err != nil {
		t.Fatal(err)
	}
	e := Merge(l, DefaultDynamic(), ServerFacts{})
	if l.Name != "old" || l.PostgreSQL.Superuser.Username != "s" || l.PostgreSQL.Replication.Username != "r" || !e.UsePgRewind {
		t.Errorf("%q %+v rewind %v", l.Name, l.PostgreSQL, e.UsePgRewind)
	}
}

func TestChildEnviron(t *testing.T) {
	got := ChildEnviron([]string{"A=1", "PATRONI_NAME=x", "NOTIFY_SOCKET=/s", "WATCHDOG_USEC=1", "WATCHDOG_PID=1", "KUBERNETES_PORT=1", "MALLOC_ARENA_MAX=9",
		"PG_MALLOC_ARENA_MAX=1", "PATH=/bin"})
	if want := []string{"A=1", "PATH=/bin", "MALLOC_ARENA_MAX=1"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
