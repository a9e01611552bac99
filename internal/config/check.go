package config

import (
	"fmt"
	"slices"
	"strings"
)

// checker compares a document with the schema: wrong types are failures,
// everything that would be ignored in silence is a finding.
type checker struct {
	from     Origin // the layer the document is
	findings []Finding
	failures []*Error
}

// checkLocal checks a local document.
func checkLocal(root *Node) ([]Finding, error) {
	c := &checker{from: FromLocal}
	c.section(root, localKeys, false, nil)
	if len(c.failures) > 0 {
		return nil, c.failures[0]
	}
	return c.findings, nil
}

// checkDynamic checks a dynamic document. Wrong types are findings as well:
// the readers fall back to defaults (contract: config.md 1.4).
func checkDynamic(root *Node) []Finding {
	c := &checker{from: FromDynamic}
	c.section(root, dynamicKeys, false, []string{"bootstrap", "dcs"})
	for _, f := range c.failures {
		c.findings = append(c.findings, Finding{Path: f.KeyPath, File: f.File, Line: f.Line, Column: f.Column, Message: f.Message + "; not used", fix: f.fix})
	}
	// Paths of a document in the DCS begin at its own root.
	for i, f := range c.findings {
		c.findings[i].Path = strings.TrimPrefix(f.Path, "bootstrap.dcs.")
		c.findings[i].Message = strings.ReplaceAll(f.Message, "bootstrap.dcs.", "")
		if f.fix != nil {
			c.findings[i].fix = &fix{trimDCS(f.fix.path), f.fix.value}
		}
	}
	return c.findings
}

// trimDCS turns a path of the local file into one of the dynamic document.
func trimDCS(path []string) []string {
	if len(path) > 2 && path[0] == "bootstrap" && path[1] == "dcs" {
		return path[2:]
	}
	return path
}

func (c *checker) find(f Field, path []string, message, remedy string) {
	if f.Pos.Variable != "" {
		message += fmt.Sprintf(" (from the environment variable %s)", f.Pos.Variable)
	}
	c.findings = append(c.findings, Finding{
		Path: strings.Join(path, "."), File: f.Pos.File, Line: f.Pos.Line, Column: f.Pos.Column, Message: message, Remedy: remedy,
	})
}

// write adds to the last finding what to write instead.
func (c *checker) write(path []string, value *Node) {
	c.findings[len(c.findings)-1].fix = &fix{path, value}
}

func (c *checker) fail(n *Node, path []string, message string) {
	c.failures = append(c.failures, nodeError(n, path, message, ""))
}

// mistyped reports a value of the wrong type, with what it was probably meant
// to be.
func (c *checker) mistyped(n *Node, kind Kind, path []string, message string) {
	c.fail(n, path, message)
	e := c.failures[len(c.failures)-1]
	switch {
	case n.Kind == ScalarNode && n.Raw != "" && kind == KindText:
		e.fix = &fix{path, &Node{Scalar: n.Raw}}
	case n.Kind == ScalarNode && kind == KindTexts && !n.IsNull():
		e.fix = &fix{path, &Node{Kind: ListNode, Items: []*Node{n}}}
	case n.Kind == ListNode && kind == KindText && len(n.Items) == 1 && n.Items[0].Kind == ScalarNode:
		e.fix = &fix{path, n.Items[0]}
	}
}

// nodeError names the variable for values of the environment.
func nodeError(n *Node, path []string, message, remedy string) *Error {
	if n.Pos.Variable != "" {
		message = fmt.Sprintf("environment variable %s: %s", n.Pos.Variable, message)
	}
	return &Error{
		File: n.Pos.File, Line: n.Pos.Line, Column: n.Pos.Column,
		KeyPath: strings.Join(path, "."), Message: message, Remedy: remedy,
	}
}

// section checks a map's entries.
func (c *checker) section(n *Node, keys []Key, open bool, path []string) {
	for _, f := range n.Fields {
		at := append(slices.Clone(path), f.Key)
		key, known := find(keys, f.Key)
		switch {
		case c.special(f, n, at):
		case !known:
			c.unknown(f, n, keys, open, at)
		case key.From&c.from == 0:
			c.wrongLayer(f, at)
		default:
			c.value(f, key, at)
		}
	}
}

// value checks one known entry.
func (c *checker) value(f Field, key Key, path []string) {
	if f.Value.IsNull() {
		return
	}
	if key.Kind == KindNothing {
		c.find(f, path, "ignored: "+key.Note, "")
		return
	}
	if message := mismatch(f.Value, key.Kind); message != "" {
		c.mistyped(f.Value, key.Kind, path, message)
		return
	}
	c.rereadAsNumber(f, key, path)
	if key.Kind == KindSettings {
		c.settings(f, key, path)
	}
	if key.Kind != KindMap {
		return
	}
	if strings.Join(path, ".") == "bootstrap.dcs" {
		c.embedded(f.Value, key.Keys, key.Open, path)
		return
	}
	c.section(f.Value, key.Keys, key.Open, path)
}

