package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgha/internal/postgres"
)

// Row is the answer to the monitoring query: one consistent look at the
// running server. Positions are zero when unknown.
type Row struct {
	InRecovery bool
	// Timeline: of the WAL being written on a primary; on a standby that of
	// the WAL received, else what the server answers to IDENTIFY_SYSTEM. Zero
	// when unknown.
	Timeline postgres.Timeline
	// Location is the flushed position of a primary: what is only written
	// dies with the host (pitfalls 241). Zero on a standby.
	Location postgres.LSN
	// Received is the last flushed and Written the last written position of
	// the WAL receiver, Replayed the last applied one. Zero on a primary.
	Received, Written, Replayed postgres.LSN
	ReplayPaused                bool
	// ReplayedAt is the commit time of the last replayed transaction.
	ReplayedAt time.Time
	// Streaming: the WAL receiver streams. ReceiverStatus is its own word.
	Streaming      bool
	ReceiverStatus string
	// ReceivedTimeline is the WAL receiver's; it may be ahead of replay
	// (pitfalls 114): good for display, not for divergence.
	ReceivedTimeline postgres.Timeline
	// LatestEnd is the sender's end of WAL, as the WAL receiver last heard.
	LatestEnd postgres.LSN
	// ReceiverSlot and ReceiverConninfo are what the receiver really uses.
	ReceiverSlot, ReceiverConninfo string
	RestoreCommand                 bool // one is set
	PostmasterStart                time.Time
	// The same instants in the status document's form, in the server's zone:
	// 2031-02-03 04:05:06.789012+00:00 (contract: rest-api.md 3).
	PostmasterStartText, ReplayedAtText string
	Version                             postgres.Version
	SynchronousStandbyNames             string
	Slots                               []SlotRow
	Senders                             []Sender
}

// Position is how far a standby is known to have come: the largest of what it
// wrote, received and replayed; on a primary its flushed position.
func (r *Row) Position() postgres.LSN {
	if !r.InRecovery {
		return r.Location
	}
	return max(r.Received, r.Written, r.Replayed)
}

// ReplicationState is the text of the member key: streaming, in archive
// recovery, or empty (contract: dcs-layout.md 1.1).
func (r *Row) ReplicationState() string {
	switch {
	case !r.InRecovery:
		return ""
	case r.Streaming:
		return "streaming"
	case r.RestoreCommand:
		return "in archive recovery"
	}
	return ""
}

// SlotRow is one row of pg_replication_slots. Temporary slots are not read.
type SlotRow struct {
	Name       string       `json:"name"`
	Type       string       `json:"type"` // physical, logical
	Plugin     string       `json:"plugin"`
	Database   string       `json:"database"`
	Active     bool         `json:"active"`
	Xmin       bool         `json:"xmin"` // xmin or catalog_xmin is held
	RestartLSN postgres.LSN `json:"restart_lsn"`
	Confirmed  postgres.LSN `json:"confirmed"`
	WALStatus  string       `json:"wal_status"`
	Failover   bool         `json:"failover"` // 17+: owned by the server's own synchronisation
	Synced     bool         `json:"synced"`   // 17+: it came from the primary by that
}

// Sender is one row of pg_stat_replication.
type Sender struct {
	User            string       `json:"usename"`
	ApplicationName string       `json:"application_name"`
	ClientAddr      *string      `json:"client_addr"`
	State           string       `json:"state"`
	SyncState       string       `json:"sync_state"`
	SyncPriority    int          `json:"sync_priority"`
	PID             int          `json:"pid"`
	Sent            postgres.LSN `json:"sent"`
	Write           postgres.LSN `json:"write"`
	Flush           postgres.LSN `json:"flush"`
	Replay          postgres.LSN `json:"replay"`
}

