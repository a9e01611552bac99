package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"pgha/ctl"
)

func newSwitchoverCommand(t *ctlTool) *cobra.Command {
	var o ctl.ChangeLeaderOptions
	cmd := t.command("switchover", "[CLUSTER_NAME]", "Change the leader as planned")
	cmd.Long = `Stop the present leader cleanly and let another member take over. Clients of the
leader are cut off; nothing committed is lost. Needs a running leader: without one
use failover.`
	cmd.Example = `  $ pgha ctl switchover shop --candidate db2 --force
  ...
  2031-02-03 04:05:06.78901 Successfully switched over to "db2"`
	f := cmd.Flags()
	t.groupFlag(cmd)
	f.StringVar(&o.Leader, "leader", "", "name of the present leader")
	f.StringVar(&o.Leader, "primary", "", "same as --leader")
	f.StringVar(&o.Candidate, "candidate", "", "name of the member to take over")
	f.StringVar(&o.Scheduled, "scheduled", "", "when: ISO 8601, local zone unless it names one, or now")
	f.BoolVar(&o.Force, "force", false, "do not ask anything")
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster = first(args)
		o.CandidateGiven, o.ScheduledGiven = f.Changed("candidate"), f.Changed("scheduled")
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.ChangeLeader(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newFailoverCommand(t *ctlTool) *cobra.Command {
	o := ctl.ChangeLeaderOptions{Failover: true}
	cmd := t.command("failover", "[CLUSTER_NAME]", "Make a member the leader when there is none, or no healthy one")
	cmd.Long = `Make the candidate the leader. Works without a leader, and to a member that lags or
is not synchronous: transactions it does not have are LOST.`
	f := cmd.Flags()
	t.groupFlag(cmd)
	f.StringVar(&o.Candidate, "candidate", "", "name of the member to take over (required)")
	f.BoolVar(&o.Force, "force", false, "do not ask anything, not even before losing transactions")
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster, o.CandidateGiven = first(args), f.Changed("candidate")
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.ChangeLeader(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newAdoptCommand(t *ctlTool) *cobra.Command {
	var o ctl.AdoptOptions
	cmd := t.command("adopt", "[CLUSTER_NAME]", "Register a cluster that the DCS has lost, by the data of one member")
	cmd.Long = `After a loss of the DCS the agents register the cluster again by themselves, the
running primary's first. Standbys wait for it. When that primary is gone for good,
this makes one standby's data the cluster's and has it lead: what only the lost
primary had is LOST. Not possible while the cluster is registered or has a leader.`
	cmd.Example = `  $ pgha ctl adopt shop --member db2 --force
  ...
  2031-02-03 04:05:06.78901 Cluster shop is registered with system identifier 7500000000000000001; db2 takes the leader key in its next cycle`
	f := cmd.Flags()
	f.StringVar(&o.Member, "member", "", "member whose data count (required)")
	f.BoolVar(&o.Force, "force", false, "do not ask anything, not even before losing transactions")
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster = first(args)
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Adopt(ctx, s, o) })
	}
	return t.finish(cmd)
}
