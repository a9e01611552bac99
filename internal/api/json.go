package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"pgha/internal/config"
)

// Object is a JSON object that keeps the order in which its keys were set.
// Clients compare and hash these documents, so order is part of the wire
// format. The zero value is an empty object.
type Object struct {
	keys   []string
	values map[string]any
}

// Set appends the key, or replaces the value of a key that is there already
// (it keeps its place).
func (o *Object) Set(key string, value any) {
	if o.values == nil {
		o.values = make(map[string]any)
	}
	if _, there := o.values[key]; !there {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
}

// Len is the number of keys.
func (o *Object) Len() int { return len(o.keys) }

// Marshal writes a value the way Python's json.dumps does: one line, `", "`
// and `": "` as separators, everything beyond ASCII escaped (contract:
// rest-api.md section 1). Maps are sorted by key. It knows nil, booleans,
// strings, numbers, json.Number, *Object, slices of any, of *Object and of
// strings, and maps from string to any or to string; another type is a
// mistake of the program and panics.
func Marshal(v any) []byte { return appendValue(nil, v) }

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return appendString(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case uint32:
		return strconv.AppendUint(b, uint64(v), 10)
	case uint64:
		return strconv.AppendUint(b, v, 10)
	case float64:
		return appendFloat(b, v)
	case json.Number:
		return append(b, v...)
	case *Object:
		return appendMembers(b, v.keys, func(k string) any { return v.values[k] })
	case map[string]any:
		return appendMembers(b, slices.Sorted(maps.Keys(v)), func(k string) any { return v[k] })
	case map[string]string:
		return appendMembers(b, slices.Sorted(maps.Keys(v)), func(k string) any { return v[k] })
	case []any:
		return appendItems(b, v)
	case []*Object:
		return appendItems(b, v)
	case []string:
		return appendItems(b, v)
	}
	panic(fmt.Sprintf("api: JSON of %T", v))
}

func appendMembers(b []byte, keys []string, value func(string) any) []byte {
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendString(b, k)
		b = append(b, ": "...)
		b = appendValue(b, value(k))
	}
	return append(b, '}')
}

func appendItems[T any](b []byte, items []T) []byte {
	b = append(b, '[')
	for i, item := range items {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendValue(b, item)
	}
	return append(b, ']')
}

func appendString(b []byte, s string) []byte { return append(b, config.ASCIIJSON(s)...) }

// appendFloat writes Python's repr of a float: the shortest text that reads
// back, always with a point or an exponent.
func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return append(b, s...)
}
