package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"pgha/internal/postgres"
)

// RewindOutcome is how pg_rewind ended.
type RewindOutcome string

const (
	// RewindDone: the directory can be started as a standby of the leader.
	RewindDone RewindOutcome = "done"
	// RewindLeaderGone: the leader was not reachable, or no longer a primary;
	// try again later.
	RewindLeaderGone RewindOutcome = "leader unreachable"
	// RewindFailed: with a healthy leader, or the directory is damaged.
	RewindFailed RewindOutcome = "failed"
)

// RewindResult is what a rewind left.
type RewindResult struct {
	Outcome RewindOutcome
	// HalfRewound: files were changed and the rewind did not finish. The
	// directory must be rewound again or replaced; Start refuses it
	// (rulings 58).
	HalfRewound bool
}

// RewindUsable says whether pg_rewind could work here: it is switched on, its
// program runs, and pg_control shows hint logging or checksums. why names the
// first obstacle.
func (s *Server) RewindUsable(ctx context.Context) (usable bool, why string) {
	_, eff, _ := s.values()
	if !eff.UsePgRewind {
		return false, "use_pg_rewind is off"
	}
	data, err := s.ControlData(ctx)
	switch {
	case err != nil:
		return false, err.Error()
	case !data.Usable():
		return false, "the control data is unusable"
	case !data.RewindPossible():
		return false, "neither wal_log_hints nor data checksums are on"
	}
	if _, err := runTool(ctx, tool{path: s.program("pg_rewind"), args: []string{"--help"}, parsed: true}); err != nil {
		return false, err.Error()
	}
	return true, ""
}

// Rewind makes the stopped server's history that of the leader by pg_rewind
// (contract: ha-behaviour.md 16.3). Segments waiting for the archive are
// archived first, a server that did not shut down cleanly is recovered first.
// Whether the leader has had its checkpoint is the caller's to know. The
// error explains every outcome but RewindDone; before pg_rewind has run the
// outcome is empty. Errors: ErrRunning.
func (s *Server) Rewind(ctx context.Context, leader Source) (RewindResult, error) {
	defer s.begin("rewind")()
	what := "rewind from " + leader.label()
	if _, running := s.findPostmaster(); running {
		return RewindResult{}, fmt.Errorf("%s: %w", what, ErrRunning)
	}
	if err := s.clearTree(ctx); err != nil {
		return RewindResult{}, fmt.Errorf("%s: %w", what, err)
	}
	before := s.marked(markRewind)
	data, err := s.ControlData(ctx)
	if err != nil {
		return RewindResult{}, fmt.Errorf("%s: %w", what, err)
	}
	if data.State != postgres.ClusterShutDown && data.State != postgres.ClusterShutDownInRecovery && !before {
		if err := s.CrashRecover(ctx); err != nil && !errors.Is(err, ErrBackupLabel) {
			return RewindResult{}, fmt.Errorf("%s: %w", what, err)
		}
	}
	s.archiveReady(ctx)
	if err := s.setMark(markRewind); err != nil {
		return RewindResult{}, fmt.Errorf("%s: %w", what, err)
	}
	changed, err := s.runRewind(ctx, leader)
	s.forgetSystem()
	if err == nil {
		// pg_rewind has deleted the signal file: the source has none.
		if err = s.writeSignal(); err == nil {
			err = s.clearMark(markRewind)
		}
		if err == nil {
			s.log.Info("pg_rewind finished", "leader", leader.label())
			return RewindResult{Outcome: RewindDone}, nil
		}
	}
	r := RewindResult{Outcome: RewindFailed, HalfRewound: changed || before}
	if !r.HalfRewound {
		if cerr := s.clearMark(markRewind); cerr != nil {
			err = errors.Join(err, cerr)
		}
	}
	if data, derr := s.ControlData(ctx); derr == nil && data.Usable() {
		if lerr := s.LeaderReady(context.WithoutCancel(ctx), leader); lerr != nil {
			r.Outcome = RewindLeaderGone
			err = errors.Join(err, lerr)
		}
	}
	if r.Outcome == RewindLeaderGone {
		s.log.Warn(fmt.Sprintf("Failed to rewind because primary %s become unreachable", leader.label())) // Patroni's words
	} else {
		s.log.Error("Failed to rewind from healthy primary: " + leader.label())
	}
	return r, fmt.Errorf("%s: %w", what, err)
}

