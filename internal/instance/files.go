package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// ErrNoDataDir is returned when files belong into a data directory that is
// not there: nothing is written into what may be an unmounted mount point
// (pitfalls 108).
var ErrNoDataDir = errors.New("there is no initialised data directory")

// WriteFiles brings postgresql.conf, pg_hba.conf and pg_ident.conf in line
// with the configuration and the recovery parameters in force. changed says
// that at least one of them differed. It reloads nothing.
func (s *Server) WriteFiles(ctx context.Context) (changed bool, err error) {
	if _, err := os.Stat(filepath.Join(s.dataDir(), "PG_VERSION")); err != nil {
		return false, fmt.Errorf("write configuration files: %w", ErrNoDataDir)
	}
	version, err := s.Version(ctx)
	if err != nil {
		return false, fmt.Errorf("write configuration files: %w", err)
	}
	if err := s.setBaseAside(); err != nil {
		return false, err
	}
	_, eff, _ := s.values()
	params := s.parameters()
	custom, temporaryHBA := s.customNow(), ""
	if custom != nil {
		temporaryHBA = s.customFiles(ctx, params)
	}
	s.mu.Lock()
	recovery := s.recovery
	s.mu.Unlock()
	conf := s.accepted(ctx, postgres.RenderInput{
		Version: version, CustomConf: eff.CustomConf, BaseName: eff.ConfigBaseName,
		Parameters: params, Recovery: recovery,
		HbaFile: s.configPath("pg_hba.conf"), IdentFile: s.configPath("pg_ident.conf"),
	})
	if changed, err = s.writeConfig(s.confFile(), conf); err != nil {
		return false, err
	}
	if custom == nil || !custom.keepRecovery {
		if err := s.cleanAutoConf(); err != nil {
			return changed, err
		}
	}
	if custom != nil {
		_, err := s.writeConfig(s.configPath("pg_hba.conf"), temporaryHBA)
		return true, err
	}
	for _, f := range s.ruleFiles() {
		if f.content == "" || s.rulesRefused(f) {
			continue
		}
		c, err := s.writeConfig(f.path, f.content)
		if err != nil {
			return changed, err
		}
		changed = changed || c
	}
	return changed, nil
}

// parameters are the effective ones, names in lower case as PostgreSQL knows
// no others, completed by what only the local layer can say.
func (s *Server) parameters() map[string]string {
	l, eff, _ := s.values()
	out := make(map[string]string, len(eff.Parameters)+4)
	for k, v := range eff.Parameters {
		if l := strings.ToLower(k); postgres.IsControlledGUC(l) {
			k = l
		}
		out[k] = v
	}
	fill := func(k, v string) {
		if out[k] == "" && v != "" {
			out[k] = v
		}
	}
	fill("listen_addresses", l.PostgreSQL.Listen)
	if l.PostgreSQL.Port != 0 {
		fill("port", strconv.Itoa(l.PostgreSQL.Port))
	}
	fill("cluster_name", l.Scope)
	fill("hot_standby", "on")
	return out
}

func (s *Server) configPath(name string) string { return filepath.Join(s.configDir(), name) }

// customFile says whether the user keeps hba_file or ident_file elsewhere. A
// value equal to the default path is not custom.
func (s *Server) customFile(guc, name string) bool {
	v := s.parameters()[guc]
	if v == "" {
		return false
	}
	if !filepath.IsAbs(v) {
		v = filepath.Join(s.configDir(), v)
	}
	return filepath.Clean(v) != s.configPath(name)
}

// setBaseAside renames the existing configuration to the base file the first
// time, so that its settings stay in force below ours.
func (s *Server) setBaseAside() error {
	_, eff, _ := s.values()
	if eff.CustomConf != "" {
		return nil
	}
	conf, base := s.confFile(), s.baseConfFile()
	if _, err := os.Lstat(base); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.Rename(conf, base)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(base, nil, s.fileMode(base))
	}
	if err != nil {
		return fmt.Errorf("set %s aside as the base configuration: %w", conf, err)
	}
	return nil
}

func (s *Server) baseConfFile() string {
	return strings.TrimSuffix(s.confFile(), ".conf") + ".base.conf"
}

// fileMode is the mode for a configuration file: inside the data directory as
// the directory's group permission says, outside by the umask (pitfalls 158).
func (s *Server) fileMode(name string) os.FileMode {
	dir := s.dataDir()
	if rel, err := filepath.Rel(dir, name); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return 0o666
	}
	if fi, err := os.Stat(dir); err == nil && fi.Mode().Perm()&0o050 == 0o050 {
		return 0o640
	}
	return 0o600
}

// writeConfig replaces a file unless it has the content already.
func (s *Server) writeConfig(name, content string) (changed bool, err error) {
	old, err := readFileIfThere(name)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	if old != nil && string(old) == content {
		return false, nil
	}
	return true, writeFile(name, content, s.fileMode(name))
}

