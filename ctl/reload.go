package ctl

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
)

// ReloadOptions are those of reload.
type ReloadOptions struct {
	Cluster string
	Members []string
	Role    clusterops.Role
	Force   bool
}

// Reload makes members read their configuration files again.
func Reload(ctx context.Context, s *Session, o ReloadOptions) error {
	scope, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	members, err := s.choose(ctx, c, scope, selection{action: "reload", role: o.Role, members: o.Members, force: o.Force})
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Are you sure you want to reload members %s?", names(members))
	if err := s.confirmed(ctx, o.Force, question, "Aborted reload"); err != nil {
		return err
	}
	wait := strconv.FormatFloat(clusterops.LoopWait(c).Seconds(), 'f', -1, 64)
	for _, m := range members {
		if ctx.Err() != nil {
			return ErrAborted
		}
		s.reloadMember(ctx, m, wait)
	}
	return nil
}

func (s *Session) reloadMember(ctx context.Context, m dcs.Member, loopWait string) {
	agents, err := s.Agents()
	if err != nil {
		s.sayUnreached("Failed: reload for member %s, %v", m.Name, err)
		return
	}
	answer, err := clusterops.AskShort(ctx, agents, m, http.MethodPost, "reload", nil)
	switch {
	case err != nil:
		s.sayUnreached("Failed: reload for member %s, %v", m.Name, err)
	case answer.Code == http.StatusOK:
		s.say("No changes to apply on member %s", m.Name)
	case answer.Code == http.StatusAccepted:
		s.say("Reload request received for member %s and will be processed within %s seconds", m.Name, loopWait)
	default:
		s.sayFailed("Failed: reload for member %s, status code=%d, (%s)", m.Name, answer.Code, answer.Text())
	}
}
