package ctl

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"pgha/internal/api"
	"pgha/internal/clusterops"
	"pgha/internal/dcs"
)

// slowAgents answer a restart after a while, or never.
type slowAgents struct{ after time.Duration }

func (a slowAgents) Long(ctx context.Context, _, _, _ string, _ any) (api.Answer, error) {
	select {
	case <-ctx.Done():
		return api.Answer{}, ctx.Err()
	case <-time.After(a.after):
		return api.Answer{Code: http.StatusOK}, nil
	}
}

// Whoever waits for a member's answer learns every 10 s whom for and how long
// at most; a quick answer is not spoken of.
func TestWaitingIsSaid(t *testing.T) {
	const line = "still waiting for pg01: its agent has not answered for "
	for _, c := range []struct {
		name     string
		after    time.Duration
		timeout  string
		quiet    bool
		out, err string
		failed   bool
	}{
		{name: "quick", after: 9 * time.Second, out: "Success: restart on member pg01\n"},
		{name: "slow", after: 25 * time.Second, out: "Success: restart on member pg01\n",
			err: line + "10 s (at most 11 min)\n" + line + "20 s (at most 11 min)\n"},
		{name: "quiet", after: 25 * time.Second, quiet: true, out: "Success: restart on member pg01\n"},
		{name: "never", after: time.Hour, timeout: "1", failed: true,
			out: "Failed: restart for member pg01, context deadline exceeded\n",
			err: line + "10 s (at most 62 s)\n" + line + "20 s (at most 62 s)\n" + line + "30 s (at most 62 s)\n" +
				line + "40 s (at most 62 s)\n" + line + "50 s (at most 62 s)\n" + line + "60 s (at most 62 s)\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out, stderr bytes.Buffer
				s := &Session{Out: &out, Err: &stderr, Quiet: c.quiet, Now: time.Now,
					Agents: func() (clusterops.Agents, error) { return slowAgents{c.after}, nil }}
				s.restartMember(t.Context(), &dcs.Cluster{}, RestartOptions{Timeout: c.timeout}, dcs.Member{Name: "pg01"}, nil)
				if out.String() != c.out || stderr.String() != c.err {
					t.Errorf("said %q and %q, want %q and %q", out.String(), stderr.String(), c.out, c.err)
				}
				if (s.Failed() != nil) != c.failed {
					t.Errorf("failed: %v", s.Failed())
				}
			})
		})
	}
}
