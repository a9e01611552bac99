package clusterops

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"pgha/internal/api"
	"pgha/internal/dcs"
)

// ErrNotReached: no member could be asked. What was wanted has not been done,
// unless the text says that an answer was awaited in vain.
var ErrNotReached = errors.New("no member could be reached")

// Agents speaks to the members' REST servers; *api.Client does.
type Agents interface {
	// Long sends one request and waits for the answer as long as ctx allows.
	Long(ctx context.Context, method, apiURL, endpoint string, body any) (api.Answer, error)
}

// shortAnswer bounds requests that are answered at once.
const shortAnswer = 15 * time.Second

// Ask sends one request to a member and waits for an answer up to the limit.
func Ask(ctx context.Context, agents Agents, m dcs.Member, limit time.Duration, method, endpoint string, body any) (api.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return agents.Long(ctx, method, m.APIURL, endpoint, body)
}

// AskShort is Ask for what is answered at once: 15 s.
func AskShort(ctx context.Context, agents Agents, m dcs.Member, method, endpoint string, body any) (api.Answer, error) {
	return Ask(ctx, agents, m, shortAnswer, method, endpoint, body)
}

// Change is a wish for another leader.
type Change struct {
	// Leader is who gives up: set for a switchover, empty for a failover.
	Leader string
	// Candidate is who takes over; empty (switchover only): whoever is best.
	Candidate string
	// At is when; zero: now. Switchover only.
	At time.Time
}

// ChangeLeader asks the leader's agent, or the candidate's when nobody leads,
// for the change and waits until it happened, at most ChangeLimit. Any HTTP
// answer is returned with a nil error, whatever its code; 202 means that the
// change is scheduled. After an error it is not known whether the agent
// acts on the request.
func ChangeLeader(ctx context.Context, agents Agents, c *dcs.Cluster, w Change) (api.Answer, error) {
	target := ChangeTarget(c, w)
	if target == nil {
		return api.Answer{}, fmt.Errorf("change of leader: %w", ErrNotReached)
	}
	endpoint, body := "failover", map[string]any{"candidate": w.Candidate}
	if w.Leader != "" {
		endpoint, body = "switchover", map[string]any{"leader": w.Leader, "candidate": w.Candidate}
		if w.Candidate == "" {
			body["candidate"] = nil
		}
		if !w.At.IsZero() {
			body["scheduled_at"] = iso(w.At)
		}
	}
	return Ask(ctx, agents, *target, ChangeLimit(c), http.MethodPost, endpoint, body)
}

// ChangeTarget is whose agent is asked for a change of leader; nil: nobody can be.
func ChangeTarget(c *dcs.Cluster, w Change) *dcs.Member {
	if c.Leader == nil {
		return c.Member(w.Candidate)
	}
	return c.LeaderMember()
}

// ChangeLimit is how long the answer to a change of leader may take: twice the
// larger of 10 s and loop_wait, plus 10 s (contract: ctl.md section 10 item 2).
func ChangeLimit(c *dcs.Cluster) time.Duration {
	return 2*max(10*time.Second, LoopWait(c)) + 10*time.Second
}

// RestartLimit is how long the answer to a restart may take: the time given
// with the request, else primary_start_timeout (300 s), and as much again
// for the checkpoint and the stop before it, plus a minute.
func RestartLimit(c *dcs.Cluster, timeout time.Duration) time.Duration {
	if timeout <= 0 {
		timeout = seconds(Dynamic(c)["primary_start_timeout"], 300)
	}
	return 2*timeout + time.Minute
}

// SetPause asks the members to switch maintenance mode on or off: the leader
// first, then the others until one answers. Any answer ends the search,
// whatever its code. Errors: ErrNotReached.
func SetPause(ctx context.Context, agents Agents, c *dcs.Cluster, on bool) (api.Answer, error) {
	body := map[string]any{"pause": nil}
	if on {
		body["pause"] = true
	}
	err := ErrNotReached
	for _, m := range LeaderFirst(c) {
		answer, failure := AskShort(ctx, agents, m, http.MethodPatch, "config", body)
		if failure == nil {
			return answer, nil
		}
		err = fmt.Errorf("%w; %v", err, failure)
	}
	return api.Answer{}, err
}

// LeaderFirst returns the members with a REST address, the leader in front.
func LeaderFirst(c *dcs.Cluster) []dcs.Member {
	leader := c.LeaderMember()
	var first, others []dcs.Member
	for _, m := range c.Members {
		switch {
		case m.APIURL == "":
		case leader != nil && m.Name == leader.Name:
			first = append(first, m)
		default:
			others = append(others, m)
		}
	}
	return append(first, others...)
}

// WaitUntil asks cond at once and then every so often until it says done, or
// until ctx ends: then the error carries the state it last reported. ctx must
// have an end, or be one that a person ends.
func WaitUntil(ctx context.Context, every time.Duration, cond func(context.Context) (done bool, state string)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		done, state := cond(ctx)
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", state, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
