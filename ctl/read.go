package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
	"pgha/internal/render"
)

// HistoryOptions are those of history.
type HistoryOptions struct {
	Cluster string
	Format  render.Format
}

// History shows the switches of timelines.
func History(ctx context.Context, s *Session, o HistoryOptions) error {
	_, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	t := render.Table{Columns: []render.Column{
		{Title: "TL", Right: true}, {Title: "LSN", Right: true}, {Title: "Reason"}, {Title: "Timestamp"}, {Title: "New Leader"},
	}}
	for _, h := range c.History {
		t.Rows = append(t.Rows, []any{uint64(h.Timeline), uint64(h.Switch), h.Reason, h.Timestamp, h.NewLeader})
	}
	return render.Write(s.Out, o.Format, t)
}

// ShowConfig prints the dynamic configuration as YAML.
func ShowConfig(ctx context.Context, s *Session, cluster string) error {
	_, c, err := s.cluster(ctx, cluster)
	if err != nil {
		return err
	}
	if doc := clusterops.Dynamic(c); doc != nil {
		s.say("%s", render.EncodeYAML(doc))
	}
	return nil
}

// DSNOptions are those of dsn.
type DSNOptions struct {
	Cluster string
	Role    clusterops.Role // empty: not given
	Member  string
	// MultiHost prints connection strings for clients that know several hosts.
	MultiHost bool
}

// DSN prints how to reach a member, or with MultiHost the whole cluster.
func DSN(ctx context.Context, s *Session, o DSNOptions) error {
	if o.Role != "" && o.Member != "" {
		return fail("--role and --member are mutually exclusive options")
	}
	_, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	if o.MultiHost {
		return s.multiHost(c)
	}
	for _, m := range targets(c, o.Role, o.Member) {
		if host, port, ok := clusterops.Address(m); ok {
			s.say("host=%s port=%d", host, port)
			return nil
		}
	}
	return fail("Can not find a suitable member")
}

// targets are the members a role or a name stands for; neither: the leader.
func targets(c *dcs.Cluster, role clusterops.Role, member string) []dcs.Member {
	if member != "" {
		if m := c.Member(member); m != nil {
			return []dcs.Member{*m}
		}
		return nil
	}
	if role == "" {
		role = clusterops.RoleLeader
	}
	return clusterops.WithRole(c, role)
}

// multiHost prints the strings of the primary and of the replicas (contract:
// operations.md H.1). Members that are down are listed too: a list that
// shrinks in an outage is wrong afterwards.
func (s *Session) multiHost(c *dcs.Cluster) error {
	primary := hostList(c, func(dcs.Member) bool { return true })
	if primary == "" {
		return fail("Can not find a suitable member")
	}
	s.say("# target_session_attrs=primary and prefer-standby need libpq 14, load_balance_hosts needs libpq 16")
	s.say("%s target_session_attrs=primary connect_timeout=2", primary)
	replicas := hostList(c, func(m dcs.Member) bool { return m.Tags["noloadbalance"] != true })
	if replicas != "" {
		s.say("%s target_session_attrs=prefer-standby load_balance_hosts=random connect_timeout=2", replicas)
	}
	return nil
}

// hostList is host= and, unless all ports are 5432, port= of the members kept.
func hostList(c *dcs.Cluster, keep func(dcs.Member) bool) string {
	var hosts, ports []string
	for _, m := range c.Members {
		if host, port, ok := clusterops.Address(m); ok && keep(m) {
			hosts, ports = append(hosts, host), append(ports, fmt.Sprint(port))
		}
	}
	if len(hosts) == 0 {
		return ""
	}
	list := "host=" + strings.Join(hosts, ",")
	switch distinct := slices.Compact(slices.Sorted(slices.Values(ports))); {
	case len(distinct) > 1:
		list += " port=" + strings.Join(ports, ",")
	case distinct[0] != "5432":
		list += " port=" + distinct[0]
	}
	return list
}

// RemoveOptions are those of remove.
type RemoveOptions struct {
	Cluster string
	Format  render.Format
}

// Remove deletes everything the DCS knows of a cluster. PostgreSQL and its
// data stay untouched; agents that still run create their keys again.
func Remove(ctx context.Context, s *Session, o RemoveOptions) error {
	scope, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	if err := clusterops.Print(s.Out, c, clusterops.List{Scope: scope, Format: o.Format}); err != nil {
		return err
	}
	type question struct{ text, answer, refusal string }
	questions := []question{
		{"Please confirm the cluster name to remove", scope, "Cluster names specified do not match"},
		{fmt.Sprintf(`You are about to remove all information in DCS for %s, please type: "Yes I am aware"`, scope),
			"Yes I am aware", `You did not exactly type "Yes I am aware"`},
	}
	if c.Leader != nil {
		questions = append(questions, question{"This cluster currently is healthy. Please specify the leader name to continue",
			c.Leader.Name, "You did not specify the current leader of the cluster"})
	}
	for _, q := range questions {
		answer, err := s.ask(ctx, q.text)
		if err != nil {
			return err
		}
		if answer != q.answer {
			return fail("%s", q.refusal)
		}
	}
	store, err := s.store(ctx, scope)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	err = store.Remove(ctx)
	if errors.Is(err, dcs.ErrUnknownOutcome) {
		return fail("remove cluster %q: no answer; the keys may be gone or not, look with: pgha ctl list %s", scope, scope)
	}
	if err != nil {
		return oneLine(fmt.Errorf("remove cluster %q: %w", scope, err))
	}
	return nil
}
