package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pgha/internal/dcs"
)

// Exit codes (rulings 51). Under `pgha ctl` patronictl's are used instead.
const (
	exitDone        int = 0
	exitFailed      int = 1
	exitUsage       int = 2 // usage or configuration
	exitRefused     int = 3 // refused for safety
	exitUnreachable int = 4 // etcd, REST, PostgreSQL
	exitInterrupted int = 5 // can be resumed
)

// coded is an error that knows its exit code; hinted one that knows a remedy.
// Feature packages may implement either.
type (
	coded  interface{ ExitCode() int }
	hinted interface{ Hint() string }
)

// usageError is a command line that cannot be meant.
type usageError struct{ error }

// ExitCode implements coded.
func (usageError) ExitCode() int { return exitUsage }

// Unwrap returns the cause.
func (e usageError) Unwrap() error { return e.error }

func usageErrorf(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// silentExit ends with a code of its own after everything has been said.
type silentExit int

func (s silentExit) Error() string { return fmt.Sprintf("exit code %d", int(s)) }

// ExitCode implements coded.
func (s silentExit) ExitCode() int { return int(s) }

// report prints an error of the command and returns the exit code.
func report(w io.Writer, command *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	if silent := silentExit(0); errors.As(err, &silent) {
		return int(silent)
	}
	if ctl := ctlOf(command); ctl != nil {
		return reportCtl(w, command, err)
	}
	fmt.Fprintf(w, "pgha: error: %v\n", err)
	if h := hinted(nil); errors.As(err, &h) && h.Hint() != "" {
		fmt.Fprintf(w, "pgha: hint: %s\n", h.Hint())
	}
	return exitCode(err)
}

func exitCode(err error) int {
	if c := coded(nil); errors.As(err, &c) {
		return c.ExitCode()
	}
	missing := new(pflag.NotExistError)
	switch {
	case errors.As(err, &missing):
		return exitUsage
	case errors.Is(err, dcs.ErrUnavailable):
		return exitUnreachable
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}
