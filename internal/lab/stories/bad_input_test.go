package stories

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// Bad input (contract: config.md; rulings 51): one clear line that says what,
// where, what was expected and what to do; the documented exit code; nothing
// changed on disk or in etcd.

// badInput is one mistake of an operator.
type badInput struct {
	name string
	// edit changes a working patroni.yml; nil leaves it.
	edit func(text string) string
	// prepare makes the surroundings wrong; the returned function repairs them.
	prepare func(t *testing.T, m *lab.Member) func()
	// args replace `agent -c FILE`; env are variables of the environment.
	args, env []string
	code      int
	// want must all be in the error or its hint.
	want []string
	// asRoot runs the agent as the test's user.
	asRoot bool
}

func swap(old, new string) func(string) string {
	return func(text string) string { return strings.Replace(text, old, new, 1) }
}

func without(key string) func(string) string {
	line := regexp.MustCompile(`(?m)^ *` + key + `:.*\n`)
	return func(text string) string { return line.ReplaceAllString(text, "") }
}

// set replaces the value of a key that stands alone on its line.
func set(key, value string) func(string) string {
	line := regexp.MustCompile(`(?m)^( *` + key + `:).*$`)
	return func(text string) string { return line.ReplaceAllString(text, "${1} "+value) }
}

func badInputs(t *testing.T, m *lab.Member) []badInput {
	data := m.DataDir()
	return []badInput{
		// Command line.
		{name: "unknown option", args: []string{"agent", "--fast"}, code: 2, want: []string{"--fast", "pgha agent --help"}},
		{name: "wrong subcommand", args: []string{"agnet"}, code: 2, want: []string{`unknown command "agnet"`, "--help"}},
		{name: "two files", args: []string{"agent", "a.yml", "b.yml"}, code: 2, want: []string{"b.yml"}},
		{name: "no configuration at all", args: []string{"agent"}, code: 2, want: []string{"Config is empty", "name the configuration with -c"}},
		{name: "run as root", asRoot: true, code: 2, want: []string{"root", "runuser -u postgres"}},

		// The file.
		{name: "missing file", args: []string{"agent", "-c", "/nonexistent/patroni.yml"}, code: 2,
			want: []string{"/nonexistent/patroni.yml", "no such file or directory"}},
		{name: "unreadable file", prepare: chmodFile(m.Config(), 0), code: 2, want: []string{m.Config(), "permission denied"}},
		{name: "YAML error", edit: swap("  listen: "+m.Addr+":8008", "  listen: "+m.Addr+": 8008"), code: 2,
			want: []string{m.Config(), "patroni.yml:5:"}},
		{name: "not a mapping", edit: func(string) string { return "- one\n- two\n" }, code: 2,
			want: []string{m.Config(), "expected keys with values, got a list"}},
		{name: "empty file", edit: func(string) string { return "" }, code: 2, want: []string{m.Config()}},
		{name: "wrong type, a map expected", edit: swap("  parameters:\n    dynamic_shared_memory_type: mmap\n    unix_socket_directories: "+m.Dir, "  parameters: 5"), code: 2,
			want: []string{m.Config(), "postgresql.parameters", "expected keys with values, got a number"}},
		{name: "REST address without a host", edit: set("listen", "8008"), code: 2,
			want: []string{m.Config(), "restapi.listen", "<HOST>:<PORT>"}},
		{name: "name missing", edit: without("name"), code: 2, want: []string{m.Config(), "name", "required"}},
		{name: "scope missing", edit: without("scope"), code: 2, want: []string{m.Config(), "scope", "required"}},
		{name: "data_dir missing", edit: without("data_dir"), code: 2, want: []string{m.Config(), "postgresql.data_dir", "required"}},
		{name: "listen missing", edit: without("listen"), code: 2, want: []string{m.Config(), "restapi.listen", "required"}},
		{name: "etcd hosts missing", edit: without("hosts"), code: 2, want: []string{m.Config(), "etcd3"}},
		{name: "unreadable CA of etcd", edit: swap("  protocol: http\n", "  protocol: https\n  cacert: /nonexistent/ca.crt\n"), code: 2,
			want: []string{"etcd3", "/nonexistent/ca.crt"}},
		{name: "unreadable certificate of the REST API",
			edit: swap("restapi:\n", "restapi:\n  certfile: /nonexistent/rest.crt\n  keyfile: /nonexistent/rest.key\n"), code: 2,
			want: []string{"restapi", "/nonexistent/rest.crt"}},

		// This machine.
		{name: "bin_dir without PostgreSQL", edit: set("bin_dir", "/usr/share"), code: 2,
			want: []string{"postgresql.bin_dir", "/usr/share", "postgres"}},
		{name: "PostgreSQL too old", edit: set("bin_dir", filepath.Join(m.Dir, "old")), prepare: fakePostgres(filepath.Join(m.Dir, "old")), code: 2,
			want: []string{"postgresql.bin_dir", "12.22", "13"}},
		{name: "data_dir of another user", prepare: makeDir(data, 0o700, 0), code: 2, want: []string{"postgresql.data_dir", data, "belongs to"}},
		{name: "data_dir open to all", prepare: makeDir(data, 0o777, -1), code: 2, want: []string{"postgresql.data_dir", data, "0777", "chmod 0700"}},
		{name: "data_dir is a file", edit: set("data_dir", m.Config()), code: 2, want: []string{"postgresql.data_dir", m.Config(), "not a directory"}},
		{name: "data_dir cannot be made", edit: set("data_dir", "/usr/nowhere/data"), code: 2,
			want: []string{"postgresql.data_dir", "/usr/nowhere/data", "no write permission in /usr"}},
		{name: "state_dir cannot be made", edit: func(s string) string { return s + "pgha:\n  state_dir: /usr/nowhere\n" }, code: 2,
			want: []string{"pgha.state_dir", "/usr/nowhere", "permission denied"}},
		{name: "REST port in use",
			prepare: occupy(m, m.Addr+":8008"), code: 2, want: []string{"restapi.listen", m.Addr + ":8008", "address already in use"}},
		{name: "REST address of another machine", edit: swap("listen: "+m.Addr+":8008", "listen: 192.0.2.1:8008"), code: 2,
			want: []string{"restapi.listen", "192.0.2.1:8008"}},
		{name: "PostgreSQL port in use", prepare: occupy(m, m.Addr+":5432"), code: 2, want: []string{"postgresql.listen", m.Addr + ":5432", "address already in use"}},

		// What pgha does not do yet (rulings 26).
		{name: "synchronous_mode", edit: swap("    ttl:", "    synchronous_mode: true\n    ttl:"), code: 2,
			want: []string{"synchronous_mode", "not supported"}},
		{name: "standby_cluster", edit: swap("    ttl:", "    standby_cluster: {host: 192.0.2.9}\n    ttl:"), code: 2,
			want: []string{"standby_cluster", "not supported"}},
		{name: "logical slot", edit: swap("    ttl:", "    slots: {cdc: {type: logical, database: postgres, plugin: pgoutput}}\n    ttl:"), code: 2,
			want: []string{"slots", "not supported"}},
		{name: "environment alone, incomplete", args: []string{"agent"}, env: []string{"PATRONI_NAME=pg01", "PATRONI_SCOPE=pg-basic"}, code: 2,
			want: []string{"restapi.listen", "required"}},
		{name: "environment alone, complete", args: []string{"agent"}, env: []string{
			"PATRONI_NAME=pg01", "PATRONI_SCOPE=pg-basic", "PATRONI_RESTAPI_LISTEN=" + m.Addr + ":8008", "PATRONI_ETCD3_HOSTS=192.0.2.1:2379",
			"PATRONI_POSTGRESQL_LISTEN=" + m.Addr + ":5432", "PATRONI_POSTGRESQL_DATA_DIR=/usr/nowhere/data",
			"PATRONI_POSTGRESQL_BIN_DIR=" + lab.PGBin(t, lab.PGVersion(t))}, code: 2,
			want: []string{"postgresql.data_dir", "no write permission in /usr"}}, // nothing was missing: only this machine is wrong
		{name: "wrong type in the environment", env: []string{"PATRONI_RESTAPI_LISTEN=8008"}, code: 2,
			want: []string{"PATRONI_RESTAPI_LISTEN", "<HOST>:<PORT>"}},
	}
}

