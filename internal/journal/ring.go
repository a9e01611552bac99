package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits of the ring's size, bytes.
const (
	DefaultSize = 8 << 20
	MinSize     = 256 << 10
	MaxSize     = 1 << 30
)

// segments is how many files the ring has: the oldest quarter goes at once.
const segments = 4

// Dir is where the journal lies below the state directory.
func Dir(stateDir string) string { return filepath.Join(stateDir, "journal") }

// errBusy: another process writes this journal.
var errBusy = errors.New("another process writes it")

// segmentName is the file of one segment; numbers rise for ever.
func segmentName(n uint64) string { return fmt.Sprintf("journal-%08d.jsonl", n) }

// listSegments returns the numbers of the segments that are there, oldest first.
func listSegments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []uint64
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), "journal-")
		text, ok2 := strings.CutSuffix(text, ".jsonl")
		n, err := strconv.ParseUint(text, 10, 63)
		if ok && ok2 && err == nil && e.Type().IsRegular() && segmentName(n) == e.Name() {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return found, nil
}

// ring appends lines to the newest segment. Only the writer's goroutine uses
// it: every call may hang with the disk.
type ring struct {
	dir  string
	size int64 // of all segments together

	file *os.File // nil: not open
	last uint64   // its number
	at   int64    // its length
	torn bool     // the last write may have left half a line
}

// open opens the newest segment, or makes the first. The file is locked as
// long as it is open: a second writer is refused with errBusy.
func (r *ring) open() error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	have, err := listSegments(r.dir)
	if err != nil {
		return err
	}
	n := uint64(1)
	if len(have) > 0 {
		n = have[len(have)-1]
	}
	return r.use(n)
}

func (r *ring) use(n uint64) error {
	path := filepath.Join(r.dir, segmentName(n))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%s: %w", path, errBusy)
		}
		return &os.PathError{Op: "flock", Path: path, Err: err}
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return err
	}
	torn := false
	if end > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, end-1); err != nil {
			f.Close()
			return err
		}
		torn = last[0] != '\n' // a crash cut the last line off
	}
	r.close()
	r.file, r.last, r.at, r.torn = f, n, end, torn
	return nil
}

func (r *ring) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// append writes whole lines, and begins a new segment first when they would
// make the present one longer than a quarter of the size.
func (r *ring) append(lines []byte) error {
	if r.file == nil {
		if err := r.open(); err != nil {
			return err
		}
	}
	if r.at > 0 && r.at+int64(len(lines))+1 > r.size/segments {
		if err := r.rotate(); err != nil {
			return err
		}
	}
	if r.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	n, err := r.file.Write(lines)
	r.at += int64(n)
	if n > 0 {
		r.torn = n < len(lines) || lines[n-1] != '\n'
	}
	return err
}

// rotate makes room first, then begins the next segment: the ring never holds
// more than its size.
func (r *ring) rotate() error {
	if err := r.trim(segments - 1); err != nil {
		return err
	}
	return r.use(r.last + 1)
}

// trim unlinks the oldest segments until at most keep are left, and as many
// more as the size demands: it may have been lowered.
func (r *ring) trim(keep int) error {
	have, err := listSegments(r.dir)
	if err != nil {
		return err
	}
	var total int64
	lengths := make([]int64, len(have))
	for i, n := range have {
		if info, err := os.Lstat(filepath.Join(r.dir, segmentName(n))); err == nil {
			lengths[i] = info.Size()
			total += info.Size()
		}
	}
	room := r.size / segments * int64(keep)
	for i := 0; i < len(have)-1 && (len(have)-i > keep || total > room); i++ {
		if err := os.Remove(filepath.Join(r.dir, segmentName(have[i]))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		total -= lengths[i]
	}
	return nil
}

// sync makes what was written survive a power cut.
func (r *ring) sync() error {
	if r.file == nil {
		return nil
	}
	return unix.Fdatasync(int(r.file.Fd()))
}
