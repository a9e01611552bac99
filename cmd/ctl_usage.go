package cmd

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pgha/ctl"
)

// ctlMark annotates `ctl` and its commands: their errors look like patronictl's.
const ctlMark = "patronictl"

// ctlOf returns the command if it is `ctl` or below it, else nil.
func ctlOf(cmd *cobra.Command) *cobra.Command {
	if cmd == nil || cmd.Annotations[ctlMark] == "" {
		return nil
	}
	return cmd
}

func usage(format string, args ...any) error {
	return &ctl.UsageError{Text: fmt.Sprintf(format, args...)}
}

// reportCtl prints an error as patronictl does (contract: ctl.md section 2).
func reportCtl(w io.Writer, cmd *cobra.Command, err error) int {
	wrong := new(ctl.UsageError)
	switch {
	case errors.As(clickError(err), &wrong):
		path := cmd.CommandPath()
		_, args, _ := strings.Cut(cmd.Use, " ")
		fmt.Fprintf(w, "Usage: %s %s\nTry '%s --help' for help.\n\nError: %s\n", path, args, path, wrong.Text)
		return exitUsage
	case errors.Is(err, ctl.ErrFailed):
	case errors.Is(err, ctl.ErrAborted):
		fmt.Fprintln(w, "Aborted!")
	default:
		fmt.Fprintf(w, "Error: %v\n", err)
		if h := hinted(nil); errors.As(err, &h) && h.Hint() != "" {
			fmt.Fprintf(w, "Hint: %s\n", h.Hint())
		}
	}
	return exitFailed
}

// clickError turns pflag's complaints into the texts of patronictl; other
// errors stay.
func clickError(err error) error {
	var unknown *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var badValue *pflag.InvalidValueError
	var badSyntax *pflag.InvalidSyntaxError
	switch {
	case errors.Is(err, pflag.ErrHelp): // pflag's answer to -h
		return usage("No such option: -h")
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return usage("No such option: -%.1s", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		return usage("No such option: --%s", unknown.GetSpecifiedName())
	case errors.As(err, &noValue) && noValue.GetSpecifiedShortnames() != "":
		return usage("Option '-%.1s' requires an argument.", noValue.GetSpecifiedName())
	case errors.As(err, &noValue):
		return usage("Option '--%s' requires an argument.", noValue.GetSpecifiedName())
	case errors.As(err, &badValue) && badValue.GetFlag().Value.Type() == "bool":
		return usage("Option '--%s' does not take a value.", badValue.GetFlag().Name)
	case errors.As(err, &badValue):
		name := "'--" + badValue.GetFlag().Name + "'"
		switch short := "'-" + badValue.GetFlag().Shorthand + "'"; {
		case short == "'-w'":
			name = short + " / " + name
		case short != "'-'":
			name += " / " + short
		}
		return usage("Invalid value for %s: %v", name, badValue.Unwrap())
	case errors.As(err, &badSyntax):
		return usage("No such option: %s", badSyntax.GetSpecifiedFlag())
	}
	return err
}

// argument is one positional argument of a command.
type argument struct {
	name     string // as shown when it is missing
	required bool
	many     bool
}

// takes checks the number of arguments and says what is wrong as click does.
func takes(arguments ...argument) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		most := 0
		for i, a := range arguments {
			if a.required && len(args) <= i {
				return usage("Missing argument '%s'.", a.name)
			}
			if a.many {
				return nil
			}
			most++
		}
		switch extra := args[min(most, len(args)):]; len(extra) {
		case 0:
			return nil
		case 1:
			return usage("Got unexpected extra argument (%s)", extra[0])
		default:
			return usage("Got unexpected extra arguments (%s)", strings.Join(extra, " "))
		}
	}
}

var (
	optionalCluster = argument{name: "CLUSTER_NAME"}
	aCluster        = argument{name: "CLUSTER_NAME", required: true}
	anyMembers      = argument{name: "MEMBER_NAMES", many: true}
)

// first is the first argument, or empty.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
