package cmd

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"pgha/agent"
)

const agentLong = `Run this machine's member of a cluster: start and watch PostgreSQL, and take
part in the election of the leader. FILE is a patroni.yml, or a directory of
*.yml files; PATRONI_* variables come on top. It runs in the foreground and logs
to stderr, as the user that owns the data directory (never as root).

Signals: TERM, INT  stop PostgreSQL, hand the leader key over, end
         HUP        read the configuration again
         USR1       end and leave PostgreSQL running under its guard, which
                    keeps it within the lease until an agent returns
         USR2       hand over to the program on disk: it is executed in this
                    process, and PostgreSQL, the leader key and the REST API go
                    on. A program that would not start is refused

Instead of running, one of these, as with patroni:

  --validate-config         check the configuration, for this machine: silent
                            and 0 when it is valid, else 1 and one line
                            "KEY VALUE MESSAGE" each on stderr. It looks at
                            ports (not with -i), PostgreSQL's programs, the data
                            directory, and connects to the etcd servers. With -p
                            a valid configuration is printed as it is merged,
                            passwords included.
  --generate-config [FILE]  write a patroni.yml for the PostgreSQL that runs
                            here, to FILE (which must not exist) or stdout.
                            Connects as superuser by --dsn, PG* variables and
                            libpq's defaults. What to look at goes to stderr.
  --generate-sample-config [FILE]
                            the same for a new cluster, with passwords made up
  --version                 "pgha VERSION"

Exit codes: 0 ended as asked; 1 failed, or not valid; 2 configuration or usage;
3 refused for safety (another member of that name, another cluster's data, a
second agent); 4 etcd unreachable, or PostgreSQL with --generate-config.`

// agentCommand is the daemon and what patroni's command line can do besides.
type agentCommand struct {
	path string // -c, or the argument

	validate, ignorePort, print bool
	generate, sample, version   bool
	handover                    bool
	dsn                         string
}

// newAgentCommand is the daemon: `pgha agent -c FILE`.
func newAgentCommand() *cobra.Command {
	a := &agentCommand{}
	c := &cobra.Command{
		Use:   "agent [-c FILE]",
		Short: "Run this machine's member of a cluster",
		Long:  agentLong,
		Example: `  runuser -u postgres -- pgha agent -c /etc/patroni/patroni.yml
  pgha agent --validate-config -i /etc/patroni/patroni.yml
  runuser -u postgres -- pgha agent --generate-config /etc/patroni/patroni.yml --dsn 'host=/run/postgresql'
  pgha agent --generate-sample-config patroni.yml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErrorf("one configuration file is expected, got also %q; see: pgha agent --help", args[1])
			}
			return nil
		},
		RunE: a.run,
	}
	f := c.Flags()
	f.StringVarP(&a.path, "config", "c", "", "patroni.yml, or a directory of *.yml files")
	f.BoolVar(&a.validate, "validate-config", false, "check the configuration and end")
	f.BoolVarP(&a.ignorePort, "ignore-listen-port", "i", false, "with --validate-config: the ports may be in use")
	f.BoolVarP(&a.print, "print", "p", false, "with --validate-config: print the merged configuration when it is valid")
	f.BoolVar(&a.generate, "generate-config", false, "write a patroni.yml for the running PostgreSQL and end")
	f.StringVar(&a.dsn, "dsn", "", "with --generate-config: how to connect, e.g. 'host=/run/postgresql user=postgres'")
	f.BoolVar(&a.sample, "generate-sample-config", false, "write a patroni.yml for a new cluster and end")
	f.BoolVar(&a.handover, "handover-check", false, "say whether this program can take over from the agent that runs, and end")
	_ = f.MarkHidden("handover-check") // asked by the agent that runs, not by people
	f.BoolVar(&a.version, "version", false, "print the version and end")
	return c
}

func (a *agentCommand) run(cmd *cobra.Command, args []string) error {
	if err := a.checkFlags(cmd, args); err != nil {
		return err
	}
	file := a.path
	if len(args) == 1 {
		file = args[0] // patroni FILE
	}
	switch {
	case a.version:
		return printAgentVersion(cmd)
	case a.validate:
		return a.runValidate(cmd, file)
	case a.handover:
		return a.runHandoverCheck(cmd, file)
	case a.generate, a.sample:
		return a.runGenerate(cmd, file)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if cmd.Context().Err() != nil { // told to end before anybody listened
		signals <- syscall.SIGTERM
	}
	// The signals are the agent's own: a shutdown takes its time.
	return agent.Run(context.WithoutCancel(cmd.Context()), agent.Options{ConfigPath: file, Environ: os.Environ(), Version: Version(), Revision: commit(),
		Stderr: cmd.ErrOrStderr(), Signals: signals})
}

// checkFlags refuses what cannot be meant together.
func (a *agentCommand) checkFlags(cmd *cobra.Command, args []string) error {
	refuse := func(format string, args ...any) error {
		return usageErrorf(format+"; see: pgha agent --help", args...)
	}
	modes := 0
	for _, mode := range []bool{a.validate, a.generate, a.sample, a.handover} {
		if mode {
			modes++
		}
	}
	switch {
	case len(args) == 1 && a.path != "" && !a.generate && !a.sample:
		return refuse("one configuration file is expected, got also %q", args[0])
	case modes > 1:
		return refuse("only one of --validate-config, --generate-config and --generate-sample-config is possible")
	case a.ignorePort && !a.validate:
		return refuse("--ignore-listen-port belongs to --validate-config")
	case a.print && !a.validate:
		return refuse("--print belongs to --validate-config")
	case cmd.Flags().Changed("dsn") && !a.generate:
		return refuse("--dsn belongs to --generate-config")
	case (a.generate || a.sample) && a.path != "":
		return refuse("-c names a configuration to read; the file to write is an argument: pgha agent %s FILE", map[bool]string{true: "--generate-config", false: "--generate-sample-config"}[a.generate])
	}
	return nil
}
