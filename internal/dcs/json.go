package dcs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
)

// encode writes compact JSON as the other members do: no spaces, <, > and &
// as they are. The values of this package always can be encoded; that one
// cannot is a broken invariant.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("dcs: encode: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

var errTrailing = errors.New("text after the JSON value")

// decode reads one JSON value; numbers stay json.Number.
func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return v, nil
}

// object reads a JSON object.
func object(raw []byte) (map[string]any, error) {
	v, err := decode(raw)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return m, nil
}

// integer reads a number, or a text that is one; fractions are cut off.
func integer(v any) (int64, bool) {
	var s string
	switch v := v.(type) {
	case json.Number:
		s = v.String()
	case string:
		s = strings.TrimSpace(v)
	default:
		return 0, false
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(math.Abs(f) < 1<<62) {
		return 0, false
	}
	return int64(f), true
}

// position reads an LSN: a number of bytes, or a text that is one.
func position(v any) (LSN, bool) {
	n, ok := integer(v)
	if !ok || n < 0 {
		return 0, false
	}
	return LSN(n), true
}

// text returns v if it is a string.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// plain replaces json.Number by int where it is one and float64 elsewhere, so
// that tags from the store and tags from a file are the same values.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.Atoi(v.String()); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil { // beyond float64: keep the digits
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// unquoted returns the value inside when v is JSON encoded once more as a
// string, as some writers do with slots.
func unquoted(v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	inner, err := decode([]byte(s))
	if err != nil {
		return nil
	}
	return inner
}
