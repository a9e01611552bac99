package config

import "strings"

// snippet is an entry as it should stand in the file: the sections of the path
// around the value, in block style, secrets hidden. It keeps the order of keys
// and the spelling of scalars, and ends with a newline.
func (f *fix) snippet() string {
	var b strings.Builder
	if len(f.path) == 0 {
		writeNodeFields(&b, f.value, 0, "")
		return b.String()
	}
	last := len(f.path) - 1
	for i, key := range f.path {
		b.WriteString(strings.Repeat(" ", i*yamlIndent) + yamlText(key) + ":")
		if i < last {
			b.WriteString("\n")
		}
	}
	writeNodeValue(&b, f.value, last*yamlIndent, strings.Join(f.path, "."))
	return b.String()
}

// writeNodeValue writes what stands behind a key and its colon.
func writeNodeValue(b *strings.Builder, n *Node, indent int, path string) {
	switch {
	case n.Kind == MapNode && len(n.Fields) > 0:
		b.WriteString("\n")
		writeNodeFields(b, n, indent+yamlIndent, path)
	case n.Kind == ListNode && len(n.Items) > 0:
		b.WriteString("\n")
		writeNodeItems(b, n, indent+yamlIndent, path)
	default:
		b.WriteString(" " + nodeLeaf(n, path) + "\n")
	}
}

func writeNodeFields(b *strings.Builder, n *Node, indent int, path string) {
	for _, f := range n.Fields {
		b.WriteString(strings.Repeat(" ", indent) + yamlText(f.Key) + ":")
		writeNodeValue(b, f.Value, indent, path+"."+f.Key)
	}
}

func writeNodeItems(b *strings.Builder, n *Node, indent int, path string) {
	for _, item := range n.Items {
		b.WriteString(strings.Repeat(" ", indent) + "-")
		if item.Kind == MapNode && len(item.Fields) > 0 {
			var inner strings.Builder
			writeNodeFields(&inner, item, indent+yamlIndent, path)
			b.WriteString(" " + strings.TrimLeft(inner.String(), " ")) // the first entry stands beside the dash
			continue
		}
		writeNodeValue(b, item, indent, path)
	}
}

// nodeLeaf writes a scalar as it was written, or an empty container.
func nodeLeaf(n *Node, path string) string {
	value := n.Value()
	if masked := Masked(path, value); !EqualText(masked, value) {
		return yamlLeaf(masked)
	}
	if n.Raw != "" {
		return n.Raw
	}
	return yamlLeaf(value)
}
