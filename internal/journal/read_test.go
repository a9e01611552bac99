package journal

// What a reader finds: records of newer versions, repeated, chosen, huge, damaged.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
