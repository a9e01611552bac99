package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

var began = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)

func sample(n int) Record {
	return Record{At: began.Add(time.Duration(n) * time.Second), Boot: int64(n), Member: "pg01", Kind: KindOther, Code: "c", Text: fmt.Sprintf("record %d", n)}
}

// logged is a log that a test reads.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func open(t *testing.T, dir string, size int64) (*Writer, *logged) {
	t.Helper()
	log := &logged{}
	w := Start(Options{Dir: dir, Size: size, Member: "pg01", Log: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(func() { finish(t, w) })
	return w, log
}

func finish(t *testing.T, w *Writer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	w.Close(ctx)
	if ctx.Err() != nil {
		t.Fatal("the writer did not end")
	}
}

func read(t *testing.T, dir string, q Query) Found {
	t.Helper()
	f, err := Read(dir, q)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// used is how many bytes the directory holds.
func used(t *testing.T, dir string) (total int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}

// 100 000 records, more than the ring holds: it never grows beyond its size,
// the newest are there, in order, and a reader beside the writer sees whole
// records only.
func TestRingBounds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	const size, records = 1 << 20, 100_000
	w, log := open(t, dir, size)
	stop, readers := make(chan struct{}), sync.WaitGroup{}
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			found, err := Read(dir, Query{Limit: MaxLimit})
			if err != nil && !errors.Is(err, ErrNone) {
				t.Errorf("read beside the writer: %v", err)
				return
			}
			if found.Unreadable > 1 { // the line that is being written
				t.Errorf("%d unreadable lines beside the writer", found.Unreadable)
			}
		}
	})
	for n := range records {
		until(t, "room in the queue", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.queue) < queueLength })
		w.Add(sample(n))
		if n%5000 == 0 && n > 0 {
			if got := used(t, dir); got > size {
				t.Fatalf("%d bytes after %d records", got, n)
			}
		}
	}
	finish(t, w)
	close(stop)
	readers.Wait()
	if got := used(t, dir); got > size || got < size/2 {
		t.Errorf("%d bytes at the end, the ring has %d", got, size)
	}
	found := read(t, dir, Query{Limit: MaxLimit})
	for i, r := range found.Records {
		if want := sample(records - len(found.Records) + i); r.Text != want.Text || !r.At.Equal(want.At) {
			t.Fatalf("record %d of %d: %q, want %q", i, len(found.Records), r.Text, want.Text)
		}
	}
	if len(found.Records) < 3000 || found.Unreadable > 0 || w.Lost() > 0 || log.String() != "" {
		t.Errorf("%d records, %d unreadable, %d lost, log %q", len(found.Records), found.Unreadable, w.Lost(), log)
	}
}

// A lowered size takes effect at once, a raised one as it fills.
func TestResize(t *testing.T) {
	dir := t.TempDir()
	w, _ := open(t, dir, 4<<20)
	for n := range 20_000 {
		until(t, "room in the queue", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.queue) < queueLength })
		w.Add(sample(n))
	}
	until(t, "the file", func() bool { return used(t, dir) > 1<<20 })
	w.Resize(1) // below the least
	w.Add(sample(20_001))
	finish(t, w)
	// The newest segment stays whole: it goes with the next rotation.
	if got := used(t, dir); got > MinSize+1<<20 {
		t.Errorf("%d bytes after the size was lowered to %d", got, MinSize)
	}
}

// A crash at any byte: whatever is left of the file, the whole lines in front
// are read, and what is written after it as well.
func TestTornAtEveryByte(t *testing.T) {
	whole := t.TempDir()
	w, _ := open(t, whole, 0)
	for n := range 3 {
		w.Add(sample(n))
	}
	finish(t, w)
	name := segmentName(1)
	text, err := os.ReadFile(filepath.Join(whole, name))
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(text) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		r := ring{dir: dir, size: DefaultSize}
		line, _ := encode(sample(9))
		if err := r.append(line); err != nil {
			t.Fatal(err)
		}
		r.close()
		found := read(t, dir, Query{})
		want := strings.Count(string(text[:cut]), "\n") + 1
		if cut > 0 && text[cut-1] != '\n' && text[cut] == '\n' {
			want++ // only its end was missing
		}
		if len(found.Records) != want || found.Records[len(found.Records)-1].Text != "record 9" {
			t.Fatalf("cut at %d: %d records, want %d", cut, len(found.Records), want)
		}
	}
}

