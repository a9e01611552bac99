package instance

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgha/internal/postgres"
)

// setting is a row of pg_settings.
type setting struct {
	name, value, unit, vartype, context string
	pending                             bool
}

// computePending compares what is configured with what runs: the parameters
// that wait for a restart, with both values as people write them (config
// contract 6.2).
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
	var beside []string
	for _, r := range rows {
		name := strings.ToLower(r.name)
		if r.context == "internal" || name == "hot_standby" || postgres.IsRecoveryGUC(name) {
			continue
		}
		if want, configured := wanted[name]; configured && r.context == "postmaster" && !sameSetting(r, want, values) {
			pending[r.name] = change(r, want)
			continue
		}
		// What stands on the command line wins over any file at the next start.
		if !r.pending || postgres.IsControlledGUC(name) {
			continue
		}
		next, ok := inFiles[name]
		if !ok {
			next = s.configuredValue(ctx, r.name)
		}
		// The server keeps the flag when a new value is taken back before the
		// restart (pitfalls 151).
		if !sameSetting(r, next, values) {
			pending[r.name] = change(r, next)
			beside = append(beside, r.name)
		}
	}
	s.sayPending(pending, beside)
	return pending, nil
}

// sayPending logs what is new among the parameters that wait for a restart;
// beside are those that the configuration did not ask for: changed by ALTER
// SYSTEM or in a file, or removed from the configuration.
func (s *Server) sayPending(pending map[string]postgres.Change, beside []string) {
	known := s.Pending()
	for _, name := range sortedKeys(pending) {
		c := pending[name]
		if known[name] == c {
			continue
		}
		text := fmt.Sprintf("Changed %s from '%s' to '%s' (restart might be required)", name, c.Old, c.New)
		if slices.Contains(beside, name) {
			s.log.Warn(text + ": the configuration does not set it so: it was taken out of there, or changed by ALTER SYSTEM or in a file by hand")
			continue
		}
		s.log.Info(text)
	}
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
