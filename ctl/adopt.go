package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// AdoptOptions are those of adopt.
type AdoptOptions struct {
	Cluster string
	// Member whose data become the cluster's.
	Member string
	Force  bool
}

// Adopt registers a cluster that the DCS does not know by the data of one
// member, and has that member lead it (rulings 16): what the agents do not do
// by themselves while the primary that their standbys followed may be alive.
// Both keys are written in one transaction, guarded by the absence of a
// registration.
func Adopt(ctx context.Context, s *Session, o AdoptOptions) error {
	scope, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	if o.Member == "" {
		return &UsageError{Text: "Missing option '--member'."}
	}
	if err := s.showTable(c, scope); err != nil {
		return err
	}
	switch {
	case c.Initialize != nil && c.Initialize.SystemID.Valid():
		return fail("Cluster %s is registered with system identifier %s: there is nothing to adopt; to change the leader use failover", scope, c.Initialize.SystemID)
	case c.Initialize != nil && c.Initialize.Lease != 0:
		return fail("A member is bootstrapping cluster %s now", scope)
	case c.Leader != nil:
		return fail("Member %s leads cluster %s", c.Leader.Name, scope)
	case c.Member(o.Member) == nil:
		return fail("Member %s does not exist in cluster %s: start its agent first", o.Member, scope)
	}
	id, err := s.adoptable(ctx, c, o.Member)
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Are you sure you want to make the data of %s those of cluster %s? What another server has and %s has not is LOST, and a primary that is still running must be stopped first.",
		o.Member, scope, o.Member)
	if err := s.confirmed(ctx, o.Force, question, "Aborting adoption"); err != nil {
		return err
	}
	register := dcs.Write{Key: dcs.KeyInitialize, Value: []byte(id), Guard: dcs.Guard{Absent: c.Initialize == nil}}
	if c.Initialize != nil {
		register.Guard.Revision = c.Initialize.Revision
	}
	lead := dcs.Write{Key: dcs.KeyFailover, Value: dcs.EncodeFailover(&dcs.Failover{Candidate: o.Member})}
	if err := s.write(ctx, scope, register, lead); err != nil {
		return oneLine(fmt.Errorf("register cluster %q: %w", scope, err))
	}
	s.say("%s Cluster %s is registered with system identifier %s; %s takes the leader key in its next cycle", s.stamp(), scope, id, o.Member)
	return nil
}

// adoptable asks all members that there are: the one named has to have data,
// and none may run as a primary but that one.
func (s *Session) adoptable(ctx context.Context, c *dcs.Cluster, member string) (string, error) {
	agents, err := s.Agents()
	if err != nil {
		return "", oneLine(err)
	}
	id := ""
	for _, m := range c.Members {
		answer, err := clusterops.AskShort(ctx, agents, m, http.MethodGet, "patroni", nil)
		if err != nil {
			if m.Name == member {
				return "", oneLine(fmt.Errorf("member %s: %w", m.Name, err))
			}
			s.warn("%s could not be asked: %v", m.Name, err)
			continue
		}
		var p struct { // a stopped server's document has no position, and is no peer's
			State string            `json:"state"`
			Role  postgres.Role     `json:"role"`
			ID    postgres.SystemID `json:"database_system_identifier"`
		}
		err = json.Unmarshal(answer.Body, &p)
		switch {
		case m.Name == member && (err != nil || !p.ID.Valid()):
			return "", fail("Member %s has no data to adopt (state %s)", m.Name, p.State)
		case m.Name == member:
			id = string(p.ID)
		case err == nil && p.Role.IsPrimary() && p.State == string(postgres.StateRunning):
			return "", fail("Member %s runs as a primary: it registers the cluster by itself, or has to be stopped first", m.Name)
		}
	}
	return id, nil
}
