package config

import (
	"slices"
	"strings"
	"time"
)

// dynamicAliases are other names of dynamic keys: the first one given counts.
var dynamicAliases = map[string][]string{
	"primary_start_timeout": {"primary_start_timeout", "master_start_timeout"},
	"primary_stop_timeout":  {"primary_stop_timeout", "master_stop_timeout"},
	"slots":                 {"permanent_replication_slots", "permanent_slots", "slots"},
}

// dynamicValues are the keys read straight from the document, in force.
var dynamicValues = []struct {
	key   string
	value func(Dynamic) any
}{
	{"ttl", func(d Dynamic) any { return seconds(d.TTL) }},
	{"loop_wait", func(d Dynamic) any { return seconds(d.LoopWait) }},
	{"retry_timeout", func(d Dynamic) any { return seconds(d.RetryTimeout) }},
	{"maximum_lag_on_failover", func(d Dynamic) any { return d.MaximumLagOnFailover }},
	{"check_timeline", func(d Dynamic) any { return d.CheckTimeline }},
	{"max_timelines_history", func(d Dynamic) any { return int64(d.MaxTimelinesHistory) }},
	{"primary_start_timeout", func(d Dynamic) any { return seconds(d.PrimaryStartTimeout) }},
	{"primary_stop_timeout", func(d Dynamic) any { return seconds(d.PrimaryStopTimeout) }},
	{"primary_race_backoff", func(d Dynamic) any { return seconds(d.PrimaryRaceBackoff) }},
	{"synchronous_mode", func(d Dynamic) any { return string(d.SynchronousMode) }},
	{"synchronous_mode_strict", func(d Dynamic) any { return d.SynchronousModeStrict }},
	{"synchronous_node_count", func(d Dynamic) any { return int64(d.SynchronousNodeCount) }},
	{"maximum_lag_on_syncnode", func(d Dynamic) any { return d.MaximumLagOnSyncnode }},
	{"failsafe_mode", func(d Dynamic) any { return d.FailsafeMode }},
	{"pause", func(d Dynamic) any { return d.Pause }},
	{"member_slots_ttl", func(d Dynamic) any { return seconds(d.MemberSlotsTTL) }},
	{"slots", func(d Dynamic) any { return nil }},
	{"ignore_slots", func(d Dynamic) any { return nil }},
	{"standby_cluster", func(d Dynamic) any { return nil }},
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// dynamicKeys explains what all members read alike.
func (e *explainer) dynamicKeys() {
	doc := nodeOf(e.dyn.Document)
	for _, k := range dynamicValues {
		schema, _ := find(dynamicKeys, k.key)
		names := dynamicAliases[k.key]
		if names == nil {
			names = []string{k.key}
		}
		source, raw := SourceDefault, (*Node)(nil)
		for _, name := range names {
			if n := doc.Lookup(name); n != nil && (!n.IsNull() || len(names) == 1) {
				source, raw = e.inDynamicLayer(name), n
				break
			}
		}
		value := k.value(e.dyn)
		if value == nil && !raw.IsNull() { // structures are shown as written
			value = raw.Value()
		}
		if value != nil {
			e.add(k.key, value, source, schema.Takes)
		}
	}
}

// bootstrapLeft says of every value in bootstrap.dcs that differs from the one
// in force that it is not read any more: the most frequent surprise.
func (e *explainer) bootstrapLeft() {
	if e.From == "" {
		return
	}
	const why = "bootstrap.dcs is read once, when a new cluster is initialised; change the running one with `pgha ctl edit-config`"
	bootstrap := e.local.root().Lookup("bootstrap")
	doc := nodeOf(e.dyn.Document)
	var visit func(n *Node, path []string)
	visit = func(n *Node, path []string) {
		for _, f := range n.Fields {
			at := append(slices.Clone(path), f.Key)
			key := strings.Join(at, ".")
			if f.Value.Kind == MapNode && len(f.Value.Fields) > 0 {
				visit(f.Value, at)
				continue
			}
			if now := lookup(doc, key); now != nil && EqualText(now.Value(), f.Value.Value()) {
				continue
			}
			e.note(key, f.Value.Value(), place(f.Pos), why)
		}
	}
	for _, section := range []struct {
		node *Node
		path []string
	}{{bootstrap.Lookup("dcs"), nil}, {bootstrap.Lookup("postgresql"), []string{"postgresql"}}} {
		if section.node != nil && section.node.Kind == MapNode {
			visit(section.node, section.path)
		}
	}
}

// note adds a note to a key's row, and makes the row where there is none.
func (e *explainer) note(key string, value any, source, why string) {
	r := e.row(key)
	if r == nil {
		r = e.add(key, nil, SourceIgnored, TakesNever)
	}
	n := ExplainNote{Value: Masked(key, value), Source: source, Why: why}
	if slices.ContainsFunc(r.Notes, func(o ExplainNote) bool { return o.Source == source && o.Why == why }) {
		return
	}
	r.Notes = append(r.Notes, n)
}

// overruled notes what a later file or a variable replaced.
func (e *explainer) overruled() {
	for _, o := range e.local.overruled {
		if now := e.local.root().Lookup(o.path...); now != nil && EqualText(now.Value(), o.value.Value()) {
			continue // the same again
		}
		e.note(strings.Join(o.path, "."), o.value.Value(), place(o.pos), "overruled by "+place(o.by))
	}
}

// findings notes what the readers of both layers had to say.
func (e *explainer) findings() {
	for _, f := range e.local.Warnings {
		if f.Path == "" {
			continue
		}
		inBootstrap := strings.HasPrefix(f.Path, "bootstrap.dcs.") || f.Path == "bootstrap.postgresql" || strings.HasPrefix(f.Path, "bootstrap.postgresql.")
		if inBootstrap && e.From != "" && f.Path != "bootstrap.postgresql" {
			continue // not read any more: bootstrapLeft says so
		}
		e.finding(f, strings.TrimPrefix(f.Path, "bootstrap.dcs."), lookup(e.local.root(), f.Path))
	}
	doc := nodeOf(e.dyn.Document)
	for _, f := range append(slices.Clone(e.dyn.Findings), e.dyn.Unsupported...) {
		if f.File == "" {
			e.finding(f, f.Path, lookup(doc, f.Path))
		}
	}
	for _, f := range e.eff.Findings {
		layer := doc
		if f.File != "" {
			layer = e.local.root()
		}
		e.finding(f, f.Path, lookup(layer, f.Path))
	}
	section := []string{"postgresql"}
	for _, f := range checkSettings(doc.Lookup(section...), section) {
		e.note(f.Path, lookup(doc, f.Path).Value(), e.inDynamicLayer(f.Path), f.Message)
	}
	own := append(contradictions(e.local.root()), checkSettings(e.local.root().Lookup(section...), section)...)
	for _, f := range own {
		e.finding(f, f.Path, lookup(e.local.root(), f.Path))
	}
}

func (e *explainer) finding(f Finding, key string, n *Node) {
	source := e.inDynamicLayer(key)
	switch {
	case f.File != "" || f.Line > 0:
		source = place(Position{File: f.File, Line: f.Line, Column: f.Column})
	case strings.HasPrefix(f.Path, "PATRONI_"):
		source = "environment variable " + f.Path
	default:
		if pos, exact := locate(e.local.root(), f.Path); exact {
			source = place(pos)
		}
	}
	why := f.Message
	if f.Remedy != "" {
		why += "; " + f.Remedy
	}
	var value any
	if n != nil && n.Kind == ScalarNode {
		value = n.Value()
	}
	e.note(key, value, source, why)
}
