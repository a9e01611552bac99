package config

import (
	"fmt"
	"slices"
	"strings"
)

// validationRules is contract: config.md 7 and rest-api.md 15 as a table,
// without the ranges (limits.go) and what needs the machine (the agent).
// Keys that no rule names are never reported.
var validationRules = slices.Concat(
	[]rule{
		{"name", true, isText}, {"scope", true, isText}, {"namespace", false, isText},
		{"thread_pool_size", false, isInt}, {"thread_stack_size", false, isInt},
		{"restapi", true, isMap}, {"postgresql", true, isMap}, {"etcd3", false, isMap}, {"ctl", false, isMap},
		{"bootstrap", false, isMap}, {"log", false, isMap}, {"tags", false, isMap}, {"watchdog", false, isMap},
	},
	restapiRules, etcd3Rules, logRules, bootstrapRules, postgresqlRules,
	[]rule{
		{"ctl.insecure", false, isBool}, {"ctl.cacert", false, isText}, {"ctl.certfile", false, isText},
		{"ctl.keyfile", false, isText}, {"ctl.keyfile_password", false, isText}, {"ctl.authentication", false, isMap},
		{"ctl.authentication.username", true, isText}, {"ctl.authentication.password", true, isText},
		{"tags.nofailover", false, isBool}, {"tags.nosync", false, isBool}, {"tags.clonefrom", false, isBool},
		{"tags.noloadbalance", false, isBool}, {"tags.nostream", false, isBool}, {"tags.replicatefrom", false, isText},
		{"tags.failover_priority", false, isInt}, {"tags.sync_priority", false, isInt},
		{"watchdog.mode", false, isWatchdogMode}, {"watchdog.device", false, isText}, {"watchdog.safety_margin", false, isInt},
	},
)

var restapiRules = []rule{
	{"restapi.listen", true, isHostPort}, {"restapi.connect_address", true, isReachableAddress},
	{"restapi.authentication", false, isMap},
	{"restapi.authentication.username", true, isText}, {"restapi.authentication.password", true, isText},
	{"restapi.certfile", false, isText}, {"restapi.keyfile", false, isText}, {"restapi.keyfile_password", false, isText},
	{"restapi.cafile", false, isText}, {"restapi.ciphers", false, isText},
	{"restapi.verify_client", false, oneWord("none", "optional", "required")},
	{"restapi.allowlist", false, isTexts}, {"restapi.allowlist_include_members", false, isBool},
	{"restapi.http_extra_headers", false, isMap}, {"restapi.https_extra_headers", false, isMap},
	{"restapi.request_queue_size", false, isInt}, {"restapi.thread_pool_size", false, isInt},
	{"restapi.server_tokens", false, oneWord("minimal", "productonly", "original")},
}

var etcd3Rules = []rule{
	{"etcd3.host", false, isText}, {"etcd3.hosts", false, isTextOrTexts}, {"etcd3.srv", false, isText},
	{"etcd3.srv_suffix", false, isText}, {"etcd3.url", false, isText}, {"etcd3.proxy", false, isText},
	{"etcd3.protocol", false, isText}, {"etcd3.username", false, isText}, {"etcd3.password", false, isText},
	{"etcd3.cacert", false, isText}, {"etcd3.cert", false, isText}, {"etcd3.key", false, isText},
}

var logRules = []rule{
	{"log.type", false, oneWord("plain", "json")},
	{"log.level", false, oneExactWord("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL")},
	{"log.traceback_level", false, oneWord("debug", "error")},
	{"log.format", false, isTextOrTexts}, {"log.dateformat", false, isText}, {"log.static_fields", false, isMap},
	{"log.max_queue_size", false, isInt}, {"log.dir", false, isText}, {"log.mode", false, isInt},
	{"log.file_num", false, isInt}, {"log.file_size", false, isInt}, {"log.loggers", false, isMap},
	{"log.deduplicate_heartbeat_logs", false, isBool},
}

var bootstrapRules = []rule{
	{"bootstrap.dcs", true, isMap}, {"bootstrap.method", false, isText}, {"bootstrap.initdb", false, isOptions},
	{"bootstrap.dcs.synchronous_mode", false, isBoolOrQuorum}, {"bootstrap.dcs.synchronous_mode_strict", false, isBool},
	{"bootstrap.dcs.standby_cluster", false, isMap}, {"bootstrap.dcs.standby_cluster.host", false, isText},
	{"bootstrap.dcs.standby_cluster.port", false, isInt}, {"bootstrap.dcs.standby_cluster.primary_slot_name", false, isText},
	{"bootstrap.dcs.standby_cluster.create_replica_methods", false, isTexts},
	{"bootstrap.dcs.standby_cluster.restore_command", false, isText},
	{"bootstrap.dcs.standby_cluster.archive_cleanup_command", false, isText},
	{"bootstrap.dcs.standby_cluster.recovery_min_apply_delay", false, isText},
	{"bootstrap.dcs.postgresql", false, isMap}, {"bootstrap.dcs.postgresql.parameters", false, isMap},
	{"bootstrap.dcs.postgresql.use_pg_rewind", false, isBool}, {"bootstrap.dcs.postgresql.use_slots", false, isBool},
	{"bootstrap.dcs.postgresql.pg_hba", false, isTexts}, {"bootstrap.dcs.postgresql.pg_ident", false, isTexts},
}

