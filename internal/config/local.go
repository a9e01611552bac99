package config

import (
	"fmt"
	"strings"
)

// reservedName is what the reference writes into synchronous_standby_names
// when nobody may confirm: no member may have it.
const reservedName = "__patroni_strict_sync_replica_placeholder__"

// build fills the typed sections from the checked tree.
func (l *Local) build() {
	l.Scope = l.tree.text("scope")
	l.Name = l.tree.text("name")
	if l.Name == "" {
		l.Name = l.tree.Lookup("postgresql").text("name")
	}
	l.Namespace = normaliseNamespace(l.tree)
	l.buildRestAPI(l.tree.Lookup("restapi"))
	l.buildEtcd3(l.tree.Lookup("etcd3"))
	l.buildCtl(l.tree.Lookup("ctl"))
	l.buildLog(l.tree.Lookup("log"))
	l.buildWatchdog(l.tree.Lookup("watchdog"))
	l.buildTags(l.tree.Lookup("tags"))
	l.buildBootstrap(l.tree.Lookup("bootstrap"))
	l.buildPostgreSQL(l.tree.Lookup("postgresql"))
	l.buildPgha(l.tree.Lookup("pgha"))
}

// normaliseNamespace removes leading, trailing and double slashes, and puts
// one in front.
func normaliseNamespace(root *Node) string {
	given := root.text("namespace")
	if given == "" {
		given = "/service"
	}
	out := ""
	for part := range strings.SplitSeq(given, "/") {
		if part != "" {
			out += "/" + part
		}
	}
	return out
}

// root is the tree with positions, or, for a Local made by hand, without.
func (l *Local) root() *Node {
	if l.tree == nil {
		return nodeOf(l.Tree)
	}
	return l.tree
}

// warn records a finding at an entry of the tree.
func (l *Local) warn(path, message, remedy string) {
	f := Finding{Path: path, Message: message, Remedy: remedy}
	if pos, ok := l.position(path); ok {
		f.File, f.Line, f.Column = pos.File, pos.Line, pos.Column
	}
	l.Warnings = append(l.Warnings, f)
}

// position finds where a path (keys without dots) stands: its own place, or
// that of the nearest parent.
func (l *Local) position(path string) (Position, bool) {
	n := l.tree
	var pos Position
	found := false
	for key := range strings.SplitSeq(path, ".") {
		if n == nil || n.Kind != MapNode {
			break
		}
		i := n.index(key)
		if i < 0 {
			break
		}
		pos, found = n.Fields[i].Pos, true
		n = n.Fields[i].Value
	}
	return pos, found
}

func (l *Local) problem(path, message, remedy string) *Error {
	e := &Error{File: l.Path, KeyPath: path, Message: message, Remedy: remedy}
	if pos, ok := l.position(path); ok {
		e.File, e.Line, e.Column = pos.File, pos.Line, pos.Column
		if pos.Variable != "" {
			e.Message = fmt.Sprintf("environment variable %s: %s", pos.Variable, message)
		}
	}
	return e
}

// CheckAgent says what is missing or wrong for running the agent, CheckDCS
// included. The error is an *Error.
func (l *Local) CheckAgent() error {
	required := []struct{ path, value, example string }{
		{"name", l.Name, "name: pg01"},
		{"scope", l.Scope, "scope: my-cluster"},
		{"restapi.listen", l.RestAPI.Listen, "restapi: {listen: 'pg01:8008'}"},
		{"postgresql.listen", l.tree.Lookup("postgresql").text("listen"), "postgresql: {listen: '*:5432'}"},
		{"postgresql.data_dir", l.PostgreSQL.DataDir, "postgresql: {data_dir: /var/lib/postgresql/17/main}"},
	}
	for _, r := range required {
		if r.value == "" {
			return l.problem(r.path, "required, but not set", "for example "+r.example)
		}
	}
	if l.Name == reservedName {
		return l.problem("name", "this name is reserved", "choose another one")
	}
	if len(l.agentErrors) > 0 {
		return l.agentErrors[0]
	}
	return l.CheckDCS()
}

// CheckDCS says why the DCS cannot be addressed. The error is an *Error.
func (l *Local) CheckDCS() error {
	if len(l.dcsErrors) > 0 {
		return l.dcsErrors[0]
	}
	if len(l.Etcd3.Endpoints) > 0 || l.Etcd3.SRV != "" {
		return nil
	}
	if l.tree.Lookup("etcd3") == nil {
		for _, name := range unsupportedDCS {
			if l.tree.Lookup(name) != nil {
				return l.problem(name, "this kind of configuration store is not supported", "use etcd3")
			}
		}
		return l.problem("etcd3", "required, but not set", "for example etcd3: {hosts: 'etcd01:2379,etcd02:2379,etcd03:2379'}")
	}
	return l.problem("etcd3", "names no server: one of hosts, host, url, proxy, srv is needed", "")
}