// runRewind runs pg_rewind, fetching WAL it misses where it cannot do so
// itself. changed says whether it had begun to change files.
func (s *Server) runRewind(ctx context.Context, leader Source) (changed bool, err error) {
	version, err := s.binaryVersion(ctx)
	if err != nil {
		return false, err
	}
	_, eff, _ := s.values()
	cred := s.rewindCredentials()
	db := leader.Database
	if db == "" {
		db = database(eff)
	}
	env, remove, err := s.toolPassfile(leader, cred)
	if err != nil {
		return false, err
	}
	defer remove()
	restore, err := s.effectiveGUC(ctx, "restore_command")
	if err != nil {
		s.log.Warn("pg_rewind runs without restore_command", "err", err)
	}
	options, rejected := postgres.FilterOptions(postgres.ToolRewind, eff.RewindOptions, version)
	for _, r := range rejected {
		s.log.Error("pg_rewind option is not used", "option", r.Option, "why", r.Reason)
	}
	archive := s.restoreTargetArgs(restore, version)
	source := s.toolConninfo(leader, cred, db, version)
	args := append(archive, "-D", s.dataDir(), "--progress", "--source-server", source)
	args = append(args, options...)
	t := tool{path: s.program("pg_rewind"), args: args, parsed: true, env: append(env, "PGOPTIONS=-c statement_timeout=0"),
		onLine: func(line string) {
			// Printed right before the first file is touched.
			changed = changed || strings.Contains(line, "need to copy") || strings.Contains(line, "creating backup label")
		}}
	s.log.Info("running pg_rewind from " + secretWords.ReplaceAllString(source, "$1=***"))
	fetched := map[string]bool{}
	for {
		res, err := runTool(ctx, t)
		s.log.Info(fmt.Sprintf("pg_rewind exit code=%d", res.code))
		segment := missingSegment(res.stderr + res.stdout)
		if err == nil || restore == "" || len(archive) > 0 || segment == "" || fetched[segment] || ctx.Err() != nil {
			return changed, err
		}
		fetched[segment] = true
		if ferr := s.fetchSegment(ctx, restore, segment); ferr != nil {
			return changed, errors.Join(err, ferr)
		}
	}
}

// restoreTargetArgs let pg_rewind fetch missing WAL itself: 13 and 14 find
// restore_command only in the data directory, 15 is told where it is.
func (s *Server) restoreTargetArgs(restore string, v postgres.Version) []string {
	inside := s.configDir() == s.dataDir()
	switch {
	case restore == "" || !inside && !v.AtLeast(15):
		return nil
	case inside && filepath.Base(s.confFile()) == "postgresql.conf":
		return []string{"--restore-target-wal"}
	case v.AtLeast(15):
		return []string{"--restore-target-wal", "--config-file=" + s.confFile()}
	}
	return nil
}

// secretWords are passwords in a connection string.
var secretWords = regexp.MustCompile(`\b((?:ssl)?password)=(?:'(?:[^'\\]|\\.)*'|\S+)`)

var couldNotOpen = regexp.MustCompile(`could not open file "[^"]*pg_wal/([0-9A-F]{24})"`)

func missingSegment(output string) string {
	if m := couldNotOpen.FindStringSubmatch(output); m != nil {
		return m[1]
	}
	return ""
}

// fetchSegment runs restore_command for one segment, without a shell.
func (s *Server) fetchSegment(ctx context.Context, restore, segment string) error {
	words, err := splitCommand(restore)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", segment, err)
	}
	for i, w := range words {
		words[i] = strings.NewReplacer("%%", "%", "%f", segment, "%p", "pg_wal/"+segment, "%r", segment).Replace(w)
	}
	if _, err := runTool(ctx, tool{path: words[0], args: words[1:], dir: s.dataDir()}); err != nil {
		return fmt.Errorf("fetch %s: %w", segment, err)
	}
	if _, err := os.Stat(filepath.Join(s.dataDir(), "pg_wal", segment)); err != nil {
		return fmt.Errorf("fetch %s: restore_command ended well but brought nothing", segment)
	}
	return nil
}
