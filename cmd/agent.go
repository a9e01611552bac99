package cmd

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"pgha/agent"
)

// newAgentCommand is the daemon: `pgha agent -c FILE`.
func newAgentCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "agent [-c FILE]",
		Short: "Run this machine's member of a cluster",
		Long: `Run this machine's member of a cluster: start and watch PostgreSQL, and take
part in the election of the leader. FILE is a patroni.yml, or a directory of
*.yml files; PATRONI_* variables come on top. It runs in the foreground and logs
to stderr, as the user that owns the data directory (never as root).

Signals: TERM, INT  stop PostgreSQL, hand the leader key over, end
         HUP        read the configuration again
         USR1       end and leave PostgreSQL running under its guard, which
                    keeps it within the lease until an agent returns

Exit codes: 0 ended as asked; 1 failed; 2 configuration; 3 refused for safety
(another member of that name, another cluster's data, a second agent);
4 etcd unreachable.`,
		Example: `  runuser -u postgres -- pgha agent -c /etc/patroni/patroni.yml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErrorf("one configuration file is expected, got also %q; see: pgha agent --help", args[1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && path == "" {
				path = args[0] // patroni FILE
			} else if len(args) == 1 {
				return usageErrorf("one configuration file is expected, got also %q; see: pgha agent --help", args[0])
			}
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
			defer signal.Stop(signals)
			// The signals are the agent's own: a shutdown takes its time.
			return agent.Run(context.WithoutCancel(cmd.Context()), agent.Options{ConfigPath: path, Environ: os.Environ(), Version: Version(), Revision: commit(),
				Stderr: cmd.ErrOrStderr(), Signals: signals})
		},
	}
	c.Flags().StringVarP(&path, "config", "c", "", "patroni.yml, or a directory of *.yml files")
	return c
}
