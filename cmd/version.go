package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"pgha/internal/api"
)

// version and revision are set by `make build`: -ldflags "-X pgha/cmd.version=1.2.3
// -X pgha/cmd.revision=0123456789ab". Without them Go's own stamp is read,
// which builds may leave out (-buildvcs=false).
var version, revision = "devel", ""

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long:  "Print the version, the commit it was built from, the Go release, and the Patroni release it speaks for.",
		Example: `  $ pgha version
  pgha 1.0.0, commit 0123456789ab, go1.26.8, speaks for Patroni 4.1.5`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "pgha %s, commit %s, %s, speaks for Patroni %s\n",
				Version(), commit(), runtime.Version(), api.PatroniVersion)
			return err
		},
	}
}

// Version is this binary's version as published in member keys and documents.
func Version() string { return version }

// commit is the first twelve digits of the commit the binary was built from,
// marked when files had been changed; unknown outside a repository.
func commit() string {
	if revision != "" {
		return revision
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	hash, changed := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			hash = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	return hash + changed
}
