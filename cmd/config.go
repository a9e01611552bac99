package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pgha/internal/render"
)

// newConfigCommand is `pgha config`: what a configuration means, and what is
// wrong with it. Nothing is changed by any of its commands.
func newConfigCommand(outside outside) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Explain and check configuration files",
		Long: `Explain where each setting comes from and what was ignored, or check files
before they are used. Nothing is changed.`,
		Example: `  pgha config lint /etc/patroni/patroni.yml
  pgha config explain postgresql.parameters -c /etc/patroni/patroni.yml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newConfigExplainCommand(outside), newConfigLintCommand())
	return c
}

// outputFlag is -f with the formats a command has.
type outputFlag struct {
	value   string
	allowed []string
}

// String implements pflag.Value.
func (o *outputFlag) String() string { return o.value }

// Type implements pflag.Value.
func (o *outputFlag) Type() string { return strings.Join(o.allowed, "|") }

// Set implements pflag.Value.
func (o *outputFlag) Set(v string) error {
	if !slices.Contains(o.allowed, v) {
		return fmt.Errorf("%q is none of %s", v, strings.Join(o.allowed, ", "))
	}
	o.value = v
	return nil
}

func (o *outputFlag) format() render.Format { return render.Format(o.value) }

func addOutputFlag(c *cobra.Command, allowed ...string) *outputFlag {
	o := &outputFlag{value: allowed[0], allowed: allowed}
	c.Flags().VarP(o, "format", "f", "output format")
	return o
}
