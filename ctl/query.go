package ctl

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
	"pgha/internal/query"
	"pgha/internal/render"
)

// QueryOptions are those of query.
type QueryOptions struct {
	Cluster   string
	Command   string
	File      string
	Format    string // unknown ones print nothing
	Delimiter string
	User      string
	Database  string
	Password  bool // ask for one
	Role      clusterops.Role
	Member    string
	Watch     time.Duration
}

// Query runs SQL on a member and prints the result of the last statement.
// Errors of connection and SQL are printed as a row (contract: ctl.md 5.7).
func Query(ctx context.Context, s *Session, o QueryOptions) error {
	switch {
	case o.Role != "" && o.Member != "":
		return fail("--role and --member are mutually exclusive options")
	case o.File != "" && o.Command != "":
		return fail("--file and --command are mutually exclusive options")
	case o.File == "" && o.Command == "":
		return fail("You need to specify either --command or --file")
	}
	q := &queryRun{s: s, o: o, sql: o.Command}
	if o.Password {
		var err error
		if q.password, err = s.password(ctx); err != nil {
			return err
		}
	}
	if o.File != "" {
		raw, err := s.readFile(o.File)
		if err != nil {
			return oneLine(fmt.Errorf("read the SQL: %w", err))
		}
		q.sql = string(raw)
	}
	defer q.close()
	return s.watch(ctx, o.Watch, false, func(out io.Writer) error { return q.once(ctx, out) })
}

// queryRun keeps the connection between the rounds of a watch.
type queryRun struct {
	s        *Session
	o        QueryOptions
	sql      string
	password string
	conn     *query.Conn
}

func (q *queryRun) close() {
	if q.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // the command's own may be over
		defer cancel()
		q.conn.Close(ctx)
		q.conn = nil
	}
}

func (q *queryRun) once(ctx context.Context, out io.Writer) error {
	_, c, err := q.s.cluster(ctx, q.o.Cluster)
	if err != nil {
		return err
	}
	if q.conn == nil || q.conn.Broken() {
		if q.conn, err = q.connect(ctx, c); err != nil {
			return q.writeError(out, err.Error())
		}
	}
	if q.conn == nil {
		return q.writeError(out, q.nobody())
	}
	result, err := q.conn.Run(ctx, q.sql)
	if err != nil {
		defer q.close()
		text := query.Code(err)
		if text == "" {
			text = err.Error()
		}
		return q.writeError(out, "ERROR, SQLSTATE: "+text)
	}
	t := render.Table{Rows: result.Rows, NullText: "None", Delimiter: q.o.Delimiter}
	for _, name := range result.Columns {
		t.Columns = append(t.Columns, render.Column{Title: name})
	}
	return render.Write(out, q.format(), t)
}

// connect opens a connection to the first member that fits; nil without an
// error when none does, or when it is not what the DCS says it is.
func (q *queryRun) connect(ctx context.Context, c *dcs.Cluster) (*query.Conn, error) {
	members := targets(c, q.o.Role, q.o.Member)
	if len(members) == 0 {
		return nil, nil
	}
	host, port, ok := clusterops.Address(members[0])
	if !ok {
		return nil, nil
	}
	conn, err := query.Connect(ctx, query.Options{
		Host: host, Port: port, User: q.o.User, Database: q.o.Database, Password: q.password, ApplicationName: "Patroni ctl",
	})
	if err != nil {
		return nil, fmt.Errorf("ERROR, SQLSTATE: %w", err)
	}
	var standby bool
	switch q.o.Role {
	case clusterops.RolePrimary:
	case clusterops.RoleStandbyLeader, clusterops.RoleReplica, clusterops.RoleStandby:
		standby = true
	default:
		return conn, nil
	}
	if is, err := conn.InRecovery(ctx); err != nil || is != standby {
		conn.Close(ctx)
		return nil, nil
	}
	return conn, nil
}

func (q *queryRun) nobody() string {
	switch {
	case q.o.Member != "":
		return fmt.Sprintf("No connection to member %s is available", q.o.Member)
	case q.o.Role != "":
		return fmt.Sprintf("No connection to role '%s' is available", q.o.Role)
	}
	return "No connection is available"
}

// writeError prints an error as a row without heading. JSON and YAML have no
// name for its fields and show an empty object.
func (q *queryRun) writeError(out io.Writer, text string) error {
	q.s.failed = true
	t := render.Table{
		Rows:      [][]any{{q.s.Now().Format(time.DateTime), strings.ReplaceAll(text, "\n", " ")}},
		NoHeading: true, Delimiter: q.o.Delimiter,
	}
	if f := q.format(); f == render.Pretty || f == render.TSV {
		t.Columns = []render.Column{{Title: "Field 1"}, {Title: "Field 2"}}
	}
	return render.Write(out, q.format(), t)
}

func (q *queryRun) format() render.Format {
	if q.o.Format == "yml" {
		return render.YAML
	}
	if q.o.Format == string(render.Topology) {
		return "" // no format of query's
	}
	return render.Format(q.o.Format)
}
