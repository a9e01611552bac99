package logging

import (
	"fmt"
	"os"
	"path/filepath"

	"pgha/internal/config"
)

// fileName is what Patroni calls its log; log shippers are configured for it.
const fileName = "patroni.log"

// rotating is a file that is renamed to .1, .2, ... when it is full.
type rotating struct {
	path string
	max  int64 // bytes; 0: never rotate
	keep int   // rotated files
	mode os.FileMode

	file *os.File
	size int64
}

// openRotating opens dir/patroni.log for appending. The directory must exist.
func openRotating(cfg config.Log) (*rotating, error) {
	r := &rotating{path: filepath.Join(cfg.Dir, fileName), max: int64(cfg.FileSize), keep: cfg.FileNum, mode: os.FileMode(cfg.Mode)}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("open the log file: %w", err)
	}
	return r, nil
}

func (r *rotating) open() error {
	mode := r.mode
	if mode == 0 {
		mode = 0o666 // the umask has its say
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if r.mode != 0 {
		if err := f.Chmod(r.mode); err != nil {
			f.Close()
			return err
		}
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	r.file, r.size = f, info.Size()
	return nil
}

// Write appends one line, rotating before it when it would not fit. After a
// failed rotation the next line tries to open the file again.
func (r *rotating) Write(line []byte) (int, error) {
	if r.file == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	if r.max > 0 && r.keep > 0 && r.size > 0 && r.size+int64(len(line)) > r.max {
		if err := r.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := r.file.Write(line)
	r.size += int64(n)
	return n, err
}

func (r *rotating) rotate() error {
	if err := r.file.Close(); err != nil {
		return err
	}
	r.file = nil
	for i := r.keep - 1; i >= 1; i-- {
		// A gap in the numbers is not an error.
		if err := os.Rename(r.numbered(i), r.numbered(i+1)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if err := os.Rename(r.path, r.numbered(1)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return r.open()
}

func (r *rotating) numbered(i int) string { return fmt.Sprintf("%s.%d", r.path, i) }

// Close closes the file.
func (r *rotating) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
