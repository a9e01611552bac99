package rest

import (
	"encoding/json"
	"net/url"
	"strconv"

	"pgha/internal/api"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// clusterDocument is the answer of GET /cluster (contract: rest-api.md 6.2).
func clusterDocument(c *dcs.Cluster, conf *config.Dynamic, scope string) *api.Object {
	members := make([]*api.Object, 0, len(c.Members))
	for i := range c.Members {
		members = append(members, memberDocument(c, &c.Members[i], conf))
	}
	o := newObject("members", members)
	setTrue(o, "pause", pausedIn(c, conf.Pause))
	if f := c.Failover; f != nil && !f.ScheduledAt.IsZero() {
		s := newObject("at", api.FormatTime(f.ScheduledAt, 'T'))
		if f.Leader != "" {
			s.Set("from", f.Leader)
		}
		if f.Candidate != "" {
			s.Set("to", f.Candidate)
		}
		o.Set("scheduled_switchover", s)
	}
	o.Set("scope", scope)
	return o
}

func memberDocument(c *dcs.Cluster, m *dcs.Member, conf *config.Dynamic) *api.Object {
	leads := c.Leader != nil && c.Leader.Name == m.Name
	role := memberRole(c, m, conf, leads)
	state := string(m.State)
	if m.State == postgres.StateUnknown {
		state = "" // the key has none
	}
	if role != "leader" && m.ReplicationState != "" {
		state = m.ReplicationState
	}
	o := newObject("name", m.Name, "role", role, "state", state)
	if m.APIURL == "" {
		o.Set("api_url", nil)
	} else {
		o.Set("api_url", m.APIURL)
	}
	setHostPort(o, m.ConnURL)
	if m.Timeline != 0 {
		o.Set("timeline", uint32(m.Timeline))
	}
	setTrue(o, "pending_restart", m.PendingRestart)
	if len(m.PendingRestartReason) > 0 {
		o.Set("pending_restart_reason", restartReasons(m.PendingRestartReason))
	}
	if m.ScheduledRestart != nil {
		o.Set("scheduled_restart", scheduledRestart(m.ScheduledRestart, true))
	}
	if len(m.Tags) > 0 {
		o.Set("tags", m.Tags)
	}
	if !leads {
		setLag(o, "receive_", m.Receive, c.Status.Optime)
		setLag(o, "replay_", m.Replay, c.Status.Optime)
		best := max(m.Receive, m.Replay)
		if best == 0 {
			best = m.Location // members before Patroni 4.1 publish this one alone
		}
		setLag(o, "", best, c.Status.Optime)
	}
	return o
}

func memberRole(c *dcs.Cluster, m *dcs.Member, conf *config.Dynamic, leads bool) string {
	switch {
	case leads && conf.StandbyCluster != nil:
		return "standby_leader"
	case leads:
		return "leader"
	case conf.SynchronousMode == config.SyncOn && inSync(c, m.Name):
		return "sync_standby"
	case conf.SynchronousMode == config.SyncQuorum && inSync(c, m.Name):
		return "quorum_standby"
	}
	return "replica"
}

// setLag sets one pair. The order differs when the position is unknown, as in
// the reference.
func setLag(o *api.Object, prefix string, at, leader postgres.LSN) {
	if at == 0 {
		o.Set(prefix+"lsn", "unknown")
		o.Set(prefix+"lag", "unknown")
		return
	}
	var lag uint64
	if leader > at {
		lag = uint64(leader - at)
	}
	o.Set(prefix+"lag", lag)
	o.Set(prefix+"lsn", at.String())
}

func setHostPort(o *api.Object, connURL string) {
	u, err := url.Parse(connURL)
	if err != nil || u.Hostname() == "" {
		return
	}
	o.Set("host", u.Hostname())
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		port = 5432 // PostgreSQL's own default
	}
	o.Set("port", port)
}

// historyDocument is the answer of GET /history: newest last.
func historyDocument(rows []dcs.HistoryRow) []any {
	out := make([]any, len(rows))
	for i, r := range rows {
		row := []any{uint32(r.Timeline), uint64(r.Switch), r.Reason}
		if r.Timestamp != "" || r.NewLeader != "" {
			row = append(row, r.Timestamp)
		}
		if r.NewLeader != "" {
			row = append(row, r.NewLeader)
		}
		out[i] = row
	}
	return out
}

// pausedIn reads maintenance mode from a fresh view, which may be newer than
// the configuration in force; a config key that is missing or damaged keeps
// what is in force.
func pausedIn(c *dcs.Cluster, inForce bool) bool {
	if c.Config == nil || !c.Config.Valid {
		return inForce
	}
	var doc struct {
		Pause any `json:"pause"`
	}
	if json.Unmarshal(c.Config.Raw, &doc) != nil {
		return inForce
	}
	return truth(doc.Pause)
}
