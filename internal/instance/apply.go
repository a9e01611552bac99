package instance

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/postgres"
)

// reloadWait bounds the wait until a reload has reached the sessions.
const reloadWait = 2 * time.Second

// Applied is what ApplyConfig did.
type Applied struct {
	Changed  bool // a file was rewritten
	Reloaded bool // the server was told
	// Pending: parameters that wait for a restart, with old and new value.
	Pending map[string]postgres.Change
	// BadRules are lines of pg_hba.conf that the server cannot read, one text
	// each: it keeps its old rules, and could not be started with these.
	BadRules []string
}

// ApplyConfig writes the files that differ from the configuration, reloads
// when one did or force is set, and computes what waits for a restart
// (contract: config.md 6.1, 6.2). On a server that is not running the files
// are written only when forced: the next start does it anyway. Nothing is done
// while the data directory is being made, up to the end of a custom bootstrap:
// what follows does it.
func (s *Server) ApplyConfig(ctx context.Context, force bool) (Applied, error) {
	switch st, _ := s.State(); {
	case s.customNow() != nil, st == postgres.StateCreatingReplica, st == postgres.StateInitializing, st == postgres.StateCustomBootstrap:
		return Applied{}, nil
	}
	_, running := s.findPostmaster()
	if !running && !force {
		return Applied{}, nil
	}
	var a Applied
	var err error
	if a.Changed, err = s.WriteFiles(ctx); err != nil {
		return a, fmt.Errorf("apply configuration: %w", err)
	}
	if !running {
		return a, fmt.Errorf("apply configuration: reload: %w", ErrNotRunning)
	}
	if a.Changed || force {
		if err := s.reloadAndWait(ctx); err != nil {
			return a, fmt.Errorf("apply configuration: %w", err)
		}
		a.Reloaded = true
		if a.BadRules, err = s.badRules(ctx); err != nil {
			s.log.Warn("look for mistakes in pg_hba.conf", "err", err)
		}
	}
	if a.Pending, err = s.computePending(ctx); err != nil {
		return a, fmt.Errorf("apply configuration: %w", err)
	}
	s.mu.Lock()
	s.pending = a.Pending
	s.mu.Unlock()
	return a, nil
}

// badRules asks the server what it cannot read in pg_hba.conf.
func (s *Server) badRules(ctx context.Context) ([]string, error) {
	var bad []string
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT line_number, error FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL ORDER BY 1")
		if err != nil {
			return err
		}
		var line int
		var text string
		_, err = pgx.ForEachRow(rows, []any{&line, &text}, func() error {
			bad = append(bad, fmt.Sprintf("line %d: %s", line, text))
			return nil
		})
		return err
	})
	return bad, err
}

// Reload rewrites the files and makes the server read them, also when nothing
// changed, so that hand edits vanish (pitfalls 157).
func (s *Server) Reload(ctx context.Context) error {
	_, err := s.ApplyConfig(ctx, true)
	return err
}

// reloadAndWait signals the postmaster and waits until a session has seen the
// new configuration. A server that cannot be asked is only signalled.
func (s *Server) reloadAndWait(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, reloadWait)
	defer cancel()
	c, err := s.connectLocal(wait, "Patroni")
	if err != nil {
		return s.signalReload()
	}
	defer closeConn(c)
	var before, now time.Time
	const loaded = "SELECT pg_conf_load_time()"
	if err := c.QueryRow(wait, loaded).Scan(&before); err != nil {
		return s.signalReload()
	}
	if err := s.signalReload(); err != nil {
		return err
	}
	for {
		if err := c.QueryRow(wait, loaded).Scan(&now); err != nil || now.After(before) {
			return nil // reloaded, or not to be known in time
		}
		if !pause(wait, poll/2) {
			return nil
		}
	}
}

// setting is a row of pg_settings.
type setting struct {
	name, value, unit, vartype, context string
	pending                             bool
}

