package config

import "slices"

// Kind is what a key may hold.
type Kind string

const (
	KindMap      Kind = "map"
	KindText     Kind = "text"         // numbers are taken as text
	KindInt      Kind = "integer"      // numeric text is fine
	KindSeconds  Kind = "seconds"      // integer, or text with a unit of time
	KindBytes    Kind = "bytes"        // integer, or text with a unit of memory
	KindBool     Kind = "boolean"      // also on/off/yes/no/true/false/1/0 as text
	KindTexts    Kind = "list of text" // null entries are skipped
	KindHosts    Kind = "text or list" // comma list as text, or a list
	KindOptions  Kind = "options"      // list of texts and one-key maps, or a map
	KindAny      Kind = "anything"     // checked where it is used
	KindSwitch   Kind = "text or boolean"
	KindTag      Kind = "tag"  // judged by truthiness, as the reference does
	KindList     Kind = "list" // of anything
	KindNothing  Kind = "ignored"
	KindSettings Kind = "settings" // PostgreSQL parameters: names to scalars
)

// Origin is a set of layers a key is accepted from.
type Origin uint8

const (
	FromLocal   Origin = 1 << iota // file or environment
	FromDynamic                    // the key /config
	FromBoth    = FromLocal | FromDynamic
)

// Takes says when a changed value takes effect.
type Takes string

const (
	AtReload          Takes = "reload"
	AtServerRestart   Takes = "PostgreSQL restart"
	AtAgentRestart    Takes = "agent restart"
	AtNewSessions     Takes = "reload, in new sessions"
	AtBootstrap       Takes = "bootstrap of a new cluster"
	TakesNever        Takes = "never"
	takesOfItsEntries Takes = ""
)

// Key describes one configuration key: the table behind checks, suggestions
// and explanations.
type Key struct {
	Name    string
	Kind    Kind
	Default string // as text; empty: none
	From    Origin
	Takes   Takes
	// Keys are the entries of a map. Open: others are allowed as well.
	Keys []Key
	Open bool
	Note string
}

// find returns the entry of that name.
func find(keys []Key, name string) (Key, bool) {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return Key{}, false
	}
	return keys[i], true
}

// LocalSchema is the tree of keys of patroni.yml.
func LocalSchema() []Key { return localKeys }

// DynamicSchema is the tree of keys of the dynamic configuration.
func DynamicSchema() []Key { return dynamicKeys }

func text(name, def string, from Origin, takes Takes, note string) Key {
	return Key{Name: name, Kind: KindText, Default: def, From: from, Takes: takes, Note: note}
}

func typed(kind Kind, name, def string, from Origin, takes Takes, note string) Key {
	return Key{Name: name, Kind: kind, Default: def, From: from, Takes: takes, Note: note}
}

func section(name string, from Origin, note string, keys ...Key) Key {
	return Key{Name: name, Kind: KindMap, From: from, Takes: takesOfItsEntries, Note: note, Keys: keys}
}

func openSection(name string, from Origin, note string, keys ...Key) Key {
	k := section(name, from, note, keys...)
	k.Open = true
	return k
}
