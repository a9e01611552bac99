package instance

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// InitDB makes a new cluster in the missing or empty data directory, by
// initdb or the configured custom method, and leaves it stopped (contract:
// ha-behaviour.md 3.3). The directory is not removed after a failure:
// MoveDataDirAside is the caller's. A nil bootstrap means initdb without
// options.
func (s *Server) InitDB(ctx context.Context, b *config.Bootstrap) error {
	defer s.begin("bootstrap")()
	if state, err := inspectDataDir(s.dataDir()); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	} else if state == DataDirPresent {
		return fmt.Errorf("bootstrap: data directory %s is not empty", s.dataDir())
	}
	if b == nil {
		b = &config.Bootstrap{}
	}
	s.forgetSystem()
	s.setCustom(nil)
	custom := b.Method != "" && b.Method != "initdb" && b.Custom["command"] != nil
	working, failed, run := postgres.StateInitializing, postgres.StateInitFailed, s.runInitDB
	if custom {
		working, failed, run = postgres.StateCustomBootstrap, postgres.StateCustomBootstrapFailed, s.runCustom
	}
	s.SetState(working)
	err := run(ctx, b)
	if err == nil {
		err = s.appendHBA(b.PgHBA)
	}
	if err != nil {
		s.SetState(failed)
		return fmt.Errorf("bootstrap: %w", err)
	}
	s.SetState(postgres.StateStopped)
	return nil
}

func (s *Server) runInitDB(ctx context.Context, b *config.Bootstrap) error {
	l, _, _ := s.values()
	version, err := s.binaryVersion(ctx)
	if err != nil {
		return err
	}
	options, rejected := postgres.FilterOptions(postgres.ToolInitDB, b.InitDB, version)
	if len(rejected) > 0 {
		return fmt.Errorf("initdb option %s: %s", rejected[0].Option, rejected[0].Reason)
	}
	args := options
	if u := l.PostgreSQL.Superuser.Username; u != "" {
		args = append(args, "--username="+u)
	}
	if pw := l.PostgreSQL.Superuser.Password; pw != "" {
		file, remove, err := passwordFile(pw)
		if err != nil {
			return err
		}
		defer remove()
		args = append(args, "--pwfile="+file)
	}
	// Not in the C locale: initdb takes the cluster's from the environment.
	_, err = runTool(ctx, tool{path: s.program("initdb"), args: append(args, "--pgdata="+s.dataDir())})
	return err
}

func passwordFile(pw config.Secret) (name string, remove func(), err error) {
	f, err := os.CreateTemp("", "pgha-pw-")
	if err != nil {
		return "", nil, fmt.Errorf("write the superuser's password for initdb: %w", err)
	}
	_, err = f.WriteString(pw.Reveal() + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	remove = func() { _ = os.Remove(f.Name()) }
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("write the superuser's password for initdb: %w", err)
	}
	return f.Name(), remove, nil
}

// appendHBA adds bootstrap.pg_hba, unless pg_hba.conf is generated or kept
// elsewhere.
func (s *Server) appendHBA(lines []string) error {
	_, eff, _ := s.values()
	if len(lines) == 0 || len(eff.PgHBA) > 0 || s.customFile("hba_file", "pg_hba.conf") {
		return nil
	}
	name := s.configPath("pg_hba.conf")
	old, err := readFileIfThere(name)
	if err != nil {
		return fmt.Errorf("append to %s: %w", name, err)
	}
	return writeFile(name, string(old)+"\n"+strings.Join(lines, "\n")+"\n", s.fileMode(name))
}

// PostBootstrap makes a freshly bootstrapped primary usable (contract:
// ha-behaviour.md 3.3): superuser, then the post_bootstrap command, and only
// when that succeeds the replication and rewind roles. What held for a custom
// bootstrap only is taken back at the end.
func (s *Server) PostBootstrap(ctx context.Context, b *config.Bootstrap) error {
	l, _, _ := s.values()
	super := l.PostgreSQL.Superuser
	err := s.withRoles(ctx, func(c *pgx.Conn) error {
		if super.Username == "" || super.Password == "" {
			return nil
		}
		return ensureRole(ctx, c, super, "SUPERUSER")
	})
	if err != nil {
		return fmt.Errorf("post bootstrap: %w", err)
	}
	if b != nil && b.PostInit != "" {
		if err := s.runPostInit(ctx, b.PostInit); err != nil {
			return fmt.Errorf("post_bootstrap: %w", err)
		}
	}
	if err := s.withRoles(ctx, s.ensureMemberRoles(ctx)); err != nil {
		return fmt.Errorf("post bootstrap: %w", err)
	}
	if err := s.finishCustom(ctx); err != nil {
		return fmt.Errorf("post bootstrap: %w", err)
	}
	return nil
}

