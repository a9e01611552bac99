package config

import (
	"encoding/json"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
)

// integer reads an integer of a document, from a number or from text with an
// optional unit of the base unit's family; numbers with a fraction are rounded.
func integer(v any, unit string) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case float64:
		if f := math.RoundToEven(v); math.Abs(f) < 1<<62 {
			return int64(f), true
		}
	case json.Number:
		return ParseGUCInt(v.String(), unit)
	case string:
		return ParseGUCInt(v, unit)
	}
	return 0, false
}

// boolean reads a boolean of a document, from text as well.
func boolean(v any) (value, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case int64, int, string, json.Number:
		return ParseGUCBool(pyText(v))
	}
	return false, false
}

// truthy is Python's truth of a value.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case int64:
		return v != 0
	case int:
		return v != 0
	case float64:
		return v != 0
	case *big.Int:
		return v.Sign() != 0
	case json.Number:
		f, err := v.Float64()
		return err != nil || f != 0
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

// text returns the entry as text; empty when missing, null or no scalar.
func (n *Node) text(key string) string {
	v := n.Lookup(key)
	if v.IsNull() || v.Kind != ScalarNode {
		return ""
	}
	return pyText(v.Scalar)
}

// firstText is text of the first of several names that is set.
func (n *Node) firstText(keys ...string) string {
	for _, key := range keys {
		if s := n.text(key); s != "" {
			return s
		}
	}
	return ""
}

func (n *Node) integer(key string, def int) int {
	if i, ok := integer(n.Lookup(key).Value(), ""); ok && i >= math.MinInt32 && i <= math.MaxInt32 {
		return int(i)
	}
	return def
}

// bytes is a size: a number of bytes, or a text with a unit of memory.
func (n *Node) bytes(key string, def int64) int64 {
	if i, ok := integer(n.Lookup(key).Value(), "B"); ok {
		return i
	}
	return def
}

func (n *Node) boolean(key string, def bool) bool {
	if b, ok := boolean(n.Lookup(key).Value()); ok {
		return b
	}
	return def
}

// texts returns a list of text; null entries are skipped (contract:
// pitfalls.md 232). Nil when the entry is missing, null or no list.
func (n *Node) texts(key string) []string {
	v := n.Lookup(key)
	if v.IsNull() || v.Kind != ListNode {
		return nil
	}
	out := []string{}
	for _, item := range v.Items {
		if !item.IsNull() && item.Kind == ScalarNode {
			out = append(out, pyText(item.Scalar))
		}
	}
	return out
}

// hosts returns a comma list given as text or as a list of texts.
func (n *Node) hosts(key string) []string {
	parts := n.texts(key)
	if parts == nil {
		parts = []string{n.text(key)}
	}
	var out []string
	for _, part := range parts {
		for one := range strings.SplitSeq(part, ",") {
			if one = strings.TrimSpace(one); one != "" {
				out = append(out, one)
			}
		}
	}
	return out
}

// textMap returns a map's scalars as text; nil when there are none.
func (n *Node) textMap(key string) map[string]string {
	v := n.Lookup(key)
	if v.IsNull() || v.Kind != MapNode || len(v.Fields) == 0 {
		return nil
	}
	out := make(map[string]string, len(v.Fields))
	for _, f := range v.Fields {
		if !f.Value.IsNull() && f.Value.Kind == ScalarNode {
			out[f.Key] = pyText(f.Value.Scalar)
		}
	}
	return out
}

// mapOf returns a map as plain values; nil when it is missing or no map.
func (n *Node) mapOf(key string) map[string]any {
	m, _ := n.Lookup(key).Value().(map[string]any)
	return m
}

// mapAt returns the map below a key of plain values; nil when it is none.
func mapAt(m map[string]any, key string) map[string]any {
	inner, _ := m[key].(map[string]any)
	return inner
}

// nodeOf wraps plain values, without positions.
func nodeOf(v any) *Node {
	switch v := v.(type) {
	case map[string]any:
		n := &Node{Kind: MapNode}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			n.Fields = append(n.Fields, Field{Key: key, Value: nodeOf(v[key])})
		}
		return n
	case []any:
		n := &Node{Kind: ListNode}
		for _, item := range v {
			n.Items = append(n.Items, nodeOf(item))
		}
		return n
	default:
		return &Node{Scalar: v}
	}
}