// writeFile replaces a file atomically. Modes below 0666 are exact, whatever
// the old file had (libpq ignores a password file that others may read); 0666
// follows the umask, and an existing file keeps its mode. A symbolic link
// stays one: its target is replaced.
func writeFile(name, content string, mode os.FileMode) error {
	if to, err := filepath.EvalSymlinks(name); err == nil {
		name = to
	}
	opts := []renameio.Option{renameio.WithStaticPermissions(mode)}
	if mode == 0o666 {
		opts = []renameio.Option{renameio.WithPermissions(mode), renameio.WithExistingPermissions()}
	}
	f, err := renameio.NewPendingFile(name, opts...)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer f.Cleanup()
	if _, err := f.WriteString(content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// cleanAutoConf removes recovery parameters from postgresql.auto.conf, which
// would win over ours (pitfalls 160).
func (s *Server) cleanAutoConf() error {
	name := filepath.Join(s.dataDir(), "postgresql.auto.conf")
	b, err := readFileIfThere(name)
	if err != nil || b == nil {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(b)) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		word, _, _ = strings.Cut(strings.TrimSpace(word), " ")
		if postgres.IsRecoveryGUC(word) {
			s.log.Info("removing a recovery parameter from postgresql.auto.conf", "parameter", word)
			continue
		}
		kept.WriteString(line)
	}
	if kept.Len() == len(b) {
		return nil
	}
	return writeFile(name, kept.String(), s.fileMode(name))
}

// savedFiles are the configuration files kept as <name>.backup in the data
// directory, so that a clone of it brings them along (contract: config.md 5.6).
func (s *Server) savedFiles() []string {
	_, eff, _ := s.values()
	files := []string{s.confFile()}
	if eff.CustomConf == "" {
		files = append(files, s.baseConfFile())
	}
	for guc, name := range map[string]string{"hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"} {
		if !s.customFile(guc, name) {
			files = append(files, s.configPath(name))
		}
	}
	return files
}

// saveConfig copies the configuration files after a successful start. A
// failure is no reason to fail the start. The temporary rules of a custom
// bootstrap are not for keeping.
func (s *Server) saveConfig() {
	if s.customNow() != nil {
		return
	}
	for _, f := range s.savedFiles() {
		b, err := readFileIfThere(f)
		if err != nil || b == nil {
			continue
		}
		backup := filepath.Join(s.dataDir(), filepath.Base(f)+".backup")
		if old, err := os.ReadFile(backup); err == nil && string(old) == string(b) {
			continue
		}
		if err := writeFile(backup, string(b), s.fileMode(backup)); err != nil {
			s.log.Warn("configuration backup", "file", f, "err", err)
		}
	}
}

// restoreConfig brings back configuration files missing after a clone; a
// pg_ident.conf without backup is created empty.
func (s *Server) restoreConfig() error {
	for _, f := range s.savedFiles() {
		if _, err := os.Stat(f); err == nil {
			continue
		}
		b, err := readFileIfThere(filepath.Join(s.dataDir(), filepath.Base(f)+".backup"))
		if err != nil {
			return fmt.Errorf("restore %s: %w", f, err)
		}
		if b == nil && filepath.Base(f) != "pg_ident.conf" {
			continue
		}
		if err := writeFile(f, string(b), s.fileMode(f)); err != nil {
			return fmt.Errorf("restore %s: %w", f, err)
		}
	}
	return nil
}

// writePgpass writes the file named by postgresql.pgpass, which
// primary_conninfo refers to; without a password no file is written.
func (s *Server) writePgpass(content string) error {
	l, _, _ := s.values()
	if content == "" {
		return nil
	}
	if old, err := os.ReadFile(l.PostgreSQL.PgPass); err == nil && string(old) == content {
		return nil
	}
	return writeFile(l.PostgreSQL.PgPass, content, 0o600)
}

// toolPassfile writes a pgpass file for one run of a tool and returns the
// environment entry for it. It is a file of its own, not postgresql.pgpass: a
// running standby reads that one whenever it reconnects.
func (s *Server) toolPassfile(src Source, cred config.Credentials) (env []string, remove func(), err error) {
	content := postgres.PgpassLines(src.Host, src.Port, cred.Username, cred.Password.Reveal())
	if content == "" {
		return nil, func() {}, nil
	}
	f, err := os.CreateTemp("", "pgha-pgpass-")
	if err != nil {
		return nil, nil, fmt.Errorf("write a pgpass file: %w", err)
	}
	remove = func() { _ = os.Remove(f.Name()) }
	_, err = f.WriteString(content) // CreateTemp made it 0600
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("write a pgpass file: %w", err)
	}
	return []string{"PGPASSFILE=" + f.Name()}, remove, nil
}

// writeSignal makes the next start a standby and leaves no other signal.
func (s *Server) writeSignal() error {
	dir := s.dataDir()
	name := filepath.Join(dir, "standby.signal")
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		if err := writeFile(name, "", s.fileMode(name)); err != nil {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(dir, "recovery.signal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove recovery.signal: %w", err)
	}
	return removeTrigger(dir)
}

// removeTrigger deletes a promote file left by a promotion that never
// happened: the next standby would promote itself, beside the lease.
func removeTrigger(dir string) error {
	if err := os.Remove(filepath.Join(dir, "promote")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a left-over promote file: %w", err)
	}
	return nil
}

// syncDir makes a new directory entry survive a power cut: a lost
// standby.signal would turn a standby into a second primary.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