func (l *Local) buildRestAPI(n *Node) {
	auth := n.Lookup("authentication")
	verify := strings.ToLower(n.text("verify_client"))
	if verify == "" || verify == "false" { // YAML reads off and no as false
		verify = "none"
	}
	l.RestAPI = RestAPI{
		Listen:                  n.text("listen"),
		ConnectAddress:          n.firstText("connect_address", "listen"),
		Username:                auth.text("username"),
		Password:                Secret(auth.text("password")),
		CertFile:                n.text("certfile"),
		KeyFile:                 n.text("keyfile"),
		KeyFilePassword:         Secret(n.text("keyfile_password")),
		CAFile:                  n.text("cafile"),
		Ciphers:                 n.text("ciphers"),
		VerifyClient:            verify,
		Allowlist:               n.hosts("allowlist"),
		AllowlistSet:            !n.Lookup("allowlist").IsNull(),
		AllowlistIncludeMembers: n.boolean("allowlist_include_members", false),
		HTTPExtraHeaders:        n.textMap("http_extra_headers"),
		HTTPSExtraHeaders:       n.textMap("https_extra_headers"),
		RequestQueueSize:        n.integer("request_queue_size", 5),
		ServerTokens:            strings.ToLower(n.text("server_tokens")),
	}
	if r := &l.RestAPI; r.ServerTokens == "" {
		r.ServerTokens = "original"
	}
	l.oneOf("restapi.verify_client", &l.RestAPI.VerifyClient, "none", "none", "optional", "required")
	l.oneOf("restapi.server_tokens", &l.RestAPI.ServerTokens, "original", "original", "minimal", "productonly")
	for _, key := range []string{"listen", "connect_address"} {
		value := n.text(key)
		if _, port, err := splitHostPort(value); value != "" && (err != nil || port == 0) {
			l.agentErrors = append(l.agentErrors, l.problem("restapi."+key,
				fmt.Sprintf("Invalid \"restapi\" config: expected <HOST>:<PORT> for %q, but got %q", key, value), ""))
		}
	}
}

// oneOf falls back, with a warning, when the text is none of the words.
func (l *Local) oneOf(path string, value *string, fallback string, words ...string) {
	for _, word := range words {
		if *value == word {
			return
		}
	}
	l.warn(path, fmt.Sprintf("unknown value %q, %s is used", *value, fallback), "one of "+strings.Join(words, ", "))
	*value = fallback
}

func (l *Local) buildCtl(n *Node) {
	auth := n.Lookup("authentication")
	l.Ctl = Ctl{
		Insecure:        n.boolean("insecure", false),
		CACert:          n.text("cacert"),
		CertFile:        n.text("certfile"),
		KeyFile:         n.text("keyfile"),
		KeyFilePassword: Secret(n.text("keyfile_password")),
		Username:        auth.text("username"),
		Password:        Secret(auth.text("password")),
	}
}

func (l *Local) buildLog(n *Node) {
	l.Log = Log{
		Type:                    strings.ToLower(n.text("type")),
		Level:                   strings.ToUpper(n.text("level")),
		TracebackLevel:          strings.ToUpper(n.text("traceback_level")),
		Format:                  defaultLogFormat,
		DateFormat:              n.text("dateformat"),
		StaticFields:            n.mapOf("static_fields"),
		MaxQueueSize:            n.integer("max_queue_size", 1000),
		Dir:                     n.text("dir"),
		Mode:                    n.integer("mode", 0),
		FileNum:                 n.integer("file_num", 4),
		FileSize:                n.integer("file_size", 25000000),
		Loggers:                 n.textMap("loggers"),
		DeduplicateHeartbeatLog: n.boolean("deduplicate_heartbeat_logs", false),
	}
	setDefault(&l.Log.Type, "plain")
	setDefault(&l.Log.Level, "INFO")
	setDefault(&l.Log.TracebackLevel, "ERROR")
	l.oneOf("log.type", &l.Log.Type, "plain", "plain", "json")
	l.oneOf("log.level", &l.Log.Level, "INFO", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL", "NOTSET")
	l.oneOf("log.traceback_level", &l.Log.TracebackLevel, "ERROR", "ERROR", "DEBUG")
	l.logFormat(n.Lookup("format"))
	if date := n.Lookup("dateformat"); !date.IsNull() {
		if _, isText := date.Value().(string); !isText {
			l.warn("log.dateformat", "expected text, got "+date.describe()+"; the default is used", "")
			l.Log.DateFormat = ""
		}
	}
}

// logFormat takes text, or for json a list of names.
func (l *Local) logFormat(n *Node) {
	switch {
	case n.IsNull():
	case n.Kind == ListNode && l.Log.Type == "json":
		l.Log.Format = n.Value()
	default:
		format, isText := n.Value().(string)
		if !isText {
			l.warn("log.format", fmt.Sprintf("expected text (or a list, with type json), got %s; the default is used", n.describe()), "")
			return
		}
		l.Log.Format = format
	}
}

func setDefault(value *string, def string) {
	if *value == "" {
		*value = def
	}
}

func (l *Local) buildWatchdog(n *Node) {
	l.Watchdog = Watchdog{
		Mode:         "automatic",
		Device:       n.text("device"),
		SafetyMargin: n.integer("safety_margin", 5),
		Driver:       n.text("driver"),
	}
	setDefault(&l.Watchdog.Device, "/dev/watchdog")
	setDefault(&l.Watchdog.Driver, "default")
	if l.Watchdog.Driver != "default" {
		l.warn("watchdog.driver", fmt.Sprintf("%q is not known: the watchdog cannot be used", l.Watchdog.Driver), "remove it")
	}
	mode := n.Lookup("mode")
	if mode.IsNull() {
		return
	}
	switch strings.ToLower(pyText(mode.Scalar)) {
	case "false", "off", "disable", "disabled":
		l.Watchdog.Mode = "off"
	case "auto", "automatic":
	case "require", "required":
		l.Watchdog.Mode = "required"
	default:
		l.Watchdog.Mode = "off"
		l.warn("watchdog.mode", fmt.Sprintf("unknown value %q: the watchdog is off", pyText(mode.Scalar)), "one of off, automatic, required")
	}
}
