package config

import "strings"

// contradictions are entries that cancel each other: one of the two does
// nothing. Tags and settings of PostgreSQL are judged where they are read.
func contradictions(root *Node) []Finding {
	var out []Finding
	say := func(path, message, remedy string) {
		out = append(out, Finding{Path: path, Message: message, Remedy: remedy})
	}
	set := func(path string) bool { return truthy(root.Lookup(strings.Split(path, ".")...).Value()) }
	for _, rule := range []struct{ loses, wins, remedy string }{
		{"etcd3.hosts", "etcd3.url", "keep hosts: it names all servers"},
		{"etcd3.hosts", "etcd3.proxy", "keep one of the two"},
		{"etcd3.host", "etcd3.url", "keep one of the two"},
		{"etcd3.host", "etcd3.hosts", "remove host"},
		{"etcd3.protocol", "etcd3.url", "remove protocol: the URL begins with it"},
		{"bootstrap.pg_hba", "postgresql.pg_hba", "keep postgresql.pg_hba: it is the whole file"},
		{"bootstrap.pg_hba", "bootstrap.dcs.postgresql.pg_hba", "keep postgresql.pg_hba: it is the whole file"},
		{"bootstrap.post_init", "bootstrap.post_bootstrap", "keep post_bootstrap"},
		{"postgresql.create_replica_method", "postgresql.create_replica_methods", "keep create_replica_methods"},
		{"bootstrap.dcs.master_start_timeout", "bootstrap.dcs.primary_start_timeout", "keep primary_start_timeout"},
		{"bootstrap.dcs.master_stop_timeout", "bootstrap.dcs.primary_stop_timeout", "keep primary_stop_timeout"},
		{"bootstrap.dcs.slots", "bootstrap.dcs.permanent_slots", "keep slots"},
	} {
		if set(rule.loses) && set(rule.wins) {
			say(rule.loses, "not used beside "+rule.wins, rule.remedy)
		}
	}
	for _, rule := range []struct{ path, needs string }{
		{"restapi.keyfile", "restapi.certfile"},
		{"restapi.verify_client", "restapi.certfile"},
		{"restapi.https_extra_headers", "restapi.certfile"},
		{"restapi.authentication.username", "restapi.authentication.password"},
		{"restapi.authentication.password", "restapi.authentication.username"},
		{"etcd3.key", "etcd3.cert"},
		{"etcd3.password", "etcd3.username"},
		{"ctl.keyfile", "ctl.certfile"},
	} {
		if !set(rule.path) || set(rule.needs) {
			continue
		}
		if rule.path == "restapi.verify_client" && strings.EqualFold(root.Lookup("restapi").text("verify_client"), "none") {
			continue
		}
		if rule.path == "etcd3.password" && (set("etcd3.url") || set("etcd3.proxy")) {
			continue
		}
		say(rule.path, "has no effect without "+rule.needs, "set "+rule.needs+" as well, or remove this one")
	}
	return out
}
