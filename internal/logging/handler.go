package logging

import (
	"context"
	"log/slog"
	"strings"
	"sync"
)

// These attribute keys are read by the handler itself.
const (
	// KeyModule names the part that logs; section log.loggers gives levels by
	// it and a format prints it as %(name)s.
	KeyModule = "module"
	// KeyError carries the cause. It is printed behind the sentence at every
	// level (`sentence: cause`): a warning without its cause helps nobody.
	KeyError = "err"
	// KeyStack carries the stack of a broken invariant: printed in lines of
	// its own, unless log.traceback_level keeps it for level DEBUG.
	KeyStack = "stack"
)

// handler is the slog.Handler over an Output. Attributes are kept flat:
// groups become a dotted prefix.
type handler struct {
	out    *Output
	module string
	prefix string
	attrs  []slog.Attr
}

// record is one record with the attributes of its logger.
type record struct {
	slog.Record
	module string
	attrs  []slog.Attr // flat: logger's first, then the record's
}

// attr returns the value of the last attribute of that name.
func (r record) attr(key string) (slog.Value, bool) {
	for i := len(r.attrs) - 1; i >= 0; i-- {
		if r.attrs[i].Key == key {
			return r.attrs[i].Value, true
		}
	}
	return slog.Value{}, false
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= h.out.current().levelOf(h.module)
}

// Handle implements slog.Handler. It never blocks and never fails.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	rec := record{Record: r, module: h.module, attrs: append([]slog.Attr(nil), h.attrs...)}
	r.Attrs(func(a slog.Attr) bool {
		rec.attrs = flatten(rec.attrs, h.prefix, a)
		return true
	})
	s := h.out.current()
	for _, line := range h.out.filter.pass(rec, s) {
		h.out.enqueue(line)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	n.attrs = append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		if h.prefix == "" && a.Key == KeyModule {
			n.module = a.Value.String()
			continue
		}
		n.attrs = flatten(n.attrs, h.prefix, a)
	}
	return &n
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	n := *h
	if name != "" {
		n.prefix += name + "."
	}
	return &n
}

// flatten appends a, groups as several attributes with dotted keys.
func flatten(to []slog.Attr, prefix string, a slog.Attr) []slog.Attr {
	a.Value = a.Value.Resolve()
	if a.Value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, g := range a.Value.Group() {
			to = flatten(to, prefix, g)
		}
		return to
	}
	if a.Equal(slog.Attr{}) {
		return to
	}
	a.Key = prefix + a.Key
	return append(to, a)
}

// filter keeps a healthy cycle at one line (config.md 3.3): the "Lock owner"
// line is held back until the next one shows whether it says anything new, and
// repeated heartbeats are dropped when that is asked for.
type filter struct {
	mu        sync.Mutex
	held      []byte // formatted Lock owner line waiting for its successor
	heartbeat string // the last line, if it was a heartbeat
}

// pass returns the lines to write now.
func (f *filter) pass(r record, s settings) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines [][]byte
	beat := isHeartbeat(r.Message)
	if f.held != nil {
		if !beat {
			lines = append(lines, f.held)
		}
		f.held = nil
	}
	quiet := s.level == slog.LevelInfo
	if quiet && r.Level == slog.LevelInfo && strings.HasPrefix(r.Message, "Lock owner: ") {
		f.held = s.format(r)
		return lines
	}
	repeated := beat && r.Message == f.heartbeat
	f.heartbeat = ""
	if beat {
		f.heartbeat = r.Message
	}
	if repeated && s.dedupe {
		return lines
	}
	return append(lines, s.format(r))
}

// flush returns a line still held back, or nil.
func (f *filter) flush() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := f.held
	f.held = nil
	return held
}

func isHeartbeat(message string) bool {
	return strings.HasPrefix(message, "no action. ") || strings.HasPrefix(message, "PAUSE: no action")
}
