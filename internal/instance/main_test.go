package instance

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/config"
)

// binDir is where PostgreSQL's programs are, PGHA_TEST_BIN or Debian's 15.
func binDir() string {
	if d := os.Getenv("PGHA_TEST_BIN"); d != "" {
		return d
	}
	return "/usr/lib/postgresql/15/bin"
}

// TestMain runs the tests as the user postgres when root runs them:
// PostgreSQL refuses root. The binary is copied, because go test builds it in
// a directory only root can enter.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		code := m.Run()
		if ready.root != "" {
			os.RemoveAll(ready.root)
		}
		os.Exit(code)
	}
	code, err := asPostgres()
	if err != nil {
		fmt.Fprintln(os.Stderr, "run the tests as postgres:", err)
		code = 1
	}
	os.Exit(code)
}

func asPostgres() (int, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, err
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	dir, err := os.MkdirTemp("/tmp", "pinst")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return 0, err
	}
	bin := filepath.Join(dir, "instance.test")
	if err := copyFile(os.Args[0], bin); err != nil {
		return 0, err
	}
	var args []string
	for _, a := range os.Args[1:] {
		if !strings.HasPrefix(a, "-test.testlogfile") { // in a directory only root can enter
			args = append(args, a)
		}
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	cmd.Env = setEnv(os.Environ(), "HOME="+dir, "TMPDIR="+dir, "USER=postgres", "LOGNAME=postgres")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Close()
}

// node is one server under test.
type node struct {
	*Server
	t    *testing.T
	name string
	dir  string // the member's directory; data below it
	port int
	// confDir is config_dir; empty: the data directory.
	confDir string
	eff     config.Effective
	dyn     config.Dynamic
}

// newNode makes a member of the cluster whose files live in root.
func newNode(t *testing.T, root, name string) *node {
	t.Helper()
	n := &node{t: t, name: name, dir: filepath.Join(root, name), port: freePort(t)}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n.dyn = config.Dynamic{UseSlots: true}
	n.eff = config.Effective{
		BaseBackupOptions: []string{"--no-sync"},
		BinDir:            binDir(), UseUnixSocket: true, UsePgRewind: true, PgCtlTimeout: 20 * time.Second,
		Parameters: map[string]string{
			"listen_addresses": "127.0.0.1", "port": strconv.Itoa(n.port), "cluster_name": "demo",
			"unix_socket_directories": n.dir, "hot_standby": "True", "wal_level": "replica", "max_connections": "30",
			"max_wal_senders": "5", "max_replication_slots": "5", "max_prepared_transactions": "0",
			"max_locks_per_transaction": "64", "max_worker_processes": "4", "wal_log_hints": "on", "wal_keep_size": "64MB",
			"track_commit_timestamp": "off", "fsync": "off", "shared_buffers": "16MB", "wal_retrieve_retry_interval": "100ms",
			"log_min_messages": "fatal",
		},
		PgHBA: []string{"local all postgres peer", "host replication repl 127.0.0.1/32 scram-sha-256",
			"host all rewinder,repl 127.0.0.1/32 scram-sha-256", "local replication repl scram-sha-256"},
	}
	if name == "b" { // one member's configuration lives elsewhere
		n.confDir = filepath.Join(n.dir, "conf")
		if err := os.Mkdir(n.confDir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	n.Server = n.open()
	t.Cleanup(func() { n.Kill() })
	return n
}

// open makes a Server for the node: a second one is what an agent sees after
// its restart.
func (n *node) open() *Server {
	n.t.Helper()
	local := &config.Local{Scope: "demo", Name: n.name, PostgreSQL: config.PostgreSQL{
		Listen: "127.0.0.1", Port: n.port, DataDir: filepath.Join(n.dir, "data"), PgPass: filepath.Join(n.dir, "pgpass"), ConfigDir: n.confDir,
		Superuser:   config.Credentials{Username: "postgres"},
		Replication: config.Credentials{Username: "repl", Password: `re"p'l\ pass:`},
		Rewind:      config.Credentials{Username: "rewinder", Password: "rewind pass"},
	}}
	s, err := New(Options{Local: local, Launcher: NewDirectLauncher(), Log: slog.New(slog.NewTextHandler(testWriter{n}, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		n.t.Fatal(err)
	}
	s.Configure(n.eff, n.dyn)
	return s
}

// testWriter sends log lines to the test.
type testWriter struct{ n *node }

func (w testWriter) Write(p []byte) (int, error) {
	w.n.t.Logf("%s: %s", w.n.name, strings.TrimSpace(string(p)))
	return len(p), nil
}

func (n *node) source() Source {
	return Source{Name: n.name, Host: "127.0.0.1", Port: strconv.Itoa(n.port), Database: "postgres"}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// clusterDir is a short directory: socket paths are limited.
func clusterDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
