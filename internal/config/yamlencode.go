package config

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// EncodeYAML writes block YAML, keys sorted, that PyYAML reads back as the
// same values: texts that YAML 1.1 would take for something else are quoted.
// It looks as the reference's tool prints it (lists not indented below their
// key), but long texts are not folded. Accepted: what Node.Value and
// Document.Map return, and Go's integer types. The result ends with a newline.
func EncodeYAML(v any) []byte {
	var b strings.Builder
	switch c := v.(type) {
	case map[string]any:
		if len(c) > 0 {
			writeMap(&b, c, 0)
			return []byte(b.String())
		}
	case []any:
		if len(c) > 0 {
			writeList(&b, c, 0)
			return []byte(b.String())
		}
	}
	return []byte(yamlLeaf(v) + "\n")
}

const yamlIndent = 2

// writeMap writes entries; the first one continues the current line, which
// already holds the indentation (or "- ").
func writeMap(b *strings.Builder, m map[string]any, indent int) {
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", indent))
		}
		b.WriteString(yamlText(key) + ":")
		switch v := m[key].(type) {
		case map[string]any:
			if len(v) > 0 {
				b.WriteString("\n" + strings.Repeat(" ", indent+yamlIndent))
				writeMap(b, v, indent+yamlIndent)
				continue
			}
		case []any:
			if len(v) > 0 {
				b.WriteString("\n" + strings.Repeat(" ", indent))
				writeList(b, v, indent)
				continue
			}
		}
		b.WriteString(" " + yamlLeaf(m[key]) + "\n")
	}
}

func writeList(b *strings.Builder, list []any, indent int) {
	for i, item := range list {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", indent))
		}
		b.WriteString("- ")
		switch v := item.(type) {
		case map[string]any:
			if len(v) > 0 {
				writeMap(b, v, indent+yamlIndent)
				continue
			}
		case []any:
			if len(v) > 0 {
				writeList(b, v, indent+yamlIndent)
				continue
			}
		}
		b.WriteString(yamlLeaf(item) + "\n")
	}
}

// yamlLeaf writes a scalar or an empty container.
func yamlLeaf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case string:
		return yamlText(v)
	case Secret:
		return yamlText(v.String())
	case float64:
		return yamlFloatText(v)
	case *big.Int:
		return v.String()
	case map[string]any:
		return "{}"
	case []any:
		return "[]"
	}
	return fmt.Sprint(v) // integers
}

func yamlFloatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	case math.IsNaN(f):
		return ".nan"
	}
	s := pyFloat(f)
	if !strings.Contains(s, ".") { // 1e+20: YAML 1.1 wants the dot
		s = strings.Replace(s, "e", ".0e", 1)
	}
	return s
}

// yamlText writes a text plain where that reads back, else in single quotes,
// else, with characters that need escapes, in double quotes.
func yamlText(s string) string {
	if needsEscapes(s) {
		return doubleQuoted(s)
	}
	if isPlainSafe(s) {
		return s
	}
	return singleQuoted(s)
}

func needsEscapes(s string) bool {
	for _, r := range s {
		if r == '\uFEFF' || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return true
		}
	}
	return false
}

// isPlainSafe follows the rules of YAML 1.1 for plain scalars in block
// context, plus the implicit types.
func isPlainSafe(s string) bool {
	if s == "" || s[0] == ' ' || s[len(s)-1] == ' ' || s == "=" || s == "<<" {
		return false
	}
	if _, isText := resolvePlain(s).(string); !isText || yamlTimestamp.MatchString(s) {
		return false
	}
	if strings.IndexByte("#,[]{}&*!|>'\"%@`", s[0]) >= 0 || strings.HasPrefix(s, "---") || strings.HasPrefix(s, "...") {
		return false
	}
	if strings.IndexByte("?:-", s[0]) >= 0 && (len(s) == 1 || s[1] == ' ') {
		return false
	}
	return !strings.Contains(s, ": ") && !strings.HasSuffix(s, ":") && !strings.Contains(s, " #")
}

// doubleQuoted uses only escapes that YAML knows.
func doubleQuoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x100 && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\x%02X`, r)
		case r == '\uFEFF' || (r <= 0xFFFF && !unicode.IsPrint(r)):
			fmt.Fprintf(&b, `\u%04X`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
