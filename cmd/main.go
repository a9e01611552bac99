// Package cmd is pgha's command line: flags and environment become an options
// struct, one call of a feature package does the work, and errors become text
// and exit codes here and nowhere else.
package cmd

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// Main runs a command line, the program's name first, and returns the
// process's exit code. The first SIGINT or SIGTERM ends the command's context;
// a second one ends the process.
func Main(argv []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return runAs(ctx, filepath.Base(argv[0]), argv[1:], streams{os.Stdin, os.Stdout, os.Stderr}, production())
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is a command line of pgha itself.
func run(ctx context.Context, args []string, io streams, outside outside) int {
	return runAs(ctx, "pgha", args, io, outside)
}

// runAs is Main with everything that tests replace. What the program is called
// decides what it is (program.go).
func runAs(ctx context.Context, program string, args []string, io streams, outside outside) int {
	if done, code := completionScript(program, args, io, outside); done {
		return code
	}
	root, args, done := programTree(program, args, io.out, outside)
	if done {
		return exitDone
	}
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
