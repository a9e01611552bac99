// Package logging turns Patroni's log section into an slog.Logger (contract:
// config.md 3.3). Lines look as Patroni's do, because people's log rules
// match them: `2031-02-03 04:05:06,789 INFO: no action. I am (a), ...`.
//
// Nobody who logs ever waits for a disk or a terminal: a record is formatted
// by its caller, queued, and written by one goroutine that Output owns. When
// the queue is full the record is dropped and counted.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"pgha/internal/config"
)

// LevelCritical is Patroni's CRITICAL (and FATAL): slog has no level above Error.
const LevelCritical = slog.Level(12)

// ErrBlocked is returned by Close when the destination did not take the
// queued records in time. The agent exits with code 5 then (config.md 8).
var ErrBlocked = errors.New("the log's destination does not accept records")

// closeTimeout is how long Close waits for the queue to empty.
const closeTimeout = 5 * time.Second

// Output owns the log's destination: the queue, the goroutine that empties
// it, and the file if there is one.
type Output struct {
	stderr io.Writer
	filter filter

	mu       sync.Mutex
	cond     *sync.Cond // signalled when a line is queued, written, or closed is set
	settings settings
	queue    [][]byte
	lost     uint64 // since the start
	reported uint64 // of lost, how many the log itself has said
	closed   bool
	busy     bool // a line is being written

	done chan struct{}
}

// New opens the destination of cfg and starts its writer. Records go to
// stderr unless cfg.Dir is set. The caller must Close the Output; the logger
// may be used after that, its records are dropped. Errors: the directory or
// the file in it cannot be written.
func New(cfg config.Log, stderr io.Writer) (*slog.Logger, *Output, error) {
	s, err := newSettings(cfg, stderr)
	if err != nil {
		return nil, nil, err
	}
	o := &Output{stderr: stderr, settings: s, done: make(chan struct{})}
	o.cond = sync.NewCond(&o.mu)
	go o.write()
	return slog.New(&handler{out: o}), o, nil
}

// Reconfigure applies another log section to every logger of this Output.
// On an error the old settings stay in force.
func (o *Output) Reconfigure(cfg config.Log) error {
	s, err := newSettings(cfg, o.stderr)
	if err != nil {
		return err
	}
	o.mu.Lock()
	// The writer may hold the old destination: wait until its line is out.
	for o.busy {
		o.cond.Wait()
	}
	old := o.settings
	o.settings = s
	o.mu.Unlock()
	return old.close()
}

// Queued is the number of records waiting to be written (REST: logger_queue_size).
func (o *Output) Queued() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue)
}

// Lost is the number of records dropped since the start because the queue was
// full (REST: logger_records_lost).
func (o *Output) Lost() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost
}

// Close writes what is queued and closes the destination. ErrBlocked when
// that takes more than 5 s: the rest is dropped then.
func (o *Output) Close() error {
	if held := o.filter.flush(); held != nil {
		o.enqueue(held)
	}
	o.mu.Lock()
	already := o.closed
	o.closed = true
	o.cond.Broadcast()
	o.mu.Unlock()
	if already {
		return nil
	}
	select {
	case <-o.done:
		return o.settings.close()
	case <-time.After(closeTimeout):
		return fmt.Errorf("close the log: %d records not written: %w", o.Queued(), ErrBlocked)
	}
}

// enqueue queues one line, or drops and counts it.
func (o *Output) enqueue(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
	case len(o.queue) >= o.settings.maxQueue:
		o.lost++
	default:
		o.queue = append(o.queue, line)
		o.cond.Broadcast()
	}
}

// write empties the queue until the Output is closed and nothing is left.
func (o *Output) write() {
	defer close(o.done)
	for {
		line, dest := o.next()
		if line == nil {
			return
		}
		if _, err := dest.Write(line); err != nil && dest != o.stderr {
			// The file is gone or its disk full: stderr is better than nothing.
			fmt.Fprintf(o.stderr, "log: %v\n%s", err, line)
		}
		o.mu.Lock()
		o.busy = false
		o.cond.Broadcast()
		o.mu.Unlock()
	}
}

// next waits for a line and its destination; nil when the Output is closed
// and all is written. Lost records are reported as soon as there is room.
func (o *Output) next() ([]byte, io.Writer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.closed {
		o.cond.Wait()
	}
	if len(o.queue) == 0 {
		return nil, nil
	}
	o.busy = true
	if o.lost > o.reported {
		n := o.lost - o.reported
		o.reported = o.lost
		r := slog.NewRecord(time.Now(), slog.LevelWarn, fmt.Sprintf("the log queue was full, %d records are lost", n), 0)
		return o.settings.format(record{Record: r}), o.settings.dest
	}
	line := o.queue[0]
	o.queue = o.queue[1:]
	return line, o.settings.dest
}

// current is a copy of the settings in force.
func (o *Output) current() settings {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settings
}

// settings is a log section ready for use.
type settings struct {
	level     slog.Level
	loggers   map[string]slog.Level
	maxQueue  int
	dedupe    bool
	format    func(record) []byte
	dest      io.Writer
	closeFile func() error // nil for stderr
}

func (s settings) close() error {
	if s.closeFile == nil {
		return nil
	}
	return s.closeFile()
}

// levelOf is the level from which records of a module are written: the
// longest dotted prefix of the name wins, then the general level.
func (s settings) levelOf(module string) slog.Level {
	for name := module; name != ""; {
		if l, ok := s.loggers[name]; ok {
			return l
		}
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	return s.level
}

func newSettings(cfg config.Log, stderr io.Writer) (settings, error) {
	s := settings{
		level:    parseLevel(cfg.Level, slog.LevelInfo),
		loggers:  map[string]slog.Level{},
		maxQueue: cfg.MaxQueueSize,
		dedupe:   cfg.DeduplicateHeartbeatLog,
		dest:     stderr,
	}
	if s.maxQueue <= 0 {
		s.maxQueue = 1000
	}
	for name, level := range cfg.Loggers {
		s.loggers[name] = parseLevel(level, s.level)
	}
	s.format = newFormat(cfg, s.level <= slog.LevelDebug)
	if cfg.Dir != "" {
		f, err := openRotating(cfg)
		if err != nil {
			return settings{}, err
		}
		s.dest, s.closeFile = f, f.Close
	}
	return s, nil
}

// parseLevel reads one of Patroni's level names; anything else is otherwise.
func parseLevel(name string, otherwise slog.Level) slog.Level {
	switch strings.ToUpper(name) {
	case "DEBUG", "NOTSET":
		return slog.LevelDebug
	case "INFO":
		return slog.LevelInfo
	case "WARN", "WARNING":
		return slog.LevelWarn
	case "ERROR":
		return slog.LevelError
	case "FATAL", "CRITICAL":
		return LevelCritical
	}
	return otherwise
}

// levelName is the level as Patroni prints it.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < slog.LevelWarn:
		return "INFO"
	case l < slog.LevelError:
		return "WARNING"
	case l < LevelCritical:
		return "ERROR"
	}
	return "CRITICAL"
}
