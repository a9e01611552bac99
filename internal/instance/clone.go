package instance

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

const (
	cloneTries = 2
	cloneRetry = 5 * time.Second // between two tries
)

// BaseBackup replaces the data directory by a copy of the source's, made with
// pg_basebackup and the replication user (contract: ha-behaviour.md 3.4). The
// old directory is removed before each of two tries and after the last
// failure or a cancellation. The copy carries standby.signal from the start,
// so that no accident can make it a primary. progress, when not nil, receives
// bytes copied and their estimated total, about once a second, from another
// goroutine. Errors: ErrRunning.
func (s *Server) BaseBackup(ctx context.Context, from Source, progress func(done, total int64)) error {
	return s.clone(ctx, "clone from "+from.label(), false, func() error {
		return s.retryClone(ctx, func() error { return s.runBaseBackup(ctx, from, progress) })
	})
}

// clone frames every way of making a copy.
func (s *Server) clone(ctx context.Context, what string, keepData bool, run func() error) error {
	defer s.begin(what)()
	if _, running := s.findPostmaster(); running {
		return fmt.Errorf("%s: %w", what, ErrRunning)
	}
	s.closeSessions()
	s.mu.Lock()
	s.setState(postgres.StateCreatingReplica)
	s.role = postgres.RoleReplica
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.setState(postgres.StateStopped)
		s.mu.Unlock()
	}()
	s.forgetSystem()
	err := s.clearTree(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err = s.setMark(markClone); err == nil {
		err = run()
	}
	if err == nil {
		err = s.finishClone()
	}
	if err == nil {
		s.log.Info("cloned", "what", what)
		return nil
	}
	if !keepData {
		if rerr := s.RemoveDataDir(); rerr != nil {
			s.log.Error("what the failed clone left cannot be removed", "err", rerr)
		} else {
			s.SetRole(postgres.RoleUninitialized)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s *Server) retryClone(ctx context.Context, try func() error) error {
	var err error
	for n := 1; ; n++ {
		if err = s.RemoveDataDir(); err != nil {
			return err
		}
		if err = s.setMark(markClone); err != nil {
			return err
		}
		if err = try(); err == nil || n == cloneTries || ctx.Err() != nil {
			return err
		}
		s.log.Warn("base backup failed, trying again", "err", err)
		if !pause(ctx, cloneRetry) {
			return err
		}
	}
}

func (s *Server) runBaseBackup(ctx context.Context, from Source, progress func(done, total int64)) error {
	l, eff, _ := s.values()
	version, err := s.binaryVersion(ctx)
	if err != nil {
		return err
	}
	options, rejected := postgres.FilterOptions(postgres.ToolBaseBackup, eff.BaseBackupOptions, version)
	for _, r := range rejected {
		s.log.Error("base backup option is not used", "option", r.Option, "why", r.Reason)
	}
	args := []string{"--pgdata=" + s.dataDir(), "-X", "stream", "--no-password", "--dbname=" + s.toolConninfo(from, l.PostgreSQL.Replication, "", version)}
	// A spread checkpoint on the source would hold the clone back for minutes.
	if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "--checkpoint") }) {
		args = append(args, "--checkpoint=fast")
	}
	t := tool{path: s.program("pg_basebackup"), parsed: true}
	if progress != nil {
		args = append(args, "--progress")
		t.onLine = func(line string) { reportProgress(line, progress) }
	}
	t.args = append(args, options...)
	env, remove, err := s.toolPassfile(from, l.PostgreSQL.Replication)
	if err != nil {
		return err
	}
	defer remove()
	t.env = env
	_, err = runTool(ctx, t)
	return err
}

// toolConninfo is a connection string for PostgreSQL's programs, without
// password.
func (s *Server) toolConninfo(src Source, cred config.Credentials, dbname string, v postgres.Version) string {
	l, _, _ := s.values()
	kvs := slices.DeleteFunc(s.keywords(src, cred, dbname), func(kv postgres.KV) bool { return !postgres.KeywordKnown(kv.Key, v) })
	return postgres.FormatConninfo(append(kvs, postgres.KV{Key: "application_name", Value: l.Name}))
}

// progressLine is what pg_basebackup --progress prints: "  1234/56789 kB (2%), 0/1 tablespace".
var progressLine = regexp.MustCompile(`^\s*(\d+)/(\d+) kB \(`)

func reportProgress(line string, progress func(done, total int64)) {
	m := progressLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	done, err1 := strconv.ParseInt(m[1], 10, 64)
	total, err2 := strconv.ParseInt(m[2], 10, 64)
	if err1 == nil && err2 == nil {
		progress(done<<10, total<<10)
	}
}

// finishClone makes a copy ready to be started as a standby.
func (s *Server) finishClone() error {
	if err := s.restoreConfig(); err != nil {
		return err
	}
	if err := s.writeSignal(); err != nil {
		return err
	}
	s.forgetSystem()
	return s.clearMarks()
}

// CloneBy replaces the data directory by what a configured method makes
// (contract: ha-behaviour.md 3.4, "custom"). from is nil for methods that
// need no source. With keep_data the old directory is left to the method, and
// is not removed after a failure. Errors: ErrRunning.
func (s *Server) CloneBy(ctx context.Context, method string, from *Source) error {
	_, eff, _ := s.values()
	section := eff.Methods[method]
	keep := truthy(section["keep_data"])
	return s.clone(ctx, "clone by "+method, keep, func() error { return s.runMethod(ctx, method, section, keep, from) })
}

func (s *Server) runMethod(ctx context.Context, method string, section map[string]any, keep bool, from *Source) error {
	if !keep {
		if err := s.RemoveDataDir(); err != nil {
			return err
		}
		if err := s.setMark(markClone); err != nil {
			return err
		}
	}
	command, _ := section["command"].(string)
	if command == "" {
		command = method
	}
	args, err := splitCommand(command)
	if err != nil {
		return fmt.Errorf("command of %s: %w", method, err)
	}
	l, _, _ := s.values()
	version, err := s.binaryVersion(ctx)
	if err != nil {
		return err
	}
	var env []string
	conn := ""
	if from != nil {
		conn = s.toolConninfo(*from, l.PostgreSQL.Replication, from.Database, version)
		var remove func()
		if env, remove, err = s.toolPassfile(*from, l.PostgreSQL.Replication); err != nil {
			return err
		}
		defer remove()
	}
	args = append(args, methodArgs(section, truthy(section["no_params"]))...)
	if !truthy(section["no_params"]) {
		args = append(args, "--scope="+l.Scope, "--role=replica", "--datadir="+s.dataDir(), "--connstring="+conn)
	}
	if _, err := runTool(ctx, tool{path: args[0], args: args[1:], env: env}); err != nil {
		return err
	}
	if state, err := inspectDataDir(s.dataDir()); err != nil || state != DataDirPresent {
		return errors.Join(fmt.Errorf("%s ended well but made no data directory", method), err)
	}
	return nil
}

// methodArgs are a method's own keys as --key=value.
func methodArgs(section map[string]any, noParams bool) []string {
	var args []string
	for _, k := range sortedKeys(section) {
		if k == "command" || noParams && (k == "no_params" || k == "no_leader" || k == "keep_data") {
			continue
		}
		args = append(args, fmt.Sprintf("--%s=%v", k, section[k]))
	}
	return args
}

// truthy judges a YAML value the way the reference does.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		b, ok := postgres.ParseBool(v)
		return v != "" && (b || !ok)
	case int:
		return v != 0
	}
	return true
}