func (s *Server) computePending(ctx context.Context) (map[string]postgres.Change, error) {
	wanted := map[string]string{}
	for k, v := range s.parameters() {
		wanted[strings.ToLower(k)] = v
	}
	for name := range s.Rejected() {
		delete(wanted, name)
	}
	var rows []setting
	var inFiles map[string]string
	err := s.withLocal(ctx, func(c *pgx.Conn) error {
		var err error
		if rows, err = readSettings(ctx, c); err != nil {
			return err
		}
		inFiles, err = readFileSettings(ctx, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("compare with the running settings: %w", err)
	}
	values := map[string]setting{}
	for _, r := range rows {
		values[strings.ToLower(r.name)] = r
	}
	pending := map[string]postgres.Change{}
	for _, r := range rows {
		name := strings.ToLower(r.name)
		if r.context == "internal" || name == "hot_standby" || postgres.IsRecoveryGUC(name) {
			continue
		}
		want, configured := wanted[name]
		switch {
		case configured && r.context == "postmaster":
			if !sameSetting(r, want, values) {
				pending[r.name] = change(r, want)
			}
		case r.pending:
			next, ok := inFiles[name]
			if !ok {
				next = s.configuredValue(ctx, r.name)
			}
			// The server keeps the flag when a new value is taken back
			// before the restart (pitfalls 151).
			if !sameSetting(r, next, values) {
				pending[r.name] = change(r, next)
			}
		}
	}
	return pending, nil
}

func change(r setting, next string) postgres.Change {
	return postgres.Change{Old: postgres.HumanValue(r.value, r.unit), New: postgres.HumanValue(next, r.unit)}
}

func readSettings(ctx context.Context, c *pgx.Conn) ([]setting, error) {
	rows, err := c.Query(ctx, `SELECT name, COALESCE(setting, ''), COALESCE(unit, ''), vartype, context, pending_restart
		FROM pg_settings WHERE context = 'postmaster' OR pending_restart OR name IN ('segment_size', 'wal_segment_size', 'wal_block_size')`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (setting, error) {
		var r setting
		err := row.Scan(&r.name, &r.value, &r.unit, &r.vartype, &r.context, &r.pending)
		return r, err
	})
}

// readFileSettings are the values the files give, the last one winning.
func readFileSettings(ctx context.Context, c *pgx.Conn) (map[string]string, error) {
	rows, err := c.Query(ctx, `SELECT lower(name), setting FROM pg_file_settings
		WHERE name IS NOT NULL AND setting IS NOT NULL ORDER BY seqno`)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		out[name] = value
		return nil
	})
	return out, err
}

// sameSetting compares a wanted value with the one in force. wal_buffers = -1
// stands for a value the server computes from shared_buffers.
func sameSetting(r setting, want string, all map[string]setting) bool {
	if strings.EqualFold(r.name, "wal_buffers") {
		if n, ok := postgres.ParseInteger(want, r.unit); ok && n == -1 {
			want = strconv.FormatInt(autoWALBuffers(all), 10)
		}
	}
	return postgres.CompareSetting(r.vartype, r.unit, want, r.value)
}

// autoWALBuffers is the server's own choice in WAL blocks: a 32nd of
// shared_buffers, at least 8, at most a segment (contract: config.md 6.2).
func autoWALBuffers(all map[string]setting) int64 {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(all[name].value, 10, 64)
		return n
	}
	n := max(number("shared_buffers")/32, 8)
	if block := number("wal_block_size"); block > 0 {
		segment, ok := postgres.ParseInteger(all["wal_segment_size"].value, "B")
		if ok && segment > 0 {
			n = min(n, segment/block)
		}
	}
	return n
}

// configuredValue asks the postgres program which value a start would use;
// "?" when it does not tell.
func (s *Server) configuredValue(ctx context.Context, name string) string {
	v, err := s.effectiveGUC(ctx, name)
	if err != nil {
		s.log.Debug("configured value", "parameter", name, "err", err)
		return "?"
	}
	return v
}

// effectiveGUC is a parameter's value as the files give it.
func (s *Server) effectiveGUC(ctx context.Context, name string) (string, error) {
	res, err := runTool(ctx, tool{path: s.program("postgres"), parsed: true,
		args: []string{"-D", s.dataDir(), "--config-file=" + s.confFile(), "-C", name}})
	if err != nil {
		return "", fmt.Errorf("read configured %s: %w", name, err)
	}
	return strings.TrimRight(res.stdout, "\r\n"), nil
}
