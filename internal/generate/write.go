package generate

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"pgha/internal/config"
)

// write makes the file for the server.
func (s *server) write(m Machine) Result {
	var d config.Document
	scope := scopeName(s.settings["cluster_name"])
	common(&d, m, scope)
	controlled, hints := s.controlled()
	set(&d, "bootstrap.dcs.postgresql.parameters", controlled)
	if s.settings["wal_log_hints"] != "on" && s.settings["data_checksums"] != "on" {
		hints = append(hints, "pg_rewind needs wal_log_hints or data checksums: wal_log_hints is switched on at the next restart of PostgreSQL")
		set(&d, "bootstrap.dcs.postgresql.parameters", map[string]any{"wal_log_hints": "on"})
	}
	hints = append(hints, s.address(&d, m)...)
	s.paths(&d, m)
	hints = append(hints, s.users(&d, m)...)
	s.rules(&d)
	parameters := s.parameters()
	if _, given := parameters["unix_socket_directories"]; !given && s.overSocket() {
		parameters["unix_socket_directories"] = s.settings["unix_socket_directories"]
	}
	set(&d, "postgresql.parameters", parameters)
	tags(&d)
	if s.settings["cluster_name"] != scope {
		hints = append(hints, fmt.Sprintf("scope: %q was chosen; change it now if the cluster is to have another name (cluster_name follows at the next restart)", scope))
	}
	if s.standby {
		hints = append(hints, "this server is a standby: start the agent of its primary first")
	}
	return finish(&d, m, "Generated from the PostgreSQL in "+s.settings["data_directory"], map[string]string{
		"scope":                     "the cluster: the same on all of its members",
		"name":                      "this member: different on each of them",
		"bootstrap.dcs":             "written to etcd once, when this server becomes a cluster; afterwards: pgha ctl edit-config",
		"postgresql.authentication": "the same on all members",
	}, hints)
}

// scopeName makes a name for the cluster that no path and no key stumbles over.
func scopeName(clusterName string) string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, clusterName), "-")
	if name == "" {
		return "main"
	}
	if name[0] >= '0' && name[0] <= '9' {
		return "pg-" + name // 15-main: no number to any reader of YAML
	}
	return name
}

// overSocket says whether the connection came through a unix socket.
func (s *server) overSocket() bool { return strings.HasPrefix(s.target.Host, "/") }

// address keeps where the server listens, and says how others come to it.
func (s *server) address(d *config.Document, m Machine) (hints []string) {
	listen, port := s.settings["listen_addresses"], s.settings["port"]
	var addresses []string
	for one := range strings.SplitSeq(listen, ",") {
		if one = strings.TrimSpace(one); one != "" {
			addresses = append(addresses, one)
		}
	}
	if len(addresses) == 0 {
		addresses = []string{"localhost"}
		hints = append(hints, "postgresql.listen: this server has unix sockets only; localhost is listened to after the next restart")
	}
	if slices.Contains(addresses, "*") {
		addresses = []string{"*"}
	}
	set(d, "postgresql.listen", strings.Join(addresses, ",")+":"+port)
	set(d, "postgresql.connect_address", m.Address+":"+port)
	open := slices.ContainsFunc(addresses, func(a string) bool {
		return slices.Contains([]string{"*", "0.0.0.0", "::", m.Name, strings.Trim(m.Address, "[]")}, a)
	})
	if !open {
		hints = append(hints, fmt.Sprintf("postgresql.listen: %s does not cover %s, by which other members come; add it (it takes a restart of PostgreSQL)",
			strings.Join(addresses, ","), m.Address))
	}
	return hints
}

// paths says where data, programs and configuration files are.
func (s *server) paths(d *config.Document, m Machine) {
	dataDir := s.settings["data_directory"]
	set(d, "postgresql.data_dir", dataDir)
	binDir := s.binDir
	if binDir == "" {
		binDir = m.BinDir
	}
	if binDir != "" {
		set(d, "postgresql.bin_dir", binDir)
	}
	if dir := filepath.Dir(s.settings["config_file"]); dir != dataDir {
		set(d, "postgresql.config_dir", dir)
	}
	if base := strings.TrimSuffix(filepath.Base(s.settings["config_file"]), ".conf"); base != "postgresql" {
		set(d, "postgresql.config_base_name", base)
	}
}

// users are those of the connection and of the replication.
func (s *server) users(d *config.Document, m Machine) (hints []string) {
	set(d, "postgresql.authentication.superuser.username", s.target.User)
	if s.target.Password != "" {
		set(d, "postgresql.authentication.superuser.password", s.target.Password)
	}
	if s.overSocket() {
		set(d, "postgresql.use_unix_socket", true)
	}
	replica := s.replica
	if replica == "" {
		replica = "replicator"
	}
	given, isGiven := envValue(m.Environ, "PATRONI_REPLICATION_USERNAME")
	if isGiven {
		replica = given
	}
	set(d, "postgresql.authentication.replication.username", replica)
	_, hasPassword := envValue(m.Environ, "PATRONI_REPLICATION_PASSWORD")
	switch {
	case s.replica == "" && !isGiven:
		hints = append(hints, "there is no role for replication yet: CREATE ROLE replicator LOGIN REPLICATION PASSWORD '...', and write it to postgresql.authentication.replication")
	case !hasPassword:
		hints = append(hints, fmt.Sprintf("postgresql.authentication.replication.password: write the password of %s, if it has one", replica))
	}
	if !slices.ContainsFunc(s.hba, func(line string) bool {
		words := strings.Fields(line)
		return len(words) > 3 && strings.HasPrefix(words[0], "host") && strings.Contains(words[1], "replication") &&
			!slices.Contains([]string{"127.0.0.1/32", "::1/128", "localhost", "samehost"}, words[3])
	}) {
		hints = append(hints, fmt.Sprintf("postgresql.pg_hba: no line lets another machine replicate, e.g. \"host replication %s all scram-sha-256\"", replica))
	}
	return hints
}

// rules takes over pg_hba.conf and pg_ident.conf where they lie in their usual
// place; elsewhere they stay the user's own files.
func (s *server) rules(d *config.Document) {
	dir := filepath.Dir(s.settings["config_file"])
	for _, f := range []struct {
		setting, base, key string
		lines              []string
	}{{"hba_file", "pg_hba.conf", "pg_hba", s.hba}, {"ident_file", "pg_ident.conf", "pg_ident", s.ident}} {
		if path := s.settings[f.setting]; path != filepath.Join(dir, f.base) {
			set(d, "postgresql.parameters", map[string]any{f.setting: path})
			continue
		}
		if len(f.lines) > 0 {
			list := make([]any, len(f.lines))
			for i, line := range f.lines {
				list[i] = line
			}
			set(d, "postgresql."+f.key, list)
		}
	}
}
