package config

import (
	"fmt"
	"slices"
	"strings"
)

// Layers is what Explain looks at.
type Layers struct {
	Local   *Local
	Dynamic Document
	// From says where Dynamic was read, e.g. "/service/demo/config, revision 7".
	// Empty: Dynamic is bootstrap.dcs, and each value has its place in the file.
	From string
	// Server selects the sections of a role; the zero value: none.
	Server ServerFacts
}

// Explanation is one key with its value in force.
type Explanation struct {
	Key   string // dotted path, as in the section that holds it
	Value any    // secrets hidden; nil: nothing is in force
	// Source says where the value comes from: file:line:column, an environment
	// variable, the dynamic configuration's place, "default", "forced: ..." or,
	// when nothing is in force, "ignored".
	Source string
	Takes  Takes // when a changed value takes effect
	Notes  []ExplainNote
}

// ExplainNote is what was not used, or not as written.
type ExplainNote struct {
	Value  any    // as written, secrets hidden; nil: nothing to show
	Source string // where that stands; may be empty
	Why    string
}

// SourceDefault and SourceIgnored are two values of Explanation.Source.
const (
	SourceDefault = "default"
	SourceIgnored = "ignored"
)

// Explain says for every key which value is in force, where it comes from,
// and what was ignored and why. Keys that are set nowhere and have no default
// are left out. It is sorted as the schema is: local sections, dynamic keys,
// PostgreSQL. The warnings are about whole documents.
func Explain(layers Layers) (rows []Explanation, warnings []string) {
	e := &explainer{Layers: layers, local: layers.Local}
	var err error
	e.dyn, err = ParseDynamic(layers.Dynamic.Map(), nil)
	if err != nil {
		warnings = append(warnings, err.Error()+": its timing and postgresql section are not used; members keep what they had before, the defaults are shown")
	}
	e.eff = Merge(e.local, e.dyn, layers.Server)
	e.localSections()
	e.dynamicKeys()
	e.postgresql()
	e.overruled()
	e.findings()
	e.bootstrapLeft()
	for _, w := range e.local.Warnings {
		if w.Path == "" {
			warnings = append(warnings, w.String())
		}
	}
	return e.rows, warnings
}

// SelectExplanations returns the rows of a key: the key itself and what is
// below it, or, for a name without its section, wherever it stands. For none,
// the nearest key is suggested, empty when there is none.
func SelectExplanations(rows []Explanation, key string) (selected []Explanation, suggestion string) {
	key = strings.TrimPrefix(strings.Trim(key, "."), "bootstrap.dcs.")
	matches := func(ok func(string) bool) []Explanation {
		var out []Explanation
		for _, r := range rows {
			if ok(r.Key) {
				out = append(out, r)
			}
		}
		return out
	}
	below := func(k, of string) bool { return strings.EqualFold(k, of) || strings.HasPrefix(k, of+".") }
	if out := matches(func(k string) bool { return below(k, key) }); len(out) > 0 {
		return out, ""
	}
	if out := matches(func(k string) bool { return strings.HasSuffix(strings.ToLower(k), "."+strings.ToLower(key)) }); len(out) > 0 {
		return out, ""
	}
	known := map[string]bool{}
	for _, r := range rows {
		known[r.Key] = true
	}
	eachKey(localKeys, nil, func(path []string, _ Key) {
		known[strings.TrimPrefix(strings.Join(path, "."), "bootstrap.dcs.")] = true
	})
	if known[key] {
		return nil, key
	}
	var names []string
	last := map[string]string{}
	for _, k := range sortedKeys(known) {
		names = append(names, k)
		last[k[strings.LastIndexByte(k, '.')+1:]] = k
	}
	if near := nearest(key, names); near != "" {
		return nil, near
	}
	return nil, last[nearest(key[strings.LastIndexByte(key, '.')+1:], sortedKeys(last))]
}

// explainer is one run of Explain.
type explainer struct {
	Layers
	local *Local
	dyn   Dynamic
	eff   Effective
	rows  []Explanation
}

func (e *explainer) row(key string) *Explanation {
	i := slices.IndexFunc(e.rows, func(r Explanation) bool { return strings.EqualFold(r.Key, key) })
	if i < 0 {
		return nil
	}
	return &e.rows[i]
}

func (e *explainer) add(key string, value any, source string, takes Takes) *Explanation {
	e.rows = append(e.rows, Explanation{Key: key, Value: Masked(key, value), Source: source, Takes: takes})
	return &e.rows[len(e.rows)-1]
}

// place is a position in words.
func place(pos Position) string {
	switch {
	case pos.Variable != "":
		return "environment variable " + pos.Variable
	case pos.File == wholeConfiguration:
		return fmt.Sprintf("environment variable %s, line %d", wholeConfiguration, pos.Line)
	}
	return strings.TrimSuffix((&Error{File: pos.File, Line: pos.Line, Column: pos.Column}).Error(), ": ")
}

// inDynamicLayer is where a key of the dynamic document stands.
func (e *explainer) inDynamicLayer(path string) string {
	if e.From != "" {
		return e.From
	}
	for _, below := range []string{"bootstrap.dcs.", "bootstrap."} {
		if pos, exact := locate(e.local.root(), below+path); exact {
			return place(pos)
		}
	}
	return "bootstrap.dcs"
}

