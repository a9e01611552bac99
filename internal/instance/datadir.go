package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// DataDirState is what is found at the data directory's path.
type DataDirState string

const (
	// DataDirUnknown: not looked at yet, or the file system does not answer.
	DataDirUnknown DataDirState = "unknown"
	// DataDirMissing: there is nothing.
	DataDirMissing DataDirState = "missing"
	// DataDirEmpty: nothing but dot files and lost+found (contract: ha-behaviour.md 1).
	DataDirEmpty DataDirState = "empty"
	// DataDirUnreadable: it cannot be looked into; nothing may be concluded.
	DataDirUnreadable DataDirState = "unreadable"
	// DataDirPresent: it holds something. Whether that is a usable cluster is
	// known by its control data.
	DataDirPresent DataDirState = "present"
)

// ErrRunning is returned by what must not happen to a data directory in use.
var ErrRunning = errors.New("a postmaster is running on the data directory")

// inspectDataDir says what is at the path. The control file alone decides in
// the usual case: listing a large directory each cycle is slow (pitfalls 105).
func inspectDataDir(dir string) (DataDirState, error) {
	_, err := os.Stat(filepath.Join(dir, "global", "pg_control"))
	if err == nil {
		return DataDirPresent, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return DataDirUnreadable, fmt.Errorf("look into data directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return DataDirMissing, nil
	case err != nil:
		return DataDirUnreadable, fmt.Errorf("read data directory: %w", err)
	}
	for _, e := range entries {
		if n := e.Name(); !strings.HasPrefix(n, ".") && n != "lost+found" {
			return DataDirPresent, nil
		}
	}
	return DataDirEmpty, nil
}

// recoveryFiles are the files that make PostgreSQL 12 and later start in recovery.
var recoveryFiles = []string{"standby.signal", "recovery.signal"}

// inRecoveryByFiles says whether a start would enter recovery (as a standby,
// or a targeted one) instead of accepting writes.
func inRecoveryByFiles(dir string) (bool, error) {
	for _, f := range recoveryFiles {
		_, err := os.Lstat(filepath.Join(dir, f))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look for %s: %w", f, err)
		}
	}
	return false, nil
}

// linkedDirs returns the directories outside the data directory that belong
// to it: a symlinked WAL directory and the tablespaces, by their links.
func linkedDirs(dir string) map[string]string {
	out := map[string]string{}
	links := []string{filepath.Join(dir, "pg_wal")}
	if entries, err := os.ReadDir(filepath.Join(dir, "pg_tblspc")); err == nil {
		for _, e := range entries {
			links = append(links, filepath.Join(dir, "pg_tblspc", e.Name()))
		}
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue // not a link
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		// A link back into the data directory (in-place tablespace moved by
		// hand) goes with the directory itself.
		if rel, err := filepath.Rel(dir, target); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			continue
		}
		out[link] = target
	}
	return out
}

// RemoveDataDir deletes the data directory with its symlinked WAL directory
// and tablespaces, so that a clone can be made. A data directory that is
// itself a link loses only the link. One that cannot be removed because it
// is a mount point or its parent is not ours is emptied; one that cannot be
// emptied is moved aside. Errors: ErrRunning.
func (s *Server) RemoveDataDir() error {
	if _, ok := s.findPostmaster(); ok {
		return fmt.Errorf("remove data directory %s: %w", s.dataDir(), ErrRunning)
	}
	dir := s.dataDir()
	s.forgetSystem()
	s.log.Info("removing data directory", "dir", dir)
	if fi, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return s.clearMarks()
	} else if err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("remove data directory's link %s: %w", dir, err)
		}
		return s.clearMarks()
	}
	for link, target := range linkedDirs(dir) {
		if err := emptyDir(target); err != nil {
			s.log.Warn("a directory linked into the data directory could not be removed", "dir", target, "link", link, "err", err)
		}
	}
	if err := emptyDir(dir); err != nil {
		s.log.Warn("data directory could not be removed, moving it aside", "dir", dir, "err", err)
		if err := s.moveDataDirAside(); err != nil {
			return err
		}
	}
	return s.clearMarks()
}

// emptyDir removes a directory. It is enough that it ends up empty.
func emptyDir(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	if left, rerr := os.ReadDir(dir); rerr == nil && len(left) == 0 {
		return nil
	}
	return fmt.Errorf("remove %s: %w", dir, err)
}

// MoveDataDirAside renames the data directory, its symlinked WAL directory
// and its tablespaces to <name>.failed, replacing older ones, and points the
// links inside to the new places: what a failed bootstrap leaves for people
// to look at (contract: ha-behaviour.md 3.3). What an earlier server left
// running there is ended first: under another name nobody would find it, and
// its clients would go on being answered. Errors: ErrRunning.
func (s *Server) MoveDataDirAside(ctx context.Context) error {
	if err := s.clearTree(ctx); err != nil {
		return fmt.Errorf("move data directory %s aside: %w", s.dataDir(), err)
	}
	return s.moveDataDirAside()
}

func (s *Server) moveDataDirAside() error {
	if _, ok := s.findPostmaster(); ok {
		return fmt.Errorf("move data directory %s aside: %w", s.dataDir(), ErrRunning)
	}
	dir := s.dataDir()
	s.forgetSystem()
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for link, target := range linkedDirs(dir) {
		moved, err := moveAside(target)
		if err != nil {
			return err
		}
		if err := os.Remove(link); err != nil {
			return fmt.Errorf("point %s to %s: %w", link, moved, err)
		}
		if err := os.Symlink(moved, link); err != nil {
			return fmt.Errorf("point %s to %s: %w", link, moved, err)
		}
	}
	moved, err := moveAside(dir)
	if err != nil {
		return err
	}
	s.log.Info("data directory moved aside", "dir", dir, "to", moved)
	return s.clearMarks()
}

func moveAside(dir string) (string, error) {
	to := filepath.Clean(dir) + ".failed"
	if err := os.RemoveAll(to); err != nil {
		return "", fmt.Errorf("remove older %s: %w", to, err)
	}
	if err := os.Rename(dir, to); err != nil {
		return "", fmt.Errorf("move %s aside: %w", dir, err)
	}
	return to, nil
}
