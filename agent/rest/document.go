package rest

import (
	"maps"
	"slices"
	"time"

	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
)

// statusDocument is the answer of GET /patroni and of every health check
// (contract: rest-api.md section 3; the order of the keys is part of it).
func statusDocument(s *Status, now clock.Instant) *api.Object {
	o := &api.Object{}
	o.Set("state", string(s.State))
	if s.Server != nil && !s.Server.PostmasterStart.IsZero() {
		o.Set("postmaster_start_time", api.FormatTime(s.Server.PostmasterStart, ' '))
	}
	o.Set("role", string(s.shownRole()))
	if s.Server != nil {
		setServer(o, s)
	}
	setTrue(o, "pause", s.Config.Pause)
	setTrue(o, "cluster_unlocked", s.unlocked())
	setTrue(o, "failsafe_mode_is_active", s.failsafeActive(now))
	o.Set("dcs_last_seen", unixSeconds(s.DCSLastSeen))
	if len(s.Tags) > 0 {
		o.Set("tags", s.Tags)
	}
	if s.SystemID != "" {
		o.Set("database_system_identifier", string(s.SystemID))
	}
	if s.PendingRestart {
		o.Set("pending_restart", true)
		if len(s.PendingRestartReason) > 0 {
			o.Set("pending_restart_reason", restartReasons(s.PendingRestartReason))
		}
	}
	o.Set("patroni", newObject("version", api.PatroniVersion, "scope", s.Scope, "name", s.Name))
	if s.ScheduledRestart != nil {
		o.Set("scheduled_restart", scheduledRestart(s.ScheduledRestart, false))
	}
	setTrue(o, "watchdog_failed", s.WatchdogFailed)
	if s.LogQueue > 2 {
		o.Set("logger_queue_size", s.LogQueue)
		if s.LogLost > 0 {
			o.Set("logger_records_lost", s.LogLost)
		}
	}
	if s.PghaVersion != "" {
		// Ours, and last: clients that know Patroni's keys pass over it.
		own := newObject("version", s.PghaVersion, "lease_held", s.holdsLease(now))
		if len(s.Protection) > 0 {
			own.Set("protection", protectionObject(s.Protection))
		}
		if len(s.Probes) > 0 {
			own.Set("health", healthObject(s.Probes))
		}
		o.Set("pgha", own)
	}
	return o
}

func setServer(o *api.Object, s *Status) {
	srv := s.Server
	o.Set("server_version", srv.Version)
	o.Set("xlog", walPosition(srv))
	setTrue(o, "sync_standby", s.syncStandby(config.SyncOn))
	setTrue(o, "quorum_standby", s.syncStandby(config.SyncQuorum))
	if srv.Timeline == 0 {
		o.Set("timeline", nil)
	} else {
		o.Set("timeline", uint32(srv.Timeline))
	}
	if srv.InRecovery && srv.ReplicationState != "" {
		o.Set("replication_state", srv.ReplicationState)
	}
	if len(srv.Replication) == 0 {
		return
	}
	senders := make([]*api.Object, len(srv.Replication))
	for i, w := range srv.Replication {
		var addr any
		if w.ClientAddr != "" {
			addr = w.ClientAddr
		}
		senders[i] = newObject("usename", w.User, "application_name", w.ApplicationName, "client_addr", addr,
			"state", w.State, "sync_state", w.SyncState, "sync_priority", w.SyncPriority)
	}
	o.Set("replication", senders)
}

func walPosition(srv *Facts) *api.Object {
	if !srv.InRecovery {
		return newObject("location", uint64(srv.Location))
	}
	var replayedAt any
	if !srv.ReplayedAt.IsZero() {
		replayedAt = api.FormatTime(srv.ReplayedAt, ' ')
	}
	return newObject("received_location", uint64(srv.received()), "replayed_location", uint64(srv.Replayed),
		"replayed_timestamp", replayedAt, "paused", srv.ReplayPaused)
}

// restartReasons lists the parameters by name, so that the text is the same
// at every request.
func restartReasons(reasons map[string]dcs.ParameterChange) *api.Object {
	o := &api.Object{}
	for _, name := range slices.Sorted(maps.Keys(reasons)) {
		o.Set(name, newObject("old_value", reasons[name].Old, "new_value", reasons[name].New))
	}
	return o
}

// scheduledRestart is a restart waiting for its time; /cluster also tells
// which postmaster it is meant for.
func scheduledRestart(r *dcs.ScheduledRestart, withPostmaster bool) *api.Object {
	o := newObject("schedule", api.FormatTime(r.Schedule, 'T'))
	if r.Role != "" {
		o.Set("role", r.Role)
	}
	if r.PostgresVersion != "" {
		o.Set("postgres_version", r.PostgresVersion)
	}
	if r.Timeout > 0 {
		o.Set("timeout", int64(r.Timeout/time.Second))
	}
	setTrue(o, "restart_pending", r.RestartPending)
	if withPostmaster && r.PostmasterStartTime != "" {
		o.Set("postmaster_start_time", r.PostmasterStartTime)
	}
	return o
}

// newObject takes keys and values in turn.
func newObject(pairs ...any) *api.Object {
	o := &api.Object{}
	for i := 0; i < len(pairs); i += 2 {
		o.Set(pairs[i].(string), pairs[i+1])
	}
	return o
}

// setTrue sets keys that are there when true and absent otherwise.
func setTrue(o *api.Object, key string, value bool) {
	if value {
		o.Set(key, true)
	}
}

func unixSeconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// protectionObject lists the parts by name.
func protectionObject(parts map[string]string) *api.Object {
	o := newObject()
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		o.Set(name, parts[name])
	}
	return o
}
