package agent

import "fmt"

// sayFloors says once that a Patroni member's minima hold, and once that they
// do not any more.
func (l *Loop) sayFloors(raised string) {
	if raised == l.floors {
		return
	}
	l.floors = raised
	if raised == "" {
		raised = fmt.Sprintf("Patroni's minima hold no longer: ttl %v, loop_wait %v, retry_timeout %v", l.settings.TTL, l.settings.LoopWait, l.settings.RetryTimeout)
	}
	l.Log.Info(raised)
}
