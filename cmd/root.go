package cmd

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newRootCommand is the whole tree. A new command is one file with a
// newXCommand and one line here.
func newRootCommand(outside outside) *cobra.Command {
	root := &cobra.Command{
		Use:   "pgha",
		Short: "Keep a PostgreSQL cluster writable through the loss of any one machine",
		Long: `pgha keeps a PostgreSQL cluster writable through the loss of any one machine,
with etcd as the arbiter. It takes the place of Patroni: same patroni.yml, same
keys in etcd, same REST API, same commands.`,
		Example: `  pgha ctl -c /etc/patroni/patroni.yml list     # who leads, who lags
  pgha ctl switchover shop --candidate db2      # planned change of leader
  pgha version`,
		Args:          noArguments,
		SilenceErrors: true, // report prints them
		SilenceUsage:  true,
		// Options before a command's name belong to its parent (pgha ctl -c FILE list).
		TraverseChildren: true,
		RunE:             func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see: %s --help", err, c.CommandPath())}
	})
	root.AddCommand(
		newAgentCommand(),
		newConfigCommand(outside),
		newCtlCommand(outside),
		newDemoCommand(),
		newVersionCommand(),
	)
	return root
}

// noArguments refuses words that are no command.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageErrorf("unknown command %q; see: %s --help", args[0], cmd.CommandPath())
}
