package config

// InitialDynamic is what a fresh bootstrap writes to /config: bootstrap.dcs
// with adjusted timing, and below it bootstrap.postgresql as
// bootstrap.dcs.postgresql (rulings 23). Empty without a bootstrap section.
// The result shares nothing with local.
func InitialDynamic(local *Local) map[string]any {
	bootstrap := local.root().Lookup("bootstrap")
	doc := bootstrap.mapOf("dcs")
	if doc == nil {
		doc = map[string]any{}
	}
	if misplaced := bootstrap.mapOf("postgresql"); misplaced != nil {
		doc["postgresql"] = mergedUnder(misplaced, mapAt(doc, "postgresql"))
	}
	// A rejected document is written as it stands, as the reference does:
	// what cannot be read is then reported with the key.
	d, err := ParseDynamic(doc, nil)
	if err != nil {
		return doc
	}
	return d.Accepted
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
