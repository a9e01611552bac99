package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
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
