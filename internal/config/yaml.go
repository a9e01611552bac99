package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Position is where something stands.
type Position struct {
	File     string // as given to DecodeYAML; empty for environment and DCS
	Variable string // the environment variable it came from, instead of a file
	Line     int    // 1-based; 0 unknown
	Column   int    // 1-based; 0 unknown
}

// NodeKind is the kind of a Node.
type NodeKind int

const (
	ScalarNode NodeKind = iota
	MapNode
	ListNode
)

// Node is one value of a YAML document, resolved as PyYAML resolves it (YAML
// 1.1: contract config.md 1.1), with its position. Merge keys and aliases are
// already followed.
type Node struct {
	Kind   NodeKind
	Pos    Position
	Fields []Field // of a map, in the order written, each key once
	Items  []*Node // of a list
	// Scalar is nil, bool, int64, *big.Int (beyond int64), float64 or string.
	// Dates stay strings.
	Scalar any
	// Raw is a plain (unquoted) scalar's text; empty for quoted ones.
	Raw string
	// Warnings of the whole document (duplicate keys, keys that are no text);
	// on the root only.
	Warnings []Finding
}

// Field is one entry of a map. A key that is no text (`on:`, `1:`) carries
// the text that JSON would give it.
type Field struct {
	Key   string
	Pos   Position
	Value *Node
}

// Bounds of a document: far above any real file, low enough that aliases
// referring to aliases cannot fill the memory.
const (
	maxYAMLDepth = 100
	maxYAMLNodes = 100_000
)

// DecodeYAML reads one document as PyYAML's safe_load would. Duplicate keys:
// the last one wins, with a warning that names both lines. An empty document
// is a null scalar. Errors are *Error with line and column and, where one can
// be found, the corrected line as remedy. The file is only named, not read.
func DecodeYAML(data []byte, file string) (*Node, error) {
	root, err := parseYAML(data)
	if err != nil {
		return nil, syntaxError(data, file, err)
	}
	if root == nil {
		return &Node{Pos: Position{File: file}}, nil
	}
	r := &resolver{file: file}
	node, err := r.resolve(root, 0)
	if err != nil {
		return nil, err
	}
	node.Warnings = r.warnings
	return node, nil
}

// errSecondDocument is reported with the position of the second document.
var errSecondDocument = errors.New("expected a single document, but another one begins here")

// positioned is an error of this package's own at a place of the text.
type positioned struct {
	error
	line, column int
}

// parseYAML returns the root below the document node; nil when there is none.
func parseYAML(data []byte) (*yaml.Node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var second yaml.Node
	if err := loader.Load(&second); err == nil {
		return nil, positioned{errSecondDocument, second.Line, second.Column}
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if doc.Kind == yaml.DocumentNode {
		if len(doc.Content) == 0 {
			return nil, nil
		}
		return doc.Content[0], nil
	}
	return &doc, nil
}

// resolver turns the library's tree into ours.
type resolver struct {
	file     string
	nodes    int
	warnings []Finding
}

func (r *resolver) pos(n *yaml.Node) Position {
	return Position{File: r.file, Line: n.Line, Column: n.Column}
}

func (r *resolver) fail(n *yaml.Node, message, remedy string) error {
	return &Error{File: r.file, Line: n.Line, Column: n.Column, Message: message, Remedy: remedy}
}

func (r *resolver) resolve(n *yaml.Node, depth int) (*Node, error) {
	r.nodes++
	if depth > maxYAMLDepth {
		return nil, r.fail(n, fmt.Sprintf("nested more than %d levels deep, or an alias that contains itself", maxYAMLDepth), "")
	}
	if r.nodes > maxYAMLNodes {
		return nil, r.fail(n, fmt.Sprintf("more than %d values once its aliases are followed", maxYAMLNodes), "")
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.resolve(n.Alias, depth+1)
	case yaml.MappingNode:
		return r.resolveMap(n, depth)
	case yaml.SequenceNode:
		return r.resolveList(n, depth)
	case yaml.ScalarNode:
		return r.resolveScalar(n)
	default:
		return nil, r.fail(n, "a YAML construct that has no place in a configuration", "")
	}
}

func (r *resolver) resolveList(n *yaml.Node, depth int) (*Node, error) {
	if err := r.expectTag(n, "!!seq"); err != nil {
		return nil, err
	}
	out := &Node{Kind: ListNode, Pos: r.pos(n), Items: make([]*Node, 0, len(n.Content))}
	for _, item := range n.Content {
		value, err := r.resolve(item, depth+1)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, value)
	}
	return out, nil
}

