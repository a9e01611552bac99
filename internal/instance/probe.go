package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgha/internal/postgres"
)

// The health probes (rulings 21): a fresh connection, and in probewrite.go the
// two file systems that PostgreSQL cannot do without. Each is one attempt; how
// often, how long, and what follows from failures is the caller's matter.

// ProbeVerdict is what one probe found.
type ProbeVerdict int

const (
	// ProbeUnknown: nothing was learnt: there is nothing to probe at the
	// moment, or the trouble is the prober's own.
	ProbeUnknown ProbeVerdict = iota
	// ProbeOK: it works.
	ProbeOK
	// ProbeFailed: it does not, and would not for a client either.
	ProbeFailed
)

// ProbeResult is the outcome of one probe.
type ProbeResult struct {
	Verdict ProbeVerdict
	// Why explains a verdict that is not a plain OK, for people: "no space
	// left on device".
	Why string
	// Full: ordinary clients find no free connection. The server works for
	// those who have one, so this is no failure (docs/guarantees.md).
	Full bool
	// Free is how many bytes an ordinary user may still allocate on the file
	// system; 0: unknown or none.
	Free uint64
}

// slotsQuery is how many ordinary connections there are and how many there
// may be. reserved_connections exists since PostgreSQL 16.
const slotsQuery = `SELECT (SELECT count(*) FROM pg_catalog.pg_stat_get_activity(NULL) a WHERE a.backend_type = 'client backend'),
	pg_catalog.current_setting('max_connections')::int - pg_catalog.current_setting('superuser_reserved_connections')::int
	- coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0)`

// ProbeConnect opens a connection of its own, logs in and asks one question.
// What ends it is ctx. A postmaster that is stopped or stuck is told by
// silence: the kernel accepts for it.
//
// Unknown: no postmaster, or one that starts or shuts down. OK also when the
// server answers with a refusal (a wrong password, too many connections): it
// lives, and whoever is connected is served.
func (s *Server) ProbeConnect(ctx context.Context) ProbeResult {
	s.mu.Lock()
	p := s.postmaster
	s.mu.Unlock()
	if !p.alive() {
		return ProbeResult{Why: "PostgreSQL does not run"}
	}
	_, eff, _ := s.values()
	r := s.probeAt(ctx, eff.UseUnixSocket)
	if st, _ := s.State(); r.Verdict == ProbeFailed && st != postgres.StateRunning {
		r.Verdict = ProbeUnknown // it need not listen yet, or not any more
		return r
	}
	if r.Verdict != ProbeFailed || ctx.Err() != nil {
		return r
	}
	// A socket file that a cleaner of /tmp took away is no reason to fail
	// over: clients elsewhere never used it.
	if other := s.probeAt(ctx, !eff.UseUnixSocket); other.Verdict == ProbeOK {
		other.Why = r.Why + "; it answers at its other address"
		return other
	}
	return r
}

// probeAt connects by the unix socket, or by TCP.
func (s *Server) probeAt(ctx context.Context, unix bool) ProbeResult {
	l, eff, _ := s.values()
	host, port := s.localHost(unix)
	cred := l.PostgreSQL.Superuser
	src := Source{Host: host, Port: strconv.Itoa(port)}
	cfg, err := connConfig(s.keywords(src, cred, database(eff)), cred.Password, "pgha health", superuserOptions())
	if err != nil {
		return ProbeResult{Why: err.Error()}
	}
	// The probe's own patience, not the three seconds of other connections.
	cfg.ConnectTimeout = 0
	cfg.RuntimeParams["statement_timeout"] = "0"
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return connectVerdict(ctx, err, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	defer closeConn(c)
	var used, most int
	if err := c.QueryRow(ctx, slotsQuery).Scan(&used, &most); err != nil {
		return connectVerdict(ctx, err, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	if used > most { // our own connection is one of them
		return ProbeResult{Verdict: ProbeOK, Full: true, Why: fmt.Sprintf("all %d ordinary connections are in use", most)}
	}
	return ProbeResult{Verdict: ProbeOK}
}

// connectVerdict reads why a connection did not come about.
func connectVerdict(ctx context.Context, err error, at string) ProbeResult {
	var pg *pgconn.PgError
	switch {
	case ctx.Err() != nil:
		return ProbeResult{Verdict: ProbeFailed, Why: "a new connection gets no answer"}
	case errors.As(err, &pg) && pg.Code == "57P03": // cannot_connect_now
		return ProbeResult{Why: pg.Message}
	case errors.As(err, &pg) && pg.Code == "53300": // too_many_connections
		return ProbeResult{Verdict: ProbeOK, Full: true, Why: pg.Message}
	case errors.As(err, &pg) && strings.HasPrefix(pg.Code, "53"): // no memory, no disk for it
		return ProbeResult{Verdict: ProbeFailed, Why: pg.Message}
	case errors.As(err, &pg):
		return ProbeResult{Verdict: ProbeOK, Why: "it answers a new connection with: " + pg.Message}
	}
	return ProbeResult{Verdict: ProbeFailed, Why: "no new connection at " + at + ": " + lastCause(err)}
}

// lastCause is the innermost error's text: the outer ones repeat addresses.
func lastCause(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return strings.Join(strings.Fields(err.Error()), " ")
		}
		err = next
	}
}
