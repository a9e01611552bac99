package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pgha/internal/postgres"
)

// ErrBackupLabel: the directory is a base backup that was never started;
// single-user recovery refuses it from 15 on (pitfalls 96).
var ErrBackupLabel = errors.New("the data directory has a backup_label")

// CrashRecover finishes the crash recovery of a stopped server in single-user
// mode, which accepts no client (contract: ha-behaviour.md 5.2). Segments
// waiting for the archive are archived first. The directory of a standby is
// thereby made useless for anything but a rewind, and is marked so. When ctx
// ends the server is terminated. Errors: ErrRunning, ErrBackupLabel.
func (s *Server) CrashRecover(ctx context.Context) error {
	defer s.begin("crash recovery")()
	const what = "crash recovery in single-user mode"
	dir := s.dataDir()
	if _, running := s.findPostmaster(); running {
		return fmt.Errorf("%s: %w", what, ErrRunning)
	}
	if v, err := s.Version(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	} else if _, err := os.Stat(filepath.Join(dir, "backup_label")); err == nil && v.AtLeast(15) {
		return fmt.Errorf("%s: %w", what, ErrBackupLabel)
	}
	if err := s.clearTree(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.archiveReady(ctx)
	if err := s.clearArchiveStatus(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	opts, err := readFileIfThere(filepath.Join(dir, "postmaster.opts"))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := s.giveUpStandby(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	args := postgres.SingleUserArgs(string(opts), dir)
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "config_file=") }) {
		args = slices.Insert(args, 1, "-c", "config_file="+s.confFile())
	}
	s.log.Info("doing crash recovery in a single user mode")
	_, err = runTool(ctx, tool{path: s.program("postgres"), args: args, dir: dir, parsed: true})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// giveUpStandby makes the next start one without recovery. A standby that
// loses its signal file is marked first: started as it is, it would be a
// primary with a history of its own.
func (s *Server) giveUpStandby() error {
	standby, err := inRecoveryByFiles(s.dataDir())
	if err != nil {
		return err
	}
	if standby {
		if err := s.setMark(markRewind); err != nil {
			return err
		}
	}
	return s.dropRecoveryFiles()
}

// dropRecoveryFiles deletes the signal files and forgets the parameters that
// go with them.
func (s *Server) dropRecoveryFiles() error {
	for _, f := range recoveryFiles {
		if err := os.Remove(filepath.Join(s.dataDir(), f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", f, err)
		}
	}
	s.setRecovery(nil)
	return nil
}

// archiveReady hands the segments that wait for the archive to
// archive_command, through a shell as the server does (pitfalls 121).
// Failures are logged: they must not keep a node out of the cluster.
func (s *Server) archiveReady(ctx context.Context) {
	status := filepath.Join(s.dataDir(), "pg_wal", "archive_status")
	ready, _ := filepath.Glob(filepath.Join(status, "*.ready"))
	if len(ready) == 0 {
		return
	}
	mode, err := s.effectiveGUC(ctx, "archive_mode")
	if err != nil || mode != "on" && mode != "always" {
		if err != nil {
			s.log.Warn("segments waiting for the archive are left", "count", len(ready), "err", err)
		}
		return
	}
	command, err := s.effectiveGUC(ctx, "archive_command")
	if err != nil || command == "" {
		s.log.Warn("segments waiting for the archive are left: no archive_command", "count", len(ready), "err", err)
		return
	}
	slices.Sort(ready)
	for _, file := range ready {
		segment := strings.TrimSuffix(filepath.Base(file), ".ready")
		line := strings.NewReplacer("%%", "%", "%f", segment, "%p", "pg_wal/"+segment).Replace(command)
		if _, err := runTool(ctx, tool{path: "/bin/sh", args: []string{"-c", line}, dir: s.dataDir()}); err != nil {
			s.log.Warn("archive a segment", "segment", segment, "err", err)
			continue
		}
		if err := os.Rename(file, strings.TrimSuffix(file, ".ready")+".done"); err != nil {
			s.log.Warn("note an archived segment", "segment", segment, "err", err)
		}
	}
}

// clearArchiveStatus removes the archiver's notes, so that single-user
// recovery does not offer segments of a history that may be given up.
func (s *Server) clearArchiveStatus() error {
	status := filepath.Join(s.dataDir(), "pg_wal", "archive_status")
	entries, err := os.ReadDir(status)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", status, err)
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(status, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clear %s: %w", status, err)
		}
	}
	return nil
}
