package agent

import (
	"os"
	"path/filepath"
	"testing"

	"pgha/internal/config"
)

func TestCacheFile(t *testing.T) {
	doc, err := config.ParseDocument([]byte(`{"ttl":30,"pause":true}`))
	if err != nil {
		t.Fatal(err)
	}
	for dirMode, want := range map[os.FileMode]os.FileMode{0o700: 0o600, 0o750: 0o640} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, dirMode); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second write replaces the first
			if err := writeCache(dir, doc); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(filepath.Join(dir, cacheFile))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("data directory %v: the copy has mode %v, %v; want %v", dirMode, info.Mode(), err, want)
		}
		back, err := readCache(dir)
		if err != nil || !back.Equal(doc) {
			t.Errorf("read back: %s, %v", back.Compact(), err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("left behind: %v", entries)
		}
	}
	if err := writeCache("/nowhere", doc); err == nil {
		t.Error("no error for a directory that is not there")
	}
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, cacheFile), []byte("[1]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if doc, err := readCache(bad); err == nil || !doc.IsEmpty() {
		t.Errorf("damaged copy: %s, %v", doc.Compact(), err)
	}
}
