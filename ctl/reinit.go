package ctl

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
)

// ReinitOptions are those of reinit.
type ReinitOptions struct {
	Cluster string
	Members []string
	Force   bool
	// FromLeader copies from the leader instead of a replica tagged clonefrom.
	FromLeader bool
	// Wait until the copies are complete.
	Wait bool
}

// silentFor is how long a member may give no answer before reinit --wait
// stops waiting for it.
const silentFor = time.Minute

// Reinit makes replicas throw their data away and copy it anew.
func Reinit(ctx context.Context, s *Session, o ReinitOptions) error {
	scope, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	members, err := s.choose(ctx, c, scope, selection{
		action: actionReinitialize, role: clusterops.RoleReplica, members: o.Members, force: o.Force,
	})
	if err != nil || len(members) == 0 {
		return err
	}
	question := fmt.Sprintf("Are you sure you want to reinitialize members %s?", names(members))
	if err := s.confirmed(ctx, o.Force, question, "Aborted reinitialize"); err != nil {
		return err
	}
	var accepted []dcs.Member
	for _, m := range members {
		ok, err := s.reinitMember(ctx, o, m)
		if err != nil {
			return err
		}
		if ok {
			accepted = append(accepted, m)
		}
	}
	if !o.Wait || len(accepted) == 0 {
		return nil
	}
	return s.awaitReinit(ctx, accepted)
}

// reinitMember sends the request; again with force as long as the member is
// busy and the operator wants that cancelled.
func (s *Session) reinitMember(ctx context.Context, o ReinitOptions, m dcs.Member) (accepted bool, err error) {
	body := map[string]any{"force": o.Force, "from_leader": o.FromLeader}
	agents, err := s.Agents()
	if err != nil {
		s.sayUnreached("Failed: reinitialize for member %s, %v", m.Name, err)
		return false, nil
	}
	for {
		answer, err := clusterops.AskShort(ctx, agents, m, http.MethodPost, "reinitialize", body)
		if ctx.Err() != nil {
			return false, ErrAborted
		}
		if err != nil {
			s.sayUnreached("Failed: reinitialize for member %s, %v", m.Name, err)
			return false, nil
		}
		if answer.Code < 400 {
			s.say("Success: reinitialize for member %s", m.Name)
			return true, nil
		}
		s.sayFailed("Failed: reinitialize for member %s, status code=%d, (%s)", m.Name, answer.Code, answer.Text())
		if o.Force || !strings.HasSuffix(answer.Text(), " already in progress") {
			return false, nil
		}
		again, err := s.confirm(ctx, "Do you want to cancel it and reinitialize anyway?")
		if err != nil || !again {
			return false, err
		}
		body["force"] = true
	}
}

// awaitReinit asks the members, from two ticks after the request on, until
// none is "creating replica" any more. It ends with ctx (Ctrl-C): the copies
// go on then.
func (s *Session) awaitReinit(ctx context.Context, members []dcs.Member) error {
	agents, err := s.Agents()
	if err != nil {
		return err
	}
	said, silentSince := "", make(map[string]time.Time)
	round := 0
	err = clusterops.WaitUntil(ctx, s.tick(), func(ctx context.Context) (bool, string) {
		waiting := names(members)
		if waiting != said {
			s.say("Waiting for reinitialize to complete on: %s", waiting)
			said = waiting
		}
		if round++; round > 2 {
			members = slices.DeleteFunc(members, func(m dcs.Member) bool {
				return s.reinitDone(ctx, agents, m, silentSince)
			})
		}
		return len(members) == 0, "waiting for reinitialize of " + names(members)
	})
	if err != nil {
		s.warn("%v; the copies go on", err)
		return ErrAborted
	}
	return nil
}

func (s *Session) reinitDone(ctx context.Context, agents clusterops.Agents, m dcs.Member, silentSince map[string]time.Time) bool {
	state, err := memberState(ctx, agents, m)
	if err != nil {
		since, known := silentSince[m.Name]
		if !known {
			silentSince[m.Name] = s.Now()
			return false
		}
		if s.Now().Sub(since) < silentFor {
			return false
		}
		s.sayFailed("Failed: reinitialize for member %s, no answer for %v: %v", m.Name, silentFor, err)
		return true
	}
	delete(silentSince, m.Name)
	if state == "creating replica" {
		return false
	}
	s.say("Reinitialize is completed on: %s", m.Name)
	return true
}
