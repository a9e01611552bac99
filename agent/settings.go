package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"pgha/agent/ha"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/instance"
)

// cacheFile is where the last dynamic configuration is kept (contract:
// config.md 1.3), inside the data directory.
const cacheFile = "patroni.dynamic.json"

// settings is the production SettingsSource: the local configuration and the
// dynamic one, merged, and PostgreSQL kept in line with both.
type settings struct {
	inst *instance.Server
	log  *slog.Logger

	mu       sync.Mutex
	local    *config.Local
	document config.Document
	order    config.Document // the last one that was accepted: how what is in force is written
	revision dcs.Revision    // of the key /config that document came from; 0: none
	dynamic  config.Dynamic
	current  ha.Settings
	eff      config.Effective
	reload   bool // a reload was asked for: rewrite and signal even without changes
	dirty    bool // Apply has something to do
	byRole   bool // only because the role has changed: no on_reload besides on_role_change
	said     map[string]bool
	reloaded func() // PostgreSQL has read a changed configuration; set once, before the loop runs
	facts    config.ServerFacts
	fixed    *config.Effective // what held when the loop began; nil before
	refused  string            // why the document read last is not in force; empty: it is
	barred   string            // the unsupported setting that was reported last
	rejected func(why string)  // hears of a dynamic configuration that was not taken; may be nil
}

var _ SettingsSource = (*settings)(nil)

// newSettings starts from the cache file, else from bootstrap.dcs: what holds
// until /config has been read (contract: ha-behaviour.md 1, pitfall 230).
func newSettings(local *config.Local, inst *instance.Server, log *slog.Logger) *settings {
	s := &settings{inst: inst, log: log, local: local, said: map[string]bool{}}
	doc, err := readCache(local.PostgreSQL.DataDir)
	if err != nil {
		log.Warn("the cached dynamic configuration is ignored", "err", err)
	}
	if doc.IsEmpty() {
		doc = config.InitialDocument(local)
	}
	s.adoptDocument(doc)
	return s
}

func readCache(dataDir string) (config.Document, error) {
	text, err := os.ReadFile(filepath.Join(dataDir, cacheFile))
	if errors.Is(err, fs.ErrNotExist) {
		return config.Document{}, nil
	}
	if err != nil {
		return config.Document{}, err
	}
	doc, err := config.ParseDocument(text)
	if err != nil {
		return config.Document{}, fmt.Errorf("%s: %w", cacheFile, err)
	}
	return doc, nil
}

// Current returns the settings in force.
func (s *settings) Current() ha.Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Effective returns the merged postgresql section in force.
func (s *settings) Effective() config.Effective {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.eff
}

// Local returns the local configuration in force.
func (s *settings) Local() *config.Local {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.local
}

// Learn takes what was read of /config. An absent or damaged key keeps what
// is in force: pause must not end for a cycle (pitfall 36).
func (s *settings) Learn(raw *dcs.Config) ha.Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	if raw == nil || !raw.Valid || raw.Revision == s.revision {
		return s.current
	}
	doc, err := config.ParseDocument(raw.Raw)
	if err != nil || doc.IsEmpty() {
		return s.current
	}
	s.revision = raw.Revision
	s.adoptDocument(doc)
	s.dirty, s.byRole = true, false
	return s.current
}

// adoptDocument puts a document in force. Called with mu held, or before use.
func (s *settings) adoptDocument(doc config.Document) {
	previous := &s.dynamic
	if s.dynamic.Document == nil {
		previous = nil
	}
	dyn, err := config.ParseDynamic(doc.Map(), previous)
	s.refused = ""
	if err != nil {
		s.refused = "the dynamic configuration is not in force, mend it with `pgha ctl edit-config`: " + err.Error()
		s.log.Error("the dynamic configuration in the DCS has an unusable part, which is ignored: timing and the postgresql section stay as they were; mend it with `pgha ctl edit-config`", "err", err)
		if s.rejected != nil {
			s.rejected("the dynamic configuration in the DCS has an unusable part; timing and the postgresql section stay as they were: " + err.Error())
		}
	}
	if err == nil || previous == nil {
		s.order = doc
	}
	s.document, s.dynamic = doc, dyn
	s.merge()
}

// merge computes what follows from both layers. Called with mu held.
func (s *settings) merge() {
	s.eff = config.Merge(s.local, s.dynamic, s.facts)
	s.keepFixed()
	s.current = ha.Settings{
		Dynamic:               s.dynamic,
		RemoveOnRewindFailure: s.eff.RemoveDataDirectoryOnRewindFailure,
		RemoveOnDiverged:      s.eff.RemoveDataDirectoryOnDivergedTL,
		ClonesLeaderless:      slices.ContainsFunc(s.eff.CreateReplicaMethods, s.eff.WorksWithoutLeader),
	}
	s.inst.Configure(s.eff, s.dynamic)
	s.sayUnsupported()
	for _, f := range append(append([]config.Finding(nil), s.dynamic.Findings...), s.eff.Findings...) {
		s.warnOnce(f.String())
	}
}

