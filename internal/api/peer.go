package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// ErrNoPosition: the answer is a JSON object but says nothing of WAL. Such a
// member counts as unreachable (contract: rest-api.md 6.1).
var ErrNoPosition = errors.New("the answer has no WAL position")

// PeerStatus is what a member said of itself on GET /patroni, or that it did
// not. Fields that an older or younger member leaves out are zero.
type PeerStatus struct {
	// Name and APIURL of the member that was asked.
	Name   string
	APIURL string
	// Err is nil when the member gave a usable answer. When it is not, only
	// Name, APIURL, Code and Body may be set.
	Err error
	// Code is the HTTP status (any is fine); 0 without an answer.
	Code int
	// Body is the answer as received, for the log.
	Body string

	State postgres.State
	Role  postgres.Role // master is read as primary
	// InRecovery is false for a running primary only.
	InRecovery bool
	// Location is the flushed position of a primary, on a standby the larger
	// of Received and Replayed. All are 0 when unknown.
	Location postgres.LSN
	Received postgres.LSN
	Replayed postgres.LSN
	Timeline postgres.Timeline
	// ServerVersion as server_version_num: 150018.
	ServerVersion    int
	ReplicationState string
	SystemID         postgres.SystemID
	Tags             map[string]any
	WatchdogFailed   bool
	Pause            bool
	PendingRestart   bool
	ClusterUnlocked  bool
	FailsafeActive   bool
	// PatroniVersion is the version the member speaks for.
	PatroniVersion string
	// Pgha is nil unless the member is one of ours.
	Pgha *PeerPgha
}

// PeerPgha is the document's object "pgha".
type PeerPgha struct {
	// Version of the pgha binary.
	Version string `json:"version"`
	// LeaseHeld says whether the member held the leader key, with time left,
	// when it answered.
	LeaseHeld bool `json:"lease_held"`
	// Unwell names a failing health probe and its reason; empty: none fails.
	Unwell string `json:"-"`
}

// Reachable says whether the answer may count in a race or a switchover.
func (p PeerStatus) Reachable() bool { return p.Err == nil }

// NoFailover says whether the member's tags keep it from becoming leader: an
// explicit nofailover decides, else a failover_priority of zero or less.
func (p PeerStatus) NoFailover() bool { return config.NoFailover(p.Tags) }

// FailoverPriority is the tag failover_priority: 0 with NoFailover, 1 when not set.
func (p PeerStatus) FailoverPriority() int { return config.FailoverPriority(p.Tags) }

// ParsePeer reads the answer to GET /patroni. It takes whatever it can:
// numbers may be text, unknown keys are ignored, a wrong type reads as
// absent. Errors: the body is no JSON object; ErrNoPosition.
func ParsePeer(body []byte) (PeerStatus, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		return PeerStatus{}, fmt.Errorf("status document: %w", err)
	}
	if doc == nil {
		return PeerStatus{}, errors.New("status document: not an object")
	}
	wal, ok := doc["wal"].(map[string]any)
	if !ok {
		if wal, ok = doc["xlog"].(map[string]any); !ok {
			return PeerStatus{}, ErrNoPosition
		}
	}
	p := PeerStatus{
		State:            postgres.State(text(doc["state"])),
		Role:             postgres.Role(text(doc["role"])),
		Received:         lsn(wal["received_location"]),
		Replayed:         lsn(wal["replayed_location"]),
		ReplicationState: text(doc["replication_state"]),
		SystemID:         postgres.SystemID(text(doc["database_system_identifier"])),
		WatchdogFailed:   truth(doc["watchdog_failed"]),
		Pause:            truth(doc["pause"]),
		PendingRestart:   truth(doc["pending_restart"]),
		ClusterUnlocked:  truth(doc["cluster_unlocked"]),
		FailsafeActive:   truth(doc["failsafe_mode_is_active"]),
	}
	if p.Role == postgres.RoleMaster {
		p.Role = postgres.RolePrimary
	}
	p.InRecovery = p.Role != postgres.RolePrimary
	p.Location = lsn(wal["location"])
	if p.InRecovery {
		p.Location = max(p.Received, p.Replayed)
	}
	if n, ok := integer(doc["timeline"]); ok && n > 0 && n <= 1<<32-1 {
		p.Timeline = postgres.Timeline(n)
	}
	if n, ok := integer(doc["server_version"]); ok {
		p.ServerVersion = int(n)
	}
	p.Tags, _ = doc["tags"].(map[string]any)
	if patroni, ok := doc["patroni"].(map[string]any); ok {
		p.PatroniVersion = text(patroni["version"])
	}
	if own, ok := doc["pgha"].(map[string]any); ok {
		p.Pgha = &PeerPgha{Version: text(own["version"]), LeaseHeld: truth(own["lease_held"]), Unwell: unwell(own["health"])}
	}
	return p, nil
}

// unwell is the first failing probe of the object pgha.health, by name.
func unwell(health any) string {
	probes, _ := health.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(probes)) {
		if p, ok := probes[name].(map[string]any); ok && text(p["state"]) == "failing" {
			return strings.TrimSuffix(name+": "+text(p["reason"]), ": ")
		}
	}
	return ""
}

func text(v any) string { s, _ := v.(string); return s }

func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return v == "true" || v == "on" || v == "yes" || v == "1"
	case nil:
		return false
	}
	n, ok := integer(v)
	return ok && n != 0
}

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	case float64:
		return int64(v), v == float64(int64(v))
	case int:
		return int64(v), true
	case int64:
		return v, true
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

func lsn(v any) postgres.LSN {
	n, ok := integer(v)
	if !ok || n < 0 {
		return 0
	}
	return postgres.LSN(n)
}
