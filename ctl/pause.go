package ctl

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
)

// PauseOptions are those of pause and resume.
type PauseOptions struct {
	Cluster string
	// Wait until every member shows that it knows.
	Wait bool
	// Resume ends maintenance mode instead of starting it.
	Resume bool
}

// Pause switches maintenance mode on or off.
func Pause(ctx context.Context, s *Session, o PauseOptions) error {
	scope, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	on := !o.Resume
	switch {
	case on && clusterops.Paused(c):
		return fail("Cluster is already paused")
	case !on && !clusterops.Paused(c):
		return fail("Cluster is not paused")
	}
	agents, err := s.Agents()
	if err != nil {
		return oneLine(err)
	}
	answer, err := clusterops.SetPause(ctx, agents, c, on)
	if ctx.Err() != nil {
		return ErrAborted
	}
	if err != nil {
		s.warn("%v", err)
		return fail("Can not find accessible cluster member")
	}
	if answer.Code != http.StatusOK {
		verb := map[bool]string{true: "pause", false: "resume"}[on]
		s.sayFailed("Failed: %s cluster management status code=%d, (%s)", verb, answer.Code, answer.Text())
		return nil
	}
	if o.Wait {
		return s.awaitPause(ctx, scope, c, on)
	}
	s.sayPaused(on)
	return nil
}

func (s *Session) sayPaused(on bool) {
	s.say("Success: cluster management is %s", map[bool]string{true: "paused", false: "resumed"}[on])
}

// awaitPause waits until all members publish the new mode, at most loop_wait:
// their loops are woken by the change.
func (s *Session) awaitPause(ctx context.Context, scope string, c *dcs.Cluster, on bool) error {
	verb := map[bool]string{true: "pause", false: "resume"}[on]
	s.say("'%s' request sent, waiting until it is recognized by all nodes", verb)
	limit := clusterops.LoopWait(c)
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var late []dcs.Member
	err := clusterops.WaitUntil(bounded, s.tick(), func(ctx context.Context) (bool, string) {
		now, err := s.load(ctx, scope)
		if err != nil {
			return false, err.Error()
		}
		late = nil
		for _, m := range now.Members {
			if m.Pause != on {
				late = append(late, m)
			}
		}
		return len(late) == 0, "waiting for " + names(late)
	})
	switch {
	case ctx.Err() != nil:
		return ErrAborted
	case err != nil:
		s.sayFailed("%s members didn't recognized pause state after %s seconds", strings.TrimSpace(names(late)),
			strconv.FormatFloat(limit.Seconds(), 'f', -1, 64))
	default:
		s.sayPaused(on)
	}
	return nil
}
