package generate

import (
	"path/filepath"
	"strings"

	"pgha/internal/config"
)

// Sample is a file for the first member of a new cluster, with passwords made
// for it.
func Sample(m Machine) Result {
	var d config.Document
	var hints []string
	common(&d, m, "main")
	set(&d, "bootstrap.dcs.postgresql.pg_hba", []any{
		"local all postgres peer", "host replication replicator all scram-sha-256", "host all all all scram-sha-256",
	})
	set(&d, "bootstrap.dcs.postgresql.parameters", map[string]any{"max_connections": 100, "password_encryption": "scram-sha-256"})
	set(&d, "bootstrap.initdb", []any{map[string]any{"encoding": "UTF8"}, "data-checksums"})

	set(&d, "postgresql.listen", m.Address+",127.0.0.1:5432")
	set(&d, "postgresql.connect_address", m.Address+":5432")
	set(&d, "postgresql.data_dir", dataDirFor(m.BinDir))
	if m.BinDir != "" {
		set(&d, "postgresql.bin_dir", m.BinDir)
	} else {
		hints = append(hints, "postgresql.bin_dir: no PostgreSQL was found here; say where its programs are, unless they are in PATH")
	}
	set(&d, "postgresql.authentication.superuser.username", "postgres")
	set(&d, "postgresql.authentication.superuser.password", password())
	set(&d, "postgresql.authentication.replication.username", "replicator")
	set(&d, "postgresql.authentication.replication.password", password())
	tags(&d)
	return finish(&d, m, "Sample for the first member of a new cluster, written", map[string]string{
		"scope":                     "the cluster: the same on all of its members",
		"name":                      "this member: different on each of them",
		"bootstrap.dcs":             "read once, when the cluster is made; afterwards: pgha ctl edit-config",
		"postgresql.authentication": "the same on all members; the passwords were made for this file",
	}, hints)
}

// dataDirFor is where the packages put the data: Debian's and RHEL's own ways.
func dataDirFor(binDir string) string {
	release := filepath.Base(filepath.Dir(binDir))
	if number, ok := strings.CutPrefix(release, "pgsql-"); ok {
		return "/var/lib/pgsql/" + number + "/data"
	}
	if strings.HasPrefix(binDir, "/usr/lib/postgresql/") {
		return "/var/lib/postgresql/" + release + "/main"
	}
	return "/var/lib/postgresql/data"
}
