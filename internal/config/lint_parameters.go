package config

import (
	"fmt"
	"slices"
	"strings"

	"pgha/internal/postgres"
)

// parameterSections are the keys below postgresql that hold settings of the
// server.
var parameterSections = []string{"parameters", "parameters_primary", "parameters_replica", "parameters_standby_leader", "recovery_conf"}

// checkSettings checks the names and values of PostgreSQL's own parameters by
// the rules of all supported versions, for readers that do not know which one
// is installed: a name is unknown when no version has it, a value is bad when
// every version that has the parameter refuses or changes it. prefix is where
// the section postgresql stands. Contract: config.md 5.3.
func checkSettings(section *Node, prefix []string) (findings []Finding) {
	for _, name := range parameterSections {
		settings := section.Lookup(name)
		if settings == nil || settings.Kind != MapNode {
			continue
		}
		for _, f := range settings.Fields {
			message, instead := checkSetting(f)
			if message == "" {
				continue
			}
			path := append(slices.Clone(prefix), name, f.Key)
			finding := Finding{Path: strings.Join(path, "."), File: f.Pos.File, Line: f.Pos.Line, Column: f.Pos.Column, Message: message}
			// A controlled one would be in vain in a member's own section.
			if instead != nil && (prefix[0] == "bootstrap" || !postgres.IsControlledGUC(instead.Key)) {
				path[len(path)-1] = instead.Key
				finding.fix = &fix{path, instead.Value}
			}
			findings = append(findings, finding)
		}
	}
	return findings
}

// checkSetting judges one entry: why it will not do, and what to write instead
// where that is known.
func checkSetting(f Field) (message string, instead *Field) {
	name := strings.ToLower(f.Key)
	text, isText := gucText(f.Value.Value())
	if !isText || strings.Contains(name, ".") || postgres.IsControlledGUC(name) || ownPlace(name) != "" {
		return "", nil
	}
	known := false
	for major := postgres.NewestGUCs; major >= postgres.OldestGUCs; major-- {
		version := postgres.Version(major * 10000)
		if _, has := postgres.LookupGUC(name, version); !has {
			continue
		}
		kept, findings := postgres.CheckParameters(map[string]string{name: text}, version, nil)
		if len(findings) == 0 {
			return "", nil
		}
		if !known { // the newest version's words
			message = findings[0].Message
			if value, ok := kept[name]; ok {
				instead = &Field{Key: f.Key, Value: &Node{Scalar: value}}
			}
		}
		known = true
	}
	if known || postgres.IsRecoveryGUC(name) {
		return message, instead
	}
	message = fmt.Sprintf("PostgreSQL %d to %d have no such parameter: left out, unless the installed server has it", postgres.OldestGUCs, postgres.NewestGUCs)
	if near := nearest(name, postgres.GUCNames()); near != "" {
		return message + "; did you mean " + near + "?", &Field{Key: near, Value: f.Value}
	}
	return message, nil
}

// settingTakes is when a changed parameter of PostgreSQL takes effect, by the
// newest version that has it.
func settingTakes(name string) Takes {
	for major := postgres.NewestGUCs; major >= postgres.OldestGUCs; major-- {
		g, has := postgres.LookupGUC(name, postgres.Version(major*10000))
		switch {
		case !has:
		case g.Context == "postmaster":
			return AtServerRestart
		case g.Context == "backend", g.Context == "superuser-backend":
			return AtNewSessions
		default:
			return AtReload
		}
	}
	return takesOfItsEntries // an extension's: PostgreSQL decides
}
