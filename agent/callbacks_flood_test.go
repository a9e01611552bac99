package agent

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"pgha/internal/postgres"
)

// A callback that floods its output must not drown the agent's own lines: the
// first lines are logged, and that there were more.
func TestCallbackFlood(t *testing.T) {
	var log bytes.Buffer
	c := &callbacks{scope: "demo", log: slog.New(slog.NewTextHandler(&log, nil)),
		run: func(_ context.Context, _ string, _ []string, said func(string)) error {
			for range 100_000 {
				said("y")
			}
			return nil
		}}
	c.runOne(t.Context(), callbackRun{onStart, "yes", postgres.RolePrimary})
	if n := strings.Count(log.String(), "on_start: y"); n != callbackLines {
		t.Errorf("%d lines of it are in the log, want %d", n, callbackLines)
	}
	if !strings.Contains(log.String(), "lines=100000") {
		t.Error("that there were more is not said")
	}
}