// Mistakes that end the agent before it has done anything.
func TestBadInputIsRefusedInOneLine(t *testing.T) {
	l := short(t)
	l.NeedNetwork()
	e := l.StartEtcd(1)
	c := l.NewCluster(e, lab.Options{Members: []string{"pg01"}})
	m := c.Members[0]
	good, err := os.ReadFile(m.Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range badInputs(t, m) {
		t.Run(b.name, func(t *testing.T) {
			text := string(good)
			if b.edit != nil {
				if text = b.edit(text); text == string(good) {
					t.Fatal("the edit changes nothing")
				}
			}
			if err := os.WriteFile(m.Config(), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if b.prepare != nil {
				defer b.prepare(t, m)()
			}
			files, keys := treeOf(t, m.Dir), e.Dump()
			out, code := runBad(t, m, b)
			checkRefusal(t, out, code, b.code, b.want...)
			if now := treeOf(t, m.Dir); now != files {
				t.Errorf("changed on disk:%s", difference(files, now))
			}
			if now := e.Dump(); now != keys {
				t.Fatalf("changed in etcd:%s", difference(keys, now))
			}
		})
	}
}

func runBad(t *testing.T, m *lab.Member, b badInput) (string, int) {
	t.Helper()
	args := b.args
	if args == nil {
		args = []string{"agent", "-c", m.Config()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if b.asRoot {
		out, err := exec.CommandContext(ctx, m.Program(), args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("the agent as root: %v\n%s", err, out)
		}
		return string(out), exit.ExitCode()
	}
	argv := append(append([]string{"/usr/bin/env"}, b.env...), m.Program())
	out, code, err := m.Run(ctx, append(argv, args...)...)
	if err != nil {
		t.Errorf("it did not end: %v", err)
	}
	return out, code
}

// checkRefusal: the output ends with one error line and at most one hint,
// which hold the wanted texts.
func checkRefusal(t *testing.T, out string, code, wantCode int, want ...string) {
	t.Helper()
	t.Logf("exit %d\n%s", code, out)
	if code != wantCode {
		t.Errorf("exit code %d, want %d", code, wantCode)
	}
	var said []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "pgha: ") {
			said = append(said, line)
		} else if len(said) > 0 {
			t.Errorf("a line behind the error: %s", line)
		}
	}
	if len(said) == 0 || !strings.HasPrefix(said[0], "pgha: error: ") || len(said) > 2 || len(said) == 2 && !strings.HasPrefix(said[1], "pgha: hint: ") {
		t.Errorf("want one error line and at most one hint, got %q", said)
	}
	for _, w := range want {
		if !strings.Contains(strings.Join(said, ""), w) {
			t.Errorf("no %q in the error", w)
		}
	}
	if strings.Contains(out, "goroutine ") || strings.Contains(out, "panic") {
		t.Error("a stack trace")
	}
}

// treeOf is every file below dir but the etcd's and the agent's logs.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v %d\n", path, info.Mode(), info.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// difference is what was added, at most some lines of it.
func difference(before, after string) string {
	var b strings.Builder
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) && b.Len() < 1000 {
			b.WriteString("\n+ " + strings.TrimSpace(line))
		}
	}
	return b.String()
}

