package instance

import (
	"context"
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

// clone frames every way of making a copy. What a failed one left is removed.
func (s *Server) clone(ctx context.Context, what string, run func() error) error {
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
	if rerr := s.RemoveDataDir(); rerr != nil {
		s.log.Error("what the failed clone left cannot be removed", "err", rerr)
	} else {
		s.SetRole(postgres.RoleUninitialized)
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
