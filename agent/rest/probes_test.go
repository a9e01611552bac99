package rest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"pgha/internal/api"
)

// someProbes are one of each state.
var someProbes = []Probe{
	{Name: "data_write", State: ProbeFailing, Why: "no space left on device", Failures: 3, Since: time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC), Took: 2 * time.Millisecond},
	{Name: "wal_write", State: ProbeOK, Took: 1500 * time.Microsecond, Free: 5 << 20, Why: "only 5 MB are free, less than a WAL segment"},
	{Name: "connect", State: ProbeOK, Why: "all 97 ordinary connections are in use", Full: true, Took: time.Millisecond},
}

// GET /patroni shows each probe, and a peer reads from it that this member is
// unwell.
func TestProbesInTheDocument(t *testing.T) {
	b := well()
	b.status.PghaVersion, b.status.Probes = "1.0", someProbes
	_, url := start(t, b, nil)
	_, body := ask(t, http.MethodGet, url+"/patroni", "")
	want := `"health": {"data_write": {"state": "failing", "reason": "no space left on device", "failures": 3, "since": "2026-11-23T18:00:00Z", "seconds": 0.002}, ` +
		`"wal_write": {"state": "ok", "reason": "only 5 MB are free, less than a WAL segment", "seconds": 0.002, "free_bytes": 5242880}, ` +
		`"connect": {"state": "ok", "reason": "all 97 ordinary connections are in use", "seconds": 0.001}}`
	if !strings.Contains(body, want) {
		t.Errorf("%s\nwant in it %s", body, want)
	}
	p, err := api.ParsePeer([]byte(body))
	if err != nil || p.Pgha == nil || p.Pgha.Unwell != "data_write: no space left on device" {
		t.Errorf("as a peer reads it: %+v, %v", p.Pgha, err)
	}
	b.status.Probes = someProbes[1:]
	_, body = ask(t, http.MethodGet, url+"/patroni", "")
	if p, err := api.ParsePeer([]byte(body)); err != nil || p.Pgha.Unwell != "" {
		t.Errorf("well, as a peer reads it: %+v, %v", p.Pgha, err)
	}
}
