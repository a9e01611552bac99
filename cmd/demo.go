package cmd

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pgha/demo"
)

// newDemoCommand is `pgha demo`.
func newDemoCommand() *cobra.Command {
	var o demo.Options
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a cluster on this machine and kill its primary",
		Long: `Starts three etcd members and three PostgreSQL members on loopback ports, from
the PostgreSQL that is installed, with a client that writes all the time.
Nothing outside of one directory in /tmp is touched, and nothing is left behind,
also after ctrl-C.

Without --script it shows the cluster, says what to try and runs until ctrl-C.
With --script failover it kills the primary, shows the new one, the write gap
that the client measured, the row count and the rejoin, and ends by itself in
less than 90 s.

Started as root it runs as postgres, else as the user who called sudo, else as
--user: PostgreSQL does not run as root.

Exit codes: 0 done, 1 failed, 2 PostgreSQL or something else is missing.`,
		Example: "  pgha demo\n  pgha demo --script failover\n  pgha demo --bin-dir /usr/pgsql-17/bin",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			// Later signals are swallowed until the end: the first one starts
			// the clean-up, which must not be cut short.
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			o.Out = c.OutOrStdout()
			o.Live = o.Out == os.Stdout && term.IsTerminal(int(os.Stdout.Fd()))
			return demo.Run(ctx, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Script, "script", "", fmt.Sprintf("run a script and end: %s", strings.Join(demo.Scripts, ", ")))
	f.StringVar(&o.BinDir, "bin-dir", "", "directory of PostgreSQL's programs (default: the newest one in the usual places)")
	f.StringVar(&o.EtcdBin, "etcd-bin", "", "etcd binary to use instead of the built-in one")
	f.StringVar(&o.User, "user", "", "user to run as when started by root (default: postgres, else $SUDO_USER)")
	return c
}