// lookup finds a value by its dotted path; keys may hold dots.
func lookup(root *Node, path string) *Node {
	if root == nil || root.Kind != MapNode {
		return nil
	}
	for _, f := range root.Fields {
		if strings.EqualFold(f.Key, path) {
			return f.Value
		}
		if rest, below := strings.CutPrefix(path, f.Key+"."); below {
			if n := lookup(f.Value, rest); n != nil {
				return n
			}
		}
	}
	return nil
}

// localSections explains what only the local file holds.
func (e *explainer) localSections() {
	for _, key := range localKeys {
		switch {
		case key.Kind == KindNothing, key.Name == "postgresql":
		case key.Name == "bootstrap":
			e.bootstrapSection(key)
		default:
			e.localKey(key, e.local.root().Lookup(key.Name), key.Name)
		}
	}
}

// localKey explains a key, or the keys of a section.
func (e *explainer) localKey(key Key, n *Node, path string) {
	if key.Kind != KindMap {
		e.localLeaf(key, n, path)
		return
	}
	for _, inner := range key.Keys {
		e.localKey(inner, n.Lookup(inner.Name), path+"."+inner.Name)
	}
	if !key.Open || n == nil {
		return
	}
	for _, f := range n.Fields {
		if _, known := find(key.Keys, f.Key); !known && !f.Value.IsNull() {
			e.add(path+"."+f.Key, f.Value.Value(), place(f.Pos), AtReload)
		}
	}
}

func (e *explainer) localLeaf(key Key, n *Node, path string) {
	value, source := any(nil), SourceDefault
	if !n.IsNull() {
		value = n.Value()
		if pos, ok := locate(e.local.root(), path); ok {
			source = place(pos)
		}
	} else {
		value = key.defaultValue()
	}
	if settle := settledLocal[path]; settle != nil {
		switch settled := settle(e.local); {
		case settled != nil && settled != "":
			value = settled
		case n.IsNull():
			value = nil // its default is another key, which is not set
		}
	}
	if value != nil {
		e.add(path, value, source, key.Takes)
	}
}

// defaultValue is the default as a value of the key's kind; nil: none.
func (k Key) defaultValue() any {
	switch {
	case k.Default == "":
		return nil
	case k.Kind == KindInt, k.Kind == KindAny:
		if i, ok := ParseGUCInt(k.Default, ""); ok {
			return i
		}
	case k.Kind == KindBool, k.Kind == KindTag:
		if b, ok := ParseGUCBool(k.Default); ok && k.Default != "1" {
			return b
		}
	}
	return k.Default
}

// settledLocal are keys whose value in force is not simply what is written:
// aliases, fallbacks, values derived from others.
var settledLocal = map[string]func(*Local) any{
	"name":                    func(l *Local) any { return l.Name },
	"namespace":               func(l *Local) any { return orSlash(l.Namespace) },
	"restapi.connect_address": func(l *Local) any { return l.RestAPI.ConnectAddress },
	"restapi.verify_client":   func(l *Local) any { return l.RestAPI.VerifyClient },
	"restapi.server_tokens":   func(l *Local) any { return l.RestAPI.ServerTokens },
	"etcd3.username":          func(l *Local) any { return l.Etcd3.Username },
	"log.type":                func(l *Local) any { return l.Log.Type },
	"log.level":               func(l *Local) any { return l.Log.Level },
	"log.traceback_level":     func(l *Local) any { return l.Log.TracebackLevel },
	"log.format":              func(l *Local) any { return fmt.Sprint(l.Log.Format) },
	"watchdog.mode":           func(l *Local) any { return l.Watchdog.Mode },
	"tags.nofailover":         func(l *Local) any { return l.Tags.NoFailover },
	"tags.failover_priority":  func(l *Local) any { return l.Tags.FailoverPriority },
	"tags.nosync":             func(l *Local) any { return l.Tags.NoSync },
	"tags.sync_priority":      func(l *Local) any { return l.Tags.SyncPriority },
	"tags.clonefrom":          func(l *Local) any { return l.Tags.CloneFrom },
	"tags.noloadbalance":      func(l *Local) any { return l.Tags.NoLoadBalance },
	"tags.nostream":           func(l *Local) any { return l.Tags.NoStream },
	"pgha.state_dir":          func(l *Local) any { return l.Pgha.StateDir },
	// where the agent connects: every address key of etcd3 ends here
	"etcd3.hosts": func(l *Local) any {
		if len(l.Etcd3.Endpoints) == 0 {
			return nil
		}
		return strings.Join(l.Etcd3.Endpoints, ",")
	},
	"postgresql.connect_address": func(l *Local) any { return l.PostgreSQL.ConnectAddress },
	"postgresql.config_dir":      func(l *Local) any { return l.PostgreSQL.ConfigDir },
	"postgresql.pgpass":          func(l *Local) any { return l.PostgreSQL.PgPass },
}

func orSlash(namespace string) string {
	if namespace == "" {
		return "/"
	}
	return namespace
}

// bootstrapSection explains what of bootstrap is not the dynamic document.
func (e *explainer) bootstrapSection(key Key) {
	n := e.local.root().Lookup("bootstrap")
	if n == nil {
		return
	}
	for _, f := range n.Fields {
		known, found := find(key.Keys, f.Key)
		if f.Key == "dcs" || f.Key == "postgresql" || f.Value.IsNull() || found && known.Kind == KindNothing {
			continue
		}
		e.add("bootstrap."+f.Key, f.Value.Value(), place(f.Pos), AtBootstrap)
	}
}
