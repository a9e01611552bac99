package config

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// jsonStyle is how JSON is written: the two separators.
type jsonStyle struct{ comma, colon string }

var (
	compactJSON = jsonStyle{",", ":"}
	pythonJSON  = jsonStyle{", ", ": "}
)

// Compact writes the document as it is stored in the DCS: no blanks, every
// character beyond ASCII escaped.
func (d Document) Compact() []byte { return d.write(compactJSON) }

// Python writes the document as the REST API shows it: ", " and ": " between
// the parts, every character beyond ASCII escaped.
func (d Document) Python() []byte { return d.write(pythonJSON) }

// MarshalJSON is Compact.
func (d Document) MarshalJSON() ([]byte, error) { return d.Compact(), nil }

// UnmarshalJSON is ParseDocument.
func (d *Document) UnmarshalJSON(data []byte) error {
	parsed, err := ParseDocument(data)
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

func (d Document) write(style jsonStyle) []byte {
	if d.root == nil {
		return []byte("{}")
	}
	var b strings.Builder
	style.value(&b, d.root)
	return []byte(b.String())
}

func (s jsonStyle) value(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		fmt.Fprint(b, v)
	case string:
		asciiJSON(b, v)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			// JSON has no such numbers. Python writes NaN all the same, and
			// no other reader would then accept the document.
			b.WriteString("null")
			return
		}
		b.WriteString(pyFloat(v))
	case *object:
		b.WriteByte('{')
		for i, m := range v.members {
			if i > 0 {
				b.WriteString(s.comma)
			}
			asciiJSON(b, m.key)
			b.WriteString(s.colon)
			s.value(b, m.value)
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteString(s.comma)
			}
			s.value(b, item)
		}
		b.WriteByte(']')
	case map[string]any:
		s.value(b, orderedValue(v))
	default:
		fmt.Fprint(b, v) // integers
	}
}

// asciiJSON writes a JSON string as Python's json module does by default.
func asciiJSON(b *strings.Builder, text string) {
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r >= ' ' && r <= '~':
			b.WriteByte(byte(r))
		case r > 0xFFFF && r <= utf8.MaxRune:
			r -= 0x10000
			fmt.Fprintf(b, `\u%04x\u%04x`, 0xD800+(r>>10), 0xDC00+(r&0x3FF))
		default:
			fmt.Fprintf(b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
}

// ASCIIJSON writes a text as a JSON string the way the reference does: for
// places that write wire formats themselves.
func ASCIIJSON(text string) string {
	var b strings.Builder
	asciiJSON(&b, text)
	return b.String()
}
