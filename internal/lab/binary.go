package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var binary struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Binary is the pgha under test, built once a test run from this source tree;
// PGHA_BIN names a ready one instead.
func Binary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() { binary.path, binary.err = buildBinary() })
	if binary.err != nil {
		t.Fatalf("lab: build pgha: %v", binary.err)
	}
	return binary.path
}

func buildBinary() (string, error) {
	if path := os.Getenv("PGHA_BIN"); path != "" {
		return filepath.Abs(path)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	if binary.dir, err = os.MkdirTemp("/tmp", "pgha-lab-bin"); err != nil {
		return "", err
	}
	if err := os.Chmod(binary.dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(binary.dir, "pgha")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
}

// Main is TestMain of packages whose tests use the lab: it removes the binary
// that was built for the run.
func Main(m *testing.M) {
	code := m.Run()
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}
