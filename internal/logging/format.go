package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pgha/internal/config"
)

const defaultFormat = "%(asctime)s %(levelname)s: %(message)s"

// placeholder is one %(field)s of a format, with Python's optional flags and
// width: %(levelname)-8s.
var placeholder = regexp.MustCompile(`%(?:\((\w+)\)(-?\d*)(?:\.\d+)?[sd]|%)`)

// newFormat returns the function that makes one line (with its newline) of a
// record. A format of a wrong type counts as the default; validation has said so.
func newFormat(cfg config.Log, verbose bool) func(record) []byte {
	stamp := newStamp(cfg.DateFormat)
	// traceback_level ERROR (the default): stacks always; DEBUG: at that level only.
	stacks := verbose || !strings.EqualFold(cfg.TracebackLevel, "DEBUG")
	if strings.EqualFold(cfg.Type, "json") {
		return jsonFormat(jsonFields(cfg.Format), cfg.StaticFields, stamp, stacks)
	}
	format, ok := cfg.Format.(string)
	if !ok || format == "" {
		format = defaultFormat
	}
	return plainFormat(format, stamp, verbose, stacks)
}

// reasonKey marks a decision's sentence. People's log rules match those to the
// letter, so nothing follows them but at level DEBUG.
const reasonKey = "reason"

// plainFormat prints Patroni's sentences clean: the facts of other lines
// follow as (key=value ...); a format may ask for one by its name.
func plainFormat(format string, stamp func(time.Time) string, verbose, stacks bool) func(record) []byte {
	asked := map[string]bool{}
	for _, m := range placeholder.FindAllStringSubmatch(format, -1) {
		asked[m[1]] = true
	}
	return func(r record) []byte {
		line := placeholder.ReplaceAllStringFunc(format, func(p string) string {
			m := placeholder.FindStringSubmatch(p)
			if m[1] == "" {
				return "%"
			}
			text := fmt.Sprint(r.field(m[1], stamp))
			if m[2] == "" || m[2] == "-" {
				return text
			}
			return fmt.Sprintf("%"+m[2]+"s", text)
		})
		b := bytes.NewBufferString(line)
		if _, sentence := r.attr(reasonKey); verbose || !sentence {
			facts := make([]string, 0, len(r.attrs))
			for _, a := range r.attrs {
				if a.Key != KeyError && a.Key != KeyStack && a.Key != "scope" && !asked[a.Key] {
					facts = append(facts, a.Key+"="+quoteIfNeeded(a.Value.Resolve().String()))
				}
			}
			if len(facts) > 0 {
				b.WriteString(" (" + strings.Join(facts, " ") + ")")
			}
		}
		b.WriteByte('\n')
		if stack, there := r.attr(KeyStack); there && stacks { // continuation lines, as Python's
			b.WriteString(strings.TrimRight(stack.String(), "\n") + "\n")
		}
		return b.Bytes()
	}
}

// field is one of Python's LogRecord names as far as they mean something here,
// else the attribute of that name, else empty.
func (r record) field(name string, stamp func(time.Time) string) any {
	switch name {
	case "asctime":
		return stamp(r.Time)
	case "levelname":
		return levelName(r.Level)
	case "levelno":
		// Python's numbers: DEBUG 10 to CRITICAL 50.
		return (int(r.Level) + 8) / 4 * 10
	case "message", "msg":
		return r.sentence()
	case "name", "module":
		if r.module == "" {
			return "pgha"
		}
		return r.module
	case "process":
		return os.Getpid()
	case "processName", "threadName":
		return "MainProcess"
	case "thread":
		return 0
	case "created":
		return float64(r.Time.UnixMicro()) / 1e6
	case "msecs":
		return r.Time.Nanosecond() / 1e6
	case "filename", "pathname", "lineno", "funcName":
		return r.source(name)
	}
	if v, ok := r.attr(name); ok {
		return v.Any()
	}
	return ""
}

// sentence is the message with its cause behind it.
func (r record) sentence() string {
	if v, ok := r.attr(KeyError); ok {
		return presentable(r.Message + ": " + v.String())
	}
	return presentable(r.Message)
}

// longestSentence bounds a line: foreign texts (a member's name, a server's
// answer) may be of any length.
const longestSentence = 16 << 10

// presentable is the text without what would confuse a terminal or a log
// collector: control characters are escaped (but not line breaks and tabs:
// output of PostgreSQL has them), and what is too long is cut.
func presentable(text string) string {
	if n := len(text); n > longestSentence {
		text = fmt.Sprintf("%s... (%d bytes)", text[:longestSentence], n)
	}
	odd := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' || r == utf8.RuneError }
	if strings.IndexFunc(text, odd) < 0 {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case odd(r):
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (r record) source(name string) any {
	frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
	switch name {
	case "lineno":
		return frame.Line
	case "funcName":
		return frame.Function
	case "filename":
		return frame.File[strings.LastIndexByte(frame.File, '/')+1:]
	}
	return frame.File
}

func quoteIfNeeded(s string) string {
	if s == "" || strings.ContainsAny(s, " \"\n\t=") {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// jsonField is one member of a JSON line: a record's field under a name.
type jsonField struct{ field, name string }

// jsonFields reads log.format for type json: a format string names fields, a
// list holds names and {field: name} maps.
func jsonFields(format any) []jsonField {
	var fields []jsonField
	switch f := format.(type) {
	case []any:
		for _, entry := range f {
			switch e := entry.(type) {
			case string:
				fields = append(fields, jsonField{e, e})
			case map[string]any:
				for _, k := range sortedKeys(e) {
					fields = append(fields, jsonField{k, fmt.Sprint(e[k])})
				}
			}
		}
	case string:
		for _, m := range placeholder.FindAllStringSubmatch(f, -1) {
			if m[1] != "" {
				fields = append(fields, jsonField{m[1], m[1]})
			}
		}
	}
	if len(fields) == 0 {
		return []jsonField{{"asctime", "asctime"}, {"levelname", "levelname"}, {"message", "message"}}
	}
	return fields
}

// jsonFormat writes one object a line: the fields in their order, then the
// record's attributes, then the static fields.
func jsonFormat(fields []jsonField, static map[string]any, stamp func(time.Time) string, stacks bool) func(record) []byte {
	taken := map[string]bool{}
	for _, f := range fields {
		taken[f.field], taken[f.name] = true, true
	}
	staticNames := sortedKeys(static)
	return func(r record) []byte {
		var b bytes.Buffer
		member := func(name string, value any) {
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s: %s", mustJSON(name), mustJSON(value))
		}
		for _, f := range fields {
			member(f.name, r.field(f.field, stamp))
		}
		for i, a := range r.attrs {
			last := !slices.ContainsFunc(r.attrs[i+1:], func(o slog.Attr) bool { return o.Key == a.Key })
			if last && !taken[a.Key] && a.Key != KeyError && (stacks || a.Key != KeyStack) {
				member(a.Key, a.Value.Any())
			}
		}
		for _, name := range staticNames {
			member(name, static[name])
		}
		return append(append([]byte{'{'}, b.Bytes()...), '}', '\n')
	}
}

// mustJSON encodes any value; what JSON cannot hold becomes its text.
func mustJSON(v any) []byte {
	switch t := v.(type) {
	case error:
		v = t.Error()
	case time.Duration:
		v = t.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(fmt.Sprint(v))
	}
	return b
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