// resolveMap puts merged entries first; the map's own keys replace them.
func (r *resolver) resolveMap(n *yaml.Node, depth int) (*Node, error) {
	if err := r.expectTag(n, "!!map"); err != nil {
		return nil, err
	}
	out := &Node{Kind: MapNode, Pos: r.pos(n)}
	var own []int
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMergeKey(n.Content[i]) {
			own = append(own, i)
			continue
		}
		if err := r.merge(out, n.Content[i+1], depth); err != nil {
			return nil, err
		}
	}
	merged := len(out.Fields)
	places := make(map[string]int, merged+len(own))
	for i, f := range out.Fields {
		places[f.Key] = i
	}
	for _, i := range own {
		key, err := r.key(n.Content[i], depth)
		if err != nil {
			return nil, err
		}
		value, err := r.resolve(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		field := Field{Key: key, Pos: r.pos(n.Content[i]), Value: value}
		at, again := places[key]
		if !again {
			places[key] = len(out.Fields)
			out.Fields = append(out.Fields, field)
			continue
		}
		if at >= merged {
			r.warnDuplicate(field, out.Fields[at].Pos)
		}
		out.Fields[at] = field
	}
	return out, nil
}

func (r *resolver) warnDuplicate(field Field, first Position) {
	r.warnings = append(r.warnings, Finding{
		Path: field.Key, File: field.Pos.File, Line: field.Pos.Line, Column: field.Pos.Column,
		Message: fmt.Sprintf("key %q stands in line %d and again in line %d; the last one is used", field.Key, first.Line, field.Pos.Line),
		Remedy:  "keep one of them",
	})
}

func isMergeKey(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "<<" && isPlain(n) && n.Style&yaml.TaggedStyle == 0
}

func isPlain(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// merge adds the entries of a map, or of a list of maps of which earlier ones
// win, that are not there yet.
func (r *resolver) merge(into *Node, value *yaml.Node, depth int) error {
	source, err := r.resolve(value, depth+1)
	if err != nil {
		return err
	}
	sources := []*Node{source}
	if source.Kind == ListNode {
		sources = source.Items
	}
	for _, s := range sources {
		if s.Kind != MapNode {
			return r.fail(value, "expected a mapping or a list of mappings to merge under <<", "")
		}
		for _, f := range s.Fields {
			if into.index(f.Key) < 0 {
				into.Fields = append(into.Fields, f)
			}
		}
	}
	return nil
}

// key returns a map key as text, warning when YAML reads it as something else.
func (r *resolver) key(n *yaml.Node, depth int) (string, error) {
	node, err := r.resolve(n, depth+1)
	if err != nil {
		return "", err
	}
	if node.Kind != ScalarNode {
		return "", r.fail(n, "a map or list cannot be a key", "")
	}
	text, isText := node.Scalar.(string)
	if isText {
		return text, nil
	}
	text = strings.ToLower(pyText(node.Scalar))
	if node.Scalar == nil {
		text = "null"
	}
	r.warnings = append(r.warnings, Finding{
		Path: text, File: r.file, Line: n.Line, Column: n.Column,
		Message: fmt.Sprintf("key %s is read as %s, not as text (YAML 1.1)", n.Value, text),
		Remedy:  fmt.Sprintf("write it in quotes: '%s'", n.Value),
	})
	return text, nil
}

// expectTag refuses explicit tags that safe_load would not construct.
func (r *resolver) expectTag(n *yaml.Node, tag string) error {
	if n.Style&yaml.TaggedStyle == 0 || n.Tag == "" || n.Tag == "!" || n.Tag == tag || n.Tag == "tag:yaml.org,2002:"+tag[2:] {
		return nil
	}
	return r.fail(n, fmt.Sprintf("tag %s is not known here", n.Tag), "remove the tag")
}

func (r *resolver) resolveScalar(n *yaml.Node) (*Node, error) {
	out := &Node{Pos: r.pos(n)}
	if n.Style&yaml.TaggedStyle != 0 || (n.Tag != "" && !strings.HasPrefix(n.Tag, "!!")) {
		value, ok := taggedScalar(n.Tag, n.Value)
		if !ok {
			return nil, r.fail(n, fmt.Sprintf("tag %s does not fit %s", n.Tag, strconv.Quote(n.Value)), "remove the tag")
		}
		out.Scalar = value
		return out, nil
	}
	if !isPlain(n) {
		out.Scalar = n.Value
		return out, nil
	}
	out.Raw = n.Value
	out.Scalar = resolvePlain(n.Value)
	return out, nil
}

func (n *Node) index(key string) int {
	for i := range n.Fields {
		if n.Fields[i].Key == key {
			return i
		}
	}
	return -1
}

// Lookup follows the keys from this map downwards; nil when one is missing.
func (n *Node) Lookup(path ...string) *Node {
	for _, key := range path {
		if n == nil || n.Kind != MapNode {
			return nil
		}
		i := n.index(key)
		if i < 0 {
			return nil
		}
		n = n.Fields[i].Value
	}
	return n
}

// Value returns the plain value: map[string]any, []any or the scalar. The
// result shares nothing with the node.
func (n *Node) Value() any {
	switch {
	case n == nil:
		return nil
	case n.Kind == MapNode:
		out := make(map[string]any, len(n.Fields))
		for _, f := range n.Fields {
			out[f.Key] = f.Value.Value()
		}
		return out
	case n.Kind == ListNode:
		out := make([]any, len(n.Items))
		for i, item := range n.Items {
			out[i] = item.Value()
		}
		return out
	default:
		return n.Scalar
	}
}

// IsNull says whether the node is missing or null.
func (n *Node) IsNull() bool { return n == nil || (n.Kind == ScalarNode && n.Scalar == nil) }
