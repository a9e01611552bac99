package journal

// The journal and a file system that fails: full, read-only, hung, no file at all.

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A file system without room: records are dropped and counted, that is said
// once, and once more when there is room again. The limit on a file's length
// is the kernel's way to refuse a write in the middle of a line.
func TestNoRoom(t *testing.T) {
	dir := t.TempDir()
	w, log := open(t, dir, 0)
	w.Add(sample(0))
	until(t, "the first record", func() bool { f, _ := Read(dir, Query{}); return len(f.Records) == 1 })
	full := &fullSink{sink: w.sink, room: 700}
	w2 := start(Options{Dir: dir, Member: "pg01", Log: w.options.Log}, full)
	finish(t, w)
	for n := 1; n <= 200; n++ {
		w2.Add(sample(n))
		until(t, "the writer", func() bool { w2.mu.Lock(); defer w2.mu.Unlock(); return len(w2.queue) == 0 })
	}
	until(t, "the losses", func() bool { return w2.Lost() > 100 })
	full.free()
	w2.Add(sample(201))
	finish(t, w2)
	found := read(t, dir, Query{})
	last := found.Records[len(found.Records)-2:]
	if last[0].Kind != KindLost || last[0].Count != w2.Lost() || last[1].Text != "record 201" {
		t.Errorf("the end of the file: %+v; %d lost", last, w2.Lost())
	}
	if whole := len(found.Records) - 2 + w2.Lost(); whole != 201 {
		t.Errorf("%d kept and lost, of 201", whole)
	}
	if n := strings.Count(log.String(), "cannot be written"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
	if !strings.Contains(log.String(), "written again") {
		t.Errorf("its end was not said:\n%s", log)
	}
}

// fullSink lets a number of bytes through, then has no room, in the middle of
// a line.
type fullSink struct {
	sink
	mu   sync.Mutex
	room int
}

func (f *fullSink) free() { f.mu.Lock(); f.room = 1 << 30; f.mu.Unlock() }

func (f *fullSink) append(lines []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(lines) <= f.room {
		f.room -= len(lines)
		return f.sink.append(lines)
	}
	r := f.sink.(*ring)
	if f.room > 0 {
		if err := r.append(lines[:f.room]); err != nil {
			return err
		}
		f.room = 0
	}
	return unix.ENOSPC
}

// A directory that cannot be written: said once, and everything goes on.
func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // root is refused nothing but this
		t.Fatal(err)
	}
	w, log := open(t, filepath.Join(dir, "journal"), 0)
	for n := range 50 {
		w.Add(sample(n))
		until(t, "the writer", func() bool { return w.Lost() == n+1 })
	}
	if n := strings.Count(log.String(), "cannot be written"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
}

// hungSink hangs like a disk that is gone, until it is let go.
type hungSink struct {
	sink
	entered chan struct{}
	leave   chan struct{}
}

func (h *hungSink) append(lines []byte) error {
	select {
	case h.entered <- struct{}{}:
	default:
	}
	<-h.leave
	return h.sink.append(lines)
}

// A disk that hangs: Add returns at once all the same, the queue is bounded,
// what does not fit is counted, and the end of the agent does not wait for it.
func TestHungDisk(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	h := &hungSink{sink: &ring{dir: dir, size: DefaultSize}, entered: make(chan struct{}, 1), leave: make(chan struct{})}
	w := start(Options{Dir: dir, Member: "pg01", Log: log}, h)
	w.Add(sample(0))
	<-h.entered
	from := time.Now()
	const more = 50_000
	for n := range more {
		w.Add(sample(n + 1))
	}
	if took := time.Since(from); took > 2*time.Second {
		t.Errorf("%d records took %v while the disk hung", more, took)
	}
	if lost := w.Lost(); lost != more-queueLength {
		t.Errorf("%d lost, want %d", lost, more-queueLength)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	from = time.Now()
	w.Close(ctx)
	if took := time.Since(from); took > time.Second {
		t.Errorf("the end took %v", took)
	}
	close(h.leave)
	<-w.done
	found := read(t, dir, Query{Limit: MaxLimit})
	if n := len(found.Records); n != queueLength+2 || found.Records[1].Kind != KindLost || found.Records[1].Count != more-queueLength {
		t.Errorf("%d records, the second %+v", n, found.Records[1])
	}
}

// A pipe in the place of the segment, with nobody at its other end: neither
// the writer nor a reader waits for it.
func TestPipeInstead(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, segmentName(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, Query{}); !errors.Is(err, ErrNone) {
		t.Errorf("read: %v", err)
	}
	w, log := open(t, dir, 0)
	w.Add(sample(0))
	until(t, "an outcome", func() bool { return w.Lost() == 1 })
	if !strings.Contains(log.String(), "cannot be written") {
		t.Errorf("not said: %s", log)
	}
}
