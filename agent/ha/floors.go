package ha

import (
	"fmt"
	"strings"

	"pgha/internal/config"
	"pgha/internal/dcs"
)

// RaiseFloors returns the settings as they hold beside these members: while a
// Patroni member is in the scope, its floors of ttl, loop_wait and
// retry_timeout are everybody's (rulings 22). A member key without pgha's own
// object is Patroni's. The text says what was raised and for whom; it is empty
// when nothing was.
func RaiseFloors(s Settings, members []dcs.Member) (raised Settings, text string) {
	var names []string
	for _, m := range members {
		if m.Pgha == nil {
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return s, ""
	}
	raised = s
	var findings []config.Finding
	raised.Dynamic, findings = s.Dynamic.WithFloors(config.PatroniFloors)
	if len(findings) == 0 {
		return s, ""
	}
	return raised, fmt.Sprintf("ttl %v, loop_wait %v, retry_timeout %v instead of %v, %v, %v: Patroni runs %s, and its minima hold for all members of the cluster",
		raised.TTL, raised.LoopWait, raised.RetryTimeout, s.TTL, s.LoopWait, s.RetryTimeout, strings.Join(names, ", "))
}
