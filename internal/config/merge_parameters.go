package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// parameters merges the settings: defaults, dynamic, local per parameter,
// then the role's own; controlled ones come from the dynamic layer alone.
func (m *merger) parameters() {
	fromDynamic := lowerNames(m.dynPG.Lookup("parameters"))
	controlled, findings := controlledValues(maps.Clone(fromDynamic))
	m.out.Findings = append(m.out.Findings, findings...)

	values := fromDynamic
	maps.Copy(values, lowerNames(m.localPG.Lookup("parameters")))
	m.roleParameters(values)

	recovery := map[string]any{}
	m.out.Parameters = map[string]string{}
	for _, name := range sortedKeys(values) {
		value := values[name]
		if _, isControlled := controlledGUC(name); isControlled || ownPlace(name) != "" || value == nil {
			continue
		}
		if slices.Contains(RecoveryGUCs, name) {
			recovery[name] = value
			continue
		}
		text, ok := gucText(value)
		if !ok {
			m.find("parameters."+name, "left out: a list or map is no value", "write lists as text, separated by commas")
			continue
		}
		m.out.Parameters[name] = text
	}
	m.checkParameters()
	maps.Copy(m.out.Parameters, controlled)
	m.out.Parameters["listen_addresses"] = m.local.PostgreSQL.Listen
	m.out.Parameters["port"] = fmt.Sprint(m.local.PostgreSQL.Port)
	m.out.Parameters["cluster_name"] = m.local.Scope
	m.synchronousNames()
	m.recovery(recovery)
}

// lowerNames returns a map of settings with names in lower case; of two
// spellings the later one wins.
func lowerNames(n *Node) map[string]any {
	out := map[string]any{}
	if n == nil || n.Kind != MapNode {
		return out
	}
	for _, f := range n.Fields {
		out[strings.ToLower(f.Key)] = f.Value.Value()
	}
	return out
}

// roleParameters puts parameters_<role> over the others; controlled ones
// cannot differ by role.
func (m *merger) roleParameters(values map[string]any) {
	if m.server.Role == "" {
		return
	}
	key := "parameters_" + m.server.Role
	own := lowerNames(m.entry(key).Lookup(key))
	for _, name := range sortedKeys(own) {
		if _, isControlled := controlledGUC(name); isControlled || ownPlace(name) != "" {
			m.find(key+"."+name, "ignored: all members must agree on it", inDynamic("postgresql.parameters."+name))
			continue
		}
		values[name] = own[name]
	}
}

// synchronousNames: in a synchronous mode the agent owns the parameter.
func (m *merger) synchronousNames() {
	const name = "synchronous_standby_names"
	if _, set := m.out.Parameters[name]; set && m.dyn.SynchronousMode != "" && m.dyn.SynchronousMode != SyncOff {
		m.find("parameters."+name, "ignored: the agent owns it in synchronous_mode", "")
		delete(m.out.Parameters, name)
	}
}

// recovery takes recovery_conf, unless parameters holds any recovery setting:
// then those alone.
func (m *merger) recovery(fromParameters map[string]any) {
	from := "recovery_conf"
	section := lowerNames(m.entry("recovery_conf").Lookup("recovery_conf"))
	if len(fromParameters) > 0 {
		if len(section) > 0 {
			m.find("recovery_conf", "not used: parameters holds recovery settings, which replace it", "keep them in one place")
		}
		from, section = "parameters", fromParameters
	}
	m.out.Recovery = map[string]string{}
	for _, name := range sortedKeys(section) {
		if text, ok := gucText(section[name]); ok {
			m.out.Recovery[name] = text
		}
	}
	m.checkRecovery(from)
}
