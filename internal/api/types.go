// Package api is the REST interface between members and tools: the wire
// types of requests and answers, and a client for the server of every member,
// Patroni's or pgha's (contract: rest-api.md). The server is agent/rest.
package api

import (
	"encoding/json"
	"fmt"
	"time"

	"pgha/internal/postgres"
)

// PatroniVersion is the Patroni release whose behaviour pgha speaks for
// (rulings 25): patroni.version in documents, version in member keys.
const PatroniVersion = "4.1.5"

// Switchover is the body of POST /switchover and POST /failover.
type Switchover struct {
	// Leader is the present leader: required for a switchover.
	Leader string `json:"leader,omitempty"`
	// Candidate is the member to become leader: required for a failover.
	Candidate string `json:"candidate,omitempty"`
	// ScheduledAt is ISO 8601 with an offset; empty: now.
	ScheduledAt string `json:"scheduled_at,omitempty"`
}

// Restart is the body of POST /restart; zero fields are not sent.
type Restart struct {
	Schedule        string `json:"schedule,omitempty"` // ISO 8601 with an offset
	Role            string `json:"role,omitempty"`     // primary, standby_leader, replica
	PostgresVersion string `json:"postgres_version,omitempty"`
	TimeoutSeconds  int    `json:"timeout,omitempty"`
	RestartPending  bool   `json:"restart_pending,omitempty"`
}

// Reinitialize is the body of POST /reinitialize.
type Reinitialize struct {
	Force      bool `json:"force,omitempty"`
	FromLeader bool `json:"from_leader,omitempty"`
}

// Failsafe is the body of POST /failsafe: a primary without DCS tells a
// member that it goes on.
type Failsafe struct {
	Name    string            `json:"name"`
	ConnURL string            `json:"conn_url"`
	APIURL  string            `json:"api_url"`
	Slots   map[string]uint64 `json:"slots"`
	// TTL in whole seconds, for which the sender counts on the agreement: pgha's own,
	// Patroni ignores it. Zero: not given.
	TTL int `json:"ttl,omitempty"`
}

// Cluster is the answer of GET /cluster.
type Cluster struct {
	Members   []ClusterMember      `json:"members"`
	Pause     bool                 `json:"pause"`
	Scheduled *ScheduledSwitchover `json:"scheduled_switchover"`
	Scope     string               `json:"scope"`
}

// ScheduledSwitchover is a switchover waiting for its time.
type ScheduledSwitchover struct {
	At   string `json:"at"` // ISO 8601 with an offset
	From string `json:"from"`
	To   string `json:"to"`
}

// ClusterMember is one member of GET /cluster. Absent fields are zero.
type ClusterMember struct {
	Name             string            `json:"name"`
	Role             string            `json:"role"` // leader, standby_leader, sync_standby, quorum_standby, replica
	State            string            `json:"state"`
	APIURL           string            `json:"api_url"`
	Host             string            `json:"host"`
	Port             int               `json:"port"`
	Timeline         postgres.Timeline `json:"timeline"`
	PendingRestart   bool              `json:"pending_restart"`
	ScheduledRestart map[string]any    `json:"scheduled_restart"`
	Tags             map[string]any    `json:"tags"`
	// The lags are bytes. Absent on the leader, unknown while a member does
	// not publish positions.
	ReceiveLag Lag    `json:"receive_lag"`
	ReceiveLSN string `json:"receive_lsn"`
	ReplayLag  Lag    `json:"replay_lag"`
	ReplayLSN  string `json:"replay_lsn"`
	Lag        Lag    `json:"lag"`
	LSN        string `json:"lsn"`
}

// Lag is a distance in WAL, on the wire a number of bytes or "unknown".
type Lag struct {
	Bytes int64
	Known bool
}

// UnmarshalJSON reads a number; everything else is "not known".
func (l *Lag) UnmarshalJSON(b []byte) error {
	*l = Lag{}
	if json.Unmarshal(b, &l.Bytes) == nil && string(b) != "null" {
		l.Known = true
	}
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (l Lag) MarshalJSON() ([]byte, error) {
	if !l.Known {
		return []byte(`"unknown"`), nil
	}
	return json.Marshal(l.Bytes)
}

// HistoryRow is one switch of timelines in the answer of GET /history.
type HistoryRow struct {
	Timeline  postgres.Timeline // the one that ended
	Switch    postgres.LSN
	Reason    string
	Timestamp string // ISO 8601; empty in old rows
	NewLeader string // empty in old rows
}

// UnmarshalJSON reads an array of three to five.
func (r *HistoryRow) UnmarshalJSON(b []byte) error {
	var cells []json.RawMessage
	if err := json.Unmarshal(b, &cells); err != nil {
		return fmt.Errorf("history row: %w", err)
	}
	if len(cells) < 3 {
		return fmt.Errorf("history row of %d cells, want at least 3", len(cells))
	}
	*r = HistoryRow{}
	for i, into := range []any{&r.Timeline, &r.Switch, &r.Reason, &r.Timestamp, &r.NewLeader} {
		if i == len(cells) {
			break
		}
		if err := json.Unmarshal(cells[i], into); err != nil {
			return fmt.Errorf("history row, cell %d: %w", i, err)
		}
	}
	return nil
}

// FormatTime writes the time the way documents carry it: Python's str() of
// a datetime when sep is ' ', its isoformat() when 'T'. Microseconds appear
// only when there are any, the offset always and never as Z.
func FormatTime(t time.Time, sep byte) string {
	layout := "2006-01-02" + string(sep) + "15:04:05"
	if t.Truncate(time.Microsecond).Nanosecond() != 0 {
		layout += ".000000"
	}
	return t.Format(layout + "-07:00")
}
