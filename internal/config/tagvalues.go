package config

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Truthy is how a member's tags and other published flags are read: anything
// that is not absent, empty, zero or false. Text counts as true whatever it
// says, "false" too (contract: config.md 3.5, pitfall 172).
func Truthy(v any) bool { return truthy(v) }

// NoFailover says whether a member's published tags keep it from leading. An
// explicit nofailover decides; else a priority of 0 or less does (pitfall 13).
func NoFailover(tags map[string]any) bool {
	if v, there := tags["nofailover"]; there && v != nil {
		return Truthy(v)
	}
	p, ok := tagNumber(tags["failover_priority"])
	return ok && p <= 0
}

// FailoverPriority ranks members of equal position: 1 unless the tags say
// otherwise, 0 for a member that must not lead.
func FailoverPriority(tags map[string]any) int {
	if NoFailover(tags) {
		return 0
	}
	if p, ok := tagNumber(tags["failover_priority"]); ok {
		return int(p)
	}
	return 1
}

// NoStream says whether a member's published tags keep it from streaming.
// Unlike the other boolean tags it may be written as text (contract: config.md 3.5).
func NoStream(tags map[string]any) bool {
	b, ok := boolean(tags["nostream"])
	if !ok {
		n, number := tagNumber(tags["nostream"])
		return number && n == 1
	}
	return b
}

// ReplicateFrom is the member that a member's published tags name as its
// source; empty: the leader.
func ReplicateFrom(tags map[string]any) string {
	switch v := tags["replicatefrom"].(type) {
	case string:
		return v
	case json.Number, int, int64, float64: // a member named 1
		return fmt.Sprint(v)
	}
	return ""
}

// tagNumber reads a whole number as JSON or YAML may spell it.
func tagNumber(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case float64:
		return int64(v), v == float64(int64(v))
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}
