// Package clusterops is a cluster seen and operated from outside: who leads,
// how the members look, switch over, restart, pause, and wait until something
// is so. ctl uses it, and whatever else acts on a cluster without being one
// of its members. It prints nothing.
package clusterops

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgha/internal/api"
	"pgha/internal/dcs"
)

// Role is a choice of members by what the DCS says of them (contract: ctl.md
// section 1, "Role filter semantics").
type Role string

const (
	// RoleLeader is the holder of the leader key.
	RoleLeader Role = "leader"
	// RolePrimary is the holder, unless it publishes itself as standby leader.
	RolePrimary Role = "primary"
	// RoleStandbyLeader is the holder, unless it publishes itself as primary.
	RoleStandbyLeader Role = "standby-leader"
	// RoleReplica is every member that is not the holder.
	RoleReplica Role = "replica"
	// RoleStandby is another word for RoleReplica.
	RoleStandby Role = "standby"
	// RoleAny is every member.
	RoleAny Role = "any"
)

// Roles are all of them, in the order in which usage texts list them.
func Roles() []Role {
	return []Role{RoleLeader, RolePrimary, RoleStandbyLeader, RoleReplica, RoleStandby, RoleAny}
}

// WithRole returns the members that have the role, in the order of the view.
func WithRole(c *dcs.Cluster, role Role) []dcs.Member {
	var out []dcs.Member
	for _, m := range c.Members {
		if hasRole(c, m, role) {
			out = append(out, m)
		}
	}
	return out
}

func hasRole(c *dcs.Cluster, m dcs.Member, role Role) bool {
	holder := c.Leader != nil && c.Leader.Name == m.Name
	switch role {
	case RoleLeader:
		return holder
	case RolePrimary:
		return holder && m.Role != "standby_leader"
	case RoleStandbyLeader:
		return holder && !m.Role.IsPrimary()
	case RoleReplica, RoleStandby:
		return !holder
	}
	return true
}

// Candidates returns the names of the members that could take over from the
// leader: all but the leader itself and those tagged nofailover, sorted
// (contract: ctl.md 5.4; a priority of zero or less counts as no tag here).
func Candidates(c *dcs.Cluster) []string {
	var names []string
	for _, m := range c.Members {
		if c.Leader != nil && c.Leader.Name == m.Name || set(m.Tags["nofailover"]) {
			continue
		}
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

// Dynamic is the stored dynamic configuration as a document, numbers as
// json.Number; nil when the key is absent or no object.
func Dynamic(c *dcs.Cluster) map[string]any {
	if c.Config == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(c.Config.Raw))
	d.UseNumber()
	var doc map[string]any
	if d.Decode(&doc) != nil {
		return nil
	}
	return doc
}

// Paused says whether the cluster is in maintenance mode.
func Paused(c *dcs.Cluster) bool { return set(Dynamic(c)["pause"]) }

// LoopWait is the configured time between two cycles of the agents; 10 s when
// it is not set or not usable.
func LoopWait(c *dcs.Cluster) time.Duration { return seconds(Dynamic(c)["loop_wait"], 10) }

func seconds(v any, otherwise int) time.Duration {
	n, err := strconv.ParseFloat(text(v), 64)
	if err != nil || n <= 0 || n > 86400 {
		n = float64(otherwise)
	}
	return time.Duration(n * float64(time.Second))
}

// SyncMode says whether synchronous mode is on, and whether it is the quorum form.
func SyncMode(c *dcs.Cluster) (on, quorum bool) {
	mode := Dynamic(c)["synchronous_mode"]
	if strings.EqualFold(text(mode), "quorum") {
		return true, true
	}
	return set(mode), false
}

// IsStandbyCluster says whether the cluster follows another one (contract:
// rest-api.md 4.1, standbyCluster).
func IsStandbyCluster(c *dcs.Cluster) bool {
	section, _ := Dynamic(c)["standby_cluster"].(map[string]any)
	for _, key := range []string{"host", "port", "restore_command"} {
		if v := section[key]; v != nil && text(v) != "" {
			return true
		}
	}
	return false
}

// InSync says whether the member is listed in the sync key. Names are
// compared without case, as members do.
func InSync(c *dcs.Cluster, name string) bool {
	return slices.ContainsFunc(c.Sync.Standbys, func(s string) bool { return strings.EqualFold(s, name) })
}

// Address is the host and port of a member's PostgreSQL. ok is false when it
// publishes no usable connection URL. Port is 5432 when the URL names none.
func Address(m dcs.Member) (host string, port int, ok bool) {
	u, err := url.Parse(m.ConnURL)
	if err != nil || u.Hostname() == "" {
		return "", 0, false
	}
	port, err = strconv.Atoi(u.Port())
	if err != nil {
		port = 5432
	}
	return u.Hostname(), port, true
}

// set reads the booleans of configuration and tags: what people write for yes.
func set(v any) bool {
	switch strings.ToLower(text(v)) {
	case "true", "on", "yes", "1":
		return true
	}
	return false
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		return v.String()
	}
	return ""
}

// iso writes a time as members do: ISO 8601 with an offset.
func iso(t time.Time) string { return api.FormatTime(t, 'T') }
