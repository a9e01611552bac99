package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// variableKind is how a variable's text is read (contract: config.md 1.1).
type variableKind int

const (
	asText variableKind = iota
	asInt
	asMode // integer, a leading 0 means octal
	asBool
	asMap  // YAML, outer braces optional
	asList // YAML, outer brackets optional
	asFormat
)

// variable is one PATRONI_* variable and the key it sets.
type variable struct {
	name string
	path []string
	kind variableKind
}

// variables is the table of config.md 3 and 4; a later one of the same key wins.
var variables = buildVariables()

func buildVariables() []variable {
	var out []variable
	add := func(prefix string, path []string, kind variableKind, names ...string) {
		for _, name := range names {
			out = append(out, variable{"PATRONI_" + prefix + name, append(slices.Clone(path), strings.ToLower(name)), kind})
		}
	}
	add("", nil, asText, "NAME", "SCOPE", "NAMESPACE", "THREAD_POOL_SIZE", "THREAD_STACK_SIZE")
	add("RESTAPI_", []string{"restapi"}, asText, "LISTEN", "CONNECT_ADDRESS", "CERTFILE", "KEYFILE", "KEYFILE_PASSWORD",
		"CAFILE", "CIPHERS", "VERIFY_CLIENT", "SERVER_TOKENS")
	add("RESTAPI_", []string{"restapi"}, asMap, "HTTP_EXTRA_HEADERS", "HTTPS_EXTRA_HEADERS")
	add("RESTAPI_", []string{"restapi"}, asList, "ALLOWLIST")
	add("RESTAPI_", []string{"restapi"}, asBool, "ALLOWLIST_INCLUDE_MEMBERS")
	add("RESTAPI_", []string{"restapi"}, asInt, "REQUEST_QUEUE_SIZE")
	add("RESTAPI_", []string{"restapi", "authentication"}, asText, "USERNAME", "PASSWORD")
	add("CTL_", []string{"ctl"}, asText, "CACERT", "CERTFILE", "KEYFILE", "KEYFILE_PASSWORD")
	add("CTL_", []string{"ctl"}, asBool, "INSECURE")
	add("CTL_", []string{"ctl", "authentication"}, asText, "USERNAME", "PASSWORD")
	add("POSTGRESQL_", []string{"postgresql"}, asText, "LISTEN", "CONNECT_ADDRESS", "PROXY_ADDRESS", "CONFIG_DIR",
		"DATA_DIR", "BIN_DIR", "PGPASS")
	add("POSTGRESQL_BIN_", []string{"postgresql", "bin_name"}, asText, "PG_CTL", "INITDB", "PG_CONTROLDATA",
		"PG_BASEBACKUP", "POSTGRES", "PG_ISREADY", "PG_REWIND")
	for _, user := range []string{"SUPERUSER", "REPLICATION", "REWIND"} {
		for _, key := range credentialKeys {
			add(user+"_", []string{"postgresql", "authentication", strings.ToLower(user)}, asText, strings.ToUpper(key.Name))
		}
	}
	out = append(out, // the old names come first: the new ones win
		variable{"PATRONI_LOGLEVEL", []string{"log", "level"}, asText},
		variable{"PATRONI_LOGFORMAT", []string{"log", "format"}, asFormat},
		variable{"PATRONI_LOG_DATEFMT", []string{"log", "dateformat"}, asText})
	add("LOG_", []string{"log"}, asText, "TYPE", "LEVEL", "TRACEBACK_LEVEL", "DATEFORMAT", "DIR")
	add("LOG_", []string{"log"}, asFormat, "FORMAT")
	add("LOG_", []string{"log"}, asInt, "MAX_QUEUE_SIZE", "FILE_NUM", "FILE_SIZE")
	add("LOG_", []string{"log"}, asMode, "MODE")
	add("LOG_", []string{"log"}, asMap, "STATIC_FIELDS", "LOGGERS")
	add("LOG_", []string{"log"}, asBool, "DEDUPLICATE_HEARTBEAT_LOGS")
	add("ETCD3_", []string{"etcd3"}, asText, "HOST", "PROTOCOL", "URL", "PROXY", "SRV", "SRV_SUFFIX", "USERNAME",
		"PASSWORD", "PASSWORD_FILE", "CACERT", "CERT", "KEY")
	add("ETCD3_", []string{"etcd3"}, asInt, "PORT")
	add("ETCD3_", []string{"etcd3"}, asList, "HOSTS")
	add("ETCD3_", []string{"etcd3"}, asBool, "USE_PROXIES")
	return out
}

// wholeConfiguration is the variable that replaces a file.
const wholeConfiguration = "PATRONI_CONFIGURATION"

// environment is what the variables say.
type environment struct {
	root     *Node  // a map
	whole    string // PATRONI_CONFIGURATION
	values   map[string]string
	findings []Finding
}

