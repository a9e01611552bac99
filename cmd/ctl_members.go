package cmd

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"pgha/ctl"
	"pgha/internal/clusterops"
)

const membersHelp = "Members that are not named by the arguments are left alone; names that are not members are\nignored as long as one is. Without names: all members of the role."

func newRestartCommand(t *ctlTool) *cobra.Command {
	var o ctl.RestartOptions
	cmd := t.command("restart", "CLUSTER_NAME [MEMBER_NAMES]...", "Restart PostgreSQL on members, one after the other")
	cmd.Long = "Restart PostgreSQL on members, one after the other, now or at a given time. Clients are cut off.\n" + membersHelp
	f := cmd.Flags()
	t.groupFlag(cmd)
	role := roleFlag(cmd, clusterops.RoleAny, "restart only members with this role")
	f.BoolVar(&o.Any, "any", false, "restart one member only, chosen at random")
	f.StringVar(&o.Scheduled, "scheduled", "", "when: ISO 8601, local zone unless it names one, or now")
	f.StringVar(&o.Version, "pg-version", "", "restart only if the running PostgreSQL is older than this")
	f.BoolVar(&o.Pending, "pending", false, "restart only members that wait for a restart")
	f.StringVar(&o.Timeout, "timeout", "", "seconds PostgreSQL may take to start; afterwards the leader may be failed over")
	f.BoolVar(&o.Force, "force", false, "do not ask anything")
	cmd.Args = takes(aCluster, anyMembers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster, o.Members, o.Role = args[0], args[1:], role.role()
		o.ScheduledGiven, o.VersionGiven = f.Changed("scheduled"), f.Changed("pg-version")
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Restart(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newReinitCommand(t *ctlTool) *cobra.Command {
	var o ctl.ReinitOptions
	cmd := t.command("reinit", "CLUSTER_NAME [MEMBER_NAMES]...", "Copy replicas anew")
	cmd.Long = `DELETE the data directory of replicas and copy it anew. Never acts on the leader.
The copy runs on by itself after the command has ended; --wait waits for it.`
	f := cmd.Flags()
	t.groupFlag(cmd)
	f.BoolVar(&o.Force, "force", false, "do not ask anything, and cancel what the member is doing")
	f.BoolVar(&o.FromLeader, "from-leader", false, "copy from the leader, not from a replica tagged clonefrom")
	f.BoolVar(&o.Wait, "wait", false, "wait until the copies are complete")
	cmd.Args = takes(aCluster, anyMembers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster, o.Members = args[0], args[1:]
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Reinit(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newReloadCommand(t *ctlTool) *cobra.Command {
	var o ctl.ReloadOptions
	cmd := t.command("reload", "CLUSTER_NAME [MEMBER_NAMES]...", "Make members read their configuration files again")
	cmd.Long = "Make members read their configuration files again, as a SIGHUP does. Restarts nothing.\n" + membersHelp
	t.groupFlag(cmd)
	role := roleFlag(cmd, clusterops.RoleAny, "reload only members with this role")
	cmd.Flags().BoolVar(&o.Force, "force", false, "do not ask anything")
	cmd.Args = takes(aCluster, anyMembers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster, o.Members, o.Role = args[0], args[1:], role.role()
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Reload(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newFlushCommand(t *ctlTool) *cobra.Command {
	var o ctl.FlushOptions
	cmd := t.command("flush", "CLUSTER_NAME [MEMBER_NAMES]... {restart|switchover}", "Discard what is scheduled")
	cmd.Long = "Discard scheduled restarts of members, or the scheduled switchover of the cluster."
	t.groupFlag(cmd)
	role := roleFlag(cmd, clusterops.RoleAny, "flush only members with this role")
	cmd.Flags().BoolVar(&o.Force, "force", false, "do not ask anything")
	cmd.Args = flushArguments
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		last := len(args) - 1
		o.Cluster, o.Members, o.Role = args[0], args[1:last], role.role()
		o.Switchover = args[last] == "switchover"
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Flush(ctx, s, o) })
	}
	return t.finish(cmd)
}

func flushArguments(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("Missing argument 'CLUSTER_NAME'.")
	}
	if len(args) == 1 {
		return usage("Missing argument '{restart|switchover}'. Choose from:\n\trestart,\n\tswitchover")
	}
	if last := args[len(args)-1]; !slices.Contains([]string{"restart", "switchover"}, last) {
		return usage("Invalid value for '{restart|switchover}': '%s' is not one of 'restart', 'switchover'.", last)
	}
	return nil
}
