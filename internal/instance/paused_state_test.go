package instance

import (
	"log/slog"
	"testing"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/postgres"
)

// In maintenance mode the state is whether the postmaster is there: who
// stopped PostgreSQL by hand did not crash it (ha-behaviour contract 12,
// REST contract 3.3).
func TestStateOfAStoppedServerInPause(t *testing.T) {
	for _, was := range []postgres.State{postgres.StateRunning, postgres.StateStarting} {
		s := &Server{log: slog.New(slog.DiscardHandler), clock: clock.System{}, state: was, dyn: config.Dynamic{Pause: true}}
		s.settle(&Observation{DataDir: DataDirMissing})
		if s.state != postgres.StateStopped {
			t.Errorf("%s, then gone while paused: %s", was, s.state)
		}
	}
}
