package render

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// yamlWidth is the column after which PyYAML folds long scalars here.
const yamlWidth = 200

// EncodeYAML writes a value as PyYAML's safe_dump does with sorted keys,
// block style, width 200 and unicode kept; strings that YAML 1.1 would read
// as another type are quoted ('on', '15'). Peers and diffs depend on the
// exact form (contract: ctl.md section 10 item 6). The text ends in a line break.
func EncodeYAML(v any) string {
	e := &yamlEmitter{}
	e.block(v, 0, false)
	if !strings.HasSuffix(e.String(), "\n") {
		e.WriteByte('\n')
	}
	return e.String()
}

// FlowYAML writes a value on one line: {a: 1, b: x}.
func FlowYAML(v any) string {
	e := &yamlEmitter{}
	e.flow(v)
	return e.String()
}

type yamlEmitter struct{ strings.Builder }

// column is how many characters stand on the current line.
func (e *yamlEmitter) column() int {
	s := e.String()
	return utf8.RuneCountInString(s[strings.LastIndexByte(s, '\n')+1:])
}

func (e *yamlEmitter) newline(indent int) {
	e.WriteString("\n" + strings.Repeat(" ", indent))
}

// block writes v at the indent. inline says that the line was begun by "- ",
// so that the first line of a collection goes on there.
func (e *yamlEmitter) block(v any, indent int, inline bool) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			e.WriteString("{}")
			return
		}
		e.blockMap(v, indent, inline)
	case []any:
		if len(v) == 0 {
			e.WriteString("[]")
			return
		}
		for i, item := range v {
			if i > 0 || !inline && e.Len() > 0 {
				e.newline(indent)
			}
			e.WriteString("-")
			e.WriteString(" ")
			e.block(item, indent+2, true)
		}
	default:
		e.scalar(v, indent, scalarInBlock)
	}
}

func (e *yamlEmitter) blockMap(m map[string]any, indent int, inline bool) {
	for i, k := range sortedKeys(m) {
		if i > 0 || !inline && e.Len() > 0 {
			e.newline(indent)
		}
		if utf8.RuneCountInString(k) < 128 && k != "" && !strings.Contains(k, "\n") {
			e.scalar(k, indent, scalarAsKey)
		} else { // YAML's form for keys that are not simple
			e.WriteString("? ")
			e.scalar(k, indent+2, scalarInBlock)
			e.newline(indent)
			e.WriteString(": ")
			e.block(m[k], indent+2, true)
			continue
		}
		e.WriteString(":")
		switch child := m[k].(type) {
		case map[string]any:
			if len(child) == 0 {
				e.WriteString(" ")
			}
			e.block(child, indent+2, false)
		case []any:
			if len(child) == 0 {
				e.WriteString(" ")
			}
			e.block(child, indent, false) // PyYAML does not indent a list in a map
		default:
			e.WriteString(" ")
			e.scalar(child, indent+2, scalarInBlock)
		}
	}
}

func (e *yamlEmitter) flow(v any) {
	switch v := v.(type) {
	case map[string]any:
		e.WriteString("{")
		for i, k := range sortedKeys(v) {
			if i > 0 {
				e.WriteString(", ")
			}
			e.scalar(k, 0, scalarAsFlowKey)
			e.WriteString(": ")
			e.flow(v[k])
		}
		e.WriteString("}")
	case []any:
		e.WriteString("[")
		for i, item := range v {
			if i > 0 {
				e.WriteString(", ")
			}
			e.flow(item)
		}
		e.WriteString("]")
	default:
		e.scalar(v, 0, scalarInFlow)
	}
}

// scalarPlace is where a scalar stands: it decides which characters need quotes.
type scalarPlace int

const (
	scalarInBlock   scalarPlace = iota
	scalarAsKey                 // may not be folded
	scalarInFlow                // , ? [ ] { } need quotes, and nothing is folded
	scalarAsFlowKey             // both
)

func (e *yamlEmitter) scalar(v any, indent int, place scalarPlace) {
	switch v := v.(type) {
	case nil:
		e.WriteString("null")
	case bool:
		e.WriteString(strconv.FormatBool(v))
	case float64:
		e.WriteString(yamlFloat(v))
	case json.Number:
		e.WriteString(yamlNumber(v))
	case string:
		e.text(v, indent, place)
	case int, int32, int64, uint32, uint64, *big.Int:
		fmt.Fprint(e, v)
	default:
		e.text(fmt.Sprint(v), indent, place)
	}
}

func yamlFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return ".nan"
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	}
	s := pythonFloat(f)
	if !strings.Contains(s, ".") && strings.Contains(s, "e") {
		s = strings.Replace(s, "e", ".0e", 1) // else YAML 1.1 reads a string
	}
	return s
}

// yamlNumber keeps integers of any size exact; other numbers are floats.
func yamlNumber(n json.Number) string {
	if !strings.ContainsAny(n.String(), ".eE") {
		return n.String()
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	s := yamlFloat(f)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func (e *yamlEmitter) text(s string, indent int, place scalarPlace) {
	fold := place == scalarInBlock
	a := analyse(s)
	flow := place == scalarInFlow || place == scalarAsFlowKey
	plain := a.blockPlain && !flow || a.flowPlain && flow
	switch {
	case plain && s != "" && !readsAsOtherType(s):
		e.folded(s, indent, fold)
	case a.single && (fold || !a.multiline):
		e.WriteByte('\'')
		e.folded(strings.ReplaceAll(s, "'", "''"), indent, fold)
		e.WriteByte('\'')
	default:
		e.doubleQuoted(s, indent, fold)
	}
}

// folded writes plain or single-quoted text: a single blank beyond the width
// becomes a line break, n line breaks become n+1.
func (e *yamlEmitter) folded(s string, indent int, fold bool) {
	text := []rune(s)
	for i := 0; i < len(text); {
		j := i + 1
		switch {
		case text[i] == ' ':
			for j < len(text) && text[j] == ' ' {
				j++
			}
			if j-i == 1 && fold && i > 0 && j < len(text) && e.column() > yamlWidth {
				e.newline(indent)
			} else {
				e.WriteString(string(text[i:j]))
			}
		case text[i] == '\n':
			for j < len(text) && text[j] == '\n' {
				j++
			}
			e.WriteString(strings.Repeat("\n", j-i))
			e.newline(indent)
		default:
			for j < len(text) && text[j] != ' ' && text[j] != '\n' {
				j++
			}
			e.WriteString(string(text[i:j]))
		}
		i = j
	}
}
