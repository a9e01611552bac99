package postgres

import (
	"maps"
	"slices"
	"strings"
)

// UpstreamConn says whom a standby follows and how.
type UpstreamConn struct {
	Host     string // one host or a comma list; a directory for a socket
	Port     string // one port or a comma list; empty: 5432
	DBName   string // needed from 17 on for the server's own slot synchronisation
	User     string
	PassFile string // where the password is; empty when there is none
	// SSL holds libpq's other keywords of postgresql.authentication.replication.
	SSL                map[string]string
	ApplicationName    string // own member name
	KrbSrvName         string
	TargetSessionAttrs string // only with several hosts of a standby cluster
}

// keywordSince is the first major version whose libpq knows a keyword
// (contract: config.md 4.2). Older ones are true of every version.
var keywordSince = map[string]int{
	"gssencmode": 12, "sslpassword": 13, "channel_binding": 13, "sslcrldir": 14, "sslnegotiation": 17,
}

// keywordDefaults are written, and assumed in comparisons, when not set
// (contract: config.md 5.5).
var keywordDefaults = map[string]string{
	"sslmode": "prefer", "gssencmode": "prefer", "channel_binding": "prefer", "sslnegotiation": "postgres",
}

// KeywordKnown says whether libpq of that version knows the keyword; an unknown
// one makes a server refuse the whole connection string (contract: pitfalls.md 166).
func KeywordKnown(key string, v Version) bool { return v.Major() >= keywordSince[key] }

// PrimaryConninfo builds primary_conninfo's keywords for a server of version v,
// with the defaults filled in and without what that version does not know.
// FormatConninfo prints the result. Passwords are never among them: they live
// in PassFile (PgpassLines).
func PrimaryConninfo(u UpstreamConn, v Version) []KV {
	values := maps.Clone(u.SSL)
	if values == nil {
		values = map[string]string{}
	}
	delete(values, "password")
	fillDefaults(values, v)
	port := u.Port
	if port == "" {
		port = "5432"
	}
	for _, kv := range []KV{
		{"dbname", u.DBName}, {"user", u.User}, {"passfile", u.PassFile}, {"host", u.Host}, {"port", port},
		{"application_name", u.ApplicationName}, {"krbsrvname", u.KrbSrvName},
		{"target_session_attrs", u.TargetSessionAttrs},
	} {
		if kv.Value != "" {
			values[kv.Key] = kv.Value
		}
	}
	var kvs []KV
	for _, key := range slices.Concat(conninfoOrder, others(values)) {
		if values[key] != "" && KeywordKnown(key, v) {
			kvs = append(kvs, KV{key, values[key]})
		}
	}
	return kvs
}

// others is the sorted list of keywords the fixed order does not name.
func others(values map[string]string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(values)), func(key string) bool {
		return slices.Contains(conninfoOrder, key)
	})
}

func fillDefaults(values map[string]string, v Version) {
	for key, value := range keywordDefaults {
		if values[key] == "" && KeywordKnown(key, v) {
			values[key] = value
		}
	}
}

// ActualConninfo is the connection a running standby really uses: the WAL
// receiver's (pg_stat_wal_receiver.conninfo) when there is one, with the
// database name of the GUC, since the receiver always shows "replication".
func ActualConninfo(guc, receiver map[string]string) map[string]string {
	if len(receiver) == 0 {
		return guc
	}
	actual := maps.Clone(receiver)
	delete(actual, "dbname")
	if guc["dbname"] != "" {
		actual["dbname"] = guc["dbname"]
	}
	return actual
}

// ConninfoEqual says whether a standby that uses actual need not be changed to
// use wanted (contract: config.md 5.5, "comparison"). Both are parsed connection
// strings. Defaults are filled in on both sides; every wanted keyword must then
// be equal as text, other keywords of actual do not count. dbname counts from 17
// on. Passwords are not compared: whether the passfile's lines are the wanted
// ones is the caller's to check. Two empty ones are equal.
func ConninfoEqual(wanted, actual map[string]string, v Version) bool {
	if len(wanted) == 0 || len(actual) == 0 {
		return len(wanted) == len(actual)
	}
	want, have := maps.Clone(wanted), maps.Clone(actual)
	fillDefaults(want, v)
	fillDefaults(have, v)
	for key, value := range want {
		if key == "password" || key == "dbname" && v.Major() < 17 {
			continue
		}
		if value != "" && have[key] != value {
			return false
		}
	}
	return true
}

// PgpassLines is the content of a pgpass file for one connection: one line per
// host, "host:port:*:user:password" (contract: config.md 5.5). hosts and port
// may be comma lists as in a connection string; missing values become "*". A
// socket directory adds a line for localhost, which is what libpq looks up for
// the default one. Without a password it is empty: write no file then.
func PgpassLines(hosts, port, user, password string) string {
	if password == "" {
		return ""
	}
	names := strings.Split(hosts, ",")
	ports := strings.Split(port, ",")
	var b strings.Builder
	line := func(host, port string) {
		for _, field := range []string{host, port, "*", user} {
			b.WriteString(escapePgpass(field) + ":")
		}
		b.WriteString(escapePgpass(password) + "\n")
	}
	socketPort, socket := "", false
	for i, name := range names {
		name = strings.TrimSpace(name)
		if name == "" && len(names) > 1 {
			continue
		}
		hostPort := ports[0]
		if len(ports) == len(names) {
			hostPort = ports[i]
		}
		line(name, strings.TrimSpace(hostPort))
		if strings.HasPrefix(name, "/") && !socket {
			socketPort, socket = strings.TrimSpace(hostPort), true
		}
	}
	if socket && !slices.Contains(names, "localhost") {
		line("localhost", socketPort)
	}
	return b.String()
}

func escapePgpass(field string) string {
	if field == "" || field == "*" {
		return "*"
	}
	return strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(field)
}
