package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"pgha/ctl"
	"pgha/internal/clusterops"
)

func newShowConfigCommand(t *ctlTool) *cobra.Command {
	cmd := t.command("show-config", "[CLUSTER_NAME]", "Print the dynamic configuration")
	cmd.Long = "Print the dynamic configuration as YAML. Changes nothing."
	t.groupFlag(cmd)
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.ShowConfig(ctx, s, first(args)) })
	}
	return t.finish(cmd)
}

func newEditConfigCommand(t *ctlTool) *cobra.Command {
	var o ctl.EditConfigOptions
	cmd := t.command("edit-config", "[CLUSTER_NAME]", "Change the dynamic configuration")
	cmd.Long = `Change the dynamic configuration, with an editor or by options, after showing the
difference. Members take it over in their next cycle; some parameters of PostgreSQL
wait for a restart then (pgha ctl list shows which).`
	cmd.Example = `  pgha ctl edit-config shop -s maximum_lag_on_failover=2000000 -p max_connections=60 --force
  pgha ctl edit-config shop -s postgresql.parameters.work_mem=null   # back to the default`
	f := cmd.Flags()
	t.groupFlag(cmd)
	f.BoolVarP(&o.Quiet, "quiet", "q", false, "do not show the difference")
	f.StringArrayVarP(&o.Set, "set", "s", nil, "set a value, PATH=VALUE in YAML; null deletes; repeatable")
	f.StringArrayVarP(&o.SetParameter, "pg", "p", nil, "set a parameter of PostgreSQL, NAME=VALUE; repeatable")
	f.StringVar(&o.Apply, "apply", "", "merge a YAML file; - is the standard input")
	f.StringVar(&o.Replace, "replace", "", "replace the whole configuration by a YAML file; - is the standard input")
	f.BoolVar(&o.Force, "force", false, "do not ask before writing")
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster = first(args)
		o.Editor, o.Pager = t.outside.getenv("EDITOR"), t.outside.getenv("PAGER")
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.EditConfig(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newDSNCommand(t *ctlTool) *cobra.Command {
	var o ctl.DSNOptions
	cmd := t.command("dsn", "[CLUSTER_NAME]", "Print how to connect to a member")
	cmd.Long = `Print host and port of a member, the leader unless told otherwise; with --multi-host
the connection strings of the whole cluster, for clients that know several hosts.`
	cmd.Example = `  $ pgha ctl dsn shop
  host=192.0.2.11 port=5432
  $ pgha ctl dsn shop --multi-host
  # target_session_attrs=primary and prefer-standby need libpq 14, load_balance_hosts needs libpq 16
  host=192.0.2.11,192.0.2.12 target_session_attrs=primary connect_timeout=2
  host=192.0.2.11,192.0.2.12 target_session_attrs=prefer-standby load_balance_hosts=random connect_timeout=2`
	t.groupFlag(cmd)
	role := roleFlag(cmd, "", "a member with this role")
	cmd.Flags().StringVarP(&o.Member, "member", "m", "", "the member of this name")
	cmd.Flags().BoolVar(&o.MultiHost, "multi-host", false, "connection strings that list all members")
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster, o.Role = first(args), clusterops.Role(role.value)
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.DSN(ctx, s, o) })
	}
	return t.finish(cmd)
}

func newQueryCommand(t *ctlTool) *cobra.Command {
	var o ctl.QueryOptions
	var watch watchFlags
	cmd := t.command("query", "[CLUSTER_NAME]", "Run SQL on a member")
	cmd.Long = `Run SQL on a member, the leader unless told otherwise. Every statement is committed
by itself. Here -c is the SQL and -d the database: configuration and DCS have their
long options, or stand before the command's name.`
	f := cmd.Flags()
	t.groupFlag(cmd)
	f.StringVar(&o.Format, "format", "tsv", "output format: pretty, tsv, json, yaml, yml")
	f.StringVarP(&o.File, "file", "f", "", "run the SQL of this file; - is the standard input")
	f.StringVarP(&o.Command, "command", "c", "", "run this SQL")
	f.StringVarP(&o.User, "username", "U", "", "database user")
	f.StringVarP(&o.Database, "dbname", "d", "", "database")
	f.BoolVar(&o.Password, "password", false, "ask for a password")
	role := roleFlag(cmd, "", "a member with this role")
	f.StringVarP(&o.Member, "member", "m", "", "the member of this name")
	f.StringVar(&o.Delimiter, "delimiter", "\t", "between the columns of tsv")
	watch.add(cmd)
	cmd.Args = takes(optionalCluster)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Cluster, o.Role, o.Watch = first(args), clusterops.Role(role.value), watch.interval()
		if o.File != "" && o.File != "-" && !readable(o.File) {
			return usage("Invalid value for '--file' / '-f': '%s': No such file or directory", o.File)
		}
		return t.run(cmd, func(ctx context.Context, s *ctl.Session) error { return ctl.Query(ctx, s, o) })
	}
	return t.finish(cmd)
}
