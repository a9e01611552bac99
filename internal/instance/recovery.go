package instance

import (
	"context"
	"maps"
	"strings"

	"pgha/internal/postgres"
)

// Follow says what a standby follows.
type Follow struct {
	// Source is the server to stream from; nil: nobody, only the archive and
	// what is in pg_wal (no leader known, tag nostream).
	Source *Source
	// Slot is primary_slot_name; empty: none. OwnSlot is the usual one.
	Slot string
	// Overrides come from standby_cluster: restore_command,
	// archive_cleanup_command, recovery_min_apply_delay.
	Overrides map[string]string
}

// OwnSlot is the slot this member uses on the member it follows: empty when
// slots are switched off.
func (s *Server) OwnSlot() string {
	l, _, dyn := s.values()
	if !dyn.UseSlots {
		return ""
	}
	return postgres.SlotName(l.Name)
}

// wantedRecovery computes the recovery parameters and the pgpass content that
// belongs to them.
func (s *Server) wantedRecovery(ctx context.Context, f *Follow) (params map[string]string, pgpass string, err error) {
	version, err := s.Version(ctx)
	if err != nil {
		return nil, "", err
	}
	if f == nil {
		f = &Follow{}
	}
	_, eff, _ := s.values()
	in := postgres.RecoveryInput{Version: version, Base: eff.Recovery, Overrides: f.Overrides}
	if f.Source != nil {
		var up postgres.UpstreamConn
		up, pgpass = s.upstream(*f.Source)
		in.Conninfo, in.Slot = postgres.FormatConninfo(postgres.PrimaryConninfo(up, version)), f.Slot
	}
	return postgres.RecoveryParameters(in), pgpass, nil
}

func (s *Server) upstream(src Source) (postgres.UpstreamConn, string) {
	l, eff, _ := s.values()
	cred := l.PostgreSQL.Replication
	up := postgres.UpstreamConn{
		Host: src.Host, Port: src.Port, DBName: src.Database, User: cred.Username, SSL: maps.Clone(cred.SSL),
		ApplicationName: l.Name, KrbSrvName: eff.KrbSrvName,
	}
	if up.DBName == "" {
		up.DBName = database(eff)
	}
	if src.ReadWrite {
		up.TargetSessionAttrs = "read-write"
	}
	pgpass := postgres.PgpassLines(src.Host, src.Port, cred.Username, cred.Password.Reveal())
	if pgpass != "" {
		up.PassFile = l.PostgreSQL.PgPass
	}
	return up, pgpass
}

// setRecovery makes parameters the ones in force from the next write on.
func (s *Server) setRecovery(params map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recovery = params
}

// passwordFileDiffers says whether the pgpass file does not hold the wanted
// lines: a rotated password.
func (s *Server) passwordFileDiffers(pgpass string) bool {
	if pgpass == "" {
		return false
	}
	l, _, _ := s.values()
	b, err := readFileIfThere(l.PostgreSQL.PgPass)
	return err != nil || strings.TrimSpace(string(b)) != strings.TrimSpace(pgpass)
}