// monitoringSQL is the one query of a cycle. %s are the slots' columns failover and synced.
const monitoringSQL = `
SELECT r.rec,
 CASE WHEN r.rec THEN 0 ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
 CASE WHEN r.rec THEN 0 ELSE pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint END,
 COALESCE(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0'), 0)::bigint,
 COALESCE(pg_wal_lsn_diff(w.written_lsn, '0/0'), 0)::bigint,
 COALESCE(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0)::bigint,
 CASE WHEN r.rec THEN pg_is_wal_replay_paused() ELSE false END,
 COALESCE(extract(epoch FROM pg_last_xact_replay_timestamp()), 0)::float8,
 COALESCE(to_char(pg_last_xact_replay_timestamp(), 'YYYY-MM-DD HH24:MI:SS.USTZH:TZM'), ''),
 COALESCE(w.status, ''), COALESCE(w.received_tli, 0),
 COALESCE(pg_wal_lsn_diff(w.latest_end_lsn, '0/0'), 0)::bigint,
 COALESCE(w.slot_name, ''), COALESCE(w.conninfo, ''),
 COALESCE(current_setting('restore_command', true), '') <> '',
 extract(epoch FROM pg_postmaster_start_time())::float8,
 to_char(pg_postmaster_start_time(), 'YYYY-MM-DD HH24:MI:SS.USTZH:TZM'),
 current_setting('server_version_num')::int,
 current_setting('synchronous_standby_names'),
 (SELECT COALESCE(json_agg(json_build_object('name', slot_name, 'type', slot_type,
    'plugin', COALESCE(plugin::text, ''), 'database', COALESCE(database::text, ''), 'active', active,
    'xmin', xmin IS NOT NULL OR catalog_xmin IS NOT NULL,
    'restart_lsn', COALESCE(pg_wal_lsn_diff(restart_lsn, '0/0'), 0)::bigint,
    'confirmed', COALESCE(pg_wal_lsn_diff(confirmed_flush_lsn, '0/0'), 0)::bigint,
    'wal_status', COALESCE(wal_status, ''), 'failover', %s, 'synced', %s) ORDER BY slot_name), '[]')::text
  FROM pg_replication_slots WHERE NOT temporary),
 (SELECT COALESCE(json_agg(json_build_object('usename', COALESCE(usename::text, ''),
    'application_name', COALESCE(application_name, ''), 'client_addr', client_addr, 'state', COALESCE(state, ''),
    'sync_state', COALESCE(sync_state, ''), 'sync_priority', COALESCE(sync_priority, 0), 'pid', pid,
    'sent', COALESCE(pg_wal_lsn_diff(sent_lsn, '0/0'), 0)::bigint,
    'write', COALESCE(pg_wal_lsn_diff(write_lsn, '0/0'), 0)::bigint,
    'flush', COALESCE(pg_wal_lsn_diff(flush_lsn, '0/0'), 0)::bigint,
    'replay', COALESCE(pg_wal_lsn_diff(replay_lsn, '0/0'), 0)::bigint) ORDER BY pid), '[]')::text
  FROM pg_stat_replication)
FROM (SELECT pg_is_in_recovery() AS rec) r LEFT JOIN pg_stat_get_wal_receiver() w ON true`

// readRow runs the monitoring query.
func readRow(ctx context.Context, c *pgx.Conn) (*Row, error) {
	version, err := serverVersion(c.PgConn())
	if err != nil {
		return nil, err
	}
	failover, synced := "false", "false"
	if version.AtLeast(17) {
		failover, synced = "failover", "synced"
	}
	r := &Row{}
	var replayedAt, started float64
	var slots, senders string
	err = c.QueryRow(ctx, fmt.Sprintf(monitoringSQL, failover, synced)).Scan(&r.InRecovery, &r.Timeline, &r.Location,
		&r.Received, &r.Written, &r.Replayed, &r.ReplayPaused, &replayedAt, &r.ReplayedAtText,
		&r.ReceiverStatus, &r.ReceivedTimeline, &r.LatestEnd, &r.ReceiverSlot, &r.ReceiverConninfo,
		&r.RestoreCommand, &started, &r.PostmasterStartText, &r.Version, &r.SynchronousStandbyNames, &slots, &senders)
	if err != nil {
		return nil, fmt.Errorf("monitoring query: %w", err)
	}
	r.Streaming = r.ReceiverStatus == "streaming"
	r.ReplayedAt, r.PostmasterStart = fromEpoch(replayedAt), fromEpoch(started)
	if !r.InRecovery { // what the last recovery left behind means nothing now
		r.Received, r.Written, r.Replayed, r.ReplayedAt, r.ReplayedAtText = 0, 0, 0, time.Time{}, ""
	} else if r.Received != 0 && r.ReceivedTimeline != 0 {
		r.Timeline = r.ReceivedTimeline
	}
	if err := json.Unmarshal([]byte(slots), &r.Slots); err != nil {
		return nil, fmt.Errorf("monitoring query: slots: %w", err)
	}
	if err := json.Unmarshal([]byte(senders), &r.Senders); err != nil {
		return nil, fmt.Errorf("monitoring query: walsenders: %w", err)
	}
	return r, nil
}

func fromEpoch(sec float64) time.Time {
	if sec == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(sec * 1e6))
}

// serverVersion reads the version a server announced when the connection was
// made.
func serverVersion(c *pgconn.PgConn) (postgres.Version, error) {
	return postgres.ParseServerVersion(c.ParameterStatus("server_version"))
}

// identity is a server's answer to IDENTIFY_SYSTEM.
type identity struct {
	systemID postgres.SystemID
	timeline postgres.Timeline
	position postgres.LSN
}

func identifySystem(ctx context.Context, c *pgconn.PgConn) (identity, error) {
	row, err := replicationRow(ctx, c, "IDENTIFY_SYSTEM", 3)
	if err != nil {
		return identity{}, err
	}
	var tl uint32
	if _, err := fmt.Sscan(row[1], &tl); err != nil {
		return identity{}, fmt.Errorf("IDENTIFY_SYSTEM: timeline %q", row[1])
	}
	lsn, err := postgres.ParseLSN(row[2])
	if err != nil {
		return identity{}, fmt.Errorf("IDENTIFY_SYSTEM: %w", err)
	}
	return identity{postgres.SystemID(row[0]), postgres.Timeline(tl), lsn}, nil
}

// replicationRow runs a replication command that answers one row.
func replicationRow(ctx context.Context, c *pgconn.PgConn, command string, columns int) ([]string, error) {
	results, err := c.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	if len(results) == 0 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < columns {
		return nil, fmt.Errorf("%s: %w", command, errors.New("empty answer"))
	}
	out := make([]string, len(results[0].Rows[0]))
	for i, v := range results[0].Rows[0] {
		out[i] = string(v)
	}
	return out, nil
}
