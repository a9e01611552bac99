package rest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

func inSyncMode(s *Status, mode config.SyncMode, standbys ...string) *Status {
	s.Config.SynchronousMode = mode
	c := *s.Cluster
	c.Sync = dcs.Sync{Leader: "db1", Standbys: standbys}
	s.Cluster = &c
	return s
}

func inStandbyCluster(s *Status) *Status {
	s.Config.StandbyCluster = &config.StandbyCluster{Host: "192.0.2.99"}
	return s
}

func standbyLeader() *Status {
	s := inStandbyCluster(replica(begin))
	s.Role, s.LeaseUntil = postgres.RoleStandbyLeader, begin.Add(time.Second)
	return s
}

func withoutDCS(s *Status) *Status {
	s.Cluster = nil
	return s
}

// TestObservedCodes is the table of rest-api.md 4.4, a column a member.
func TestObservedCodes(t *testing.T) {
	failsafePrimary := withoutDCS(primary(begin))
	failsafePrimary.FailsafeUntil = begin.Add(time.Second)
	failsafeStandby := withoutDCS(replica(begin))
	failsafeStandby.FailsafeUntil = begin.Add(time.Second)
	demoted := withoutDCS(replica(begin))
	demoted.Role = postgres.RoleDemoted
	demoted.Server.ReplicationState, demoted.Server.UpstreamEnd = "", 0

	columns := []*Status{
		primary(begin), replica(begin),
		inSyncMode(primary(begin), config.SyncOn, "db2"), inSyncMode(replica(begin), config.SyncOn, "DB2"), inSyncMode(replica(begin), config.SyncOn, "db3"),
		inSyncMode(primary(begin), config.SyncQuorum, "db2"), inSyncMode(replica(begin), config.SyncQuorum, "db2"),
		standbyLeader(), inStandbyCluster(replica(begin)),
		failsafePrimary, failsafeStandby,
		demoted, withoutDCS(replica(begin)),
	}
	const table = `
path                |async|  sync   |quorum|stdby|failsafe|lost
/                   | 1 0 | 1 0 0 | 1 0 | 0 0 | 1 0 | 0 0
/primary            | 1 0 | 1 0 0 | 1 0 | 0 0 | 1 0 | 0 0
/read-write         | 1 0 | 1 0 0 | 1 0 | 0 0 | 1 0 | 0 0
/master             | 1 0 | 1 0 0 | 1 0 | 0 0 | 1 0 | 0 0
/leader             | 1 0 | 1 0 0 | 1 0 | 1 0 | 1 0 | 0 0
/standby-leader     | 0 0 | 0 0 0 | 0 0 | 1 0 | 0 0 | 0 0
/standby_leader     | 0 0 | 0 0 0 | 0 0 | 1 0 | 0 0 | 0 0
/replica            | 0 1 | 0 1 1 | 0 1 | 0 1 | 0 1 | 1 1
/read-only          | 1 1 | 1 1 1 | 1 1 | 1 1 | 1 1 | 1 1
/sync               | 0 0 | 0 1 0 | 0 0 | 0 0 | 0 0 | 0 0
/synchronous        | 0 0 | 0 1 0 | 0 0 | 0 0 | 0 0 | 0 0
/async              | 0 1 | 0 0 1 | 0 0 | 0 1 | 0 0 | 0 0
/quorum             | 0 0 | 0 0 0 | 0 1 | 0 0 | 0 0 | 0 0
/read-only-sync     | 1 0 | 1 1 0 | 1 0 | 1 0 | 0 0 | 0 0
/read-only-quorum   | 1 0 | 1 0 0 | 1 1 | 1 0 | 0 0 | 0 0
/health             | 1 1 | 1 1 1 | 1 1 | 1 1 | 1 1 | 1 1
/readiness          | 1 1 | 1 1 1 | 1 1 | 1 1 | 1 1 | 0 1
/sync/              | 0 0 | 0 0 0 | 0 0 | 0 0 | 0 0 | 0 0
/nosuch             | 0 0 | 0 0 0 | 0 0 | 0 0 | 0 0 | 0 0
/PRIMARY            | 0 0 | 0 0 0 | 0 0 | 0 0 | 0 0 | 0 0
/%70rimary          | 0 0 | 0 0 0 | 0 0 | 0 0 | 0 0 | 0 0
/foo-primary-bar    | 1 0 | 1 0 0 | 1 0 | 0 0 | 1 0 | 0 0
/replicas           | 0 1 | 0 1 1 | 0 1 | 0 1 | 0 1 | 1 1
`
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[1:] {
		path, cells, _ := strings.Cut(line, "|")
		path = strings.TrimSpace(path)
		for i, want := range strings.Fields(strings.ReplaceAll(cells, "|", " ")) {
			c := check{status: columns[i], now: begin, warn: func(string) {}}
			code := c.code(path)
			if path == "/readiness" {
				code, _ = c.ready()
			}
			if got := fmt.Sprint(map[int]int{200: 1, 503: 0}[code]); got != want {
				t.Errorf("%s, column %d: code %d, want %s", path, i, code, want)
			}
		}
	}
}