func (s *Server) ensureMemberRoles(ctx context.Context) func(*pgx.Conn) error {
	l, _, _ := s.values()
	return func(c *pgx.Conn) error {
		repl, rewind := l.PostgreSQL.Replication, l.PostgreSQL.Rewind
		if repl.Username != "" && repl.Username != l.PostgreSQL.Superuser.Username {
			if err := ensureRole(ctx, c, repl, "REPLICATION"); err != nil {
				return err
			}
		}
		if rewind.Username == "" || rewind.Username == l.PostgreSQL.Superuser.Username {
			return nil
		}
		if err := ensureRole(ctx, c, rewind, ""); err != nil {
			return err
		}
		for _, f := range []string{"pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)",
			"pg_read_binary_file(text)", "pg_read_binary_file(text, bigint, bigint, boolean)"} {
			grant := "GRANT EXECUTE ON FUNCTION pg_catalog." + f + " TO " + pgx.Identifier{rewind.Username}.Sanitize()
			if _, err := c.Exec(ctx, grant); err != nil {
				return fmt.Errorf("grant to %s: %w", rewind.Username, err)
			}
		}
		return nil
	}
}

// withRoles runs f on a session that neither waits for standbys nor lets a
// password reach a log (pitfalls 69, 219).
func (s *Server) withRoles(ctx context.Context, f func(*pgx.Conn) error) error {
	return s.withLocal(ctx, func(c *pgx.Conn) error {
		for _, set := range []string{"synchronous_commit = local", "statement_timeout = 0", "log_statement = none",
			"log_min_duration_statement = -1", "log_min_error_statement = panic", "log_duration = off",
			"pg_stat_statements.track_utility = off", "pgaudit.log = none"} {
			if _, err := c.Exec(ctx, "SET "+set); err != nil {
				return fmt.Errorf("set %s: %w", set, err)
			}
		}
		return f(c)
	})
}

// ensureRole creates or alters a login role. The error never holds the
// statement, which has the password in it.
func ensureRole(ctx context.Context, c *pgx.Conn, cred config.Credentials, options string) error {
	var exists bool
	if err := c.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_roles WHERE rolname = $1", cred.Username).Scan(&exists); err != nil {
		return fmt.Errorf("look up role %s: %w", cred.Username, err)
	}
	verb := "CREATE"
	if exists {
		verb = "ALTER"
	}
	stmt := verb + " ROLE " + pgx.Identifier{cred.Username}.Sanitize() + " WITH LOGIN " + options
	if pw := cred.Password.Reveal(); pw != "" {
		stmt += " PASSWORD " + quoteLiteral(pw)
	}
	if _, err := c.Exec(ctx, stmt); err != nil {
		return fmt.Errorf("%s role %s: %w", strings.ToLower(verb), cred.Username, err)
	}
	return nil
}

// quoteLiteral quotes a text for SQL whatever standard_conforming_strings is.
func quoteLiteral(v string) string {
	return " E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(v) + "'"
}

// runPostInit runs the post_bootstrap command with a connection string
// without password as its last argument.
func (s *Server) runPostInit(ctx context.Context, command string) error {
	args, err := splitCommand(command)
	if err != nil {
		return err
	}
	l, eff, _ := s.values()
	cred := l.PostgreSQL.Superuser
	host, port := s.localHost(eff.UseUnixSocket)
	src := Source{Host: host, Port: strconv.Itoa(port)}
	env, remove, err := s.toolPassfile(src, cred)
	if err != nil {
		return err
	}
	defer remove()
	env = append(env, "PGOPTIONS=-c synchronous_commit=local -c statement_timeout=0")
	_, err = runTool(ctx, tool{path: args[0], args: append(args[1:], connectionURL(host, port, cred.Username, database(eff))), env: env})
	return err
}

// connectionURL is postgres://user@host:port/db; a socket directory goes into
// the query part.
func connectionURL(host string, port int, user, db string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + db}
	if user != "" {
		u.User = url.User(user)
	}
	if strings.HasPrefix(host, "/") {
		u.RawQuery = url.Values{"host": {host}, "port": {strconv.Itoa(port)}}.Encode()
	} else {
		u.Host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return u.String()
}
