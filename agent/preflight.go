package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"pgha/internal/config"
)

// preflight checks what would fail later in a less clear way. It changes
// nothing, on disk or in etcd.
func preflight(local *config.Local) error {
	if err := local.CheckAgent(); err != nil {
		return &ExitError{Code: exitConfig, Err: err}
	}
	for _, check := range []func(*config.Local) error{checkNotRoot, checkBinaries, checkDataDir} {
		if err := check(local); err != nil {
			return err
		}
	}
	return nil
}

func checkNotRoot(local *config.Local) error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner := "the user that owns " + local.PostgreSQL.DataDir + " (usually postgres)"
	if info, err := os.Stat(local.PostgreSQL.DataDir); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			if u, err := user.LookupId(strconv.Itoa(int(st.Uid))); err == nil {
				owner = u.Username + ", who owns " + local.PostgreSQL.DataDir
			}
		}
	}
	return &ExitError{Code: exitConfig, Err: errors.New("the agent does not run as root: PostgreSQL refuses it"),
		Remedy: "run it as " + owner + ", e.g. `runuser -u postgres -- pgha agent -c FILE`"}
}

// needed are the programs that every member uses (contract: config.md 7).
var needed = []string{"postgres", "initdb", "pg_controldata", "pg_basebackup"}

func checkBinaries(local *config.Local) error {
	eff := config.Merge(local, config.DefaultDynamic(), config.ServerFacts{})
	for _, program := range needed {
		name := program
		if n := eff.BinName[program]; n != "" {
			name = n
		}
		if eff.BinDir == "" {
			if _, err := exec.LookPath(name); err != nil {
				return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.bin_dir is not set and %s is not in PATH", name),
					Remedy: "set postgresql.bin_dir, e.g. /usr/lib/postgresql/17/bin (Debian) or /usr/pgsql-17/bin (RHEL)"}
			}
			continue
		}
		path := filepath.Join(eff.BinDir, name)
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.bin_dir: %s: no program %s there", eff.BinDir, name),
				Remedy: "set postgresql.bin_dir to where PostgreSQL's programs are, e.g. /usr/lib/postgresql/17/bin (Debian) or /usr/pgsql-17/bin (RHEL)"}
		case info.Mode()&0o111 == 0:
			return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.bin_dir: %s is not executable", path)}
		}
	}
	return nil
}

// checkDataDir: PostgreSQL accepts only a directory of its own user, closed to others.
func checkDataDir(local *config.Local) error {
	dir := local.PostgreSQL.DataDir
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return checkParent(dir)
	}
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.data_dir: %w", err)}
	}
	if !info.IsDir() {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.data_dir: %s is not a directory", dir)}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.data_dir: %s belongs to user id %d, the agent runs as %d", dir, st.Uid, os.Geteuid()),
			Remedy: "run the agent as the owner of the data directory, or chown it"}
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.data_dir: %s has mode %04o, PostgreSQL wants 0700 or 0750", dir, mode),
			Remedy: "chmod 0700 " + dir}
	}
	return nil
}

// checkParent: a data directory that is to be made needs somewhere to be made in.
func checkParent(dir string) error {
	parent := filepath.Dir(dir)
	for {
		info, err := os.Stat(parent)
		if err == nil {
			if !info.IsDir() {
				return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.data_dir: %s cannot be made: %s is not a directory", dir, parent)}
			}
			if syscall.Access(parent, 2 /* W_OK */) != nil {
				return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.data_dir: %s does not exist and cannot be made: no write permission in %s", dir, parent),
					Remedy: "make it and give it to the agent's user"}
			}
			return nil
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
		parent = filepath.Dir(parent)
	}
}

// lockStateDir makes the state directory and holds its lock: one agent a data
// directory (rulings 15).
func lockStateDir(local *config.Local) (*os.File, error) {
	dir := local.Pgha.StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &ExitError{Code: exitConfig, Err: fmt.Errorf("pgha.state_dir: %w", err), Remedy: "set pgha.state_dir to a directory the agent may write to"}
	}
	path := filepath.Join(dir, "agent.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &ExitError{Code: exitConfig, Err: fmt.Errorf("pgha.state_dir: %w", err)}
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		return nil, &ExitError{Code: exitRefused, Err: fmt.Errorf("another agent (pid %s) runs on this data directory: %s is locked", orUnknown(string(holder)), path),
			Remedy: "stop the other agent first"}
	}
	f.Truncate(0)
	f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	return f, nil
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
