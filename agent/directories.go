package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pgha/internal/config"
)

// checkDirectories makes the directories that PostgreSQL and the password file
// need, and says which one cannot be written to (config contract 6.4, 4.1).
// Those inside a data directory that is still empty come with it.
func checkDirectories(local *config.Local, eff config.Effective) error {
	dataDir := filepath.Clean(local.PostgreSQL.DataDir)
	_, err := os.Stat(filepath.Join(dataDir, "PG_VERSION"))
	empty := errors.Is(err, fs.ErrNotExist)
	for _, guc := range []string{"unix_socket_directories", "stats_temp_directory"} {
		for dir := range strings.SplitSeq(eff.Parameters[guc], ",") {
			dir = strings.Trim(strings.TrimSpace(dir), `"`)
			if dir == "" || strings.HasPrefix(dir, "@") { // abstract: no file
				continue
			}
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(dataDir, dir)
			}
			if rel, err := filepath.Rel(dataDir, dir); empty && err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
				continue
			}
			if err := writableDirectory("postgresql.parameters."+guc, dir); err != nil {
				return err
			}
		}
	}
	pgpass := local.PostgreSQL.PgPass
	if info, err := os.Stat(pgpass); err == nil && !info.Mode().IsRegular() {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.pgpass: %s is not a file", pgpass),
			Remedy: "name a file that the agent may write, or remove what is there"}
	}
	if eff.KrbSrvName != "" {
		return nil // Kerberos needs no password file
	}
	return writableDirectory("postgresql.pgpass", filepath.Dir(pgpass))
}

// writableDirectory makes a directory if need be.
func writableDirectory(key, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("%s: %w", key, err), Remedy: "make the directory and give it to the agent's user"}
	}
	if syscall.Access(dir, 2|1 /* W_OK, X_OK */) != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("%s: %s cannot be written to", key, dir), Remedy: "give the directory to the agent's user"}
	}
	return nil
}
