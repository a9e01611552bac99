package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// connectTimeout and statementTimeout are what the agent's own connections
// use (contract: config.md 5.7).
const (
	connectTimeout   = 3 * time.Second
	statementTimeout = 2 * time.Second
)

// localAddress is where the running server listens, as its pid file says: the
// configuration may be ahead of it until the next restart.
type localAddress struct {
	port      int
	socketDir string
	listen    string
}

func addressOf(f pidFile) localAddress {
	return localAddress{port: f.port, socketDir: f.socketDir, listen: f.listen}
}

// socketDirOf is the first absolute directory of unix_socket_directories.
func socketDirOf(params map[string]string) string {
	for name, value := range params {
		if !strings.EqualFold(name, "unix_socket_directories") {
			continue
		}
		for _, d := range strings.Split(value, ",") {
			if d = strings.TrimSpace(d); filepath.IsAbs(d) {
				return d
			}
		}
	}
	return ""
}

// localTCPHost is the address to reach a server by that listens on the given
// addresses (contract: config.md 5.7).
func localTCPHost(listen string) string {
	first := ""
	for _, a := range strings.Split(listen, ",") {
		a = strings.TrimSpace(a)
		switch a {
		case "*", "localhost", "0.0.0.0", "127.0.0.1":
			return "localhost"
		case "::":
			return "::1"
		}
		if first == "" {
			first = a
		}
	}
	if first == "" {
		return "localhost"
	}
	return first
}

// localHost returns host and port for a connection to the own server. unix
// says whether the socket is wanted; the host is then a directory.
func (s *Server) localHost(unix bool) (host string, port int) {
	l, eff, _ := s.values()
	s.mu.Lock()
	a, listening := s.address, s.listening
	s.mu.Unlock()
	port = l.PostgreSQL.Port
	if a.port != 0 {
		port = a.port
	}
	if port == 0 {
		port = 5432
	}
	if unix {
		dir := a.socketDir
		if dir == "" {
			dir = socketDirOf(eff.Parameters)
		}
		if dir != "" {
			return dir, port
		}
	}
	// Until the restart that a changed postgresql.listen waits for, the
	// server is where it was.
	if first, _, _ := strings.Cut(l.PostgreSQL.Listen, ","); listening == "" && a.listen != "" && a.listen != strings.TrimSpace(first) {
		listening = a.listen
	}
	if listening == "" {
		listening = l.PostgreSQL.Listen
	}
	return localTCPHost(listening), port
}

// Source is another server: one to follow, to clone or rewind from, to ask.
type Source struct {
	Name string // member name; empty for a remote of a standby cluster
	// Host and Port as in a connection string: one or a comma list.
	Host, Port string
	Database   string
	// ReadWrite adds target_session_attrs=read-write: several hosts of which
	// only the primary will do.
	ReadWrite bool
}

// SourceFromURL reads a member's conn_url. Errors: an address is missing.
func SourceFromURL(name, connURL string) (Source, error) {
	kv, err := postgres.ParseConninfo(connURL)
	if err != nil {
		return Source{}, fmt.Errorf("member %s: conn_url: %w", name, err)
	}
	if kv["host"] == "" {
		return Source{}, fmt.Errorf("member %s: conn_url names no host", name)
	}
	src := Source{Name: name, Host: kv["host"], Port: kv["port"], Database: kv["dbname"]}
	if src.Port == "" {
		src.Port = "5432"
	}
	return src, nil
}

// keywords are the libpq keywords for a connection to the source as one of
// the configured users, without the password.
func (s *Server) keywords(src Source, cred config.Credentials, dbname string) []postgres.KV {
	var kvs []postgres.KV
	add := func(k, v string) {
		if v != "" {
			kvs = append(kvs, postgres.KV{Key: k, Value: v})
		}
	}
	add("dbname", dbname)
	add("user", cred.Username)
	add("host", src.Host)
	add("port", src.Port)
	for _, k := range sortedKeys(cred.SSL) {
		add(k, cred.SSL[k])
	}
	_, eff, _ := s.values()
	add("krbsrvname", eff.KrbSrvName)
	if src.ReadWrite {
		add("target_session_attrs", "read-write")
	}
	return kvs
}

// pgxUnknown are libpq keywords pgx would send to the server as settings,
// which refuses them.
var pgxUnknown = []string{"gssencmode", "sslcrl", "sslcrldir", "sslcompression", "krbsrvname"}

// connConfig makes pgx's configuration. Keyword values are quoted, so nothing
// in them can add another keyword.
func connConfig(kvs []postgres.KV, password config.Secret, app string, params map[string]string) (*pgx.ConnConfig, error) {
	words := []string{"application_name=" + quoteWord(app)}
	for _, kv := range kvs {
		if !slices.Contains(pgxUnknown, kv.Key) {
			words = append(words, kv.Key+"="+quoteWord(kv.Value))
		}
	}
	if password != "" {
		words = append(words, "password="+quoteWord(password.Reveal()))
	}
	cfg, err := pgx.ParseConfig(strings.Join(words, " "))
	if err != nil {
		// pgconn's error text hides passwords, but may show the rest.
		return nil, fmt.Errorf("connection settings: %w", err)
	}
	cfg.ConnectTimeout = connectTimeout
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	// pgx's simple protocol refuses to send anything under other settings, which
	// the cluster, a database or a role may have.
	cfg.RuntimeParams["client_encoding"], cfg.RuntimeParams["standard_conforming_strings"] = "UTF8", "on"
	for k, v := range params {
		cfg.RuntimeParams[k] = v
	}
	return cfg, nil
}

