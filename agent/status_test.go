package agent

import (
	"testing"

	"pgha/agent/ha"
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

// TestAnswersOfARestart is what the client of POST /restart hears when the job
// has ended (contract: rest-api.md 9.1).
func TestAnswersOfARestart(t *testing.T) {
	for _, tc := range []struct {
		result ha.JobResult
		want   RequestAnswer
	}{
		{ha.JobResult{OK: true}, RequestAnswer{200, "restarted successfully"}},
		{ha.JobResult{StillStarting: true}, RequestAnswer{503, "postgres is still starting"}},
		{ha.JobResult{}, RequestAnswer{503, "restart failed"}},
	} {
		tc.result.RequestID = 7
		reply := make(chan RequestAnswer, 1)
		q := &requestQueue{running: map[uint64]*pending{7: {reply: reply}}}
		q.finish(ha.JobResult{JobSpec: ha.JobSpec{RequestID: 6}, OK: true}) // another one's
		q.finish(tc.result)
		if got := <-reply; got != tc.want {
			t.Errorf("%+v: %+v, want %+v", tc.result, got, tc.want)
		}
	}
}