// embedded checks a dynamic document inside the local file. Wrong types are
// findings there, too: it matters once, and to the bootstrap only.
func (c *checker) embedded(n *Node, keys []Key, open bool, path []string) {
	inner := checker{from: FromDynamic}
	inner.section(n, keys, open, path)
	c.findings = append(c.findings, inner.findings...)
	for _, f := range inner.failures {
		c.findings = append(c.findings, Finding{
			Path: f.KeyPath, File: f.File, Line: f.Line, Column: f.Column, Message: f.Message + "; not used at a bootstrap", fix: f.fix,
		})
	}
}

// rereadAsNumber warns where YAML 1.1 changed what was written: 0123, 1:30.
func (c *checker) rereadAsNumber(f Field, key Key, path []string) {
	if key.Kind != KindText || f.Value.Raw == "" {
		return
	}
	if got := pyText(f.Value.Scalar); got != f.Value.Raw {
		c.find(f, path, fmt.Sprintf("YAML 1.1 reads this value as the number %s", got), "write it in quotes")
		c.write(path, &Node{Scalar: f.Value.Raw})
	}
}

// settings checks PostgreSQL parameters: scalars only, and in the local file
// none that only the dynamic configuration may set.
func (c *checker) settings(f Field, key Key, path []string) {
	for _, p := range f.Value.Fields {
		at := append(slices.Clone(path), p.Key)
		if p.Value.Kind != ScalarNode {
			c.find(p, at, "left out: expected one value, got "+p.Value.describe(), "write lists as text, separated by commas")
			if p.Value.Kind == ListNode && badItem(p.Value) == "" {
				c.write(at, &Node{Scalar: strings.Join(f.Value.texts(p.Key), ", ")})
			}
			continue
		}
		if key.Name != "parameters" {
			continue
		}
		if place := ownPlace(p.Key); place != "" {
			c.find(p, at, "ignored: "+place, "")
		} else if _, controlled := controlledGUC(p.Key); controlled && c.from == FromLocal {
			c.find(p, at, "ignored in the local configuration: all members must agree on it",
				inDynamic("postgresql.parameters."+p.Key))
			c.write([]string{"bootstrap", "dcs", "postgresql", "parameters", p.Key}, p.Value)
		}
	}
}

// ownPlace says where a parameter that no layer may set is taken from.
func ownPlace(guc string) string {
	switch strings.ToLower(guc) {
	case "listen_addresses", "port":
		return "taken from postgresql.listen"
	case "cluster_name":
		return "taken from scope"
	case "data_directory":
		return "taken from postgresql.data_dir"
	case "config_file":
		return "made of postgresql.config_dir and postgresql.config_base_name"
	}
	return ""
}

// inDynamic is the remedy for what belongs in the dynamic configuration.
func inDynamic(path string) string {
	return fmt.Sprintf("set %s in the dynamic configuration: bootstrap.dcs before the first start, `pgha ctl edit-config` afterwards", path)
}

// mismatch says why a value does not fit the kind; empty when it does.
func mismatch(n *Node, kind Kind) string {
	expected := func(what string) string { return fmt.Sprintf("expected %s, got %s", what, n.describe()) }
	_, isBool := n.Scalar.(bool)
	scalar := n.Kind == ScalarNode
	switch kind {
	case KindMap, KindSettings:
		if n.Kind != MapNode {
			return expected("keys with values")
		}
	case KindText:
		if !scalar || isBool {
			return expected("text")
		}
	case KindSwitch:
		if !scalar {
			return expected("text or a boolean")
		}
	case KindInt, KindSeconds, KindBytes:
		if _, ok := integer(n.Value(), unitOf(kind)); !ok {
			return expected("an integer")
		}
	case KindBool:
		if _, ok := boolean(n.Scalar); !ok || !scalar {
			return expected("a boolean")
		}
	case KindTexts:
		if n.Kind != ListNode {
			return expected("a list")
		}
		return badItem(n)
	case KindList:
		if n.Kind != ListNode {
			return expected("a list")
		}
	case KindHosts:
		if n.Kind == MapNode || isBool {
			return expected("text or a list")
		}
		return badItem(n)
	case KindOptions:
		if scalar {
			return expected("a list or keys with values")
		}
	case KindTag:
		if !scalar {
			return expected("one value")
		}
	}
	return ""
}

func unitOf(kind Kind) string {
	switch kind {
	case KindSeconds:
		return "s"
	case KindBytes:
		return "B"
	}
	return ""
}

// badItem says which entry of a list is no text.
func badItem(n *Node) string {
	for i, item := range n.Items {
		if item.Kind != ScalarNode {
			return fmt.Sprintf("entry %d of the list: expected text, got %s", i+1, item.describe())
		}
	}
	return ""
}

// describe names a value for messages, without showing what may be a secret.
func (n *Node) describe() string {
	switch {
	case n.Kind == MapNode && len(n.Fields) == 1:
		return fmt.Sprintf("a map with the key %q", n.Fields[0].Key)
	case n.Kind == MapNode:
		return "a map"
	case n.Kind == ListNode:
		return "a list"
	}
	switch n.Scalar.(type) {
	case nil:
		return "nothing"
	case bool:
		if n.Raw != "" {
			return fmt.Sprintf("the boolean %s (write it in quotes to mean the word)", n.Raw)
		}
		return "a boolean"
	case string:
		return "text"
	}
	return "a number"
}
