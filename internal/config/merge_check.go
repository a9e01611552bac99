package config

import (
	"fmt"
	"maps"
	"slices"

	"pgha/internal/postgres"
)

// checkParameters applies PostgreSQL's own rules (contract: config.md 5.3):
// what the server would refuse is left out or clamped, with a finding. While
// the version is not known everything stays: a rule of another version could
// take away what is right. Controlled parameters have checks of their own.
func (m *merger) checkParameters() {
	if m.versionUnknown {
		return
	}
	version := postgres.Version(m.server.MajorVersion * 10000)
	kept, findings := postgres.CheckParameters(m.out.Parameters, version, m.server.Described)
	m.out.Parameters = kept
	m.checked("parameters", findings)
}

// checkRecovery is checkParameters for the recovery settings. Names that this
// version does not have are translated or dropped when they are written.
func (m *merger) checkRecovery(section string) {
	if m.versionUnknown {
		return
	}
	version := postgres.Version(m.server.MajorVersion * 10000)
	kept, findings := postgres.CheckParameters(m.out.Recovery, version, nil)
	m.out.Recovery = kept
	m.checked(section, findings)
}

// checked reports findings by the section the value was given in.
func (m *merger) checked(section string, findings []postgres.ParameterFinding) {
	for _, f := range findings {
		path := section + "." + f.Name
		if own := "parameters_" + m.server.Role; section == "parameters" && m.server.Role != "" &&
			slices.Contains(slices.Collect(maps.Keys(lowerNames(m.entry(own).Lookup(own)))), f.Name) {
			path = own + "." + f.Name
		}
		m.find(path, fmt.Sprintf("%s (PostgreSQL %d)", f.Message, m.server.MajorVersion), "")
	}
}