func TestHealthParameters(t *testing.T) {
	lagging := replica(begin)
	lagging.Server.Replayed -= 10 << 20
	tagged := replica(begin)
	tagged.ConfiguredTags = map[string]any{"dc": "North", "clonefrom": true, "weight": 1.4, "rank": int64(3)}
	noBalance := replica(begin)
	noBalance.ConfiguredTags = map[string]any{"noloadbalance": true}
	archive := replica(begin)
	archive.Server.ReplicationState = "in archive recovery"
	restarting := primary(begin)
	restarting.State, restarting.Server = postgres.StateCrashed, nil
	expired := primary(begin)
	expired.LeaseUntil = begin
	pausedAlone := withoutDCS(primary(begin))
	pausedAlone.Config.Pause, pausedAlone.LeaseUntil = true, 0
	unknown := replica(begin)
	unknown.State, unknown.Server = postgres.StateUnknown, nil

	for _, tc := range []struct {
		name   string
		status *Status
		target string
		want   int
	}{
		{"no limit", lagging, "/replica", 200},
		{"behind the limit", lagging, "/replica?lag=1MB", 503},
		{"exactly at the limit", lagging, "/replica?lag=10MB", 200},
		{"one byte more", lagging, "/replica?lag=10485759", 503},
		{"hexadecimal", lagging, "/replica?lag=0xA00000", 200},
		{"decimals with unit", lagging, "/replica?lag=0.5GB", 200},
		{"wrong case is no limit", lagging, "/replica?lag=1mb", 200},
		{"nonsense is no limit", lagging, "/replica?lag=abc", 200},
		{"empty is absent", lagging, "/replica?lag=", 200},
		{"first value wins", lagging, "/replica?lag=1MB&lag=1GB", 503},
		{"zero, in step", replica(begin), "/replica?lag=0", 200},
		{"negative", replica(begin), "/replica?lag=-1", 503},
		{"health ignores lag", lagging, "/health?lag=1", 200},
		{"async with lag", lagging, "/async?lag=1MB", 503},
		{"read-only with lag", lagging, "/read-only?lag=1MB", 503},
		{"tag", tagged, "/replica?tag_dc=North", 200},
		{"tag, case matters", tagged, "/replica?tag_dc=north", 503},
		{"boolean tag", tagged, "/replica?tag_clonefrom=true", 200},
		{"number tag", tagged, "/replica?tag_weight=1.4&tag_rank=3", 200},
		{"missing tag", tagged, "/replica?tag_zone=a", 503},
		{"false tag is not stored", tagged, "/replica?tag_noloadbalance=false", 503},
		{"tag on health", tagged, "/health?tag_dc=x", 503},
		{"tag on primary is not looked at", primary(begin), "/primary?tag_dc=x", 200},
		{"noloadbalance", noBalance, "/replica", 503},
		{"replication state", archive, "/replica?replication_state=in%20archive%20recovery", 200},
		{"other replication state", archive, "/replica?replication_state=streaming", 503},
		{"crashed with the lock is primary", restarting, "/primary", 200},
		{"crashed is not healthy", restarting, "/health", 503},
		{"lease over", expired, "/primary", 503},
		{"pause without DCS, by role", pausedAlone, "/primary", 200},
		{"pause without DCS, leader", pausedAlone, "/leader", 200},
		{"query failed", unknown, "/replica", 503},
		{"query failed, health", unknown, "/health", 503},
	} {
		path, query, _ := strings.Cut(tc.target, "?")
		c := check{status: tc.status, now: begin, query: firstValues(query), warn: func(string) {}}
		if got := c.code(path); got != tc.want {
			t.Errorf("%s: GET %s: %d, want %d", tc.name, tc.target, got, tc.want)
		}
	}
}

func TestReadiness(t *testing.T) {
	behindWrite := replica(begin)
	behindWrite.Server.Replayed -= 8 << 20
	noUpstream := withoutDCS(replica(begin))
	noUpstream.Server.UpstreamEnd = 0
	archive := replica(begin)
	archive.Server.ReplicationState = "in archive recovery"
	for _, tc := range []struct {
		name   string
		status *Status
		query  string
		want   int
	}{
		{"leader", primary(begin), "lag=-1", 200},
		{"in step", replica(begin), "", 200},
		{"beyond maximum_lag_on_failover", behindWrite, "", 503},
		{"own limit", behindWrite, "lag=8MB", 200},
		{"unreadable limit falls back", behindWrite, "lag=8mb", 503},
		{"written", behindWrite, "mode=write", 200},
		{"negative", replica(begin), "lag=-1", 503},
		{"archive", archive, "", 503},
		{"nothing known", noUpstream, "", 503},
	} {
		c := check{status: tc.status, now: begin, query: firstValues(tc.query), warn: func(string) {}}
		if got, reason := c.ready(); got != tc.want {
			t.Errorf("%s: %d (%s), want %d", tc.name, got, reason, tc.want)
		}
	}
}

func TestLiveness(t *testing.T) {
	paused := primary(begin)
	paused.Config.Pause = true
	for _, tc := range []struct {
		name   string
		status *Status
		after  time.Duration
		want   int
	}{
		{"primary in time", primary(begin), 39 * time.Second, 200},
		{"primary late", primary(begin), 41 * time.Second, 503},
		{"standby gets twice the ttl", replica(begin), 69 * time.Second, 200},
		{"standby late", replica(begin), 71 * time.Second, 503},
		{"paused", paused, time.Hour, 200},
	} {
		c := check{status: tc.status, now: begin.Add(tc.after)}
		if got := c.live(); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}
