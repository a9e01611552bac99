package dcs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// memberWire is a member key as written; the order is the contract's example.
type memberWire struct {
	ConnURL                string                     `json:"conn_url"`
	APIURL                 string                     `json:"api_url"`
	State                  postgres.State             `json:"state"`
	Role                   postgres.Role              `json:"role"`
	Version                string                     `json:"version"`
	ProxyURL               string                     `json:"proxy_url,omitempty"`
	CheckpointAfterPromote *bool                      `json:"checkpoint_after_promote,omitempty"`
	Tags                   map[string]any             `json:"tags,omitempty"`
	PendingRestart         bool                       `json:"pending_restart,omitempty"`
	PendingRestartReason   map[string]ParameterChange `json:"pending_restart_reason,omitempty"`
	Location               LSN                        `json:"xlog_location,omitempty"`
	Replay                 LSN                        `json:"replay_lsn,omitempty"`
	Receive                LSN                        `json:"receive_lsn,omitempty"`
	ReplicationState       string                     `json:"replication_state,omitempty"`
	Timeline               postgres.Timeline          `json:"timeline,omitempty"`
	ScheduledRestart       *restartWire               `json:"scheduled_restart,omitempty"`
	Pause                  bool                       `json:"pause,omitempty"`
	Pgha                   *PghaInfo                  `json:"pgha,omitempty"`
}

// restartWire is scheduled_restart.
type restartWire struct {
	Schedule            string `json:"schedule"`
	PostmasterStartTime string `json:"postmaster_start_time,omitempty"`
	Role                string `json:"role,omitempty"`
	PostgresVersion     string `json:"postgres_version,omitempty"`
	TimeoutSeconds      int64  `json:"timeout,omitempty"`
	RestartPending      bool   `json:"restart_pending,omitempty"`
}

// EncodeMember writes a member key (contract: dcs-layout.md 1.1). Equal data
// gives equal bytes, so "has it changed?" is a comparison of texts.
func EncodeMember(d MemberData) []byte {
	w := memberWire{
		ConnURL: d.ConnURL, APIURL: d.APIURL, State: d.State, Role: d.Role, Version: d.Version,
		ProxyURL: d.ProxyURL, CheckpointAfterPromote: d.CheckpointAfterPromote, Tags: writable(d.Tags),
		PendingRestart: d.PendingRestart, PendingRestartReason: d.PendingRestartReason,
		Location: d.Location, Replay: d.Replay, Receive: d.Receive,
		ReplicationState: d.ReplicationState, Timeline: d.Timeline, Pause: d.Pause, Pgha: d.Pgha,
	}
	if r := d.ScheduledRestart; r != nil {
		w.ScheduledRestart = &restartWire{
			Schedule: FormatTime(r.Schedule), PostmasterStartTime: r.PostmasterStartTime, Role: r.Role,
			PostgresVersion: r.PostgresVersion, TimeoutSeconds: int64(r.Timeout / time.Second),
			RestartPending: r.RestartPending,
		}
	}
	return encode(w)
}

// writable returns the tags; one that JSON cannot say (YAML's .nan) is written
// as its text, so that a strange tag never keeps a member from being seen.
func writable(tags map[string]any) map[string]any {
	if _, err := json.Marshal(tags); err == nil {
		return tags
	}
	out := make(map[string]any, len(tags))
	for k, v := range tags {
		if _, err := json.Marshal(v); err != nil {
			v = fmt.Sprint(v)
		}
		out[k] = v
	}
	return out
}

// EqualMember says whether both would be written alike: the test before a
// member key is put again.
func EqualMember(a, b MemberData) bool { return bytes.Equal(EncodeMember(a), EncodeMember(b)) }

// DecodeMember reads a member key and never fails: what is not understood is
// zero. The error, when there is one, says what was damaged, for the log.
func DecodeMember(raw []byte) (MemberData, error) {
	if bytes.HasPrefix(raw, []byte("postgres")) {
		return legacyMember(string(raw)), nil
	}
	m, err := object(raw)
	if err != nil {
		return MemberData{State: postgres.StateUnknown}, fmt.Errorf("read as a member without data: %w", err)
	}
	d := MemberData{
		ConnURL: text(m["conn_url"]), APIURL: text(m["api_url"]), ProxyURL: text(m["proxy_url"]),
		State: postgres.State(text(m["state"])), Role: postgres.Role(text(m["role"])), Version: text(m["version"]),
		PendingRestart: config.Truthy(m["pending_restart"]), PendingRestartReason: changes(m["pending_restart_reason"]),
		ReplicationState: text(m["replication_state"]), Timeline: timeline(m["timeline"]), Pause: config.Truthy(m["pause"]),
	}
	if d.State == "" {
		d.State = postgres.StateUnknown
	}
	d.Location, _ = position(m["xlog_location"])
	d.Receive, _ = position(m["receive_lsn"])
	d.Replay, _ = position(m["replay_lsn"])
	if v, there := m["checkpoint_after_promote"]; there {
		done := config.Truthy(v)
		d.CheckpointAfterPromote = &done
	}
	if tags, ok := m["tags"].(map[string]any); ok && len(tags) > 0 {
		d.Tags = plain(tags).(map[string]any)
	}
	if p, ok := m["pgha"].(map[string]any); ok {
		d.Pgha = &PghaInfo{Version: text(p["version"]), Note: text(p["note"])}
	}
	var damage error
	if v, there := m["scheduled_restart"]; there {
		d.ScheduledRestart, damage = scheduledRestart(v)
	}
	return d, damage
}

// legacyMember reads the oldest form: a connection URL that carries the REST
// URL as its application_name.
func legacyMember(raw string) MemberData {
	conn, query, _ := strings.Cut(strings.ToValidUTF8(raw, "\ufffd"), "?")
	d := MemberData{ConnURL: conn, State: postgres.StateUnknown}
	if q, err := url.ParseQuery(query); err == nil {
		d.APIURL = strings.ToValidUTF8(q.Get("application_name"), "\ufffd")
	}
	return d
}

// timeline reads a timeline number; what is none is 0, unknown.
func timeline(v any) postgres.Timeline {
	n, ok := integer(v)
	if !ok || n < 0 || n > math.MaxUint32 {
		return 0
	}
	return postgres.Timeline(n)
}

// changes reads pending_restart_reason.
func changes(v any) map[string]ParameterChange {
	m, _ := v.(map[string]any)
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]ParameterChange, len(m))
	for guc, c := range m {
		o, _ := c.(map[string]any)
		out[guc] = ParameterChange{Old: scalar(o["old_value"]), New: scalar(o["new_value"])}
	}
	return out
}

// scalar returns a string as it is and any other JSON value as its text.
func scalar(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return string(encode(v))
}

// scheduledRestart reads scheduled_restart; without a time there is none.
func scheduledRestart(v any) (*ScheduledRestart, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("scheduled_restart ignored: not a JSON object")
	}
	at, zoned, ok := ParseTime(text(m["schedule"]))
	if !ok || !zoned {
		return nil, fmt.Errorf("scheduled_restart ignored: schedule %s is no time with a zone", shown(text(m["schedule"])))
	}
	seconds, _ := integer(m["timeout"])
	if seconds < 0 || seconds > math.MaxInt64/int64(time.Second) {
		seconds = 0
	}
	return &ScheduledRestart{
		Schedule: at, PostmasterStartTime: text(m["postmaster_start_time"]), Role: text(m["role"]),
		PostgresVersion: scalar(m["postgres_version"]), Timeout: time.Duration(seconds) * time.Second,
		RestartPending: config.Truthy(m["restart_pending"]),
	}, nil
}
