package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"pgha/agent"
	"pgha/internal/config"
	"pgha/internal/generate"
	"pgha/internal/query"
)

// printAgentVersion prints two words, as package checks expect of a daemon.
func printAgentVersion(cmd *cobra.Command) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "pgha %s\n", Version())
	return err
}

// runValidate is --validate-config: silence and 0, or one line each on stderr
// and 1 (contract: config.md 7).
func (a *agentCommand) runValidate(cmd *cobra.Command, file string) error {
	local, problems, err := agent.Validate(cmd.Context(), agent.ValidateOptions{ConfigPath: file, Environ: os.Environ(), IgnoreListenPort: a.ignorePort})
	if err != nil {
		e := &agent.ExitError{Code: exitFailed, Err: err}
		if pe := new(fs.PathError); errors.As(err, &pe) {
			e.Err = plainPathError(file, err)
		}
		return e
	}
	for _, p := range problems {
		fmt.Fprintln(cmd.ErrOrStderr(), p)
	}
	if len(problems) > 0 {
		return silentExit(exitFailed)
	}
	if a.print {
		_, err = cmd.OutOrStdout().Write(config.EncodeYAML(local.Tree))
	}
	return err
}

// runHandoverCheck answers an agent that is asked to hand over to this program.
func (a *agentCommand) runHandoverCheck(cmd *cobra.Command, file string) error {
	line, err := agent.CheckHandover(agent.Options{ConfigPath: file, Environ: os.Environ(), Version: Version()})
	if err == nil {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
	}
	return err
}

// generatePatience bounds everything that is asked of the server.
const generatePatience = 20 * time.Second

// runGenerate is --generate-config and --generate-sample-config.
func (a *agentCommand) runGenerate(cmd *cobra.Command, file string) error {
	if file != "" {
		if _, err := os.Lstat(file); err == nil {
			return usageErrorf("%s exists and is not overwritten: name another file", file)
		}
	}
	machine := generate.ThisMachine(os.Environ(), Version())
	var result generate.Result
	if a.sample {
		result = generate.Sample(machine)
	} else {
		ctx, cancel := context.WithTimeout(cmd.Context(), generatePatience)
		defer cancel()
		var err error
		if result, err = generate.Running(ctx, a.dsn, machine); err != nil {
			return generateError(err)
		}
	}
	for _, hint := range result.Hints {
		fmt.Fprintf(cmd.ErrOrStderr(), "pgha: hint: %s\n", hint)
	}
	return writeNew(cmd.OutOrStdout(), file, result.Text)
}

func generateError(err error) error {
	e := &agent.ExitError{Code: exitUnreachable, Err: err, Remedy: "is PostgreSQL running here? Say how to connect, e.g. --dsn 'host=/run/postgresql user=postgres'"}
	if errors.Is(err, query.ErrBadString) {
		return usageErrorf("--dsn: %w", query.ErrBadString)
	}
	if errors.Is(err, generate.ErrNotSuperuser) {
		e.Code, e.Remedy = exitFailed, "connect as a superuser, e.g. --dsn user=postgres"
	}
	return e
}

// writeNew writes a file that only its owner may read: it holds passwords.
func writeNew(stdout io.Writer, file string, text []byte) error {
	if file == "" {
		_, err := stdout.Write(text)
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return plainPathError(file, err)
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
