package chaos

import (
	"strings"
	"testing"
	"time"
)

// One line a fault: figures add up, outages are a median and a maximum, rounds
// that hit two members are kept apart, what is not promised is marked.
func TestReport(t *testing.T) {
	outcome := func(fault string, mode Mode, lost int, confirming bool, outage time.Duration) Outcome {
		return Outcome{Round: Round{Mode: mode}, FaultName: fault, Confirming: confirming, OutageTCP: outage, OutageNew: outage, OutageSocket: outage,
			Rows: loss{Acked: 100, Lost: lost, Bound: 2 * lost}, Changes: 1}
	}
	r := Report{Command: "make chaos", Begun: noon, Ended: noon.Add(time.Minute), TTL: 10, Versions: "PostgreSQL 15, etcd 3.7.3"}
	r.Rounds = []Outcome{
		outcome("machine lost", Async, 3, true, time.Second),
		outcome("machine lost", Async, 2, true, 3*time.Second),
		outcome("machine lost", Sync, 0, true, 2*time.Second),
		outcome("machine lost", Sync, 4, false, 2*time.Second),
		outcome("machine lost + etcd frozen", Sync, 0, true, 2*time.Second),
		outcome("pause", Sync, 0, true, 0),
	}
	r.Rounds[5].Outside = "maintenance mode"
	r.Rounds[0].Failures, r.Rounds[0].Kept = []string{"two primaries: pg01"}, "/somewhere"
	text := r.Markdown()
	for _, want := range []string{
		"| machine lost | 2+2 | 0 | 0 | 0 | 400 | 5 (10) | 0 | 0 + 4 | 4 | 2.0 / 3.0 s | 2.0 / 3.0 s | 2.0 / 3.0 s | 1 |\n",
		"| pause * | 0+1 | 0 | 0 | 0 | 100 | 0 (0) | 0 | 0 | 1 | 0.0 s | 0.0 s | 0.0 s | 0 |\n| machine lost + etcd frozen | 0+1 |",
		"two primaries: pg01\n  - logs: /somewhere",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}
