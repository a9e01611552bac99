package rest

import (
	"testing"
	"time"

	"pgha/internal/api"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

func text(v any) string { return string(api.Marshal(v)) }

// TestStatusDocument compares with the documents of rest-api.md 3.3, byte for byte.
func TestStatusDocument(t *testing.T) {
	leader := primary(begin)
	leader.Server.Replication = []Sender{{User: "repl", ApplicationName: "db2", ClientAddr: "192.0.2.12", State: "streaming", SyncState: "sync", SyncPriority: 1}}
	leader.Tags = map[string]any{"dc": "north"}
	leader.PendingRestart = true
	leader.PendingRestartReason = map[string]dcs.ParameterChange{"shared_buffers": {Old: "1GB", New: "2GB"}}

	sync := inSyncMode(replica(begin), config.SyncOn, "db2")

	stopped := replica(begin)
	stopped.Name, stopped.State, stopped.Server = "db3", postgres.StateStopped, nil
	stopped.Config.Pause = true

	all := primary(begin)
	all.Server, all.State, all.Cluster, all.DCSLastSeen, all.SystemID = nil, postgres.StateUnknown, nil, time.Time{}, ""
	all.PghaVersion, all.WatchdogFailed, all.LogQueue, all.LogLost = "0.1.0", true, 7, 2
	all.FailsafeUntil = begin.Add(1)
	all.Tags = map[string]any{"nofailover": true, "zone": "Zürich"}
	all.ScheduledRestart = &dcs.ScheduledRestart{Schedule: time.Date(2031, 1, 1, 10, 0, 0, 0, time.UTC), Role: "primary", PostgresVersion: "15.99", Timeout: time.Minute, RestartPending: true, PostmasterStartTime: "not shown"}

	for _, tc := range []struct {
		name   string
		status *Status
		want   string
	}{
		{"primary", leader, `{"state": "running", "postmaster_start_time": "2031-02-03 04:05:06.789012+00:00", "role": "primary", "server_version": 170005, "xlog": {"location": 5368709120}, "timeline": 3, "replication": [{"usename": "repl", "application_name": "db2", "client_addr": "192.0.2.12", "state": "streaming", "sync_state": "sync", "sync_priority": 1}], "dcs_last_seen": 1927958706, "tags": {"dc": "north"}, "database_system_identifier": "7500000000000000001", "pending_restart": true, "pending_restart_reason": {"shared_buffers": {"old_value": "1GB", "new_value": "2GB"}}, "patroni": {"version": "4.1.5", "scope": "shop", "name": "db1"}}`},
		{"synchronous standby", sync, `{"state": "running", "postmaster_start_time": "2031-02-03 04:06:00.100000+00:00", "role": "replica", "server_version": 170005, "xlog": {"received_location": 5368709120, "replayed_location": 5368709120, "replayed_timestamp": "2031-02-03 09:00:00.000001+00:00", "paused": false}, "sync_standby": true, "timeline": 3, "replication_state": "streaming", "dcs_last_seen": 1927958706, "database_system_identifier": "7500000000000000001", "patroni": {"version": "4.1.5", "scope": "shop", "name": "db2"}}`},
		{"stopped in maintenance", stopped, `{"state": "stopped", "role": "replica", "pause": true, "dcs_last_seen": 1927958706, "database_system_identifier": "7500000000000000001", "patroni": {"version": "4.1.5", "scope": "shop", "name": "db3"}}`},
		{"everything else", all, `{"state": "unknown", "role": "primary", "cluster_unlocked": true, "failsafe_mode_is_active": true, "dcs_last_seen": 0, "tags": {"nofailover": true, "zone": "Z\u00fcrich"}, "patroni": {"version": "4.1.5", "scope": "shop", "name": "db1"}, "scheduled_restart": {"schedule": "2031-01-01T10:00:00+00:00", "role": "primary", "postgres_version": "15.99", "timeout": 60, "restart_pending": true}, "watchdog_failed": true, "logger_queue_size": 7, "logger_records_lost": 2, "pgha": {"version": "0.1.0", "lease_held": true}}`},
	} {
		if got := text(statusDocument(tc.status, begin)); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

// TestStatusDocumentIsReadByPeers: what the server writes the client reads.
func TestStatusDocumentIsReadByPeers(t *testing.T) {
	s := replica(begin)
	s.PghaVersion, s.Server.Received = "0.1.0", 5368709121
	p, err := api.ParsePeer(api.Marshal(statusDocument(s, begin)))
	if err != nil {
		t.Fatal(err)
	}
	if !p.InRecovery || p.Location != 5368709121 || p.Timeline != 3 || p.ServerVersion != 170005 || p.Pgha == nil || p.Pgha.Version != "0.1.0" || p.Pgha.LeaseHeld {
		t.Errorf("peer reads %+v", p)
	}
}

func TestClusterDocument(t *testing.T) {
	c := twoMembers()
	conf := tlsDefaults()
	conf.SynchronousMode = config.SyncOn
	c.Sync.Standbys = []string{"db2"}
	want := `{"members": [{"name": "db1", "role": "leader", "state": "running", "api_url": "http://192.0.2.11:8008/patroni", "host": "192.0.2.11", "port": 5432, "timeline": 3}, {"name": "db2", "role": "sync_standby", "state": "streaming", "api_url": "http://192.0.2.12:8008/patroni", "host": "192.0.2.12", "port": 5432, "timeline": 3, "tags": {"dc": "south"}, "receive_lag": 0, "receive_lsn": "1/40000060", "replay_lag": 16, "replay_lsn": "1/40000050", "lag": 0, "lsn": "1/40000060"}], "scope": "shop"}`
	if got := text(clusterDocument(c, &conf, "shop")); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}

	c.Members = []dcs.Member{{Name: "db3", MemberData: dcs.MemberData{APIURL: "http://192.0.2.13:8008/patroni", ConnURL: "postgres://192.0.2.13:5432/postgres", State: postgres.StateStopped}},
		{Name: "db4", MemberData: dcs.MemberData{State: postgres.StateUnknown}}} // a key without state and addresses
	c.Config.Raw = []byte(`{"pause": true}`) // newer than the configuration in force
	c.Failover = &dcs.Failover{Leader: "db1", Candidate: "db2", ScheduledAt: time.Date(2031, 1, 1, 10, 0, 0, 0, time.FixedZone("", 7200))}
	want = `{"members": [{"name": "db3", "role": "replica", "state": "stopped", "api_url": "http://192.0.2.13:8008/patroni", "host": "192.0.2.13", "port": 5432, "receive_lsn": "unknown", "receive_lag": "unknown", "replay_lsn": "unknown", "replay_lag": "unknown", "lsn": "unknown", "lag": "unknown"}, {"name": "db4", "role": "replica", "state": "", "api_url": null, "receive_lsn": "unknown", "receive_lag": "unknown", "replay_lsn": "unknown", "replay_lag": "unknown", "lsn": "unknown", "lag": "unknown"}], "pause": true, "scheduled_switchover": {"at": "2031-01-01T10:00:00+02:00", "from": "db1", "to": "db2"}, "scope": "shop"}`
	if got := text(clusterDocument(c, &conf, "shop")); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestHistoryDocument(t *testing.T) {
	rows := []dcs.HistoryRow{
		{Timeline: 1, Switch: 100769704, Reason: "no recovery target specified"},
		{Timeline: 2, Switch: 100770480, Reason: "no recovery target specified", Timestamp: "2031-01-01T10:57:08.919748+00:00", NewLeader: "db1"},
	}
	want := `[[1, 100769704, "no recovery target specified"], [2, 100770480, "no recovery target specified", "2031-01-01T10:57:08.919748+00:00", "db1"]]`
	if got := text(historyDocument(rows)); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if got := text(historyDocument(nil)); got != "[]" {
		t.Errorf("no history: %s", got)
	}
}
