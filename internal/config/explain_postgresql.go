package config

import (
	"cmp"
	"slices"
	"strings"
)

// postgresql explains the section that both layers make.
func (e *explainer) postgresql() {
	local := e.local.root().Lookup("postgresql")
	dynamic := nodeOf(mapAt(e.dyn.accepted(), "postgresql"))
	for _, key := range postgresqlKeys {
		path := "postgresql." + key.Name
		switch {
		case key.Kind == KindSettings:
			continue // one row a parameter, below
		case key.From == FromLocal:
			e.localKey(key, local.Lookup(key.Name), path)
		default:
			e.shared(key, local, dynamic, path)
		}
	}
	for _, method := range sortedKeys(e.eff.Methods) {
		e.shared(Key{Name: method, Kind: KindAny, From: FromBoth, Takes: AtReload}, local, dynamic, "postgresql."+method)
	}
	e.parameters(local, dynamic)
	e.recovery(local, dynamic)
}

// shared explains a key that both layers may hold: the local one replaces the
// other completely.
func (e *explainer) shared(key Key, local, dynamic *Node, path string) {
	fromLocal, fromDynamic := local.Lookup(key.Name), dynamic.Lookup(key.Name)
	if key.From&FromLocal == 0 || fromLocal != nil && mismatch(fromLocal, key.Kind) != "" && !fromLocal.IsNull() {
		fromLocal = nil // said by a finding
	}
	if fromDynamic != nil && mismatch(fromDynamic, key.Kind) != "" && !fromDynamic.IsNull() {
		fromDynamic = nil
	}
	winner, source := fromDynamic, ""
	if fromDynamic != nil {
		source = e.inDynamicLayer(path)
	}
	if fromLocal != nil {
		pos, _ := locate(e.local.root(), path)
		winner, source = fromLocal, place(pos)
	}
	switch {
	case key.Kind == KindMap && len(key.Keys) > 0:
		for _, inner := range key.Keys {
			e.sharedLeaf(inner, winner.Lookup(inner.Name), source, path+"."+inner.Name)
		}
	default:
		e.sharedLeaf(key, winner, source, path)
	}
	if fromLocal != nil && !fromDynamic.IsNull() && !EqualText(fromLocal.Value(), fromDynamic.Value()) {
		e.note(path, fromDynamic.Value(), e.inDynamicLayer(path), "overruled by "+source+": the local configuration replaces it completely")
	}
}

func (e *explainer) sharedLeaf(key Key, n *Node, source, path string) {
	switch {
	case !n.IsNull() && key.Kind == KindBool:
		on, _ := boolean(n.Value())
		e.add(path, on, source, key.Takes)
	case !n.IsNull():
		e.add(path, n.Value(), source, key.Takes)
	case key.Default != "":
		e.add(path, key.defaultValue(), SourceDefault, key.Takes)
	}
}

// parameters explains PostgreSQL's settings, one by one.
func (e *explainer) parameters(local, dynamic *Node) {
	own := lowerNames(local.Lookup("parameters"))
	shared := lowerNames(dynamic.Lookup("parameters"))
	role := map[string]any{}
	roleKey := "parameters_" + e.Server.Role
	if e.Server.Role != "" {
		m := &merger{local: e.local, localPG: local, dynPG: dynamic}
		role = lowerNames(m.entry(roleKey).Lookup(roleKey))
	}
	for _, name := range sortedKeys(e.eff.Parameters) {
		path := "postgresql.parameters." + name
		_, controlled := controlledGUC(name)
		takes := settingTakes(name)
		source := SourceDefault
		_, inRole := role[name]
		switch {
		case ownPlace(name) != "":
			source = "forced: " + ownPlace(name)
		case name == "hot_standby":
			source = "forced"
		case inRole && !controlled:
			source = e.sourceOf(roleKey, local)
		case own[name] != nil && !controlled:
			pos, _ := locate(e.local.root(), path)
			source = place(pos)
			if other := shared[name]; other != nil && !EqualText(other, own[name]) {
				e.add(path, e.eff.Parameters[name], source, takes)
				e.note(path, other, e.inDynamicLayer(path), "overruled by "+source)
				continue
			}
		case shared[name] != nil && e.accepted(name, shared[name], controlled):
			source = e.inDynamicLayer(path)
		case name == "wal_keep_size" && shared["wal_keep_segments"] != nil:
			source = e.inDynamicLayer("postgresql.parameters.wal_keep_segments")
		}
		e.add(path, e.eff.Parameters[name], source, takes)
	}
}

// sourceOf is the place of a key that either layer may hold.
func (e *explainer) sourceOf(key string, local *Node) string {
	if local.Lookup(key) != nil {
		pos, _ := locate(e.local.root(), "postgresql."+key)
		return place(pos)
	}
	return e.inDynamicLayer("postgresql." + key)
}

// accepted says whether a dynamic value of a controlled parameter is used.
func (e *explainer) accepted(name string, value any, controlled bool) bool {
	if !controlled {
		return true
	}
	g, _ := controlledGUC(name)
	_, ok := g.check(value)
	return ok
}

// recovery explains recovery_conf, or what parameters hold of it.
func (e *explainer) recovery(local, dynamic *Node) {
	for _, name := range sortedKeys(e.eff.Recovery) {
		source := ""
		for _, section := range []string{"parameters", "recovery_conf"} {
			path := "postgresql." + section + "." + name
			_, exact := locate(e.local.root(), path)
			if !exact && !hasName(dynamic.Lookup(section), name) {
				continue
			}
			source = e.inDynamicLayer(path)
			if exact && local.Lookup(section) != nil {
				pos, _ := locate(e.local.root(), path)
				source = place(pos)
			}
			break
		}
		e.add("postgresql.recovery_conf."+name, e.eff.Recovery[name], source, cmp.Or(settingTakes(name), AtReload))
	}
}

func hasName(n *Node, name string) bool {
	return n != nil && slices.ContainsFunc(n.Fields, func(f Field) bool { return strings.EqualFold(f.Key, name) })
}
