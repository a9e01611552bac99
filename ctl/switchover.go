package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"pgha/internal/api"
	"pgha/internal/clusterops"
	"pgha/internal/dcs"
)

// ChangeLeaderOptions are those of switchover and failover.
type ChangeLeaderOptions struct {
	Cluster string
	// Failover is the unplanned change: no present leader needed, a candidate
	// required.
	Failover bool
	// Leader is the present leader (switchover).
	Leader    string
	Candidate string
	// CandidateGiven and ScheduledGiven say that the option was there, even
	// if empty: nothing is asked then.
	CandidateGiven bool
	Scheduled      string
	ScheduledGiven bool
	Force          bool
}

func (o ChangeLeaderOptions) action() string {
	if o.Failover {
		return "failover"
	}
	return "switchover"
}

// ChangeLeader asks the agents for another leader. When no agent can be
// asked, the request is left in the DCS for the leader to find.
func ChangeLeader(ctx context.Context, s *Session, o ChangeLeaderOptions) error {
	scope, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	s.say("Current cluster topology")
	if err := s.showTable(c, scope); err != nil {
		return err
	}
	change, err := s.agreeOnChange(ctx, scope, c, o)
	if err != nil {
		return err
	}
	return s.changeLeader(ctx, scope, c, o.action(), change)
}

// agreeOnChange asks for whatever the options leave open and checks it.
func (s *Session) agreeOnChange(ctx context.Context, scope string, c *dcs.Cluster, o ChangeLeaderOptions) (clusterops.Change, error) {
	change := clusterops.Change{Candidate: o.Candidate}
	if !o.Failover {
		leader, err := s.agreeOnLeader(ctx, scope, c, o)
		if err != nil {
			return change, err
		}
		change.Leader = leader
	}
	candidates := clusterops.Candidates(c)
	if len(candidates) == 0 {
		return change, fail("No candidates found to %s to", o.action())
	}
	if !o.CandidateGiven && !o.Force {
		answer, err := s.prompt(ctx, "Candidate "+pythonList(candidates), "")
		if err != nil {
			return change, err
		}
		change.Candidate = answer
	}
	if err := checkCandidate(scope, c, o, change.Candidate, candidates); err != nil {
		return change, err
	}
	if o.Failover {
		return change, s.confirmFailover(ctx, scope, c, o, change)
	}
	return s.confirmSwitchover(ctx, scope, c, o, change)
}

func (s *Session) agreeOnLeader(ctx context.Context, scope string, c *dcs.Cluster, o ChangeLeaderOptions) (string, error) {
	if c.Leader == nil {
		return "", fail("This cluster has no leader")
	}
	leader := o.Leader
	if leader == "" && o.Force {
		leader = c.Leader.Name
	}
	if leader == "" {
		question := "Primary"
		if clusterops.IsStandbyCluster(c) {
			question = "Standby Leader"
		}
		var err error
		if leader, err = s.prompt(ctx, question, c.Leader.Name); err != nil {
			return "", err
		}
	}
	if leader != c.Leader.Name {
		return "", fail("Member %s is not the leader of cluster %s", leader, scope)
	}
	return leader, nil
}

func checkCandidate(scope string, c *dcs.Cluster, o ChangeLeaderOptions, candidate string, candidates []string) error {
	switch {
	case o.Failover && candidate == "":
		return fail("Failover could be performed only to a specific candidate")
	case candidate == "":
		return nil
	case c.Leader != nil && candidate == c.Leader.Name:
		return fail("Member %s is already the leader of cluster %s", candidate, scope)
	case !slices.Contains(candidates, candidate):
		return fail("Member %s does not exist in cluster %s or is tagged as nofailover", candidate, scope)
	}
	return nil
}

func (s *Session) confirmFailover(ctx context.Context, scope string, c *dcs.Cluster, o ChangeLeaderOptions, change clusterops.Change) error {
	if on, _ := clusterops.SyncMode(c); on && !clusterops.InSync(c, change.Candidate) {
		question := fmt.Sprintf("Are you sure you want to failover to the asynchronous node %s?", change.Candidate)
		if err := s.confirmed(ctx, o.Force, question, "Aborting failover"); err != nil {
			return err
		}
	}
	question := "Are you sure you want to failover cluster " + scope
	if c.Leader != nil {
		question += ", demoting current leader " + c.Leader.Name
	}
	return s.confirmed(ctx, o.Force, question+"?", "Aborting failover")
}