// sayUnsupported reports a setting that this version cannot serve when it
// arrives, and when it is gone (rulings 26). Called with mu held.
func (s *settings) sayUnsupported() {
	now := ""
	if u := s.dynamic.Unsupported; len(u) > 0 {
		now = u[0].Message
		if u[0].Remedy != "" {
			now += " (" + u[0].Remedy + ")"
		}
	}
	switch {
	case now == s.barred:
	case now != "":
		s.log.Warn("the dynamic configuration: " + now + ". This member goes on, but does not race for the leader key while that is set")
	default:
		s.log.Info("the dynamic configuration holds nothing unsupported any more: this member races for the leader key again")
	}
	s.barred = now
}

// warnOnce says a line the first time only. Called with mu held.
func (s *settings) warnOnce(text string) {
	if !s.said[text] {
		s.said[text] = true
		s.log.Warn(text)
	}
}

// Document is the dynamic configuration to write when the key is absent.
func (s *settings) Document() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted().Compact()
}

// accepted is the document whose settings are in force: one that was rejected
// is never kept or written back (contract: config.md 1.4). Called with mu held.
func (s *settings) accepted() config.Document {
	if s.dynamic.Accepted != nil {
		return config.DocumentInOrder(s.dynamic.Accepted, s.order)
	}
	return s.document
}

// note is what people are told of the dynamic configuration that was read
// last; empty: it is in force.
func (s *settings) note() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Changed says whether Apply has something to do.
func (s *settings) Changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirty || s.reload
}

// Apply brings PostgreSQL's files in line, and keeps the cache file.
func (s *settings) Apply(ctx context.Context) {
	s.mu.Lock()
	force, doc, dir, byRole := s.reload, s.accepted(), s.local.PostgreSQL.DataDir, s.byRole
	s.reload, s.dirty, s.byRole = false, false, false
	s.mu.Unlock()
	if _, err := os.Stat(filepath.Join(dir, "global", "pg_control")); err != nil {
		s.again() // nothing to apply to yet; a later cycle does it
		return
	}
	applied, err := s.inst.ApplyConfig(ctx, force)
	switch {
	case errors.Is(err, instance.ErrNotRunning):
		// The next start writes the files.
	case errors.Is(err, instance.ErrStarting):
		s.again()
	case err != nil:
		s.log.Error("apply the configuration", "err", err)
		s.again()
	case applied.Reloaded:
		s.log.Info("PostgreSQL configuration reloaded")
	}
	if err == nil && applied.Reloaded && !byRole && s.reloaded != nil {
		s.reloaded()
	}
	if err := writeCache(dir, doc); err != nil {
		s.log.Warn("keep the dynamic configuration beside the data", "err", err)
		s.again()
	}
}

func (s *settings) again() {
	s.mu.Lock()
	s.dirty = true
	s.mu.Unlock()
}

// Reload takes a new local configuration (SIGHUP, POST /reload). What needs a
// restart of the agent is said and stays as it was.
func (s *settings) Reload(local *config.Local) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.local
	for _, fixed := range []struct{ key, was, is string }{
		{"name", old.Name, local.Name}, {"scope", old.Scope, local.Scope}, {"namespace", old.Namespace, local.Namespace},
		{"postgresql.data_dir", old.PostgreSQL.DataDir, local.PostgreSQL.DataDir},
		{"postgresql.config_dir", old.PostgreSQL.ConfigDir, local.PostgreSQL.ConfigDir},
		{"postgresql.pgpass", old.PostgreSQL.PgPass, local.PostgreSQL.PgPass},
		{"pgha.guard", fmt.Sprint(old.Pgha.Guard), fmt.Sprint(local.Pgha.Guard)},
	} {
		if fixed.was != fixed.is {
			s.log.Warn(fmt.Sprintf("%s changed from %q to %q: it takes effect when the agent is restarted", fixed.key, fixed.was, fixed.is))
		}
	}
	local.Name, local.Scope, local.Namespace = old.Name, old.Scope, old.Namespace
	local.PostgreSQL.DataDir, local.PostgreSQL.ConfigDir = old.PostgreSQL.DataDir, old.PostgreSQL.ConfigDir
	local.PostgreSQL.PgPass = old.PostgreSQL.PgPass
	local.Pgha.Guard = old.Pgha.Guard
	s.local, s.said = local, map[string]bool{} // what is still wrong is said again
	s.inst.SetLocal(local)
	s.merge()
	s.reload, s.byRole = true, false
}
