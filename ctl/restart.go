package ctl

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
)

// RestartOptions are those of restart.
type RestartOptions struct {
	Cluster string
	Members []string
	Role    clusterops.Role
	// Any picks one of the members at random.
	Any            bool
	Scheduled      string
	ScheduledGiven bool
	// Version restarts only members older than this; empty with VersionGiven: all.
	Version      string
	VersionGiven bool
	// Pending restarts only members that wait for it.
	Pending bool
	// Timeout is passed on as written.
	Timeout string
	Force   bool
}

// Restart restarts the PostgreSQL of members, one after the other.
func Restart(ctx context.Context, s *Session, o RestartOptions) error {
	scope, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	members, err := s.choose(ctx, c, scope, selection{action: "restart", role: o.Role, members: o.Members, force: o.Force})
	if err != nil {
		return err
	}
	at, err := s.restartTime(ctx, o)
	if err != nil {
		return err
	}
	if o.Pending && at.IsZero() {
		members = slices.DeleteFunc(members, func(m dcs.Member) bool { return !m.PendingRestart })
		s.failed = len(members) == 0 // asked about all the same, as patronictl does
	}
	if err := s.confirmRestart(ctx, o, members, at); err != nil {
		return err
	}
	if o.Any && len(members) > 0 {
		members = []dcs.Member{members[rand.IntN(len(members))]}
	}
	body, err := s.restartBody(ctx, c, o, at)
	if err != nil {
		return err
	}
	for _, m := range members {
		if ctx.Err() != nil {
			return ErrAborted
		}
		s.restartMember(ctx, c, o, m, body)
	}
	return nil
}

func (s *Session) restartTime(ctx context.Context, o RestartOptions) (time.Time, error) {
	when := o.Scheduled
	if !o.ScheduledGiven && !o.Force {
		hint := s.Now().Add(time.Hour).Format("2006-01-02T15:04")
		var err error
		if when, err = s.prompt(ctx, fmt.Sprintf("When should the restart take place (e.g. %s) ", hint), "now"); err != nil {
			return time.Time{}, err
		}
	}
	return parseWhen(when, s.Now())
}

func (s *Session) confirmRestart(ctx context.Context, o RestartOptions, members []dcs.Member, at time.Time) error {
	question, refusal := fmt.Sprintf("Are you sure you want to restart members %s?", names(members)), "Aborted restart"
	if !at.IsZero() {
		refusal = "Aborted scheduled restart"
		when := at.Format("2006-01-02 15:04:05-07:00")
		question = fmt.Sprintf("Are you sure you want to schedule restart of members %s at %s?", names(members), when)
		if o.Pending {
			question = "The nodes needing a restart will be identified at the scheduled time, " +
				"and might be different from the ones showing pending restart right now. Is this fine?"
		}
	}
	return s.confirmed(ctx, o.Force, question, refusal)
}

const restartQuery = "Restart if the PostgreSQL version is less than provided (e.g. 9.5.2) "

// restartBody is what is sent to every member; an empty one restarts now.
func (s *Session) restartBody(ctx context.Context, c *dcs.Cluster, o RestartOptions, at time.Time) (map[string]any, error) {
	version := o.Version
	if !o.VersionGiven && !o.Force {
		var err error
		if version, err = s.prompt(ctx, restartQuery, ""); err != nil {
			return nil, err
		}
	}
	body := make(map[string]any)
	if o.Pending {
		body["restart_pending"] = true
	}
	if version != "" {
		if err := checkVersion(version); err != nil {
			return nil, err
		}
		body["postgres_version"] = version
	}
	if !at.IsZero() {
		if clusterops.Paused(c) {
			return nil, fail("Can't schedule restart in the paused state")
		}
		body["schedule"] = isoTime(at)
	}
	if o.Timeout != "" {
		body["timeout"] = o.Timeout
	}
	return body, nil
}

// checkVersion refuses what the agents would (contract: rest-api.md 9.1).
func checkVersion(version string) error {
	parts := strings.Split(version, ".")
	major := 0
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			return fail("Invalid PostgreSQL version: %s", version)
		}
		if i == 0 {
			major = n
		}
	}
	if len(parts) == 3 || len(parts) == 2 && major >= 10 {
		return nil
	}
	return fail("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: %s", version)
}

func (s *Session) restartMember(ctx context.Context, c *dcs.Cluster, o RestartOptions, m dcs.Member, body map[string]any) {
	agents, err := s.Agents()
	if err != nil {
		s.sayUnreached("Failed: restart for member %s, %v", m.Name, err)
		return
	}
	if body["schedule"] != nil && o.Force && m.ScheduledRestart != nil {
		s.dropScheduledRestart(ctx, m, true)
	}
	timeout, _ := strconv.Atoi(o.Timeout)
	limit := clusterops.RestartLimit(c, time.Duration(timeout)*time.Second)
	stop := s.sayWaiting(m.Name, limit)
	answer, err := clusterops.Ask(ctx, agents, m, limit, http.MethodPost, "restart", body)
	stop()
	switch {
	case err != nil:
		s.sayUnreached("Failed: restart for member %s, %v", m.Name, err)
	case answer.Code == http.StatusOK:
		s.say("Success: restart on member %s", m.Name)
	case answer.Code == http.StatusAccepted:
		s.say("Success: restart scheduled on member %s", m.Name)
	case answer.Code == http.StatusConflict:
		s.sayFailed("Failed: another restart is already scheduled on member %s", m.Name)
	default:
		s.sayFailed("Failed: restart for member %s, status code=%d, (%s)", m.Name, answer.Code, answer.Text())
	}
}

// dropScheduledRestart deletes a member's scheduled restart. silent says
// nothing on success.
func (s *Session) dropScheduledRestart(ctx context.Context, m dcs.Member, silent bool) {
	agents, err := s.Agents()
	if err != nil {
		s.sayUnreached("Failed: flush scheduled restart for member %s, %v", m.Name, err)
		return
	}
	answer, err := clusterops.AskShort(ctx, agents, m, http.MethodDelete, "restart", nil)
	switch {
	case err != nil:
		s.sayUnreached("Failed: flush scheduled restart for member %s, %v", m.Name, err)
	case answer.Code >= 400:
		s.sayFailed("Failed: flush scheduled restart for member %s, status code=%d, (%s)", m.Name, answer.Code, answer.Text())
	case !silent:
		s.say("Success: flush scheduled restart for member %s", m.Name)
	}
}
