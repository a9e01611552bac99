package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"pgha/internal/config"
	"pgha/internal/render"
)

func newConfigLintCommand() *cobra.Command {
	var format *outputFlag
	var dynamic bool
	c := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Find what a configuration file says in vain",
		Long: `Find unknown, misplaced and contradicting keys, wrong types, values out of
range, and what pgha refuses: each with file, line and column, the reason, and
the corrected text. Passwords are shown as ***.

FILE is a patroni.yml, a directory of *.yml files (checked as they are merged),
or - for standard input. With --dcs it is a dynamic configuration, JSON or YAML,
as in the key /config and as pgha ctl show-config prints it.

Only what is written is checked, not what is missing: a file may be one of
several. For a whole member use pgha agent --validate-config, which also looks
at ports, programs, the data directory and etcd.

Exit codes: 0 nothing found; 1 findings; 2 a file cannot be read.`,
		Example: `  $ pgha config lint pg-basic.yml
  pg-basic.yml:18:3: warning: bootstrap.postgresql: belongs in bootstrap.dcs.postgresql; ...
      write:
      bootstrap:
        dcs:
          postgresql:
            use_pg_rewind: true
            ...
  pgha config lint -f json /etc/patroni
  pgha ctl show-config shop | pgha config lint --dcs -`,
		DisableFlagsInUseLine: true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("name at least one file; see: %s --help", c.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			return runLint(cmd, files, dynamic, format.format())
		},
	}
	c.Flags().BoolVar(&dynamic, "dcs", false, "FILE is a dynamic configuration (the key /config)")
	format = addOutputFlag(c, "pretty", "json", "yaml", "tsv")
	return c
}

func runLint(cmd *cobra.Command, files []string, dynamic bool, format render.Format) error {
	var all []config.Remark
	unreadable := false
	for _, file := range files {
		remarks, err := lintOne(cmd.InOrStdin(), file, dynamic)
		if err != nil {
			unreadable = true
			fmt.Fprintf(cmd.ErrOrStderr(), "pgha: error: %v\n", plainPathError(file, err))
			continue
		}
		all = append(all, remarks...)
		if format == render.Pretty {
			printRemarks(cmd.OutOrStdout(), file, remarks)
		}
	}
	if format == render.TSV { // a cell is one line
		for i, r := range all {
			all[i].Corrected = strings.ReplaceAll(r.Corrected, "\n", `\n`)
		}
	}
	if format != render.Pretty {
		if err := render.Write(cmd.OutOrStdout(), format, remarkTable(all)); err != nil {
			return err
		}
	}
	switch {
	case unreadable:
		return silentExit(exitUsage)
	case len(all) > 0:
		return silentExit(exitFailed)
	}
	return nil
}

func lintOne(stdin io.Reader, file string, dynamic bool) ([]config.Remark, error) {
	if !dynamic && file != "-" {
		return config.LintPath(file)
	}
	data, err := readInput(stdin, file)
	if err != nil {
		return nil, err
	}
	if dynamic {
		return config.LintDynamic(data, inputName(file)), nil
	}
	return config.LintText(data, inputName(file)), nil
}

// plainPathError is "FILE: no such file or directory" for errors of the system.
func plainPathError(file string, err error) error {
	if pe := new(fs.PathError); errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	if bad := new(config.Error); errors.As(err, &bad) {
		return err
	}
	return fmt.Errorf("%s: %w", file, err)
}

func printRemarks(w io.Writer, file string, remarks []config.Remark) {
	if len(remarks) == 0 {
		fmt.Fprintf(w, "%s: nothing found\n", inputName(file))
	}
	for _, r := range remarks {
		fmt.Fprintln(w, r)
		if r.Remedy != "" {
			fmt.Fprintf(w, "    %s\n", r.Remedy)
		}
		if r.Corrected == "" {
			continue
		}
		fmt.Fprintln(w, "    write:")
		for line := range strings.Lines(r.Corrected) {
			fmt.Fprintf(w, "      %s", line)
		}
	}
}

func remarkTable(remarks []config.Remark) render.Table {
	t := render.Table{Columns: []render.Column{
		{Title: "File"}, {Title: "Line"}, {Title: "Column"}, {Title: "Level"}, {Title: "Key"},
		{Title: "Message"}, {Title: "Remedy"}, {Title: "Corrected"},
	}}
	for i := range t.Columns {
		t.Columns[i].Key = strings.ToLower(t.Columns[i].Title)
	}
	for _, r := range remarks {
		t.Rows = append(t.Rows, []any{r.File, r.Line, r.Column, string(r.Level), r.Path, r.Message, r.Remedy, r.Corrected})
	}
	return t
}
