package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
)

// FlushOptions are those of flush.
type FlushOptions struct {
	Cluster string
	Members []string
	// Switchover discards the scheduled switchover, else scheduled restarts.
	Switchover bool
	Role       clusterops.Role
	Force      bool
}

// Flush discards what is scheduled.
func Flush(ctx context.Context, s *Session, o FlushOptions) error {
	scope, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	if o.Switchover {
		return s.flushSwitchover(ctx, scope, c)
	}
	members, err := s.choose(ctx, c, scope, selection{action: "flush", role: o.Role, members: o.Members, force: o.Force})
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Are you sure you want to flush members %s?", names(members))
	if err := s.confirmed(ctx, o.Force, question, "Aborted flush"); err != nil {
		return err
	}
	for _, m := range members {
		if m.ScheduledRestart == nil {
			s.say("No scheduled restart for member %s", m.Name)
			continue
		}
		s.dropScheduledRestart(ctx, m, false)
	}
	return nil
}

func (s *Session) flushSwitchover(ctx context.Context, scope string, c *dcs.Cluster) error {
	if c.Failover == nil || c.Failover.ScheduledAt.IsZero() {
		s.say("No pending scheduled switchover")
		return nil
	}
	agents, err := s.Agents()
	if err != nil {
		return oneLine(err)
	}
	for _, m := range clusterops.LeaderFirst(c) {
		answer, err := clusterops.AskShort(ctx, agents, m, http.MethodDelete, "switchover", nil)
		switch {
		case ctx.Err() != nil:
			return ErrAborted
		case err != nil:
			s.warn("member %s: %v", m.Name, err)
			continue
		case answer.Code == http.StatusOK:
			s.say("Success: scheduled switchover deleted")
			return nil
		case answer.Code == http.StatusNotFound:
			s.sayFailed("Failed: no switchover is scheduled")
			return nil
		}
		s.sayFailed("Failed: member=%s, status_code=%d, (%s)", m.Name, answer.Code, answer.Text())
	}
	s.warn("Failing over to DCS")
	s.say("%s Could not find any accessible member of cluster %s", s.stamp(), scope)
	err = s.write(ctx, scope, dcs.Write{Key: dcs.KeyFailover, Value: dcs.EncodeFailover(nil), Guard: dcs.Guard{Revision: c.FailoverRevision}})
	if errors.Is(err, dcs.ErrConflict) {
		return fail("the switchover request was changed meanwhile; nothing was deleted")
	}
	if err != nil {
		return oneLine(fmt.Errorf("clear the switchover request in the DCS: %w", err))
	}
	return nil
}