func chmodFile(path string, mode fs.FileMode) func(*testing.T, *lab.Member) func() {
	return func(t *testing.T, _ *lab.Member) func() {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return func() { os.Chmod(path, 0o644) }
	}
}

// makeDir makes a directory of the user with that id; -1: the agent's.
func makeDir(path string, mode fs.FileMode, uid int) func(*testing.T, *lab.Member) func() {
	return func(t *testing.T, m *lab.Member) func() {
		t.Helper()
		info, err := os.Stat(m.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if uid < 0 {
			uid = int(info.Sys().(*syscall.Stat_t).Uid)
		}
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode), os.Chown(path, uid, -1)); err != nil {
			t.Fatal(err)
		}
		return func() { os.RemoveAll(path) }
	}
}

// fakePostgres makes programs that say they are PostgreSQL 12.
func fakePostgres(dir string) func(*testing.T, *lab.Member) func() {
	return func(t *testing.T, _ *lab.Member) func() {
		t.Helper()
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"postgres", "initdb", "pg_controldata", "pg_basebackup", "pg_rewind", "pg_ctl"} {
			script := "#!/bin/sh\necho '" + program + " (PostgreSQL) 12.22 (Debian 12.22-1)'\n"
			if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return func() { os.RemoveAll(dir) }
	}
}

// occupy listens on the member's address as another program would.
func occupy(m *lab.Member, address string) func(*testing.T, *lab.Member) func() {
	return func(t *testing.T, _ *lab.Member) func() {
		t.Helper()
		var l net.Listener
		err := m.Inside(func() (err error) {
			l, err = net.Listen("tcp", address)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return func() { l.Close() }
	}
}
