package postgres

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// gucTable is what pg_settings of each major version says of its parameters.
//
//go:generate go run ./gucgen -table guc.tsv
//go:embed guc.tsv
var gucTable string

// GUC is the rule of one parameter in one major version.
type GUC struct {
	Name    string // as PostgreSQL spells it: TimeZone, DateStyle
	Type    string // as pg_settings.vartype: bool, integer, real, string, enum
	Context string // postmaster, sighup, superuser-backend, backend, superuser, user
	Min     string // of numbers, in the base unit; else empty
	Max     string
	Unit    string   // base unit of numbers: kB, 8kB, ms, ...; may be empty
	Values  []string // of enums, as pg_settings shows them: synonyms are missing
}

// OldestGUCs and NewestGUCs bound the major versions that have rules.
const (
	OldestGUCs = 13
	NewestGUCs = 18
)

// LookupGUC finds a parameter by its name in any letter case (config
// contract 5.3). There is none for parameters of extensions, for those that a
// file cannot set, and for major versions outside of the table.
func LookupGUC(name string, v Version) (GUC, bool) {
	for _, r := range gucRules()[strings.ToLower(name)] {
		if v.Major() >= r.from && v.Major() <= r.to {
			return r.GUC, true
		}
	}
	return GUC{}, false
}

// GUCNames lists the parameters of all versions in the table as PostgreSQL
// spells them, sorted.
func GUCNames() []string {
	var names []string
	for _, rules := range gucRules() {
		names = append(names, rules[0].Name)
	}
	slices.Sort(names)
	return names
}

// versionedGUC is one line of the table.
type versionedGUC struct {
	GUC
	from, to int
}

// gucRules is the table by lower-case name, read when first needed. Its lines
// are the generator's; a test reads all of them.
var gucRules = sync.OnceValue(func() map[string][]versionedGUC {
	rules := map[string][]versionedGUC{}
	for line := range strings.Lines(gucTable) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 9 || strings.HasPrefix(line, "#") {
			continue
		}
		r := versionedGUC{GUC: GUC{Name: f[0], Type: f[3], Context: f[4], Min: f[5], Max: f[6], Unit: f[7]}}
		r.from, _ = strconv.Atoi(f[1])
		r.to, _ = strconv.Atoi(f[2])
		if r.Type == "enum" {
			r.Values = strings.Split(f[8], ",")
		}
		name := strings.ToLower(f[0])
		rules[name] = append(rules[name], r)
	}
	return rules
})
