package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"pgha/ctl"
	"pgha/internal/render"
)

func newListCommand(t *ctlTool) *cobra.Command {
	var o ctl.ListOptions
	var watch watchFlags
	cmd := t.command("list", "[CLUSTER_NAMES]...", "List the members of clusters")
	cmd.Long = "List the members of clusters: role, state, timeline, position and lag. Changes nothing."
	cmd.Example = `  $ pgha ctl list shop
  + Cluster: shop (7500000000000000001) ------+----+-------------+-----+------------+-----+
  | Member | Host       | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag |
  +--------+------------+---------+-----------+----+-------------+-----+------------+-----+
  | db1    | 192.0.2.11 | Leader  | running   |  3 |             |     |            |     |
  | db2    | 192.0.2.12 | Replica | streaming |  3 |   0/9C69060 |   0 |  0/9649E80 |   6 |
  +--------+------------+---------+-----------+----+-------------+-----+------------+-----+
  $ pgha ctl list -f json | jq -r '.[] | select(.Role == "Leader") | .Member'
  db1`
	f := cmd.Flags()
	t.groupFlag(cmd)
	f.BoolVarP(&o.Extended, "extended", "e", false, "show all columns, empty ones too")
	f.BoolVarP(&o.Timestamp, "timestamp", "t", false, "print the time first")
	format := formatFlag(cmd)
	watch.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Clusters, o.Format, o.Watch = args, format.format(), watch.interval()
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.List(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newTopologyCommand(t *ctlTool) *cobra.Command {
	var watch watchFlags
	cmd := t.command("topology", "[CLUSTER_NAMES]...", "Show clusters as replication trees")
	cmd.Long = "Show the members of clusters as the tree in which they replicate. Changes nothing."
	t.groupFlag(cmd)
	watch.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := ctl.ListOptions{Clusters: args, Format: render.Topology, Watch: watch.interval()}
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.List(ctx, s, o) })
	}
	return t.finish(cmd)
}
