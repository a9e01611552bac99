package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"pgha/ctl"
)

func newWhyCommand(t *ctlTool) *cobra.Command {
	var o ctl.WhyOptions
	cmd := t.command("why", "[CLUSTER_NAME]", "Say why the leader did or did not change")
	cmd.Long = `Say why the cluster did or did not change its leader: the decision journals of all
members, merged, as one sentence and the records behind it. Changes nothing.

A member that does not answer is named; the journal of this machine's own member is
read from its file then, also when the agent is dead. Times: 2026-11-23 03:12, 03:12,
2026-11-23T03:12:41+01:00, 10m ago. -f json has every record with what was seen.`
	cmd.Example = `  pgha ctl why shop                        # the last event
  pgha ctl why shop --at 03:12             # what happened then
  pgha ctl why shop --member pg03 --at "2026-11-23 03:12"
  pgha ctl why shop --since 24h            # one line an event
  pgha ctl why --file /var/lib/postgresql/17/main.pgha   # one member's file alone`
	t.groupFlag(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.Member, "member", "m", "", "what this member had to do with, and why it did not lead")
	f.StringVar(&o.At, "at", "", "the event nearest to this moment")
	f.StringVar(&o.Since, "since", "", "all events since this moment, or this long ago, one line each")
	f.StringVar(&o.File, "file", "", "read the journal of this state directory, ask nobody")
	format := formatFlag(cmd)
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster, o.Format = first(args), format.format()
		local, err := t.configuration()
		if err == nil { // else run says what is wrong with it
			o.Own, o.StateDir = local.Name, local.Pgha.StateDir
		}
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Why(ctx, s, o) })
	}
	return t.finish(cmd)
}
