package config

import (
	"fmt"
	"strings"
)

// MergePatch applies a patch as PATCH /config does (contract: rest-api.md 7):
// null removes a key, object on object merges, anything else replaces when
// the text form differs (20 and "20" are the same). A new key is stored as
// given, nested nulls included. It says whether anything changed.
func (d *Document) MergePatch(patch Document) (changed bool) {
	if patch.root == nil {
		return false
	}
	if d.root == nil {
		d.root = &object{}
	}
	return mergeObject(d.root, patch.root)
}

func mergeObject(into, patch *object) (changed bool) {
	for _, p := range patch.members {
		i := into.index(p.key)
		switch {
		case p.value == nil:
			changed = into.remove(p.key) || changed
		case i < 0:
			into.set(p.key, cloneValue(p.value))
			changed = true
		default:
			changed = mergeValue(&into.members[i], p.value) || changed
		}
	}
	return changed
}

func mergeValue(into *member, value any) (changed bool) {
	newObject, isObject := value.(*object)
	oldObject, wasObject := into.value.(*object)
	if isObject && wasObject {
		return mergeObject(oldObject, newObject)
	}
	if !isObject && !wasObject && pyText(into.value) == pyText(value) {
		return false
	}
	into.value = cloneValue(value)
	return true
}

// Equal compares by text form, recursively through objects, whatever the
// order of their keys; a list is one leaf (contract: config.md 1.4).
func (d Document) Equal(other Document) bool {
	return equalObjects(d.Clone().root, other.Clone().root)
}

func equalObjects(a, b *object) bool {
	if a == nil {
		a = &object{}
	}
	if b == nil {
		b = &object{}
	}
	if len(a.members) != len(b.members) {
		return false
	}
	for _, m := range a.members {
		i := b.index(m.key)
		if i < 0 {
			return false
		}
		left, leftObject := m.value.(*object)
		right, rightObject := b.members[i].value.(*object)
		switch {
		case leftObject && rightObject:
			if !equalObjects(left, right) {
				return false
			}
		case leftObject != rightObject, pyText(m.value) != pyText(b.members[i].value):
			return false
		}
	}
	return true
}

// EqualText says whether two plain values (Map, Node.Value) are equal by text
// form: the comparison of all configuration values.
func EqualText(a, b any) bool {
	left, right := &object{}, &object{}
	left.set("", orderedValue(a))
	right.set("", orderedValue(b))
	return equalObjects(left, right)
}

// Set stores a plain value (Node.Value, Map) under the path; nil deletes.
// Parents that are no objects are replaced by objects; parents that become
// empty are removed. Below postgresql.parameters the rest of the path is one
// key (contract: ctl.md 5.6). An empty path does nothing.
func (d *Document) Set(path []string, value any) {
	if len(path) == 0 {
		return
	}
	if d.root == nil {
		d.root = &object{}
	}
	if len(path) > 2 && path[0] == "postgresql" && path[1] == "parameters" {
		path = []string{path[0], path[1], strings.Join(path[2:], ".")}
	}
	setPath(d.root, path, orderedValue(value))
}

// Delete removes what stands under the path, and parents that become empty.
func (d *Document) Delete(path []string) { d.Set(path, nil) }

func setPath(o *object, path []string, value any) {
	key := path[0]
	if len(path) == 1 {
		if value == nil {
			o.remove(key)
		} else {
			o.set(key, value)
		}
		return
	}
	var child *object
	if i := o.index(key); i >= 0 {
		child, _ = o.members[i].value.(*object)
	}
	if child == nil {
		child = &object{}
		o.set(key, child)
	}
	setPath(child, path[1:], value)
	if len(child.members) == 0 {
		o.remove(key)
	}
}

// SetPair applies "path=value": dotted path, value read as YAML 1.1, null or
// nothing deletes. The error is the tool's text for a pair that is none.
func (d *Document) SetPair(pair string) error {
	path, text, ok := strings.Cut(pair, "=")
	path = strings.TrimSpace(path)
	if !ok || path == "" {
		//lint:ignore ST1005 the reference's text, capital included
		return fmt.Errorf("Invalid parameter setting %s", pair)
	}
	node, err := DecodeYAML([]byte(text), "")
	if err != nil {
		//lint:ignore ST1005 the reference's text, capital included
		return fmt.Errorf("Invalid parameter setting %s", pair)
	}
	d.Set(strings.Split(path, "."), node.Value())
	return nil
}