// Two writers of one journal: the second is refused as long as the first
// lives, loses nothing of the file, and goes on once the first is gone.
func TestTwoWriters(t *testing.T) {
	dir := t.TempDir()
	first, _ := open(t, dir, 0)
	first.Add(sample(1))
	until(t, "the first record", func() bool { f, _ := Read(dir, Query{}); return len(f.Records) == 1 })
	second, log := open(t, dir, 0)
	second.Add(sample(2))
	second.Add(sample(3))
	until(t, "the refusal", func() bool { return strings.Contains(log.String(), "another process writes it") })
	finish(t, first)
	second.Add(sample(4))
	finish(t, second)
	found := read(t, dir, Query{})
	var kinds []string
	for _, r := range found.Records {
		kinds = append(kinds, string(r.Kind)+" "+r.Text)
	}
	if got := strings.Join(kinds, "; "); got != "other record 1; lost records before this one could not be kept; other record 4" {
		t.Errorf("records: %s", got)
	}
	if n := strings.Count(log.String(), "cannot be written"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
}

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

// A file of a newer version: what is known of it is shown, and it is said.
func TestNewerVersion(t *testing.T) {
	dir := t.TempDir()
	text := `{"v":2,"at":"2031-02-03T04:05:06Z","member":"pg01","kind":"quantum","code":"x","text":"from the future","new":{"a":1}}
{"v":7,"at":12,"member":["shape","changed"]}
{"v":1,"at":"2031-02-03T04:05:07Z","member":"pg01","kind":"other","text":"known"}
`
	if err := os.WriteFile(filepath.Join(dir, segmentName(3)), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	found := read(t, dir, Query{})
	if len(found.Records) != 2 || found.Newer != 1 || found.Unreadable != 1 || found.Records[0].Text != "from the future" {
		t.Errorf("%+v", found)
	}
}

// Repetitions are folded into their record, also when that is older than what
// is asked for, or gone.
func TestRepeats(t *testing.T) {
	dir := t.TempDir()
	first := sample(0)
	first.Kind = KindSteady
	again := func(n, count int) Record {
		r := sample(n)
		r.Kind, r.Of, r.Since, r.Count, r.Code = KindRepeat, KindSteady, &first.At, count, first.Code
		return r
	}
	r := ring{dir: dir, size: DefaultSize}
	put := func(records ...Record) {
		for _, rec := range records {
			line, err := encode(rec)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.append(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(first, again(600, 61), again(1200, 121), sample(1300))
	found := read(t, dir, Query{Since: began.Add(1000 * time.Second)})
	if len(found.Records) != 2 || found.Records[0].Count != 121 || !found.Records[0].End().Equal(began.Add(1200*time.Second)) {
		t.Errorf("%+v", found.Records)
	}
	r.close()
	if err := os.Remove(filepath.Join(dir, segmentName(1))); err != nil {
		t.Fatal(err)
	}
	put(again(1800, 181), sample(1900))
	r.close()
	found = read(t, dir, Query{})
	if len(found.Records) != 2 || found.Records[0].Kind != KindSteady || found.Records[0].Times() != 181 || !found.Records[0].At.Equal(first.At) {
		t.Errorf("%+v", found.Records)
	}
}

// Bounds and limits of a query.
func TestQuery(t *testing.T) {
	dir := t.TempDir()
	w, _ := open(t, dir, 0)
	for n := range 100 {
		w.Add(sample(n))
	}
	finish(t, w)
	for _, c := range []struct {
		q           Query
		first, last int
		cut         bool
	}{
		{Query{}, 0, 99, false},
		{Query{Limit: 10}, 90, 99, true},
		{Query{Since: began.Add(50 * time.Second)}, 50, 99, false},
		{Query{Until: began.Add(50 * time.Second)}, 0, 50, false},
		{Query{Since: began.Add(20 * time.Second), Until: began.Add(29 * time.Second), Limit: 5}, 25, 29, true},
	} {
		f := read(t, dir, c.q)
		got := fmt.Sprintf("%s to %s, cut %v", f.Records[0].Text, f.Records[len(f.Records)-1].Text, f.Cut)
		want := fmt.Sprintf("record %d to record %d, cut %v", c.first, c.last, c.cut)
		if got != want || !f.Oldest.Equal(began) {
			t.Errorf("%+v: %s, want %s", c.q, got, want)
		}
	}
	if _, err := Read(filepath.Join(dir, "none"), Query{}); !errors.Is(err, ErrNone) {
		t.Errorf("no directory: %v", err)
	}
}

// Records of any size stay lines of a bounded length.
func TestHugeRecord(t *testing.T) {
	r := sample(0)
	r.Text = strings.Repeat("é", 100_000)
	r.Seen = &Facts{}
	for n := range 5000 {
		r.Why = append(r.Why, strings.Repeat("w", 5000))
		r.Seen.Peers = append(r.Seen.Peers, Peer{Name: fmt.Sprint("member", n), Fault: strings.Repeat("f", 100_000)})
	}
	line, err := encode(r)
	if err != nil || len(line) > maxLine {
		t.Fatalf("%d bytes, %v", len(line), err)
	}
}

// Whatever stands in the file, reading ends, and returns what it could read.
func FuzzReader(f *testing.F) {
	line, _ := encode(sample(1))
	f.Add([]byte(""))
	f.Add(line)
	f.Add(line[:len(line)/2])
	f.Add(append(append([]byte{}, line...), line[3:]...))
	f.Add([]byte("\x00\xff\n{}\n[1,2]\nnull\n" + string(line)))
	f.Add([]byte(`{"v":1,"at":"2031-02-03T04:05:06Z","member":"m","kind":"repeat","since":"2031-02-03T04:05:06Z"}` + "\n"))
	f.Add(append(bytes.Repeat([]byte("x"), 70<<10), line...))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := newCollector(Query{Limit: 5, Since: began.Add(-time.Hour)})
		if err := c.scan(bytes.NewReader(append(text, '\n'))); err != nil {
			t.Fatal(err)
		}
		if err := c.scan(bytes.NewReader(line)); err != nil {
			t.Fatal(err)
		}
		found := c.found()
		if n := len(found.Records); n > 5 || n == 0 && bytes.Equal(text, nil) {
			t.Fatalf("%d records", n)
		}
	})
}
