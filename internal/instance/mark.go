package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A mark is a file in the state directory that exists while a tool may have
// left the data directory half made. It survives the agent; it cannot live in
// the data directory, where pg_rewind deletes what the source does not have.
type mark string

const (
	markRewind mark = "rewinding"
	markClone  mark = "cloning"
)

func (s *Server) markFile(m mark) string {
	l, _, _ := s.values()
	dir := l.Pgha.StateDir
	if dir == "" {
		dir = s.dataDir() + ".pgha"
	}
	return filepath.Join(dir, string(m))
}

// marked says whether the mark stands. A rewind mark counts only for the
// directory it was made for: one that was replaced by hand is another.
func (s *Server) marked(m mark) bool {
	b, err := os.ReadFile(s.markFile(m))
	return err == nil && (m != markRewind || string(b) == s.markText(m))
}

// markText identifies the directory; a clone's does not exist yet.
func (s *Server) markText(m mark) string {
	text := s.dataDir()
	if fi, err := os.Stat(text); err == nil && m == markRewind {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			text += fmt.Sprintf(" %d:%d", st.Dev, st.Ino)
		}
	}
	return text + "\n"
}

func (s *Server) setMark(m mark) error {
	file := s.markFile(m)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("mark the data directory as %s: %w", m, err)
	}
	if err := writeFile(file, s.markText(m), 0o600); err != nil {
		return fmt.Errorf("mark the data directory as %s: %w", m, err)
	}
	return syncDir(filepath.Dir(file))
}

func (s *Server) clearMark(m mark) error {
	if err := os.Remove(s.markFile(m)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unmark the data directory as %s: %w", m, err)
	}
	return nil
}

// clearMarks forgets everything about a data directory that is gone.
func (s *Server) clearMarks() error {
	return errors.Join(s.clearMark(markRewind), s.clearMark(markClone))
}
