package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"pgha/internal/postgres"
)

// probeName begins with PostgreSQL's prefix of temporary files: base backups,
// pg_rewind, pg_checksums and the backup tools pass over it. What a killed
// agent leaves behind is overwritten by the next probe.
const probeName = "pgsql_tmp.pgha_probe"

// probeSize is what a probe writes. Always a new file: overwriting one would
// work on a full disk, where PostgreSQL cannot extend a table.
const probeSize = 64 << 10

// ProbeData writes, syncs and removes a small file in the data directory (in
// base, where the tables are). A hung file system holds the caller in the
// kernel, where nothing reaches it: call it from a goroutine that may be left
// behind, and not again before it has returned.
//
// Unknown: there are no data, or the probe was refused for reasons of its own
// (permissions, descriptors, memory).
func (s *Server) ProbeData() ProbeResult { return probeWrite(filepath.Join(s.dataDir(), "base")) }

// ProbeWAL is ProbeData for pg_wal, wherever it really is.
func (s *Server) ProbeWAL() ProbeResult {
	r := probeWrite(filepath.Join(s.dataDir(), "pg_wal"))
	if r.Verdict == ProbeOK && r.Free < walSegment {
		r.Why = fmt.Sprintf("only %d MB are free, less than a WAL segment", r.Free>>20)
	}
	return r
}

// walSegment is the usual size of a WAL segment, in bytes: with less room than
// that the next new one does not fit.
const walSegment = 16 << 20

func probeWrite(link string) ProbeResult {
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return writeVerdict(err)
	}
	name := filepath.Join(dir, probeName)
	err = writeProbe(name)
	r := writeVerdict(err)
	if gone := os.Remove(name); err == nil && gone != nil {
		r = writeVerdict(gone)
	}
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) == nil {
		r.Free = fs.Bavail * uint64(fs.Bsize)
	}
	return r
}

// writeProbe writes and syncs a new file.
func writeProbe(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close()) // network file systems tell of a full disk at the close
}

// diskTrouble are the errors that PostgreSQL would meet as well.
var diskTrouble = map[syscall.Errno]string{
	syscall.ENOSPC:   "no space left on device",
	syscall.EDQUOT:   "disk quota exceeded",
	syscall.EROFS:    "read-only file system",
	syscall.EIO:      "input/output error",
	syscall.EUCLEAN:  "the file system is damaged (structure needs cleaning)",
	syscall.ENXIO:    "the device is gone",
	syscall.ENODEV:   "the device is gone",
	syscall.ESTALE:   "the network file system has lost it (stale file handle)",
	syscall.ENOTCONN: "the file system's server is gone",
	// The block layer's: a disk that did not answer in time, a lost path.
	syscall.ETIMEDOUT: "the device did not answer in time",
	syscall.ENOLINK:   "the path to the device is lost",
}

// writeVerdict sorts the outcome of a write.
func writeVerdict(err error) ProbeResult {
	if err == nil {
		return ProbeResult{Verdict: ProbeOK}
	}
	var no syscall.Errno
	if errors.As(err, &no) {
		if text, known := diskTrouble[no]; known {
			return ProbeResult{Verdict: ProbeFailed, Why: text}
		}
	}
	return ProbeResult{Why: err.Error()}
}

// ControlDataWithin is ControlData that comes back in time on a disk that
// hangs: the program that reads it is then left behind.
func (s *Server) ControlDataWithin(ctx context.Context, d time.Duration) (postgres.ControlData, error) {
	type answer struct {
		data postgres.ControlData
		err  error
	}
	come := make(chan answer, 1)
	wctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	go func() { // ends with pg_controldata, which a dead disk may hold for good
		data, err := s.ControlData(wctx)
		come <- answer{data, err}
	}()
	select {
	case a := <-come:
		return a.data, a.err
	case <-wctx.Done():
		return postgres.ControlData{}, fmt.Errorf("read pg_control: the disk does not answer: %w", wctx.Err())
	}
}
