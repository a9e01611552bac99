package generate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgha/internal/config"
	"pgha/internal/postgres"
	"pgha/internal/query"
)

// ErrNotSuperuser: the settings, files and roles of the server can be seen by
// a superuser only.
var ErrNotSuperuser = errors.New("the user of this connection is no superuser")

// server is a running PostgreSQL as it was found.
type server struct {
	target   query.Target
	settings map[string]string // all, by current_setting
	files    map[string]string // set in configuration files or on the command line
	hba      []string
	ident    []string
	binDir   string
	replica  string // a role that may replicate; empty: none
	standby  bool
}

// Running is a file for the PostgreSQL that the connection string leads to, on
// this machine: started with it, the agent takes that server over as it is.
// Errors: the connection's, ErrNotSuperuser, or a server that is too old.
func Running(ctx context.Context, dsn string, m Machine) (Result, error) {
	conn, target, err := query.ConnectString(ctx, dsn, "pgha generate-config")
	if err != nil {
		return Result{}, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(ctx)
	s := &server{target: target}
	if err := s.ask(ctx, conn); err != nil {
		return Result{}, err
	}
	return s.write(m), nil
}

// ask reads everything that is needed.
func (s *server) ask(ctx context.Context, conn *query.Conn) error {
	var err error
	if s.settings, err = pairs(ctx, conn, "SELECT name, current_setting(name) FROM pg_settings"); err != nil {
		return err
	}
	if super, err := one(ctx, conn, "SELECT current_setting('is_superuser')"); err != nil {
		return err
	} else if super != "on" { // not among pg_settings
		return fmt.Errorf("%w: %s", ErrNotSuperuser, s.target.User)
	}
	if version, err := postgres.ParseServerVersion(s.settings["server_version"]); err == nil && version < postgres.OldestSupported {
		return fmt.Errorf("this is PostgreSQL %s, the oldest supported is %d", version, postgres.OldestSupported.Major())
	}
	// As written, of several the one that counts; the command line beats files.
	if s.files, err = pairs(ctx, conn, "SELECT name, setting FROM pg_file_settings WHERE applied ORDER BY seqno"); err != nil {
		return err
	}
	commandLine, err := pairs(ctx, conn, "SELECT name, current_setting(name) FROM pg_settings WHERE source = 'command line'")
	if err != nil {
		return err
	}
	for name, value := range commandLine {
		s.files[name] = value
	}
	if s.standby, err = conn.InRecovery(ctx); err != nil {
		return err
	}
	if s.hba, err = lines(ctx, conn, "hba_file"); err != nil {
		return err
	}
	if s.ident, err = lines(ctx, conn, "ident_file"); err != nil {
		return err
	}
	if s.binDir, err = one(ctx, conn, "SELECT setting FROM pg_config() WHERE name = 'BINDIR'"); err != nil {
		return err
	}
	s.replica, err = one(ctx, conn, `SELECT rolname FROM pg_roles WHERE rolreplication AND rolcanlogin AND NOT rolsuper
		ORDER BY rolname <> 'replicator', rolname LIMIT 1`)
	return err
}

// pairs reads two columns of text; of equal names the last one counts.
func pairs(ctx context.Context, conn *query.Conn, sql string) (map[string]string, error) {
	r, err := conn.Run(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	out := map[string]string{}
	for _, row := range r.Rows {
		if row[0] != nil && row[1] != nil {
			out[strings.ToLower(fmt.Sprint(row[0]))] = fmt.Sprint(row[1])
		}
	}
	return out, nil
}

// one reads a single text; empty when there is no row.
func one(ctx context.Context, conn *query.Conn, sql string) (string, error) {
	r, err := conn.Run(ctx, sql)
	if err != nil {
		return "", fmt.Errorf("ask the server: %w", err)
	}
	if len(r.Rows) == 0 || r.Rows[0][0] == nil {
		return "", nil
	}
	return fmt.Sprint(r.Rows[0][0]), nil
}

// lines reads the rules of a file that a setting names, without comments.
func lines(ctx context.Context, conn *query.Conn, setting string) ([]string, error) {
	text, err := one(ctx, conn, "SELECT pg_read_file(current_setting('"+setting+"'), 0, 16777216, true)")
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", setting, err)
	}
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out, nil
}

// ownSettings are written elsewhere, or belong to the server's life so far.
var ownSettings = []string{
	"data_directory", "config_file", "hba_file", "ident_file", "listen_addresses", "port", "cluster_name",
	"primary_conninfo", "primary_slot_name", "promote_trigger_file", "hot_standby", "wal_keep_segments",
}

// parameters are the settings that are the user's own.
func (s *server) parameters() map[string]any {
	out := map[string]any{}
	for name, value := range s.files {
		controlled := slices.ContainsFunc(config.ControlledGUCs(), func(g config.ControlledGUC) bool { return g.Name == name })
		if !controlled && !slices.Contains(ownSettings, name) && !strings.HasPrefix(name, "recovery_target") {
			out[name] = value
		}
	}
	return out
}

// controlled are the values that all members must agree on, as the agent will
// run them: what it does not accept is replaced, with a hint.
func (s *server) controlled() (values map[string]any, hints []string) {
	given := map[string]any{}
	for _, g := range config.ControlledGUCs() {
		if value, known := s.settings[g.Name]; known && g.Name != "hot_standby" {
			given[g.Name] = value
		}
	}
	if s.settings["wal_keep_size"] == "0" {
		delete(given, "wal_keep_size") // PostgreSQL's default is below what replicas need
	}
	values = map[string]any{}
	for name, value := range given {
		effective := effectiveControlled(name, value)
		values[name] = value
		if effective != value && !config.EqualText(effective, value) {
			values[name] = effective
			hints = append(hints, fmt.Sprintf("%s is %v here, %v will be used: it takes a restart of PostgreSQL (pgha ctl restart)", name, value, effective))
		}
	}
	slices.Sort(hints)
	return values, hints
}

// effectiveControlled is what the agent makes of one value.
func effectiveControlled(name string, value any) string {
	dyn, _ := config.ParseDynamic(map[string]any{"postgresql": map[string]any{"parameters": map[string]any{name: value}}}, nil) // never rejected
	return config.Merge(&config.Local{}, dyn, config.ServerFacts{}).Parameters[name]
}
