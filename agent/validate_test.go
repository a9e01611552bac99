package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listening opens a port as etcd or PostgreSQL would.
func listening(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// free is a port nobody listens on just now.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// programs makes a directory of programs that say they are that PostgreSQL.
func programs(t *testing.T, version string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		text := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var allPrograms = []string{"pg_ctl", "initdb", "pg_controldata", "pg_basebackup", "postgres", "pg_isready"}

// The part of contract config.md 7 that needs a machine: ports, servers,
// programs, data.
func TestValidateSurroundings(t *testing.T) {
	bin := programs(t, "17.2", allPrograms...)
	data := t.TempDir()
	file := func(name, text string) {
		path := filepath.Join(data, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file("old/PG_VERSION", "15\n")
	file("old/pg_wal/x", "")
	file("good/PG_VERSION", "17\n")
	file("good/pg_wal/x", "")
	file("half/PG_VERSION", "17\n")
	file("junk/thesis.doc", "")
	file("empty/.bash_history", "")
	file("empty/lost+found/x", "")
	file("plain", "")
	busy, etcd := listening(t), listening(t)
	_, busyPort, _ := net.SplitHostPort(busy)
	const silent = "127.0.0.1:1"
	cases := []struct {
		name                          string
		rest, listen, etcd, dir, bins string
		ignore                        bool
		want                          string
	}{
		{name: "all is well"},
		{name: "REST port in use", rest: busy, want: "restapi.listen " + busy + " Port " + busyPort + " is already in use."},
		{name: "PostgreSQL's port in use", listen: busy, want: "postgresql.listen 127.0.0.1 Port " + busyPort + " is already in use."},
		{name: "ports in use, not looked at", rest: busy, listen: busy, ignore: true},
		{name: "not this machine's address", rest: "192.0.2.77:8008", want: "restapi.listen 192.0.2.77:8008 192.0.2.77 is not an address of this machine"},
		{name: "one server of two", etcd: etcd + "," + silent, want: "etcd3.hosts 127.0.0.1:1 is not reachable"},
		{name: "an older version's data", dir: "old", want: "data of PostgreSQL 15, but the programs are PostgreSQL 17"},
		{name: "data", dir: "good"},
		{name: "no pg_wal", dir: "half", want: "no pg_wal in it"},
		{name: "something else", dir: "junk", want: "postgresql.data_dir " + data + "/junk doesn't look like a valid data directory"},
		{name: "empty but for what does not count", dir: "empty"},
		{name: "missing", dir: "nothing"},
		{name: "a file", dir: "plain", want: "cannot be read: not a directory"},
		{name: "no such bin_dir", bins: "/nowhere/bin", want: "postgresql.bin_dir /nowhere/bin is not an existing directory"},
		{name: "a program is missing", bins: programs(t, "17.2", allPrograms[1:]...), want: "does not contain 'pg_ctl' as an executable program"},
		{name: "too old", bins: programs(t, "12.9", allPrograms...), want: "is PostgreSQL 12.9, the oldest supported is 13"},
		{name: "no PostgreSQL", bins: programs(t, "17beta", allPrograms[:4]...), want: "does not contain 'postgres'"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			or := func(s, other string) string {
				if s == "" {
					return other
				}
				return s
			}
			path := filepath.Join(t.TempDir(), "patroni.yml")
			text := fmt.Sprintf("scope: s\nname: a\nrestapi: {listen: '%s', connect_address: 'pg1:8008'}\netcd3: {hosts: '%s'}\n"+
				"postgresql:\n  listen: '%s'\n  connect_address: 'pg1:5432'\n  data_dir: %s\n  bin_dir: %s\n"+
				"  authentication: {superuser: {username: u}, replication: {username: r}}\n",
				or(c.rest, "127.0.0.1:"+free(t)), or(c.etcd, etcd), or(c.listen, "127.0.0.1:"+free(t)), filepath.Join(data, or(c.dir, "nothing")), or(c.bins, bin))
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, problems, err := Validate(ctx, ValidateOptions{ConfigPath: path, IgnoreListenPort: c.ignore})
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && len(problems) > 0 || c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0].String(), c.want)) {
				t.Errorf("got %v, want %q", problems, c.want)
			}
		})
	}
}
