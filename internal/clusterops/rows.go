package clusterops

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// Row is one member as `list` shows it (contract: ctl.md 4.1). Texts that are
// not known are empty.
type Row struct {
	Name string
	// Host, and Port when HostKnown.
	Host      string
	Port      int
	HostKnown bool
	// Role is Leader, Standby Leader, Sync Standby, Quorum Standby or Replica.
	Role  string
	State string
	// Timeline is 0 when unknown.
	Timeline postgres.Timeline
	// Leader says that the member holds the leader key: then it has no
	// positions of its own to compare.
	Leader          bool
	Receive, Replay Position
	PendingRestart  bool
	PendingReason   map[string]dcs.ParameterChange
	Scheduled       *dcs.ScheduledRestart
	Tags            map[string]any
	// Note is one line of a pgha member: why it is not well.
	Note string
	// Depth is the level in the replication tree: 0 the leader, 1 its replicas.
	Depth int
}

// Position is a place in the WAL and its distance from the leader's last one.
type Position struct {
	LSN      postgres.LSN // 0: unknown
	LagBytes int64        // meaningless while LSN is unknown
}

// Text is the position as shown: X/Y, or unknown.
func (p Position) Text() string {
	if p.LSN == 0 {
		return "unknown"
	}
	return p.LSN.String()
}

// LagMiB is the lag in whole MiB, rounded half to even; nil when unknown.
func (p Position) LagMiB() any {
	if p.LSN == 0 {
		return nil
	}
	return int64(math.RoundToEven(float64(p.LagBytes) / (1 << 20)))
}

// Rows returns the members in byte order of their names. Pure.
func Rows(c *dcs.Cluster) []Row {
	rows := make([]Row, 0, len(c.Members))
	for _, m := range c.Members {
		rows = append(rows, row(c, m))
	}
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

func row(c *dcs.Cluster, m dcs.Member) Row {
	r := Row{
		Name: m.Name, Timeline: m.Timeline, Tags: m.Tags, Scheduled: m.ScheduledRestart,
		PendingRestart: m.PendingRestart, PendingReason: m.PendingRestartReason,
		Leader: c.Leader != nil && c.Leader.Name == m.Name,
	}
	r.Host, r.Port, r.HostKnown = Address(m)
	if m.Pgha != nil {
		r.Note = m.Pgha.Note
	}
	r.Role = roleName(c, m, r.Leader)
	if m.State != postgres.StateUnknown { // the key has no state
		r.State = string(m.State)
	}
	if r.Role != "Leader" && m.ReplicationState != "" {
		r.State = m.ReplicationState
	}
	if r.Leader {
		return r
	}
	r.Depth = 1
	receive, replay := m.Receive, m.Replay
	if receive == 0 && replay == 0 { // members before 4.1 publish one position only
		if m.ReplicationState == "streaming" || m.State == "streaming" {
			receive = m.Location
		} else {
			replay = m.Location
		}
	}
	r.Receive, r.Replay = position(c, receive), position(c, replay)
	return r
}

func position(c *dcs.Cluster, at postgres.LSN) Position {
	return Position{LSN: at, LagBytes: max(0, int64(c.Status.Optime)-int64(at))}
}

func roleName(c *dcs.Cluster, m dcs.Member, leader bool) string {
	on, quorum := SyncMode(c)
	switch {
	case leader && IsStandbyCluster(c):
		return "Standby Leader"
	case leader:
		return "Leader"
	case on && quorum && InSync(c, m.Name):
		return "Quorum Standby"
	case on && InSync(c, m.Name):
		return "Sync Standby"
	}
	return "Replica"
}

// Tree reorders rows as the replication tree: the leader, then replicas depth
// first below the member they replicate from (tag replicatefrom, if that
// member exists, is another one and not the leader), and sets Depth. Members
// that replicate from each other in a circle come last, at level 1.
func Tree(rows []Row) []Row {
	children := make(map[string][]Row)
	for _, r := range rows {
		if !r.Leader {
			parent := upstream(rows, r)
			children[parent] = append(children[parent], r)
		}
	}
	out := make([]Row, 0, len(rows))
	seen := make(map[string]bool)
	var walk func(r Row, depth int)
	walk = func(r Row, depth int) {
		if seen[r.Name] {
			return
		}
		seen[r.Name] = true
		r.Depth = depth
		out = append(out, r)
		for _, child := range children[r.Name] {
			walk(child, depth+1)
		}
	}
	for _, r := range rows {
		if r.Leader {
			walk(r, 0)
		}
	}
	for _, r := range slices.Concat(children[""], rows) {
		walk(r, 1)
	}
	return out
}

// upstream is the member a replica names as its source; empty: the leader.
func upstream(rows []Row, r Row) string {
	from := text(r.Tags["replicatefrom"])
	for _, other := range rows {
		if other.Name == from && from != r.Name && !other.Leader {
			return from
		}
	}
	return ""
}

// pendingReason lists the changes that wait for a restart, one a line. short
// hides entries longer than 50 characters.
func (r Row) pendingReason(short bool) string {
	var lines []string
	for name, change := range r.PendingReason {
		line := fmt.Sprintf("%s: %s->%s", name, change.Old, change.New)
		if short && utf8.RuneCountInString(line) > 50 {
			line = name + ": [hidden - too long]"
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (r Row) scheduledRestart() string {
	if r.Scheduled == nil {
		return ""
	}
	at := iso(r.Scheduled.Schedule)
	if r.Scheduled.PostgresVersion != "" {
		at += " if version < " + r.Scheduled.PostgresVersion
	}
	return at
}

// showPorts says whether hosts alone would not tell the members apart.
func showPorts(rows []Row) bool {
	hosts := make(map[string]bool)
	for _, r := range rows {
		if !r.HostKnown {
			continue
		}
		if r.Port != 5432 || hosts[r.Host] {
			return true
		}
		hosts[r.Host] = true
	}
	return false
}

func (r Row) host(withPort bool) string {
	if !r.HostKnown || !withPort {
		return r.Host
	}
	return r.Host + ":" + strconv.Itoa(r.Port) // IPv6 without brackets, as patronictl
}

// switchoverAt is the time of a scheduled switchover; zero when there is none.
func switchoverAt(c *dcs.Cluster) time.Time {
	if c.Failover == nil {
		return time.Time{}
	}
	return c.Failover.ScheduledAt
}
