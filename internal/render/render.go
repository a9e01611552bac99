// Package render turns rows into a table for people (pretty) or into JSON,
// YAML and TSV for programs. The forms are those of patronictl, to the byte,
// because scripts read them (contract: ctl.md section 3): JSON as Python's
// json.dumps writes it, YAML as PyYAML does. It is the only package that
// draws tables.
package render

import (
	"fmt"
	"io"
	"strings"
)

// Format is how rows are written.
type Format string

const (
	// Pretty is an ASCII table with a title in its upper border.
	Pretty Format = "pretty"
	// Topology is Pretty with objects on one line; no user asks for it by name.
	Topology Format = "topology"
	// TSV is a heading line and one line per row, tab separated, without any
	// quoting: a cell with a line break breaks the row, as in patronictl.
	TSV Format = "tsv"
	// JSON is an array of objects on one line.
	JSON Format = "json"
	// YAML is a block sequence with sorted keys, followed by an empty line.
	YAML Format = "yaml"
)

// Table is rows before they have a look.
type Table struct {
	// Title stands in the upper border of Pretty. Empty: a plain border.
	Title   string
	Columns []Column
	// Rows hold one cell per column: nil, string, bool, int, int64, uint64,
	// float64, *big.Int, json.Number, map[string]any or []any. Any other type is
	// written with fmt.
	Rows [][]any
	// OmitEmpty leaves keys out of JSON and YAML whose cell prints as an
	// empty string.
	OmitEmpty bool
	// NullText is what a nil cell prints in Pretty and TSV.
	NullText string
	// NoHeading leaves the heading line out of TSV.
	NoHeading bool
	// Delimiter between the cells of TSV. Empty: a tab.
	Delimiter string
}

// Column is one column of a table.
type Column struct {
	// Title is the heading in Pretty, Key the name in TSV, JSON and YAML.
	// An empty Key means: the same as Title.
	Title, Key string
	// Right aligns the column to the right in Pretty.
	Right bool
	// MachineOnly leaves the column out of Pretty.
	MachineOnly bool
}

func (c Column) key() string {
	if c.Key != "" {
		return c.Key
	}
	return c.Title
}

// Write writes the table in the format to w. An unknown format writes
// nothing, as patronictl's query does. Errors are those of w.
func Write(w io.Writer, format Format, t Table) error {
	var text string
	var err error
	switch format {
	case Pretty, Topology:
		text, err = pretty(t, format)
	case TSV:
		text = tsv(t)
	case JSON:
		text = EncodeJSON(objects(t)) + "\n"
	case YAML:
		text = EncodeYAML(plain(objects(t))) + "\n"
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

// Object is a JSON object whose keys keep their order.
type Object []Field

// Field is one key of an Object.
type Field struct {
	Key   string
	Value any
}

func objects(t Table) []any {
	out := make([]any, 0, len(t.Rows))
	for _, row := range t.Rows {
		o := make(Object, 0, len(row))
		for i, c := range t.Columns {
			if t.OmitEmpty && cellText(row[i], JSON, "") == "" {
				continue
			}
			o = append(o, Field{c.key(), row[i]})
		}
		out = append(out, o)
	}
	return out
}

// plain turns ordered objects into maps: YAML sorts keys anyway.
func plain(list []any) []any {
	for i, v := range list {
		m := make(map[string]any)
		for _, f := range v.(Object) {
			m[f.Key] = f.Value
		}
		list[i] = m
	}
	return list
}

func tsv(t Table) string {
	delimiter := t.Delimiter
	if delimiter == "" {
		delimiter = "\t"
	}
	var b strings.Builder
	line := func(cells []string) {
		b.WriteString(strings.Join(cells, delimiter) + "\n")
	}
	cells := make([]string, len(t.Columns))
	if !t.NoHeading {
		for i, c := range t.Columns {
			cells[i] = c.key()
		}
		line(cells)
	}
	for _, row := range t.Rows {
		for i, v := range row {
			cells[i] = cellText(v, TSV, t.NullText)
		}
		line(cells)
	}
	return b.String()
}

// cellText is a cell as text, values as Python prints them (True, None).
func cellText(v any, format Format, null string) string {
	switch v := v.(type) {
	case nil:
		return null
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return pythonFloat(v)
	case map[string]any:
		if len(v) == 0 {
			return ""
		}
		if format == Pretty {
			return strings.TrimSuffix(EncodeYAML(v), "\n")
		}
		return FlowYAML(v)
	case []any:
		return FlowYAML(v)
	}
	return fmt.Sprint(v)
}
