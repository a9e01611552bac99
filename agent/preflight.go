package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// preflight checks what would fail later in a less clear way. It changes
// nothing, on disk or in etcd.
func preflight(local *config.Local) error {
	if err := local.CheckAgent(); err != nil {
		return &ExitError{Code: exitConfig, Err: err}
	}
	for _, check := range []func(*config.Local) error{checkNotRoot, checkBinaries, checkVersion, checkDataDir, checkTLSFiles, checkSupported} {
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

// checkVersion refuses a PostgreSQL that is too old (rulings 32), or of another
// major version than the data.
func checkVersion(local *config.Local) error {
	eff := config.Merge(local, config.DefaultDynamic(), config.ServerFacts{})
	program := "postgres"
	if n := eff.BinName[program]; n != "" {
		program = n
	}
	path := filepath.Join(eff.BinDir, program)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.bin_dir: run %s --version: %w", path, err)}
	}
	version, err := postgres.ParseServerVersion(string(out))
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.bin_dir: %s --version: %w", path, err)}
	}
	if version < postgres.OldestSupported {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.bin_dir: %s is PostgreSQL %s, the oldest supported is %d", path, version, postgres.OldestSupported.Major()),
			Remedy: "point postgresql.bin_dir at a newer PostgreSQL; the data needs pg_upgrade"}
	}
	text, err := os.ReadFile(filepath.Join(local.PostgreSQL.DataDir, "PG_VERSION"))
	if err != nil {
		return nil // no data, or not to be read: checkDataDir says so
	}
	if data, err := postgres.ParsePGVersionFile(string(text)); err == nil && data.Major() != version.Major() {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("postgresql.bin_dir: %s is PostgreSQL %s, but %s holds data of PostgreSQL %d", path, version, local.PostgreSQL.DataDir, data.Major()),
			Remedy: fmt.Sprintf("point postgresql.bin_dir at PostgreSQL %d", data.Major())}
	}
	return nil
}

// checkTLSFiles reads what etcd3 and restapi name.
func checkTLSFiles(local *config.Local) error {
	for _, f := range []struct{ key, path string }{
		{"etcd3.cacert", local.Etcd3.CACert}, {"etcd3.cert", local.Etcd3.Cert}, {"etcd3.key", local.Etcd3.Key},
		{"restapi.certfile", local.RestAPI.CertFile}, {"restapi.keyfile", local.RestAPI.KeyFile}, {"restapi.cafile", local.RestAPI.CAFile},
	} {
		if f.path == "" {
			continue
		}
		file, err := os.Open(f.path)
		if err != nil {
			return &ExitError{Code: exitConfig, Err: fmt.Errorf("%s: %w", f.key, err), Remedy: "the agent's user must be able to read it"}
		}
		file.Close()
	}
	return nil
}

// checkSupported refuses a bootstrap.dcs that asks for what pgha cannot do
// (rulings 26). Once there is a dynamic configuration, it is what counts.
func checkSupported(local *config.Local) error {
	if _, err := os.Stat(filepath.Join(local.PostgreSQL.DataDir, cacheFile)); err == nil {
		return nil
	}
	dyn, err := config.ParseDynamic(config.InitialDynamic(local), nil)
	if err != nil || len(dyn.Unsupported) == 0 {
		return nil // what cannot be read is reported, and not used
	}
	u := dyn.Unsupported[0]
	return &ExitError{Code: exitConfig, Err: fmt.Errorf("%s: bootstrap.dcs.%s: %s", local.Path, u.Path, u.Message), Remedy: u.Remedy}
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

// takeStateDir holds the lock of the state directory: one agent a data
// directory (rulings 15). Another agent there explains itself better than its
// port in use; a new directory is made only when nothing else is wrong.
func takeStateDir(local *config.Local) (*os.File, error) {
	lock, err := lockStateDir(local, false)
	if err != nil {
		return nil, err
	}
	if err := checkAddresses(local); err != nil {
		if lock != nil {
			lock.Close()
		}
		return nil, err
	}
	if lock != nil {
		return lock, nil
	}
	return lockStateDir(local, true)
}

// lockStateDir locks the state directory. Without create, no file is returned
// when it was not there before.
func lockStateDir(local *config.Local, create bool) (*os.File, error) {
	dir := local.Pgha.StateDir
	if _, err := os.Stat(filepath.Join(dir, "agent.lock")); err != nil && !create {
		return nil, nil
	}
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
