package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/postgres"
)

const (
	healthy   = http.StatusOK
	unhealthy = http.StatusServiceUnavailable
)

// check is one health check: a pure question to a Status at an instant
// (contract: rest-api.md section 4).
type check struct {
	status *Status
	now    clock.Instant
	query  map[string]string
	// warn hears of a query parameter that cannot be read.
	warn func(string)
}

// lockCheck says whether the path is answered by the leader key alone: these
// codes never wait for PostgreSQL (rulings 28).
func lockCheck(path string) bool {
	return contains(path, "standby_leader", "standby-leader", "leader", "master", "primary", "read-write") || path == "/"
}

// code is the table of section 4.2: the first row that fits decides.
func (c check) code(path string) int {
	if path == "/" || path == "" {
		path = "/primary"
	}
	leader, primary, standbyLeader := c.lockCodes()
	switch {
	case contains(path, "standby_leader", "standby-leader"):
		return standbyLeader
	case contains(path, "leader"):
		return leader
	case contains(path, "master", "primary", "read-write"):
		return primary
	}
	if code := c.tagless(path, primary, standbyLeader); code != healthy || !c.tagsMatch() {
		return unhealthy
	}
	return healthy
}

// tagless is the rest of the table, whose rows tag filters apply to.
func (c check) tagless(path string, primary, standbyLeader int) int {
	leads := primary == healthy || standbyLeader == healthy
	sync, quorum := c.status.syncStandby(config.SyncOn), c.status.syncStandby(config.SyncQuorum)
	switch {
	case contains(path, "replica"):
		return c.replica()
	case contains(path, "read-only") && !contains(path, "sync", "quorum"):
		return either(leads, true, c.replica)
	case contains(path, "health"):
		return ok(c.status.State == postgres.StateRunning)
	case c.status.Cluster == nil:
		return unhealthy
	}
	switch path {
	case "/sync", "/synchronous":
		return either(false, sync, c.replica)
	case "/quorum":
		return either(false, quorum, c.replica)
	case "/async", "/asynchronous":
		return either(false, !sync && !quorum, c.replica)
	case "/read-only-quorum":
		return either(leads, quorum, c.replica)
	case "/read-only-sync", "/read-only-synchronous":
		return either(leads, sync, c.replica)
	}
	return unhealthy
}

// lockCodes are the codes of the three questions about the leader key.
func (c check) lockCodes() (leader, primary, standbyLeader int) {
	s := c.status
	role := s.shownRole()
	if s.Cluster == nil && s.Config.Pause {
		isPrimary, isStandbyLeader := role == postgres.RolePrimary, role == postgres.RoleStandbyLeader
		return ok(isPrimary || isStandbyLeader), ok(isPrimary), ok(isStandbyLeader)
	}
	if !s.holdsLease(c.now) {
		return unhealthy, unhealthy, unhealthy
	}
	if s.Config.StandbyCluster != nil {
		return healthy, unhealthy, ok(role == postgres.RoleReplica || role == postgres.RoleStandbyLeader)
	}
	return healthy, healthy, unhealthy
}

// replica is R of section 4.1.
func (c check) replica() int {
	s := c.status
	if s.State != postgres.StateRunning || s.shownRole() != postgres.RoleReplica || config.Truthy(s.ConfiguredTags["noloadbalance"]) {
		return unhealthy
	}
	// The holder of a standby cluster's key is no replica, whatever PostgreSQL says.
	if s.Config.StandbyCluster != nil && s.holdsLease(c.now) && !(s.Cluster == nil && s.Config.Pause) {
		return unhealthy
	}
	if want := c.query["replication_state"]; want != "" && (s.Server == nil || s.Server.ReplicationState != want) {
		return unhealthy
	}
	if limit, given := c.lagLimit(); given && s.Server != nil && behind(s.leaderLSN(), s.Server.Replayed, limit) {
		return unhealthy
	}
	return healthy
}

// lagLimit reads the parameter lag. A value that cannot be read is no limit:
// load balancers in the field carry such values and work (section 18, 4).
func (c check) lagLimit() (bytes int64, given bool) {
	text := c.query["lag"]
	if text == "" {
		return 0, false
	}
	bytes, given = config.ParseGUCInt(text, "B")
	if !given {
		c.warn(fmt.Sprintf("lag=%q is no number of bytes (B, kB, MB, GB, TB): taken as no limit", text))
	}
	return bytes, given
}

// behind says whether a position is more than limit bytes behind a leader
// whose position is known.
func behind(leader, at postgres.LSN, limit int64) bool {
	return leader > 0 && int64(leader)-int64(at) > limit
}

// tagsMatch says whether every tag_<name>=<value> names a configured tag.
func (c check) tagsMatch() bool {
	for key, want := range c.query {
		name, isTag := strings.CutPrefix(key, "tag_")
		if !isTag {
			continue
		}
		have, there := c.status.ConfiguredTags[name]
		if !there || tagText(have) != want {
			return false
		}
	}
	return true
}

// tagText is the value as a filter spells it: text as it is, the rest in
// lower case.
func tagText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		return strings.ToLower(v.String())
	}
	return strings.ToLower(fmt.Sprint(v))
}

// live answers /liveness: the loop runs, or is not meant to act (section 5).
func (c check) live() int {
	s := c.status
	threshold := 2 * s.Config.TTL
	if s.runsAsPrimary() {
		threshold = s.Config.TTL
	}
	return ok(s.Config.Pause || c.now.Before(s.NextTick.Add(threshold)))
}

// ready answers /readiness, with the reason when it is not (section 5).
func (c check) ready() (code int, reason string) {
	s := c.status
	switch {
	case s.holdsLease(c.now):
		return healthy, ""
	case s.State != postgres.StateRunning:
		return unhealthy, "PostgreSQL is " + string(s.State)
	case s.Server == nil || s.Server.ReplicationState != replicationStreaming:
		return unhealthy, "not streaming"
	case s.failsafeActive(c.now):
		return healthy, ""
	case s.Cluster == nil && s.Server.UpstreamEnd == 0:
		return unhealthy, "the leader's position is unknown"
	}
	limit, given := c.lagLimit()
	if !given {
		limit = s.Config.MaximumLagOnFailover
	}
	at, kind := s.Server.Replayed, "replay"
	if c.query["mode"] == "write" {
		at, kind = s.Server.received(), "write"
	}
	if behind(s.leaderLSN(), at, limit) {
		return unhealthy, fmt.Sprintf("%s position %v is more than %d bytes behind %v", kind, at, limit, s.leaderLSN())
	}
	return healthy, ""
}

// refreshBudget bounds the wait for PostgreSQL of one request: a frozen
// server gives "unknown", not silence (section 18, 7).
const refreshBudget = 2500 * time.Millisecond

// How old the facts of an answer may be (rulings 28). Peers in the leader race
// compare positions of /patroni, where a second can be much WAL.
const (
	checkAge  = time.Second
	statusAge = 100 * time.Millisecond
)

func ok(good bool) int {
	if good {
		return healthy
	}
	return unhealthy
}

// either is 200 when at once, else what then says if it may be asked.
func either(atOnce, may bool, then func() int) int {
	switch {
	case atOnce:
		return healthy
	case may:
		return then()
	}
	return unhealthy
}

func contains(path string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(path, w) {
			return true
		}
	}
	return false
}

// truth reads a boolean the way configuration files and bodies spell it.
func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		switch strings.ToLower(v) {
		case "true", "on", "yes", "1":
			return true
		}
	case json.Number:
		return v.String() != "0"
	case float64:
		return v != 0
	case int:
		return v != 0
	}
	return false
}
