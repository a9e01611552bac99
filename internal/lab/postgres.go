package lab

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// DefaultPG is the PostgreSQL major of stories; PG=17 in the environment replaces it.
const DefaultPG = 15

// PGVersion is the major the run uses.
func PGVersion(t testing.TB) int {
	t.Helper()
	text := os.Getenv("PG")
	if text == "" {
		return DefaultPG
	}
	major, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("PG=%s: want a PostgreSQL major version", text)
	}
	return major
}

// suites says in which Debian suite a major lives that bookworm has not; it is
// unpacked, relocated, into the cache (pgprefix.sh).
var suites = map[int]string{17: "trixie", 18: "sid"}

var pgPrefix sync.Mutex

// PGBin returns the directory of the server programs of that major: installed,
// in the cache, or fetched into the cache. A missing one fails the test with
// the package's name.
func PGBin(t testing.TB, major int) string {
	t.Helper()
	v := strconv.Itoa(major)
	cached := filepath.Join(sharedCache(), "pg", v)
	for _, dir := range []string{"/usr/lib/postgresql/" + v + "/bin", "/usr/pgsql-" + v + "/bin",
		filepath.Join(cached, "usr/lib/postgresql", v, "bin")} {
		if complete(dir) {
			return dir
		}
	}
	if dir := "/usr/bin"; complete(dir) && serverMajor(dir) == major {
		return dir
	}
	suite, ok := suites[major]
	if !ok || !onDebian() {
		t.Fatalf("PostgreSQL %d is not installed: package postgresql-%d (Debian, with contrib), postgresql%d-server and postgresql%d-contrib (PGDG on RHEL)",
			major, major, major, major)
	}
	pgPrefix.Lock()
	defer pgPrefix.Unlock()
	root, err := moduleRoot()
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	out, err := exec.Command("bash", filepath.Join(root, "internal/lab/pgprefix.sh"), cached, v, suite).CombinedOutput()
	if err != nil {
		t.Fatalf("lab: fetch PostgreSQL %d from Debian %s: %v\n%s", major, suite, err, tail(string(out), 20))
	}
	return filepath.Join(cached, "usr/lib/postgresql", v, "bin")
}

func complete(dir string) bool {
	for _, program := range []string{"postgres", "initdb", "pg_basebackup", "pg_rewind", "pg_controldata"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}

func serverMajor(dir string) int {
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	f := strings.Fields(string(out))
	if len(f) < 3 {
		return 0
	}
	major, _, _ := strings.Cut(f[2], ".")
	n, _ := strconv.Atoi(major)
	return n
}

func onDebian() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && os.Getuid() == 0
}

// sharedCache holds what the unprivileged user runs in place (programs find
// their libraries by absolute path). root's home is closed to that user.
func sharedCache() string {
	if dir := os.Getenv("PGHA_CACHE"); dir != "" {
		return dir
	}
	if os.Getuid() == 0 {
		return "/var/cache/pgha"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/tmp"
	}
	return filepath.Join(home, ".cache", "pgha")
}

// copyFile copies an executable to where the unprivileged user can read it.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
