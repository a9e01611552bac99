package journal

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
)

// queueLength bounds what waits for a slow disk: minutes of a bad incident.
const queueLength = 1024

// batchBytes is the most that one write may hold.
const batchBytes = 64 << 10

// syncPause is the least between two flushes to the disk.
const syncPause = time.Second

// Options are what a Writer is made of.
type Options struct {
	// Dir holds the segments; it is made.
	Dir string
	// Size of all segments together; 0: DefaultSize. Out of bounds: the
	// nearest bound.
	Size int64
	// Member writes; records of the writer itself carry it.
	Member string
	Log    *slog.Logger
}

// Writer writes records in a goroutine of its own. Add never blocks and never
// fails: while the disk is full, read-only or hung, records are dropped and
// counted, and that is said once. A nil *Writer drops everything.
type Writer struct {
	options Options
	sink    sink
	wake    chan struct{}
	done    chan struct{}

	mu      sync.Mutex
	queue   []Record
	dropped int // not kept, and not yet said in the file
	lost    int // not kept, in all
	size    int64
	closed  bool
	waiting []chan struct{} // closed once nothing waits to be written
}

// sink is the file; tests put one there that hangs.
type sink interface {
	append(lines []byte) error
	sync() error
	resize(size int64)
	close()
}

func (r *ring) resize(size int64) {
	if r.size != size {
		r.size = size
		_ = r.trim(segments) // a failure shows at the next rotation
	}
}

// Start begins to write. Nothing is touched before the first record; nothing
// that goes wrong with the disk is an error of the caller's.
func Start(o Options) *Writer {
	return start(o, &ring{dir: o.Dir, size: bounded(o.Size)})
}

func start(o Options, s sink) *Writer {
	w := &Writer{options: o, sink: s, size: bounded(o.Size), wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run() // ends with Close
	return w
}

func bounded(size int64) int64 {
	if size == 0 {
		return DefaultSize
	}
	return min(max(size, MinSize), MaxSize)
}

// Add takes a record. It returns at once.
func (w *Writer) Add(r Record) {
	if w == nil {
		return
	}
	w.mu.Lock()
	switch {
	case w.closed:
	case len(w.queue) >= queueLength:
		w.dropped++
		w.lost++
	default:
		w.queue = append(w.queue, r)
	}
	w.mu.Unlock()
	w.nudge()
}

// Resize changes the size of the ring.
func (w *Writer) Resize(size int64) {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.size = bounded(size)
	w.mu.Unlock()
	w.nudge()
}

// Lost is how many records could not be kept.
func (w *Writer) Lost() int {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// Close writes what waits and ends the goroutine; it waits for that until ctx
// ends. A disk that hangs keeps the goroutine, not the caller.
func (w *Writer) Close(ctx context.Context) {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.nudge()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
}

// Flush waits until what was added before is written, or dropped, and returns
// false when ctx ends first.
func (w *Writer) Flush(ctx context.Context) bool {
	if w == nil {
		return true
	}
	written := make(chan struct{})
	w.mu.Lock()
	w.waiting = append(w.waiting, written)
	w.mu.Unlock()
	w.nudge()
	select {
	case <-written:
		return true
	case <-w.done:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *Writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run is the writer's goroutine: the only one that touches the disk.
func (w *Writer) run() {
	defer close(w.done)
	defer w.sink.close()
	var synced time.Time
	failing, unsynced := "", false
	flush := time.NewTimer(time.Hour)
	flush.Stop()
	for {
		select {
		case <-w.wake:
		case <-flush.C:
		}
		for {
			records, dropped, size, closed := w.take()
			w.sink.resize(size)
			if len(records) == 0 {
				if unsynced && (closed || time.Since(synced) >= syncPause) {
					_ = w.sink.sync() // the lines are there for every reader; only a power cut is worse off
					unsynced, synced = false, time.Now()
				}
				if closed {
					return
				}
				break
			}
			err := w.write(records, dropped)
			failing = w.tell(failing, err, len(records))
			unsynced = unsynced || err == nil
		}
		if unsynced {
			flush.Reset(syncPause)
		}
	}
}

// take returns what waits.
func (w *Writer) take() (records []Record, dropped int, size int64, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	records, w.queue = w.queue, nil
	dropped = w.dropped
	if len(records) == 0 {
		for _, written := range w.waiting {
			close(written)
		}
		w.waiting = nil
	}
	return records, dropped, w.size, w.closed
}

// write appends records, and in front of them how many were dropped before.
// The first error drops the rest: a full disk is tried once a batch.
func (w *Writer) write(records []Record, dropped int) error {
	if dropped > 0 {
		records = append([]Record{{At: records[0].At, Boot: records[0].Boot, Member: w.options.Member, Kind: KindLost, Count: dropped,
			Text: "records before this one could not be kept"}}, records...)
	}
	var batch bytes.Buffer
	kept := 0
	flush := func() error {
		if batch.Len() == 0 {
			return nil
		}
		err := w.sink.append(batch.Bytes())
		batch.Reset()
		return err
	}
	for i, r := range records {
		line, err := encode(r)
		if err != nil {
			continue // a time out of range, at worst: nothing that comes from a clock
		}
		if batch.Len()+len(line) > batchBytes {
			if err := flush(); err != nil {
				w.drop(records, kept, dropped)
				return err
			}
			kept = i
		}
		batch.Write(line)
	}
	if err := flush(); err != nil {
		w.drop(records, kept, dropped)
		return err
	}
	if dropped > 0 {
		w.mu.Lock()
		w.dropped -= dropped
		w.mu.Unlock()
	}
	return nil
}

// drop counts the records from kept on as lost. The line about earlier losses
// is no record of its own; if it was written its number is settled.
func (w *Writer) drop(records []Record, kept, dropped int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(records) - kept
	if dropped > 0 && kept == 0 {
		n--
	} else {
		w.dropped -= dropped
	}
	w.dropped += n
	w.lost += n
}

// tell says once that records are lost, and once that they are kept again.
func (w *Writer) tell(failing string, err error, n int) string {
	log := w.options.Log
	switch {
	case err == nil && failing != "":
		log.Info("the decision journal is written again", "dir", w.options.Dir, "lost", w.Lost())
		return ""
	case err != nil && failing != err.Error():
		log.Warn("the decision journal cannot be written: `pgha ctl why` will not know what happens now; everything else goes on. Make room or give the agent's user the right to write there",
			"dir", w.options.Dir, "err", err, "records", n)
		return err.Error()
	case err != nil:
		return failing
	}
	return ""
}
