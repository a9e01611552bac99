package lab

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// OwnProgram gives the member a copy of the pgha under test, for stories that
// replace it. To be called before Start.
func (m *Member) OwnProgram() {
	m.lab.t.Helper()
	source := m.bin
	m.bin = filepath.Join(m.Dir, "pgha")
	m.Install(source)
}

// Install replaces the member's own program by a copy of another file, as a
// package manager does: the new file is renamed over the old one.
func (m *Member) Install(source string) {
	m.lab.t.Helper()
	in, err := os.Open(source)
	m.lab.must(err)
	defer in.Close()
	m.install(func(out *os.File) error { _, err := io.Copy(out, in); return err }, 0o755)
}

// InstallText replaces the member's own program by a file with that text.
func (m *Member) InstallText(text string, mode os.FileMode) {
	m.lab.t.Helper()
	m.install(func(out *os.File) error { _, err := out.WriteString(text); return err }, mode)
}

func (m *Member) install(write func(*os.File) error, mode os.FileMode) {
	m.lab.t.Helper()
	out, err := os.OpenFile(m.bin+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	m.lab.must(err)
	m.lab.must(write(out))
	m.lab.must(out.Chmod(mode))
	m.lab.must(out.Close())
	m.lab.must(os.Rename(out.Name(), m.bin))
}

var nextBinary struct {
	once sync.Once
	path string
	err  error
}

// NextVersion is what NextBinary calls itself.
const NextVersion = "999.0.0"

// NextBinary is the same pgha built as another version, once a test run.
func NextBinary(t testing.TB) string {
	t.Helper()
	dir := filepath.Dir(Binary(t))
	nextBinary.once.Do(func() {
		root, err := moduleRoot()
		if err != nil {
			nextBinary.err = err
			return
		}
		if binary.dir == "" { // PGHA_BIN: the directory is not ours
			if binary.dir, nextBinary.err = os.MkdirTemp("/tmp", "pgha-lab-bin"); nextBinary.err != nil {
				return
			}
			nextBinary.err = os.Chmod(binary.dir, 0o755)
			dir = binary.dir
		}
		nextBinary.path = filepath.Join(dir, "pgha-next")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-X pgha/cmd.version="+NextVersion, "-o", nextBinary.path, ".")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("%s", out)
			nextBinary.err = err
		}
	})
	if nextBinary.err != nil {
		t.Fatalf("lab: build another pgha: %v", nextBinary.err)
	}
	return nextBinary.path
}

// KeyLife is what a key's revisions and lease say: who wrote it when shows as
// a change of this text.
func (e *Etcd) KeyLife(key string) (string, error) {
	var answer struct {
		Kvs []struct {
			CreateRevision string `json:"create_revision"`
			ModRevision    string `json:"mod_revision"`
			Lease          string `json:"lease"`
		}
	}
	if err := e.call("/v3/kv/range", map[string]any{"key": []byte(key)}, &answer); err != nil {
		return "", err
	}
	return fmt.Sprintf("%+v", answer.Kvs), nil
}
