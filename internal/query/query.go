// Package query runs SQL for people on one server and returns what it
// answered as values: for ctl and the other tools that ask a server something
// from outside. The agent's own connections are internal/instance.
package query

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// ErrNoRows: the last statement returns no result set (not even an empty one).
var ErrNoRows = errors.New("no results to fetch")

// Options say where to connect. Empty fields are libpq's defaults: PG*
// variables, the password file, the user's name.
type Options struct {
	Host     string
	Port     int
	User     string
	Database string
	Password string
	// ApplicationName shows up in pg_stat_activity.
	ApplicationName string
	// ConnectTimeout in whole seconds; zero: 5 s.
	ConnectTimeout time.Duration
}

// Conn is one connection. It is not safe for concurrent use.
type Conn struct{ pg *pgconn.PgConn }

// Result is a table of values: nil, bool, int64, float64, or the server's text.
type Result struct {
	Columns []string
	Rows    [][]any
}

// Connect opens a connection. Errors are the client library's, without any
// password in their text.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	timeout := o.ConnectTimeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	words := []string{
		"host=" + quote(o.Host), "port=" + strconv.Itoa(o.Port),
		"connect_timeout=" + strconv.Itoa(max(1, int(timeout.Seconds()))),
		"application_name=" + quote(o.ApplicationName),
	}
	for _, w := range []struct{ name, value string }{{"user", o.User}, {"dbname", o.Database}, {"password", o.Password}} {
		if w.value != "" {
			words = append(words, w.name+"="+quote(w.value))
		}
	}
	pg, err := pgconn.Connect(ctx, strings.Join(words, " "))
	if err != nil {
		return nil, err
	}
	return &Conn{pg}, nil
}

func quote(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Close ends the connection.
func (c *Conn) Close(ctx context.Context) error { return c.pg.Close(ctx) }

// Broken says whether the connection cannot be used any more.
func (c *Conn) Broken() bool { return c.pg.IsClosed() }

// Run sends the text, which may hold several statements, and returns the last
// one's result. Errors: ErrNoRows; the server's, see Code.
func (c *Conn) Run(ctx context.Context, sql string) (Result, error) {
	all := c.pg.Exec(ctx, sql)
	var last Result
	for all.NextResult() {
		last = read(all.ResultReader())
	}
	if err := all.Close(); err != nil {
		return Result{}, err
	}
	if len(last.Columns) == 0 {
		return Result{}, ErrNoRows
	}
	return last, nil
}

// read takes one statement's result; its error is reported by the reader of
// all of them.
func read(rr *pgconn.ResultReader) Result {
	var r Result
	fields := rr.FieldDescriptions() // known without any row, too
	for _, f := range fields {
		r.Columns = append(r.Columns, f.Name)
	}
	for rr.NextRow() {
		row := make([]any, len(fields))
		for i, text := range rr.Values() {
			if text != nil {
				row[i] = value(fields[i].DataTypeOID, string(text))
			}
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

// InRecovery says whether the server is a standby.
func (c *Conn) InRecovery(ctx context.Context) (bool, error) {
	r, err := c.Run(ctx, "SELECT pg_catalog.pg_is_in_recovery()")
	if err != nil {
		return false, fmt.Errorf("ask whether the server is in recovery: %w", err)
	}
	return len(r.Rows) == 1 && r.Rows[0][0] == true, nil
}

// value reads the types that have a counterpart in JSON; the rest stays text.
func value(oid uint32, text string) any {
	switch oid {
	case pgtype.BoolOID:
		return text == "t"
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case pgtype.Float4OID, pgtype.Float8OID:
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f
		}
	}
	return text
}

// Code is the SQLSTATE of a server's error; empty for any other error.
func Code(err error) string {
	if server := new(pgconn.PgError); errors.As(err, &server) {
		return server.Code
	}
	return ""
}

// ErrBadString: the text is no connection string. It is not shown.
var ErrBadString = errors.New("this is no connection string of PostgreSQL: expected \"host=... port=... user=...\" or postgres://user@host:port/database")

// Target is where a connection string led, for tools that write it down.
type Target struct {
	Host     string // a directory for a unix socket
	Port     int
	User     string
	Password string // empty: none was needed
}

// ConnectString is Connect with a connection string or URL of libpq; what it
// leaves out comes from PG* variables, the password file and libpq's defaults.
// Errors: ErrBadString, or the client library's; none shows the string, which
// may hold a password.
func ConnectString(ctx context.Context, dsn, application string) (*Conn, Target, error) {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, Target{}, ErrBadString
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	cfg.RuntimeParams["application_name"] = application
	if _, given := cfg.RuntimeParams["client_encoding"]; !given {
		cfg.RuntimeParams["client_encoding"] = "UTF8" // what our output is
	}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, Target{}, err
	}
	return &Conn{pg}, Target{Host: cfg.Host, Port: int(cfg.Port), User: cfg.User, Password: cfg.Password}, nil
}
