// Package cmd is pgha's command line: flags and environment become an options
// struct, one call of a feature package does the work, and errors become text
// and exit codes here and nowhere else.
package cmd

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Main runs the command line and returns the process's exit code. The first
// SIGINT or SIGTERM ends the command's context; a second one ends the process.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, args, streams{os.Stdin, os.Stdout, os.Stderr}, production())
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is Main with everything that tests replace.
func run(ctx context.Context, args []string, io streams, outside outside) int {
	root := newRootCommand(outside)
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if command == root && err != nil && len(args) > 0 {
		// An error in the options of a command with children is reported
		// for the root; say it for the command that has them.
		if child, _, findErr := root.Find(args[:1]); findErr == nil {
			command = child
		}
	}
	return report(io.err, command, err)
}