func quoteWord(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// superuserOptions are the session settings of the agent's own connections.
// track=none is for superusers only: others are refused (pitfalls 220).
func superuserOptions() map[string]string {
	return map[string]string{
		"search_path":              "pg_catalog",
		"statement_timeout":        strconv.Itoa(int(statementTimeout.Milliseconds())),
		"pg_stat_statements.track": "none",
	}
}

// connectLocal opens a superuser connection to the own server.
func (s *Server) connectLocal(ctx context.Context, app string) (*pgx.Conn, error) {
	l, eff, _ := s.values()
	host, port := s.localHost(eff.UseUnixSocket)
	src := Source{Host: host, Port: strconv.Itoa(port)}
	cred := l.PostgreSQL.Superuser
	cfg, err := connConfig(s.keywords(src, cred, database(eff)), cred.Password, app, superuserOptions())
	if err != nil {
		return nil, err
	}
	s.markOwn(&cfg.Config)
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the local server at %s: %w", net.JoinHostPort(host, strconv.Itoa(port)), err)
	}
	return c, nil
}

func database(eff config.Effective) string {
	if eff.Database != "" {
		return eff.Database
	}
	return "postgres"
}

// connectReplication opens a physical replication connection, for
// IDENTIFY_SYSTEM and TIMELINE_HISTORY. Options meant for sessions are not
// passed: a walsender refuses them (pitfalls 221).
func (s *Server) connectReplication(ctx context.Context, src Source) (*pgconn.PgConn, error) {
	l, _, _ := s.values()
	cred := l.PostgreSQL.Replication
	cfg, err := connConfig(s.keywords(src, cred, ""), cred.Password, l.Name, map[string]string{"replication": "1"})
	if err != nil {
		return nil, err
	}
	if src.Name == localName {
		s.markOwn(&cfg.Config)
	}
	c, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s for replication: %w", src.label(), err)
	}
	return c, nil
}

// localName is the own server as a source.
const localName = "the local server"

// markOwn lets Options.Own see the sockets of a connection to the own server.
func (s *Server) markOwn(cfg *pgconn.Config) {
	if s.own != nil {
		cfg.DialFunc = (&net.Dialer{Timeout: connectTimeout, Control: s.own}).DialContext
	}
}

// localSource is the own server as a source, for replication commands.
func (s *Server) localSource() Source {
	_, eff, _ := s.values()
	host, port := s.localHost(eff.UseUnixSocketRepl)
	return Source{Name: localName, Host: host, Port: strconv.Itoa(port)}
}

// connectSource opens an SQL connection to another member with the rewind
// credentials, or the superuser's.
func (s *Server) connectSource(ctx context.Context, src Source) (*pgx.Conn, error) {
	cred := s.rewindCredentials()
	_, eff, _ := s.values()
	db := src.Database
	if db == "" {
		db = database(eff)
	}
	params := map[string]string{"search_path": "pg_catalog", "statement_timeout": "2000"}
	cfg, err := connConfig(s.keywords(src, cred, db), cred.Password, "Patroni", params)
	if err != nil {
		return nil, err
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", src.label(), err)
	}
	return c, nil
}

// rewindCredentials are the rewind user's, or the superuser's without one.
func (s *Server) rewindCredentials() config.Credentials {
	l, _, _ := s.values()
	if l.PostgreSQL.Rewind.Username != "" {
		return l.PostgreSQL.Rewind
	}
	return l.PostgreSQL.Superuser
}

func (src Source) label() string {
	if src.Name != "" {
		return src.Name
	}
	return src.Host + ":" + src.Port
}

// Readiness is what a connection attempt says of the server, as pg_isready
// would put it.
type Readiness string

const (
	// ReadyUnknown: nobody asked, or time ran out before an answer.
	ReadyUnknown Readiness = "unknown"
	// ReadyAccepting: it answers, be it with a refused password.
	ReadyAccepting Readiness = "accepting connections"
	// ReadyRejecting: it starts up, recovers or shuts down.
	ReadyRejecting Readiness = "rejecting connections"
	// ReadyNoResponse: nothing answers at the address.
	ReadyNoResponse Readiness = "no response"
)

// readinessOf interprets the outcome of connecting or querying.
func readinessOf(err error) Readiness {
	if err == nil {
		return ReadyAccepting
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if pg.Code == "57P03" { // cannot_connect_now
			return ReadyRejecting
		}
		return ReadyAccepting
	}
	if errors.Is(err, context.Canceled) {
		return ReadyUnknown
	}
	return ReadyNoResponse
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// hasCode says whether the server answered with the SQLSTATE.
func hasCode(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}

// closeConn says good-bye without waiting for a server that may be frozen.
func closeConn(c interface{ Close(context.Context) error }) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_ = c.Close(ctx)
}
