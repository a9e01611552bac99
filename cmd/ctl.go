package cmd

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pgha/ctl"
	"pgha/internal/api"
	"pgha/internal/clusterops"
	"pgha/internal/config"
)

// outside is what commands reach beyond this process; tests replace parts.
type outside struct {
	// environ are the variables, KEY=value.
	environ []string
	// open connects to one scope of the DCS. The context bounds connecting only.
	open func(ctx context.Context, local *config.Local, scope string) (ctl.Store, error)
	now  func() time.Time
	tick time.Duration
}

func (o outside) getenv(name string) string {
	for _, kv := range slices.Backward(o.environ) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// ctlTool is `pgha ctl`: its common options and how a command gets a session.
type ctlTool struct {
	outside  outside
	file     string // -c
	dcsURL   string // -d
	insecure bool   // -k
	strict   bool
	group    groupValue
}

const ctlLong = `Operate a cluster: the commands, options, prompts, texts and exit codes of
patronictl, for clusters of pgha, of Patroni and mixed ones.

The configuration is the agent's own file, looked for in this order: -c,
PATRONICTL_CONFIG_FILE, PATRONI_CONFIGURATION, ~/.config/patroni/patronictl.yaml,
/etc/patroni/patroni.yml, /etc/patroni/config.yml. PATRONI_* variables win over it.

Exit codes: 0 done, and many failures too, as with patronictl (--strict, or
PGHA_CTL_STRICT=1: 1 for those); 1 failed; 2 usage.`

func newCtlCommand(outside outside) *cobra.Command {
	tool := &ctlTool{outside: outside}
	cmd := &cobra.Command{
		Use:                   "ctl [OPTIONS] COMMAND [ARGS]...",
		Short:                 "Operate a cluster, as patronictl does",
		Long:                  ctlLong,
		Annotations:           map[string]string{ctlMark: "root"},
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return runChild(cmd, args)
			case cmd.Flags().NFlag() > 0:
				return usage("Missing command.")
			}
			return cmd.Help()
		},
	}
	cmd.Flags().SetInterspersed(false) // options behind a command's name are its own
	tool.commonFlags(cmd, true)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return clickError(err) })
	cmd.AddCommand(
		newListCommand(tool), newTopologyCommand(tool),
		newSwitchoverCommand(tool), newFailoverCommand(tool), newAdoptCommand(tool),
		newRestartCommand(tool), newReinitCommand(tool), newReloadCommand(tool), newFlushCommand(tool),
		newPauseCommand(tool), newResumeCommand(tool),
		newHistoryCommand(tool), newWhyCommand(tool), newShowConfigCommand(tool), newEditConfigCommand(tool),
		newDSNCommand(tool), newQueryCommand(tool), newRemoveCommand(tool), newCtlVersionCommand(tool),
		newDemoteClusterCommand(tool), newPromoteClusterCommand(tool),
	)
	return cmd
}

// runChild runs a command that cobra did not find behind the options of ctl:
// it takes the value of bundled ones (-kc FILE), and what follows --, for the
// command's name.
func runChild(cmd *cobra.Command, args []string) error {
	for _, child := range cmd.Commands() {
		if child.Name() != args[0] {
			continue
		}
		if err := child.ParseFlags(args[1:]); err != nil {
			return clickError(err)
		}
		if help, _ := child.Flags().GetBool("help"); help {
			return child.Help()
		}
		rest := child.Flags().Args()
		if err := child.ValidateArgs(rest); err != nil {
			return err
		}
		child.SetContext(cmd.Context())
		return child.RunE(child, rest)
	}
	return usage("No such command '%s'.", args[0])
}

// commonFlags are the options every command takes. short is false where -c
// and -d mean something else (query).
func (t *ctlTool) commonFlags(cmd *cobra.Command, short bool) {
	f := cmd.Flags()
	c, d := "c", "d"
	if !short {
		c, d = "", ""
	}
	f.StringVarP(&t.file, "config-file", c, t.file, "configuration file or directory")
	f.StringVarP(&t.dcsURL, "dcs-url", d, t.dcsURL, "etcd v3 to use, SCHEME://HOST:PORT/NAMESPACE; any part may be missing")
	f.StringVar(&t.dcsURL, "dcs", t.dcsURL, "same as --dcs-url")
	f.BoolVarP(&t.insecure, "insecure", "k", false, "do not verify the members' certificates")
	f.BoolVar(&t.strict, "strict", t.outside.getenv("PGHA_CTL_STRICT") != "", "exit 1 also after failures that patronictl exits 0 after")
	f.Bool("help", false, "show this message and exit") // no -h
	f.SortFlags = false
}

// command makes one command of the tool. args are its arguments as the usage
// line shows them.
func (t *ctlTool) command(name, args, short string) *cobra.Command {
	use := name + " [OPTIONS]"
	if args != "" {
		use += " " + args
	}
	return &cobra.Command{
		Use: use, Short: short,
		Annotations:           map[string]string{ctlMark: name},
		DisableFlagsInUseLine: true,
	}
}

// finish adds what all commands have in common, after their own options.
func (t *ctlTool) finish(cmd *cobra.Command) *cobra.Command {
	t.commonFlags(cmd, cmd.Flags().ShorthandLookup("c") == nil)
	t.completeArguments(cmd)
	return cmd
}

// run gives the function a session, and reports in strict mode what the
// command printed as failed.
func (t *ctlTool) run(cmd *cobra.Command, f func(context.Context, *ctl.Session) error) error {
	if t.group.set {
		return &ctl.Error{Text: "Citus clusters are not supported by pgha: leave --group out"}
	}
	local, err := t.configuration()
	if err != nil {
		return err
	}
	session := t.session(cmd, local)
	defer session.Close()
	if err := f(cmd.Context(), session); err != nil {
		return err
	}
	return session.Failed()
}

func (t *ctlTool) session(cmd *cobra.Command, local *config.Local) *ctl.Session {
	out, isFile := cmd.OutOrStdout().(*os.File)
	var agents *api.Client
	return &ctl.Session{
		In: cmd.InOrStdin(), Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr(),
		Terminal: isFile && term.IsTerminal(int(out.Fd())),
		Scope:    local.Scope, Strict: t.strict, Quiet: t.quiet(),
		Now: t.outside.now, Tick: t.outside.tick,
		Open: func(ctx context.Context, scope string) (ctl.Store, error) { return t.open(ctx, local, scope) },
		Agents: func() (clusterops.Agents, error) {
			var err error
			if agents == nil {
				agents, err = api.NewToolClient(local.Ctl, local.RestAPI, t.insecure, "Patroni/"+api.PatroniVersion+" pgha/"+Version())
			}
			return agents, err
		},
	}
}

// quiet says whether the log level hides warnings; the last variable set wins.
func (t *ctlTool) quiet() bool {
	level := ""
	for _, name := range []string{"LOGLEVEL", "PATRONI_LOGLEVEL", "PATRONI_LOG_LEVEL"} {
		if v := t.outside.getenv(name); v != "" {
			level = strings.ToUpper(v)
		}
	}
	return slices.Contains([]string{"ERROR", "CRITICAL", "FATAL"}, level)
}
