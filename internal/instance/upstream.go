package instance

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"pgha/internal/postgres"
)

// UpstreamState is what the server answers that a standby's own files name as
// its source.
type UpstreamState string

const (
	// UpstreamNone: no source is configured.
	UpstreamNone UpstreamState = "none"
	// UpstreamSilent: nobody answers there, or a server of another cluster.
	UpstreamSilent UpstreamState = "silent"
	// UpstreamPrimary: it accepts writes.
	UpstreamPrimary UpstreamState = "primary"
	// UpstreamFed: a standby that receives WAL, so a primary lives behind it.
	UpstreamFed UpstreamState = "standby with a source"
	// UpstreamIdle: a standby that receives nothing.
	UpstreamIdle UpstreamState = "standby without a source"
	// UpstreamUnclear: a server is there, but does not answer the question.
	UpstreamUnclear UpstreamState = "unclear"
)

// Upstream is the answer to AskUpstream.
type Upstream struct {
	State UpstreamState
	// At is the address asked, host:port.
	At string
	// Why explains UpstreamSilent and UpstreamUnclear.
	Why string
}

// AskUpstream asks the server in primary_conninfo, as the running standby or
// the files of the stopped one give it, whether it is a primary of this
// cluster (rulings 16). It asks with the rewind or superuser credentials and
// gives up after the connection timeout. Errors: primary_conninfo cannot be
// read.
func (s *Server) AskUpstream(ctx context.Context) (Upstream, error) {
	conninfo, err := s.primaryConninfo(ctx)
	if err != nil {
		return Upstream{}, fmt.Errorf("read primary_conninfo: %w", err)
	}
	kv, err := postgres.ParseConninfo(conninfo)
	if err != nil {
		return Upstream{}, fmt.Errorf("primary_conninfo: %w", err)
	}
	src := Source{Host: kv["host"], Port: kv["port"]}
	if src.Host == "" {
		src.Host = kv["hostaddr"]
	}
	if src.Host == "" {
		return Upstream{State: UpstreamNone}, nil
	}
	if src.Port == "" {
		src.Port = "5432"
	}
	own, err := s.SystemID(ctx)
	if err != nil {
		return Upstream{}, err
	}
	return s.askServerAt(ctx, src, own), nil
}

func (s *Server) primaryConninfo(ctx context.Context) (string, error) {
	var value string
	err := s.withLocal(ctx, func(c *pgx.Conn) error { return c.QueryRow(ctx, "SHOW primary_conninfo").Scan(&value) })
	if err == nil {
		return value, nil
	}
	return s.effectiveGUC(ctx, "primary_conninfo")
}

func (s *Server) askServerAt(ctx context.Context, src Source, own postgres.SystemID) Upstream {
	up := Upstream{At: src.label()}
	unanswered := func(err error) Upstream {
		up.State, up.Why = UpstreamSilent, err.Error()
		if r := readinessOf(err); r == ReadyAccepting || r == ReadyRejecting {
			up.State = UpstreamUnclear
		}
		return up
	}
	c, err := s.connectSource(ctx, src)
	if err != nil {
		return unanswered(err)
	}
	defer closeConn(c)
	var inRecovery, receives bool
	var theirs string
	err = c.QueryRow(ctx, `SELECT pg_is_in_recovery(), system_identifier::text, EXISTS (SELECT FROM pg_stat_wal_receiver WHERE COALESCE(status, 'streaming') = 'streaming') FROM pg_control_system()`).
		Scan(&inRecovery, &theirs, &receives)
	switch {
	case err != nil:
		return unanswered(err)
	case theirs != string(own):
		up.State, up.Why = UpstreamSilent, "system identifier "+theirs+": another cluster answers there"
	case !inRecovery:
		up.State = UpstreamPrimary
	case receives:
		up.State = UpstreamFed
	default:
		up.State = UpstreamIdle
	}
	return up
}
