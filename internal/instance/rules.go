package instance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgha/internal/postgres"
)

// pg_hba.conf and pg_ident.conf: with a mistake in them the server keeps its
// old rules on a reload, and with one in pg_hba.conf it does not start. The
// server alone can tell, and only of the file in place: a new file is put
// there, the server is asked, and the old one comes back if need be.

// ruleFile is one of the two files as configured.
type ruleFile struct {
	path    string
	content string // empty: not managed
	view    string // what shows its mistakes in SQL
	first   string // its first column, null for lines that cannot be read
	since   int    // the major version that has the view
}

// ruleFiles are both files as they should be. A file of the user's own, and
// one without lines in the configuration, is not managed.
func (s *Server) ruleFiles() []ruleFile {
	_, eff, _ := s.values()
	files := []ruleFile{
		{path: s.configPath("pg_hba.conf"), view: "pg_hba_file_rules", first: "type", since: 10},
		{path: s.configPath("pg_ident.conf"), view: "pg_ident_file_mappings", first: "map_name", since: 15},
	}
	if len(eff.PgHBA) > 0 && !s.customFile("hba_file", "pg_hba.conf") {
		files[0].content = postgres.RenderHBA(eff.PgHBA)
	}
	if len(eff.PgIdent) > 0 && !s.customFile("ident_file", "pg_ident.conf") {
		files[1].content = postgres.RenderHBA(eff.PgIdent)
	}
	return files
}

// rulesRefused says whether the server has refused this very content.
func (s *Server) rulesRefused(f ruleFile) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[f.path] == f.content
}

func (s *Server) refuse(path, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := map[string]string{path: content}
	for k, v := range s.refused {
		if k != path {
			refused[k] = v
		}
	}
	s.refused = refused
}

// rulesInPlace are the files' present contents, by path. again forgets what
// was refused before: it is tried and explained once more.
func (s *Server) rulesInPlace(again bool) map[string]string {
	if again {
		s.mu.Lock()
		s.refused = nil
		s.mu.Unlock()
	}
	in := map[string]string{}
	for _, f := range s.ruleFiles() {
		if b, err := readFileIfThere(f.path); err == nil && b != nil {
			in[f.path] = string(b)
		}
	}
	return in
}

// takeBackBadRules asks the running server what it cannot read in files that
// were just replaced, and puts the old ones back. It returns the mistakes.
// A server that cannot be asked leaves the new file in place.
func (s *Server) takeBackBadRules(ctx context.Context, before map[string]string) (mistakes []string) {
	version, err := s.Version(ctx)
	if err != nil {
		return nil
	}
	for _, f := range s.ruleFiles() {
		old, had := before[f.path]
		if f.content == "" || had && old == f.content || !version.AtLeast(f.since) {
			continue
		}
		bad, err := s.badRules(ctx, f)
		if err != nil {
			s.log.Warn("look for mistakes in "+filepath.Base(f.path), "err", err)
		}
		if len(bad) == 0 {
			continue
		}
		mistakes = append(mistakes, bad...)
		if !had {
			continue
		}
		if err := writeFile(f.path, old, s.fileMode(f.path)); err != nil {
			s.log.Error("put the old rules back", "err", err)
			continue
		}
		s.refuse(f.path, f.content)
		s.log.Error("PostgreSQL cannot read the new "+filepath.Base(f.path)+", the old one stays in place: mend postgresql."+
			strings.TrimSuffix(filepath.Base(f.path), ".conf")+" (pgha ctl edit-config, or this member's file)", "mistakes", strings.Join(bad, "; "))
	}
	return mistakes
}

// badRules asks the server what it cannot read in the file in place. A line
// with a remark that it can read is no mistake: hostssl while TLS is off.
func (s *Server) badRules(ctx context.Context, f ruleFile) ([]string, error) {
	var bad []string
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT line_number, error FROM pg_catalog."+f.view+" WHERE error IS NOT NULL AND "+f.first+" IS NULL ORDER BY 1")
		if err != nil {
			return err
		}
		var line int
		var text string
		_, err = pgx.ForEachRow(rows, []any{&line, &text}, func() error {
			bad = append(bad, fmt.Sprintf("%s line %d: %s", filepath.Base(f.path), line, text))
			return nil
		})
		return err
	})
	return bad, err
}

// errEndedEarly: the postmaster ended before it said anything in its pid file.
var errEndedEarly = fmt.Errorf("the postmaster ended at once: %w", ErrNotRunning)

// restoreRules brings the pg_hba.conf of the last successful start back after
// a start that failed at once, if that is not the same: nobody can ask a
// server that does not run what is wrong with a new one. False: there is no
// other to try.
func (s *Server) restoreRules(failure error) bool {
	f := s.ruleFiles()[0]
	if f.content == "" || s.rulesRefused(f) || !errors.Is(failure, errEndedEarly) {
		return false
	}
	b, err := readFileIfThere(filepath.Join(s.dataDir(), filepath.Base(f.path)+".backup"))
	if err != nil || b == nil || string(b) == f.content {
		return false
	}
	if err := writeFile(f.path, string(b), s.fileMode(f.path)); err != nil {
		s.log.Error("put the old rules back", "err", err)
		return false
	}
	s.refuse(f.path, f.content)
	s.log.Error("PostgreSQL ended at once, and postgresql.pg_hba has changed since it last started: starting it with the old pg_hba.conf. If it starts now, mend postgresql.pg_hba (pgha ctl edit-config); PostgreSQL's own log names the line")
	return true
}
