package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Query says which records are wanted.
type Query struct {
	// Since and Until bound the records' times, both included; zero: no bound.
	// A repetition counts by its last time.
	Since, Until time.Time
	// Limit is the most records returned: the newest of those that fit; 0: 2000.
	Limit int
}

// DefaultLimit and MaxLimit bound an answer.
const (
	DefaultLimit = 2000
	MaxLimit     = 10000
)

// Found is what a journal held.
type Found struct {
	// Records, oldest first, in the order written.
	Records []Record
	// Cut: there were more than Limit; the oldest were left out.
	Cut bool
	// Unreadable lines were skipped: cut off by a crash, or damaged.
	Unreadable int
	// Newer lines have a later format: what is known of them is shown.
	Newer int
	// Oldest is the time of the oldest record in the file; zero: it is empty.
	Oldest time.Time
}

// ErrNone: there is no journal in that directory.
var ErrNone = errors.New("no journal there")

// Read reads the journal in dir, while or after it is written. Errors:
// ErrNone, or the directory cannot be read. A segment that vanishes meanwhile
// was the oldest and is left out.
func Read(dir string, q Query) (Found, error) {
	have, err := listSegments(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(have) == 0 {
		return Found{}, ErrNone
	}
	if err != nil {
		return Found{}, err
	}
	c := newCollector(q)
	for _, n := range have {
		f, err := os.OpenFile(filepath.Join(dir, segmentName(n)), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return Found{}, err
		}
		err = c.scan(f)
		f.Close()
		if err != nil {
			return Found{}, err
		}
	}
	return c.found(), nil
}

// collector keeps the newest records that fit, and folds repetitions into what
// they repeat.
type collector struct {
	q       Query
	kept    []Record
	cut     bool
	bad     int
	newer   int
	oldest  time.Time
	started bool
}

func newCollector(q Query) *collector {
	if q.Limit <= 0 {
		q.Limit = DefaultLimit
	}
	q.Limit = min(q.Limit, MaxLimit)
	return &collector{q: q}
}

// scan reads lines until the end. A last line without its end is being
// written, or was cut off: it counts only if it is whole.
func (c *collector) scan(in io.Reader) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) { // longer than any record
			c.bad++
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
			line = nil
		}
		if len(bytes.TrimSpace(line)) > 0 {
			c.line(line)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (c *collector) line(line []byte) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil || r.V < 1 || r.At.IsZero() || r.Kind == "" {
		c.bad++
		return
	}
	if r.V > Version {
		c.newer++
	}
	if !c.started {
		c.oldest, c.started = r.At, true
	}
	if r.Kind == KindRepeat {
		if c.fold(r) {
			return
		}
		r = standing(r)
	}
	switch n := len(c.kept); {
	case !c.q.Until.IsZero() && r.At.After(c.q.Until):
	case c.q.Since.After(r.End()) && n > 0 && c.q.Since.After(c.kept[n-1].End()):
		c.kept[n-1] = r // the last one before the time asked for may be repeated into it
	default:
		c.add(r)
	}
}

// standing makes a record of a repetition whose first record is gone.
func standing(r Record) Record {
	last := r.At
	if r.Since != nil {
		r.At = *r.Since
	}
	r.Kind, r.Of, r.Since, r.Last = r.Of, "", nil, &last
	if r.Kind == "" {
		r.Kind = KindOther
	}
	return r
}

// fold puts a repetition into the record that it repeats.
func (c *collector) fold(r Record) bool {
	if r.Since == nil {
		return false
	}
	for i := len(c.kept) - 1; i >= 0; i-- {
		k := &c.kept[i]
		if k.At.Equal(*r.Since) && k.Code == r.Code && k.Member == r.Member {
			at := r.At
			k.Count, k.Last = max(k.Count, r.Count), &at
			if r.Seen != nil {
				k.Seen = r.Seen
			}
			return true
		}
	}
	return false
}

func (c *collector) add(r Record) {
	c.kept = append(c.kept, r)
	if len(c.kept) >= 2*c.q.Limit+64 {
		c.trim()
	}
}

func (c *collector) trim() {
	if over := len(c.kept) - c.q.Limit; over > 0 {
		c.kept = append(c.kept[:0:0], c.kept[over:]...)
		c.cut = true
	}
}

func (c *collector) found() Found {
	out := c.kept[:0:0]
	for _, r := range c.kept {
		if c.q.Since.After(r.End()) {
			continue
		}
		out = append(out, r)
	}
	c.kept = out
	c.trim()
	return Found{Records: c.kept, Cut: c.cut, Unreadable: c.bad, Newer: c.newer, Oldest: c.oldest}
}
