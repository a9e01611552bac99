package agent

import (
	"testing"

	"pgha/internal/postgres"
)

func TestPausedState(t *testing.T) {
	for _, tc := range []struct {
		state  postgres.State
		paused bool
		want   postgres.State
	}{
		{postgres.StateCrashed, true, postgres.StateStopped},
		{postgres.StateCrashed, false, postgres.StateCrashed},
		{postgres.StateStartFailed, true, postgres.StateStartFailed},
		{postgres.StateRunning, true, postgres.StateRunning},
	} {
		if got := pausedState(tc.state, tc.paused); got != tc.want {
			t.Errorf("%s, paused %v: %s, want %s", tc.state, tc.paused, got, tc.want)
		}
	}
}
