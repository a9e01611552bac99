package demo

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// places are PostgreSQL's server programs on Debian, on RHEL with PGDG, and
// (no version in the path) with the distribution's own package.
var places = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/bin"}

// needed are the programs that a member runs.
var needed = []string{"postgres", "initdb", "pg_basebackup", "pg_rewind", "pg_controldata"}

// findPostgreSQL returns the directory of the newest PostgreSQL on this machine.
func findPostgreSQL() (string, error) {
	for _, place := range places {
		dirs, _ := filepath.Glob(place)
		slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
		for _, dir := range dirs {
			if missingIn(dir) == "" {
				return dir, nil
			}
		}
	}
	return "", setupErrorf("no PostgreSQL server found: install postgresql (Debian), or postgresql-server and postgresql-contrib (RHEL; PGDG: postgresqlNN-server, postgresqlNN-contrib), or pass --bin-dir")
}

// missingIn is the first program that is not in dir, or "".
func missingIn(dir string) string {
	for _, program := range needed {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return program
		}
	}
	return ""
}

// version is the number in a path such as /usr/pgsql-17/bin; 0: none.
func version(dir string) int {
	digits := ""
	for _, c := range filepath.Dir(dir) {
		if c >= '0' && c <= '9' {
			digits += string(c)
		}
	}
	n, _ := strconv.Atoi(digits)
	return n
}