// readEnvironment reads NAME=value pairs. Empty variables count as not set;
// values that cannot be read are left out with a finding.
func readEnvironment(environ []string) environment {
	env := environment{root: &Node{Kind: MapNode}, values: map[string]string{}}
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && value != "" {
			env.values[name] = value
		}
	}
	env.whole = env.values[wholeConfiguration]
	credentialsOnly := !slices.ContainsFunc(environ, func(pair string) bool {
		name, value, _ := strings.Cut(pair, "=")
		rest, isEtcd := strings.CutPrefix(name, "PATRONI_ETCD3_")
		return isEtcd && value != "" && rest != "USERNAME" && rest != "PASSWORD"
	})
	known := map[string]bool{wholeConfiguration: true}
	for _, v := range variables {
		known[v.name] = true
		value, set := env.values[v.name]
		if !set {
			continue
		}
		if credentialsOnly && (v.name == "PATRONI_ETCD3_USERNAME" || v.name == "PATRONI_ETCD3_PASSWORD") {
			env.find(v.name, "ignored, as by Patroni: no other PATRONI_ETCD3_ variable is set", "set PATRONI_ETCD3_HOSTS as well, or write it in the file")
			continue
		}
		node, ok := v.read(value)
		if !ok {
			env.find(v.name, "ignored: the value cannot be read", "")
			continue
		}
		env.root.put(v.path, node)
	}
	env.others(environ, known)
	return env
}

// others looks at variables outside the table: sections of other kinds of
// DCS, and slips.
func (e *environment) others(environ []string, known map[string]bool) {
	var names []string
	for name := range known {
		names = append(names, strings.TrimPrefix(name, "PATRONI_")) // what all share tells nothing
	}
	slices.Sort(names)
	for _, pair := range slices.Sorted(slices.Values(environ)) {
		name, _, _ := strings.Cut(pair, "=")
		rest, ours := strings.CutPrefix(name, "PATRONI_")
		if !ours || known[name] || e.values[name] == "" {
			continue
		}
		family, key, _ := strings.Cut(strings.ToLower(rest), "_")
		if key != "" && (slices.Contains(unsupportedDCS, family) || family == "citus") {
			e.root.put([]string{family, key}, &Node{Scalar: e.values[name], Pos: Position{Variable: name}})
			continue
		}
		message := "unknown variable, ignored"
		if near := nearest(rest, names); near != "" {
			message += "; did you mean PATRONI_" + near + "?"
		}
		e.find(name, message, "")
	}
}

func (e *environment) find(variable, message, remedy string) {
	e.findings = append(e.findings, Finding{Path: variable, Message: message, Remedy: remedy})
}

// read turns the text into a value.
func (v variable) read(value string) (*Node, bool) {
	pos := Position{Variable: v.name}
	switch v.kind {
	case asInt:
		i, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		return &Node{Scalar: i, Pos: pos}, err == nil
	case asMode:
		i, err := strconv.ParseInt(strings.TrimSpace(value), 0, 32)
		return &Node{Scalar: i, Pos: pos}, err == nil
	case asBool:
		b, ok := ParseGUCBool(value)
		return &Node{Scalar: b, Pos: pos}, ok
	case asMap:
		return readYAMLValue(value, "{", "}", MapNode, pos)
	case asList:
		return readYAMLValue(value, "[", "]", ListNode, pos)
	case asFormat:
		if !strings.Contains(value, "%(") {
			if node, ok := readYAMLValue(value, "[", "]", ListNode, pos); ok {
				return node, true
			}
		}
	}
	return &Node{Scalar: value, Pos: pos}, true
}

func readYAMLValue(value, begin, end string, kind NodeKind, pos Position) (*Node, bool) {
	value = strings.TrimSpace(value)
	if !strings.HasPrefix(value, begin) {
		value = begin + value + end
	}
	node, err := DecodeYAML([]byte(value), "")
	if err != nil || node.Kind != kind {
		return nil, false
	}
	node.standAt(pos)
	return node, true
}

// standAt gives a whole tree one position.
func (n *Node) standAt(pos Position) {
	n.Pos = pos
	for i := range n.Fields {
		n.Fields[i].Pos = pos
		n.Fields[i].Value.standAt(pos)
	}
	for _, item := range n.Items {
		item.standAt(pos)
	}
}

// put stores a value, making the maps above it.
func (n *Node) put(path []string, value *Node) {
	i := n.index(path[0])
	if len(path) == 1 {
		n.setField(Field{Key: path[0], Pos: value.Pos, Value: value})
		return
	}
	if i < 0 {
		n.Fields = append(n.Fields, Field{Key: path[0], Pos: value.Pos, Value: &Node{Kind: MapNode, Pos: value.Pos}})
		i = len(n.Fields) - 1
	}
	n.Fields[i].Value.put(path[1:], value)
}

func (n *Node) setField(f Field) {
	if i := n.index(f.Key); i >= 0 {
		n.Fields[i] = f
		return
	}
	n.Fields = append(n.Fields, f)
}

// ChildEnviron is the environment for the postmaster: everything but
// NOTIFY_SOCKET, PATRONI_* and KUBERNETES_*; PG_MALLOC_ARENA_MAX becomes
// MALLOC_ARENA_MAX (contract: config.md 3.1, ha-behaviour.md 1).
func ChildEnviron(environ []string) []string {
	const arena, renamed = "PG_MALLOC_ARENA_MAX=", "MALLOC_ARENA_MAX="
	out := make([]string, 0, len(environ))
	arenaMax, hasArena := "", false
	for _, pair := range environ {
		switch {
		case strings.HasPrefix(pair, "NOTIFY_SOCKET="), strings.HasPrefix(pair, "PATRONI_"), strings.HasPrefix(pair, "KUBERNETES_"):
		case strings.HasPrefix(pair, arena):
			arenaMax, hasArena = strings.TrimPrefix(pair, arena), true
		default:
			out = append(out, pair)
		}
	}
	if hasArena {
		out = slices.DeleteFunc(out, func(pair string) bool { return strings.HasPrefix(pair, renamed) })
		out = append(out, fmt.Sprint(renamed, arenaMax))
	}
	return out
}
