package agent

import (
	"fmt"
	"strings"

	"pgha/agent/ha"
	"pgha/internal/clock"
)

// statusLine is one line for `systemctl status`: who we are in the cluster,
// and what is not as it should be.
func statusLine(v View, self string, now clock.Instant) string {
	var b strings.Builder
	held := now.Before(v.LeaderUntil)
	leader := leaderName(v.Cluster)
	switch l := v.Local; {
	case held && l.Primary():
		fmt.Fprintf(&b, "leader, holding the lock, %.0f s left", v.LeaderUntil.Sub(now).Seconds())
	case held:
		fmt.Fprintf(&b, "holding the lock, %.0f s left, PostgreSQL %s as a %s", v.LeaderUntil.Sub(now).Seconds(), l.State, l.Role)
	case l.Primary():
		b.WriteString("primary without the lock")
	case l.Running() && leader != "" && leader != self:
		b.WriteString("replica of " + leader)
		if l.Queried && l.Streaming {
			b.WriteString(", streaming")
		} else {
			b.WriteString(", not streaming")
		}
	default:
		fmt.Fprintf(&b, "PostgreSQL %s", l.State)
		if leader == "" {
			b.WriteString(", nobody leads")
		}
	}
	if v.Settings.Pause {
		b.WriteString("; paused")
	}
	if v.ClusterLost {
		b.WriteString("; the DCS is silent")
	}
	switch v.Reason.Code {
	case ha.Leading, ha.Following, ha.PausedIdle:
	default:
		b.WriteString("; " + v.Reason.String())
	}
	if v.Note != "" {
		b.WriteString("; " + v.Note)
	}
	return b.String()
}