func (s *Session) confirmSwitchover(ctx context.Context, scope string, c *dcs.Cluster, o ChangeLeaderOptions, change clusterops.Change) (clusterops.Change, error) {
	when := o.Scheduled
	if !o.ScheduledGiven && !o.Force {
		hint := s.Now().Add(time.Hour).Format("2006-01-02T15:04")
		var err error
		if when, err = s.prompt(ctx, fmt.Sprintf("When should the switchover take place (e.g. %s ) ", hint), "now"); err != nil {
			return change, err
		}
	}
	at, err := parseWhen(when, s.Now())
	if err != nil {
		return change, err
	}
	change.At = at
	if at.IsZero() {
		question := fmt.Sprintf("Are you sure you want to switchover cluster %s, demoting current leader %s?", scope, change.Leader)
		return change, s.confirmed(ctx, o.Force, question, "Aborting switchover")
	}
	if clusterops.Paused(c) {
		return change, fail("Can't schedule switchover in the paused state")
	}
	question := fmt.Sprintf("Are you sure you want to schedule switchover of cluster %s at %s, demoting current leader %s?",
		scope, isoTime(at), change.Leader)
	return change, s.confirmed(ctx, o.Force, question, "Aborting scheduled switchover")
}

// changeLeader sends the request, and says what came of it.
func (s *Session) changeLeader(ctx context.Context, scope string, c *dcs.Cluster, action string, change clusterops.Change) error {
	answer, err := s.requestChange(ctx, c, change)
	switch {
	case ctx.Err() != nil:
		return ErrAborted
	case err != nil:
		s.failed = true
		s.warn("%s: %v", action, err)
		s.warn("Failing over to DCS")
		s.say("%s Could not %s using Patroni api, falling back to DCS", s.stamp(), action)
		if err := s.requestInDCS(ctx, scope, change); err != nil {
			return err
		}
	case answer.Code != http.StatusOK && answer.Code != http.StatusAccepted:
		s.sayFailed("%s failed, details: %d, %s", strings.ToUpper(action[:1])+action[1:], answer.Code, answer.Text())
		return nil
	default:
		s.say("%s %s", s.stamp(), answer.Text())
	}
	after, err := s.load(ctx, scope)
	if err != nil {
		return err
	}
	return s.showTable(after, scope)
}

func (s *Session) requestChange(ctx context.Context, c *dcs.Cluster, change clusterops.Change) (api.Answer, error) {
	agents, err := s.Agents()
	if err != nil {
		return api.Answer{}, err
	}
	if target := clusterops.ChangeTarget(c, change); target != nil {
		defer s.sayWaiting(target.Name, clusterops.ChangeLimit(c))()
	}
	answer, err := clusterops.ChangeLeader(ctx, agents, c, change)
	if err != nil || answer.Code != http.StatusNotImplemented ||
		!strings.Contains(answer.Text(), "Server does not support this operation") {
		return answer, err
	}
	// Agents before 2.0 know /failover only, which takes a leader as well.
	target := c.LeaderMember()
	if target == nil {
		return answer, nil
	}
	body := map[string]any{"leader": change.Leader, "candidate": change.Candidate}
	if !change.At.IsZero() {
		body["scheduled_at"] = isoTime(change.At)
	}
	return clusterops.Ask(ctx, agents, *target, time.Minute, http.MethodPost, "failover", body)
}

// requestInDCS writes the failover key itself: the leader acts on it in its
// next cycle. A request that names the leader is void once another one leads.
func (s *Session) requestInDCS(ctx context.Context, scope string, change clusterops.Change) error {
	value := dcs.EncodeFailover(&dcs.Failover{Leader: change.Leader, Candidate: change.Candidate, ScheduledAt: change.At})
	err := s.write(ctx, scope, dcs.Write{Key: dcs.KeyFailover, Value: value})
	if errors.Is(err, dcs.ErrUnknownOutcome) {
		return fail("the request may or may not have been stored: %v", err)
	}
	if err != nil {
		return oneLine(fmt.Errorf("store the request in the DCS: %w", err))
	}
	return nil
}

// pythonList is names as Python prints a list of strings.
func pythonList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quote := "'"
		if strings.Contains(n, "'") {
			quote = `"`
		}
		quoted[i] = quote + n + quote
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
