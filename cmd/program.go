package cmd

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"pgha/internal/api"
)

// Names that a link to this program may have: units, playbooks and scripts
// made for Patroni keep their command lines (contract: integrations.md, "must
// not change", row 28).
const (
	programPatroni    = "patroni"
	programPatronictl = "patronictl"
)

// programTree is the command tree of a program name, and the arguments for it:
// patroni is `pgha agent`, patronictl is `pgha ctl`, any other name is pgha.
// done: the answer was printed already.
func programTree(program string, args []string, out io.Writer, outside outside) (root *cobra.Command, rest []string, done bool) {
	switch program {
	case programPatronictl:
		root := newCtlCommand(outside)
		root.Use = programPatronictl + " [OPTIONS] COMMAND [ARGS]..."
		root.SilenceErrors, root.SilenceUsage, root.TraverseChildren = true, true, true
		// patronictl has neither of cobra's own commands.
		root.CompletionOptions.DisableDefaultCmd = true
		root.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true})
		return root, args, false
	case programPatroni:
		if slices.Contains(args, "--version") { // package checks want two words
			fmt.Fprintln(out, "patroni", api.PatroniVersion)
			return nil, nil, true
		}
		return newRootCommand(outside), append([]string{"agent"}, args...), false
	}
	return newRootCommand(outside), args, false
}
