package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"pgha/ctl"
)

func newPauseCommand(t *ctlTool) *cobra.Command {
	return newMaintenanceCommand(t, "pause", "Switch maintenance mode on: no automatic failover",
		`Switch maintenance mode on: agents watch, but neither fail over nor restart anything.
While it is on, nothing protects against two primaries.`, false)
}

func newResumeCommand(t *ctlTool) *cobra.Command {
	return newMaintenanceCommand(t, "resume", "Switch maintenance mode off", "Switch maintenance mode off: automatic failover works again.", true)
}

func newMaintenanceCommand(t *ctlTool, name, short, long string, resume bool) *cobra.Command {
	o := ctl.PauseOptions{Resume: resume}
	cmd := t.command(name, "[CLUSTER_NAME]", short)
	cmd.Long = long
	t.groupFlag(cmd)
	cmd.Flags().BoolVar(&o.Wait, "wait", false, "wait until every member knows, at most loop_wait")
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster = first(args)
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Pause(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newHistoryCommand(t *ctlTool) *cobra.Command {
	cmd := t.command("history", "[CLUSTER_NAME]", "Show past changes of leader")
	cmd.Long = "Show when timelines ended, where, why, and who led next. Changes nothing."
	t.groupFlag(cmd)
	format := formatFlag(cmd)
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := ctl.HistoryOptions{Cluster: first(args), Format: format.format()}
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.History(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newRemoveCommand(t *ctlTool) *cobra.Command {
	cmd := t.command("remove", "CLUSTER_NAME", "Delete everything the DCS knows of a cluster")
	cmd.Long = `DELETE everything the DCS knows of a cluster, dynamic configuration and history too.
Data directories stay. Asks three questions, which cannot be skipped.`
	t.groupFlag(cmd)
	format := formatFlag(cmd)
	cmd.Args = takes(aCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := ctl.RemoveOptions{Cluster: args[0], Format: format.format()}
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Remove(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newCtlVersionCommand(t *ctlTool) *cobra.Command {
	cmd := t.command("version", "[CLUSTER_NAME] [MEMBER_NAMES]...", "Print versions: of patronictl, and of a cluster's members")
	cmd.Long = "Print the patronictl release this command stands for, and with a cluster what runs on its members.\nThe version of this program itself: pgha version."
	t.groupFlag(cmd)
	cmd.Args = takes(optionalCluster, anyMembers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := ctl.VersionOptions{Cluster: first(args)}
		if len(args) > 1 {
			o.Members = args[1:]
		}
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Version(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newDemoteClusterCommand(t *ctlTool) *cobra.Command {
	cmd := t.command("demote-cluster", "[CLUSTER_NAME]", "Make the cluster follow another one (not supported)")
	f := cmd.Flags()
	f.Bool("force", false, "do not ask anything")
	f.String("host", "", "address of the remote primary")
	var port integerValue
	f.Var(&port, "port", "port of the remote primary")
	f.String("restore-command", "", "command to fetch WAL with")
	f.String("primary-slot-name", "", "slot on the remote primary")
	return t.refuseStandbyCluster(cmd)
}

func newPromoteClusterCommand(t *ctlTool) *cobra.Command {
	cmd := t.command("promote-cluster", "[CLUSTER_NAME]", "Make the cluster stand on its own (not supported)")
	cmd.Flags().Bool("force", false, "do not ask anything")
	return t.refuseStandbyCluster(cmd)
}

// refuseStandbyCluster: standby clusters come later (rulings 26).
func (t *ctlTool) refuseStandbyCluster(cmd *cobra.Command) *cobra.Command {
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return &ctl.Error{Text: cmd.Name() + ": standby clusters are not supported by pgha yet; nothing was changed"}
	}
	return t.finish(cmd)
}