var postgresqlRules = []rule{
	{"postgresql.listen", true, isListen}, {"postgresql.connect_address", true, isReachableAddress},
	{"postgresql.proxy_address", false, isReachableAddress},
	{"postgresql.authentication", true, isMap},
	{"postgresql.authentication.replication", true, isMap}, {"postgresql.authentication.superuser", true, isMap},
	{"postgresql.authentication.rewind", false, isMap},
	{"postgresql.authentication.replication.username", true, isText}, {"postgresql.authentication.replication.password", false, isText},
	{"postgresql.authentication.superuser.username", true, isText}, {"postgresql.authentication.superuser.password", false, isText},
	{"postgresql.authentication.rewind.username", true, isText}, {"postgresql.authentication.rewind.password", false, isText},
	{"postgresql.data_dir", true, isFilledText}, {"postgresql.bin_dir", false, isText}, {"postgresql.bin_name", false, isMap},
	{"postgresql.pg_hba", false, isTexts}, {"postgresql.pg_ident", false, isTexts},
	{"postgresql.use_pg_rewind", false, isBool}, {"postgresql.parameters", false, isMap},
	{"postgresql.parameters.unix_socket_directories", false, isText},
	{"postgresql.rewind", false, isOptions}, {"postgresql.basebackup", false, isOptions},
}

func isMap(n *Node) string { return unless(n.Kind == MapNode, "is not a dictionary") }

func isText(n *Node) string {
	_, ok := n.Value().(string)
	return unless(ok, "is not a string")
}

func isFilledText(n *Node) string {
	if message := isText(n); message != "" {
		return message
	}
	return unless(n.Value() != "", "is an empty string")
}

// isInt accepts YAML integers; variables have no types, so their text counts.
func isInt(n *Node) string {
	_, ok := n.Value().(int64)
	if n.Pos.Variable != "" {
		_, ok = integer(n.Value(), "")
	}
	return unless(ok, "is not an integer")
}

func isBool(n *Node) string {
	_, ok := n.Value().(bool)
	return unless(ok, "is not a boolean")
}

func isBoolOrQuorum(n *Node) string {
	s, _ := n.Value().(string)
	return unless(isBool(n) == "" || strings.EqualFold(s, "quorum"), "is neither a boolean nor quorum")
}

func isTexts(n *Node) string {
	if n.Kind != ListNode {
		return "is not a list"
	}
	if len(n.Items) == 0 {
		return "is an empty list"
	}
	for i, item := range n.Items {
		if isText(item) != "" {
			return fmt.Sprintf("entry %d is not a string", i+1)
		}
	}
	return ""
}

func isTextOrTexts(n *Node) string {
	if n.Kind == ListNode {
		return isTexts(n)
	}
	return isText(n)
}

// isOptions: a list of names and of one name with its value.
func isOptions(n *Node) string {
	if n.Kind != ListNode {
		return "is not a list"
	}
	if len(n.Items) == 0 {
		return "is an empty list"
	}
	for i, item := range n.Items {
		if isText(item) != "" && item.Kind != MapNode {
			return fmt.Sprintf("entry %d is neither a string nor a dictionary", i+1)
		}
	}
	return ""
}

func oneWord(words ...string) func(*Node) string {
	return func(n *Node) string {
		s, _ := n.Value().(string)
		return unless(slices.Contains(words, strings.ToLower(s)), "is none of "+strings.Join(words, ", "))
	}
}

func oneExactWord(words ...string) func(*Node) string {
	return func(n *Node) string {
		s, _ := n.Value().(string)
		return unless(slices.Contains(words, s), "is none of "+strings.Join(words, ", "))
	}
}

func isWatchdogMode(n *Node) string {
	if n.Value() == false {
		return ""
	}
	return oneExactWord("off", "automatic", "required")(n)
}

// isHostPort is an address with its port.
func isHostPort(n *Node) string {
	s, _ := n.Value().(string)
	_, port, err := splitHostPort(s)
	return unless(s != "" && err == nil && port != 0, "is not <host>:<port>")
}

// isReachableAddress is an address by which other machines come here.
func isReachableAddress(n *Node) string {
	if message := isHostPort(n); message != "" {
		return message
	}
	host, _, _ := splitHostPort(n.Value().(string))
	return unless(!slices.Contains([]string{"", "127.0.0.1", "0.0.0.0", "*", "::1", "localhost"}, host),
		`must not be "127.0.0.1", "0.0.0.0", "*", "::1", "localhost": others could not reach it`)
}

func isListen(n *Node) string {
	s, _ := n.Value().(string)
	addresses, _, err := splitListen(s, defaultPostgreSQLPort)
	if err != nil {
		return "is not <host>[,<host>...][:<port>]"
	}
	return unless(addresses == "*" || !slices.Contains(strings.Split(addresses, ","), "*"), `"*" may only stand alone`)
}

func unless(ok bool, message string) string {
	if ok {
		return ""
	}
	return message
}
