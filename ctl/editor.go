package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"pgha/internal/config"
)

// editInteractively lets a person edit the configuration as YAML.
func (s *Session) editInteractively(ctx context.Context, scope string, o EditConfigOptions, e *edit) error {
	editor := o.Editor
	if editor == "" {
		if editor = firstProgram("editor", "vi"); editor == "" {
			return fail("EDITOR environment variable is not set. editor or vi are not available")
		}
	}
	file, err := os.CreateTemp("", strings.ReplaceAll(scope, "/", "_")+"-config-*.yaml")
	if err != nil {
		return oneLine(fmt.Errorf("edit the configuration: %w", err))
	}
	e.file = file.Name()
	_, err = file.WriteString(e.beforeYAML())
	if err = errors.Join(err, file.Close()); err != nil {
		return oneLine(fmt.Errorf("edit the configuration: %w", err))
	}
	if err := s.child(ctx, editor+` "$1"`, e.file).Run(); err != nil {
		if code := new(exec.ExitError); errors.As(err, &code) {
			return e.keep(fail("Editor exited with return code %d", code.ExitCode()))
		}
		return e.keep(oneLine(fmt.Errorf("run the editor: %w", err)))
	}
	raw, err := os.ReadFile(e.file)
	if err != nil {
		return oneLine(fmt.Errorf("read the edited configuration: %w", err))
	}
	if e.after, err = config.DocumentFromYAML(raw, e.file); err != nil {
		return e.keep(oneLine(err))
	}
	return nil
}

// keep leaves the edited file where it is and says so.
func (e *edit) keep(err error) error {
	if e.file == "" || errors.Is(err, ErrAborted) {
		e.dropFile()
		return err
	}
	return &Error{Text: err.Error() + "\nThe edited configuration is kept in " + e.file, Cause: err}
}

func (e *edit) dropFile() {
	if e.file != "" {
		os.Remove(e.file)
		e.file = ""
	}
}

// child is a program that shares the session's terminal, run by the shell so
// that $EDITOR and $PAGER may have arguments; args are $1 and so on.
func (s *Session) child(ctx context.Context, command string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", command, "sh"}, args...)...)
	cmd.Stdout, cmd.Stderr = s.Out, s.Err
	if in, ok := s.In.(*os.File); ok { // any other input would be drained by exec
		cmd.Stdin = in
	}
	return cmd
}

func firstProgram(names ...string) string {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// showDiff prints the difference: plain, or on a terminal coloured and
// through a pager.
func (s *Session) showDiff(ctx context.Context, pager, before, after string) error {
	text := diff(before, after)
	if !s.Terminal {
		_, err := s.Out.Write([]byte(text))
		return err
	}
	if pager == "" {
		pager = firstProgram("less", "more")
	}
	if pager == "" {
		return fail(`No pager could be found. Either set PAGER environment variable with your pager or install either "less" or "more" in the host.`)
	}
	cmd := s.child(ctx, pager)
	cmd.Stdin = strings.NewReader(coloured(text))
	if os.Getenv("LESS") == "" {
		cmd.Env = append(os.Environ(), "LESS=FRX") // colours, and no screen of its own for a short text
	}
	if err := cmd.Run(); err != nil {
		return oneLine(fmt.Errorf("run the pager: %w", err))
	}
	return nil
}

func coloured(diff string) string {
	colours := map[byte]string{'-': "\x1b[31m", '+': "\x1b[32m", '@': "\x1b[36m"}
	lines := strings.SplitAfter(diff, "\n")
	for i, line := range lines {
		if line == "" {
			continue
		}
		if colour := colours[line[0]]; colour != "" {
			lines[i] = colour + strings.TrimSuffix(line, "\n") + "\x1b[0m\n"
		}
	}
	return strings.Join(lines, "")
}
