package config

// InitialDynamic is what a fresh bootstrap writes to /config: bootstrap.dcs
// with adjusted timing, and below it bootstrap.postgresql as
// bootstrap.dcs.postgresql (rulings 23). Empty without a bootstrap section.
// The result shares nothing with local.
func InitialDynamic(local *Local) map[string]any {
	doc := BootstrapDocument(local)
	d, err := ParseDynamic(doc, nil)
	if err != nil {
		return doc
	}
	return d.Accepted
}

// InitialDocument is InitialDynamic with the keys in the file's order, at every
// level: what is written to /config stays as it was written (contract:
// integrations.md, requirement 15). Keys that the file does not have come last.
func InitialDocument(local *Local) Document {
	doc := DocumentFromMap(InitialDynamic(local))
	bootstrap := local.root().Lookup("bootstrap")
	dcs, misplaced := written(bootstrap.Lookup("dcs")), written(bootstrap.Lookup("postgresql"))
	inOrder(doc.root, dcs)
	if i := doc.root.index("postgresql"); i >= 0 && misplaced != nil {
		inOrder(doc.root.members[i].value, dcs.get("postgresql"), misplaced)
	}
	return doc
}

// written is a node's map in the order written; nil when it is none.
func written(n *Node) *object {
	if n == nil || n.Kind != MapNode {
		return nil
	}
	return nodeValue(n).(*object)
}

// BootstrapDocument is InitialDynamic before its timing is adjusted: as written
// in the file.
func BootstrapDocument(local *Local) map[string]any {
	bootstrap := local.root().Lookup("bootstrap")
	doc := bootstrap.mapOf("dcs")
	if doc == nil {
		doc = map[string]any{}
	}
	if misplaced := bootstrap.mapOf("postgresql"); misplaced != nil {
		doc["postgresql"] = mergedUnder(misplaced, mapAt(doc, "postgresql"))
	}
	// One value that cannot be read would have the whole document rejected:
	// the access rules and parameters of a new cluster, too. It is left out,
	// as the finding about it says (docs/differences.md).
	leaveOutUnreadable(doc)
	return doc
}

// leaveOutUnreadable removes what rejects a document (contract: config.md 1.4).
func leaveOutUnreadable(doc map[string]any) {
	for _, key := range []string{"ttl", "loop_wait", "retry_timeout"} {
		if value, there := doc[key]; there {
			if _, ok := wholeSeconds(value); !ok {
				delete(doc, key)
			}
		}
	}
	for _, key := range []string{"postgresql", "standby_cluster"} {
		if _, isMap := doc[key].(map[string]any); !isMap && truthy(doc[key]) {
			delete(doc, key)
		}
	}
	if section, isMap := doc["postgresql"].(map[string]any); isMap && section["parameters"] != nil {
		if _, isMap := section["parameters"].(map[string]any); !isMap {
			delete(section, "parameters")
		}
	}
}

// mergedUnder puts a map over another one, recursively.
func mergedUnder(under, over map[string]any) map[string]any {
	for key, value := range over {
		inner, isMap := value.(map[string]any)
		below, wasMap := under[key].(map[string]any)
		if isMap && wasMap {
			value = mergedUnder(below, inner)
		}
		under[key] = value
	}
	return under
}
