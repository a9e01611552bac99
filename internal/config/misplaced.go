package config

import (
	"fmt"
	"slices"
	"strings"
)

// legacyPlaces are keys that are read in their old place only while
// postgresql.authentication is absent (contract: config.md 4.2).
var legacyPlaces = map[string]string{
	"superuser":   "postgresql.authentication.superuser",
	"replication": "postgresql.authentication.replication",
	"pg_rewind":   "postgresql.authentication.rewind",
	"name":        "name",
}

// special handles the entries whose meaning depends on their neighbours. It
// says whether the entry is dealt with.
func (c *checker) special(f Field, parent *Node, path []string) bool {
	if c.from != FromLocal || len(path) != 2 {
		return false
	}
	place, isLegacy := legacyPlaces[f.Key]
	switch {
	case path[0] == "bootstrap" && f.Key == "postgresql":
		c.bootstrapPostgreSQL(f, path)
		return true
	case path[0] == "postgresql" && isLegacy && f.Key != "name" && parent.index("authentication") >= 0:
		if f.Key == "pg_rewind" && parent.Lookup("authentication", "superuser") == nil {
			return false // still fills the superuser
		}
		c.find(f, path, "not used beside postgresql.authentication", "move it to "+place)
		c.write(strings.Split(place, "."), f.Value)
		return true
	case path[0] == "postgresql" && isLegacy:
		c.find(f, path, "old place, still read", "move it to "+place)
		c.write(strings.Split(place, "."), f.Value)
	}
	return false
}

// bootstrapPostgreSQL is the slip of the talk's first file: one level too
// high. It is applied at a fresh bootstrap only (rulings 23).
func (c *checker) bootstrapPostgreSQL(f Field, path []string) {
	if f.Value.Kind != MapNode {
		c.fail(f.Value, path, "expected keys with values, got "+f.Value.describe())
		return
	}
	c.find(f, path,
		"belongs in bootstrap.dcs.postgresql; pgha applies it as that when this member initialises a new cluster, Patroni ignores it",
		"indent it below dcs; on a running cluster use `pgha ctl edit-config`")
	c.write([]string{"bootstrap", "dcs", "postgresql"}, f.Value)
	c.embedded(f.Value, postgresqlKeys, true, path)
}

// wrongLayer reports a known key that is not accepted from this layer.
func (c *checker) wrongLayer(f Field, path []string) {
	if c.from == FromLocal {
		c.find(f, path, "ignored in the local configuration: all members must agree on it", inDynamic(strings.Join(path, ".")))
		c.write(append([]string{"bootstrap", "dcs"}, path...), f.Value)
		return
	}
	at := strings.TrimPrefix(strings.TrimPrefix(strings.Join(path, "."), "bootstrap."), "dcs.")
	c.find(f, path, "ignored in the dynamic configuration: it differs between members", "set "+at+" in each member's patroni.yml")
	c.write(strings.Split(at, "."), f.Value)
}

// otherNames are keys of one section by their names in another one: nobody
// remembers which is which, and no distance of letters tells.
var otherNames = map[string]map[string]string{
	"etcd3":   {"cafile": "cacert", "ca": "cacert", "certfile": "cert", "keyfile": "key", "endpoints": "hosts"},
	"restapi": {"cacert": "cafile", "cert": "certfile", "key": "keyfile"},
	"ctl":     {"cafile": "cacert", "cert": "certfile", "key": "keyfile"},
}

// unknown reports a key that nothing reads: where it belongs, or what it may
// have been meant to be.
func (c *checker) unknown(f Field, parent *Node, keys []Key, open bool, path []string) {
	sectionName := strings.Join(path[:len(path)-1], ".")
	hasMethods := strings.HasSuffix(sectionName, "postgresql") || sectionName == "bootstrap"
	if open && !hasMethods {
		return
	}
	if hasMethods && isMethod(f, parent) {
		return
	}
	if places := belongsIn(f.Key, path); len(places) > 0 {
		c.misplaced(f, path, places)
		return
	}
	var names []string
	for _, k := range keys {
		if k.From&c.from != 0 {
			names = append(names, k.Name)
		}
	}
	near := otherNames[path[0]][f.Key]
	if near == "" {
		near = nearest(f.Key, names)
	}
	if near != "" {
		c.find(f, path, fmt.Sprintf("unknown key, ignored; did you mean %s?", near), "")
		c.write(append(slices.Clone(path[:len(path)-1]), near), f.Value)
		return
	}
	if hasMethods && f.Value.Kind == MapNode {
		return // a method that the other layer names
	}
	c.find(f, path, "unknown key, ignored", "")
}

// isMethod says whether the entry is the section of a custom method.
func isMethod(f Field, parent *Node) bool {
	if f.Value.Kind != MapNode {
		return false
	}
	named := append(parent.texts("create_replica_methods"), parent.texts("create_replica_method")...)
	return f.Value.index("command") >= 0 || slices.Contains(named, f.Key) || parent.text("method") == f.Key
}

func (c *checker) misplaced(f Field, path, places []string) {
	where := strings.Join(places, " or ")
	if rest, dynamic := strings.CutPrefix(places[0], "bootstrap.dcs."); dynamic && len(places) == 1 {
		c.find(f, path, "ignored here: belongs in "+where, inDynamic(rest))
		c.write(strings.Split(places[0], "."), f.Value)
		return
	}
	c.find(f, path, "ignored here: belongs in "+where, "move it there")
	if len(places) == 1 {
		c.write(strings.Split(places[0], "."), f.Value)
	}
}

// belongsIn lists the places where a key of that name is known and was
// probably meant to stand: those that share the longest path with where it
// is; further ones only when they are a top-level section, or dynamic keys.
func belongsIn(name string, path []string) []string {
	var best []string
	shared := -1
	consider := func(candidate []string) {
		common := 0
		for common < len(candidate) && common < len(path)-1 && candidate[common] == path[common] {
			common++
		}
		far := common == 0 && len(path) > 1 && len(candidate) > 1 && candidate[0] != "bootstrap"
		if far || common < shared || slices.Equal(candidate, path) {
			return
		}
		if common > shared {
			best, shared = nil, common
		}
		best = append(best, strings.Join(candidate, "."))
	}
	if _, controlled := controlledGUC(name); controlled {
		return []string{"bootstrap.dcs.postgresql.parameters." + name}
	}
	eachKey(localKeys, nil, func(at []string, k Key) {
		if k.Name == name && !(len(at) == 2 && at[0] == "postgresql" && legacyPlaces[k.Name] != "") && k.Kind != KindNothing {
			consider(at)
		}
	})
	if len(best) > 3 {
		return nil
	}
	return best
}

// eachKey visits a tree of keys, but not those of bootstrap.dcs.postgresql
// that only the local file may hold.
func eachKey(keys []Key, path []string, visit func([]string, Key)) {
	inDCS := len(path) > 1 && path[0] == "bootstrap" && path[1] == "dcs"
	for _, k := range keys {
		at := append(slices.Clone(path), k.Name)
		if inDCS && k.From&FromDynamic == 0 {
			continue
		}
		if !inDCS && len(path) > 0 && k.From == FromDynamic {
			continue
		}
		visit(at, k)
		eachKey(k.Keys, at, visit)
	}
}
