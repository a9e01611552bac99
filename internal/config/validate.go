package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one line of --validate-config.
type Problem struct {
	Path    string // dotted
	Value   any    // as written, secrets hidden; nil: none
	Message string
}

// String is "<path> <value> <message>" (contract: config.md 7).
func (p Problem) String() string {
	if p.Value == nil || p.Value == "" {
		return strings.TrimSpace(p.Path + " " + p.Message)
	}
	value := strings.Join(strings.Fields(pyText(p.Value)), " ")
	if m, isMap := p.Value.(map[string]any); isMap {
		value = fmt.Sprintf("a map of %d keys", len(m))
	}
	return p.Path + " " + value + " " + p.Message
}

// Validate reads the local layer and applies the rules that need nothing but
// the configuration itself. What depends on the machine (ports, files,
// programs, servers) is checked by the agent. The error says that it cannot
// be read; every other mistake is a problem, and the Local is built as far as
// it goes.
func Validate(path string, environ []string) (*Local, []Problem, error) {
	l, err := readLocal(path, environ)
	if err != nil {
		return nil, nil, err
	}
	v := &validation{root: l.tree}
	v.run(validationRules)
	v.run(limitRules("", localLimits))
	v.dcsSection()
	v.tags()
	v.bootstrap()
	l.build()
	v.agent(l)
	return l, v.problems, nil
}

// validation collects problems; of several about one path the first counts.
type validation struct {
	root     *Node
	problems []Problem
}

func (v *validation) add(path string, value any, message string) {
	if slices.ContainsFunc(v.problems, func(p Problem) bool { return p.Path == path }) {
		return
	}
	v.problems = append(v.problems, Problem{path, Masked(path, value), message})
}

// rule is one row of the table: what the value of a path must be.
type rule struct {
	path string
	// required: the path must be there, when the section it is in is.
	required bool
	check    func(n *Node) string // why the value is wrong; empty: it is not
}

func (v *validation) run(rules []rule) {
	for _, r := range rules {
		keys := strings.Split(r.path, ".")
		parent := v.root.Lookup(keys[:len(keys)-1]...)
		if parent == nil || parent.Kind != MapNode {
			continue // absent, or reported as no dictionary
		}
		n := parent.Lookup(keys[len(keys)-1])
		switch {
		case n == nil && r.required, n != nil && n.IsNull() && r.required:
			v.add(r.path, nil, "is not defined.")
		case n == nil:
		case r.check != nil:
			if message := r.check(n); message != "" {
				v.add(r.path, n.Value(), message)
			}
		}
	}
}

// limitRules turns a table of ranges into rules.
func limitRules(prefix string, limits []limit) []rule {
	var rules []rule
	for _, l := range limits {
		rules = append(rules, rule{path: prefix + l.path, check: func(n *Node) string {
			if _, ok := integer(n.Value(), l.unit); !ok {
				return "is not an integer"
			}
			message := l.breach(n.Value())
			if _, after, found := strings.Cut(message, " "); found {
				message = after // the line has the value already
			}
			return message
		}})
	}
	return rules
}

// dcsSection: exactly one is expected, and only etcd3 is supported.
func (v *validation) dcsSection() {
	n := v.root.Lookup("etcd3")
	if n == nil {
		for _, name := range unsupportedDCS {
			if v.root.Lookup(name) != nil {
				v.add(name, nil, "is not supported: use etcd3")
				return
			}
		}
		v.add("etcd3", nil, "is not defined.")
		return
	}
	for _, key := range []string{"host", "hosts", "srv", "discovery_srv", "srv_domain", "url", "proxy"} {
		if truthy(n.Lookup(key).Value()) {
			return
		}
	}
	v.add("etcd3", nil, "one of host, hosts, srv, url, proxy is needed")
}

// tags: a boolean and its priority exclude each other.
func (v *validation) tags() {
	n := v.root.Lookup("tags")
	for _, pair := range [][2]string{{"nofailover", "failover_priority"}, {"nosync", "sync_priority"}} {
		if n.Lookup(pair[0]) != nil && n.Lookup(pair[1]) != nil {
			v.add("tags", nil, "at most one of "+pair[0]+" and "+pair[1]+" is allowed")
		}
	}
}

// bootstrap checks the first dynamic configuration.
func (v *validation) bootstrap() {
	const prefix = "bootstrap.dcs."
	if v.root.Lookup("bootstrap", "dcs") == nil {
		return
	}
	v.run(limitRules(prefix, dynamicLimits))
	v.run(limitRules(prefix+"postgresql.parameters.", parameterLimits))
	if n := v.root.Lookup("bootstrap", "dcs", "standby_cluster"); n != nil && n.Kind == MapNode && len(n.Fields) > 0 {
		if !truthy(n.Lookup("host").Value()) && !truthy(n.Lookup("port").Value()) && !truthy(n.Lookup("restore_command").Value()) {
			v.add(prefix+"standby_cluster", nil, "one of host, port, restore_command is needed")
		}
	}
}

// agent adds what the agent itself would refuse at its start: valid means that
// it starts.
func (v *validation) agent(l *Local) {
	c := &checker{from: FromLocal}
	c.section(v.root, localKeys, false, nil)
	for _, e := range c.failures {
		v.fail(e)
	}
	for _, e := range append(l.agentErrors, l.dcsErrors...) {
		v.fail(e)
	}
	if e := new(Error); l.Name == reservedName {
		e.KeyPath, e.Message = "name", "this name is reserved"
		v.fail(e)
	}
	if l.Bootstrap == nil {
		return
	}
	if l.Bootstrap.InitDBError != nil {
		v.add("bootstrap.initdb", nil, strings.ReplaceAll(l.Bootstrap.InitDBError.Error(), "\n", "; "))
	}
	if dyn, err := ParseDynamic(BootstrapDocument(l), nil); err == nil {
		for _, f := range dyn.Unsupported {
			v.add("bootstrap.dcs."+f.Path, nil, f.Message)
		}
	}
}

func (v *validation) fail(e *Error) {
	value := lookup(v.root, e.KeyPath).Value()
	if _, isMap := value.(map[string]any); isMap {
		value = nil
	}
	v.add(e.KeyPath, value, e.Message)
}
