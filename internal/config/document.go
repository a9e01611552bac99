package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// Document is a JSON object that keeps the order of its keys, as the key
// /config and the REST API show it. The zero value is the empty object.
// Copies share their content: call Clone before changing one of them.
type Document struct{ root *object }

// object is a JSON object; values are nil, bool, string, int64, *big.Int,
// float64, []any or *object.
type object struct{ members []member }

type member struct {
	key   string
	value any
}

// ErrNotObject is returned for JSON that is no object.
var ErrNotObject = errors.New("not a JSON object")

// maxJSONDepth is where the reference's JSON parser gives up as well, roughly.
const maxJSONDepth = 500

// ParseDocument reads one JSON object. Of duplicate keys the last value wins,
// in the first one's place. Errors: ErrNotObject, or the syntax error.
func ParseDocument(data []byte) (Document, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	value, err := parseJSON(dec, 0)
	if err != nil {
		return Document{}, fmt.Errorf("parse JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Document{}, errors.New("parse JSON: text after the value")
	}
	root, ok := value.(*object)
	if !ok {
		return Document{}, ErrNotObject
	}
	return Document{root}, nil
}

func parseJSON(dec *json.Decoder, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("nested more than %d levels deep", maxJSONDepth)
	}
	switch t := token.(type) {
	case json.Number:
		return jsonNumber(t)
	case json.Delim:
		if t == '[' {
			return parseJSONList(dec, depth)
		}
		return parseJSONObject(dec, depth)
	}
	return token, nil
}

func parseJSONList(dec *json.Decoder, depth int) (any, error) {
	list := []any{}
	for dec.More() {
		item, err := parseJSON(dec, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	_, err := dec.Token()
	return list, err
}

func parseJSONObject(dec *json.Decoder, depth int) (any, error) {
	o, seen := &object{}, map[string]int{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		value, err := parseJSON(dec, depth+1)
		if err != nil {
			return nil, err
		}
		key := token.(string) // the decoder delivers only strings as keys
		if i, again := seen[key]; again {
			o.members[i].value = value
			continue
		}
		seen[key] = len(o.members)
		o.members = append(o.members, member{key, value})
	}
	_, err := dec.Token()
	return o, err
}

func jsonNumber(n json.Number) (any, error) {
	if strings.ContainsAny(string(n), ".eE") {
		return strconv.ParseFloat(string(n), 64)
	}
	i, ok := new(big.Int).SetString(string(n), 10)
	if !ok {
		return nil, fmt.Errorf("number %q", string(n))
	}
	return narrow(i), nil
}

// DocumentFromMap orders the keys by name, at every level.
func DocumentFromMap(m map[string]any) Document {
	o, _ := orderedValue(m).(*object)
	return Document{o}
}

// DocumentInOrder is DocumentFromMap with the keys in the order that another
// document has them, at every level; what that one does not have comes last,
// by name.
func DocumentInOrder(m map[string]any, like Document) Document {
	d := DocumentFromMap(m)
	inOrder(d.root, like.root)
	return d
}

// inOrder sorts a value's keys, at every level, as the models have them, the
// first model's first.
func inOrder(value any, models ...any) {
	switch v := value.(type) {
	case *object:
		var keys []string
		for _, model := range models {
			if o, isObject := model.(*object); isObject && o != nil {
				for _, m := range o.members {
					keys = append(keys, m.key)
				}
			}
		}
		place := func(m member) int {
			if i := slices.Index(keys, m.key); i >= 0 {
				return i
			}
			return len(keys)
		}
		slices.SortStableFunc(v.members, func(a, b member) int { return place(a) - place(b) })
		for _, m := range v.members {
			var below []any
			for _, model := range models {
				if o, isObject := model.(*object); isObject {
					below = append(below, o.get(m.key))
				}
			}
			inOrder(m.value, below...)
		}
	case []any:
		for _, model := range models {
			list, _ := model.([]any)
			for i := range min(len(v), len(list)) {
				inOrder(v[i], list[i])
			}
		}
	}
}

// DocumentFromYAML reads YAML whose root is a mapping, in the order written
// (an empty text is an empty document). Errors are *Error.
func DocumentFromYAML(data []byte, file string) (Document, error) {
	node, err := DecodeYAML(data, file)
	if err != nil {
		return Document{}, err
	}
	if node.IsNull() {
		return Document{}, nil
	}
	if node.Kind != MapNode {
		return Document{}, &Error{File: file, Line: node.Pos.Line, Column: node.Pos.Column, Message: "expected keys with values, got " + node.describe()}
	}
	return Document{nodeValue(node).(*object)}, nil
}

// nodeValue is Node.Value that keeps the order of keys.
func nodeValue(n *Node) any {
	switch n.Kind {
	case MapNode:
		o := &object{}
		for _, f := range n.Fields {
			o.members = append(o.members, member{f.Key, nodeValue(f.Value)}) // keys are unique
		}
		return o
	case ListNode:
		list := make([]any, len(n.Items))
		for i, item := range n.Items {
			list[i] = nodeValue(item)
		}
		return list
	default:
		return n.Scalar
	}
}

// orderedValue copies a plain value, with maps as objects sorted by key.
func orderedValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		o := &object{}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			o.members = append(o.members, member{key, orderedValue(v[key])})
		}
		return o
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = orderedValue(v[i])
		}
		return list
	}
	return v
}

// plainValue copies a value, with objects as maps.
func plainValue(v any) any {
	switch v := v.(type) {
	case *object:
		m := make(map[string]any, len(v.members))
		for _, f := range v.members {
			m[f.key] = plainValue(f.value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plainValue(v[i])
		}
		return list
	}
	return v
}

// cloneValue copies a value of a document.
func cloneValue(v any) any {
	switch v := v.(type) {
	case *object:
		o := &object{members: make([]member, len(v.members))}
		for i, f := range v.members {
			o.members[i] = member{f.key, cloneValue(f.value)}
		}
		return o
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = cloneValue(v[i])
		}
		return list
	}
	return v
}

func (o *object) index(key string) int {
	return slices.IndexFunc(o.members, func(m member) bool { return m.key == key })
}

// get returns the value of a key; nil when there is none.
func (o *object) get(key string) any {
	if o == nil || o.index(key) < 0 {
		return nil
	}
	return o.members[o.index(key)].value
}

func (o *object) set(key string, value any) {
	if i := o.index(key); i >= 0 {
		o.members[i].value = value
		return
	}
	o.members = append(o.members, member{key, value})
}

func (o *object) remove(key string) bool {
	i := o.index(key)
	if i < 0 {
		return false
	}
	o.members = slices.Delete(o.members, i, i+1)
	return true
}

// Clone returns a copy that shares nothing.
func (d Document) Clone() Document {
	if d.root == nil {
		return Document{}
	}
	return Document{cloneValue(d.root).(*object)}
}

// IsEmpty says whether the document has no keys.
func (d Document) IsEmpty() bool { return d.root == nil || len(d.root.members) == 0 }

// Keys returns the top-level keys in order.
func (d Document) Keys() []string {
	if d.root == nil {
		return nil
	}
	keys := make([]string, len(d.root.members))
	for i, m := range d.root.members {
		keys[i] = m.key
	}
	return keys
}

// Map returns the content as plain values: map[string]any, []any, string,
// bool, nil, int64 (*big.Int beyond it), float64. Changing it does not change
// the document.
func (d Document) Map() map[string]any {
	if d.root == nil {
		return map[string]any{}
	}
	return plainValue(d.root).(map[string]any)
}
