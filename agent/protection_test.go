package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// A lack is said once for each cause, shown as long as it lasts, and gone once
// the part works.
func TestProtection(t *testing.T) {
	var out bytes.Buffer
	p := newProtection(slog.New(slog.NewTextHandler(&out, nil)))
	for range 3 {
		p.lacks(partGate, "not permitted (CAP_NET_ADMIN)", "the guard still ends PostgreSQL", "")
		p.lacks(partGuard, "cannot start", "outside the promise", "no guard")
	}
	if n := strings.Count(out.String(), "not permitted"); n != 1 {
		t.Errorf("said %d times:\n%s", n, out.String())
	}
	if got := p.shown()[partGate]; got != "no: not permitted (CAP_NET_ADMIN)" {
		t.Errorf("shown: %q", got)
	}
	if got := p.note(); got != "no guard" {
		t.Errorf("note %q", got)
	}
	p.works(partGuard, "parent")
	if got := p.note(); got != "" {
		t.Errorf("note %q after the guard works", got)
	}
	p.lacks(partGate, "something else", "the guard still ends PostgreSQL", "")
	if !strings.Contains(out.String(), "something else") {
		t.Errorf("another cause is not said:\n%s", out.String())
	}
}
