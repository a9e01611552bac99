package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
)

// selection is how restart, reload, reinit and flush restart choose members
// (contract: ctl.md 5.2).
type selection struct {
	action  string // reinitialize asks for a member when none is named
	role    clusterops.Role
	members []string
	force   bool
}

const actionReinitialize = "reinitialize"

// choose prints the table and returns the members to act on, in the order of
// the cluster.
func (s *Session) choose(ctx context.Context, c *dcs.Cluster, scope string, sel selection) ([]dcs.Member, error) {
	candidates := clusterops.WithRole(c, sel.role)
	if len(sel.members) == 0 && len(candidates) == 0 {
		return nil, fail("%s cluster doesn't have any members", scope)
	}
	if err := s.showTable(c, scope); err != nil {
		return nil, err
	}
	if len(sel.members) == 0 {
		if sel.action != actionReinitialize {
			return candidates, nil
		}
		if sel.force {
			s.failed = true
			return nil, nil
		}
		name, err := s.prompt(ctx, fmt.Sprintf("Which member do you want to reinitialize [%s]?", names(candidates)), "")
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(candidates, func(m dcs.Member) bool { return m.Name == name }) {
			return nil, fail("%s is not a member of cluster", name)
		}
		sel.members = []string{name}
	}
	chosen := slices.DeleteFunc(candidates, func(m dcs.Member) bool { return !slices.Contains(sel.members, m.Name) })
	if len(chosen) == 0 {
		if sel.action == actionReinitialize {
			return nil, fail("No replica among provided members")
		}
		return nil, fail("No '%s' among provided members", sel.role)
	}
	return chosen, nil
}

func names(members []dcs.Member) string {
	var out []string
	for _, m := range members {
		out = append(out, m.Name)
	}
	return strings.Join(out, ", ")
}
