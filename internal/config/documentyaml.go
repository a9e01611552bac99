package config

import (
	"strings"
)

// YAML writes the document as block YAML in its own order. comments holds text
// to write above a key, by its dotted path ("" stands at the top). It is for
// files that people go on editing; EncodeYAML is for programs. Passwords are
// written as they are.
func (d Document) YAML(comments map[string]string) []byte {
	var b strings.Builder
	if comments[""] != "" {
		writeComment(&b, comments[""], 0)
		b.WriteString("\n")
	}
	if d.root == nil || len(d.root.members) == 0 {
		b.WriteString("{}\n")
		return []byte(b.String())
	}
	w := &documentWriter{&b, comments}
	w.members(d.root, 0, "")
	return []byte(b.String())
}

type documentWriter struct {
	*strings.Builder
	comments map[string]string
}

func writeComment(b *strings.Builder, comment string, indent int) {
	for line := range strings.Lines(comment) {
		b.WriteString(strings.TrimRight(strings.Repeat(" ", indent)+"# "+strings.TrimSuffix(line, "\n"), " ") + "\n")
	}
}

func (w *documentWriter) members(o *object, indent int, path string) {
	for i, m := range o.members {
		at := m.key
		if path != "" {
			at = path + "." + m.key
		}
		if _, isObject := m.value.(*object); isObject && indent == 0 && i > 0 {
			w.WriteString("\n")
		}
		writeComment(w.Builder, w.comments[at], indent)
		w.WriteString(strings.Repeat(" ", indent) + yamlText(m.key) + ":")
		w.value(m.value, indent, at)
	}
}

func (w *documentWriter) value(v any, indent int, path string) {
	switch v := v.(type) {
	case *object:
		if len(v.members) > 0 {
			w.WriteString("\n")
			w.members(v, indent+yamlIndent, path)
			return
		}
		w.WriteString(" {}\n")
		return
	case []any:
		if len(v) > 0 {
			w.WriteString("\n")
			for _, item := range v {
				w.item(item, indent+yamlIndent, path)
			}
			return
		}
	}
	w.WriteString(" " + yamlLeaf(v) + "\n")
}

func (w *documentWriter) item(v any, indent int, path string) {
	w.WriteString(strings.Repeat(" ", indent) + "-")
	o, isObject := v.(*object)
	if !isObject || len(o.members) == 0 {
		w.value(v, indent, path)
		return
	}
	inner := &documentWriter{&strings.Builder{}, nil}
	inner.members(o, indent+yamlIndent, path)
	w.WriteString(" " + strings.TrimLeft(inner.String(), " "))
}

// Overlay puts the PATRONI_* variables of environ over the document, as they
// are put over a file. Findings are about variables that cannot be read.
func (d *Document) Overlay(environ []string) []Finding {
	env := readEnvironment(environ)
	var visit func(n *Node, path []string)
	visit = func(n *Node, path []string) {
		for _, f := range n.Fields {
			at := append(append([]string(nil), path...), f.Key)
			if f.Value.Kind == MapNode && len(f.Value.Fields) > 0 {
				visit(f.Value, at)
				continue
			}
			d.Set(at, f.Value.Value())
		}
	}
	visit(env.root, nil)
	return env.findings
}
