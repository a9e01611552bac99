package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Prompts go to the output, as patronictl's do; nothing is echoed when the
// input is no terminal, so the next output follows on the same line
// (contract: ctl.md section 6).

func (s *Session) reader() *bufio.Reader {
	if s.lines == nil {
		s.lines = bufio.NewReader(s.In)
	}
	return s.lines
}

// line reads one line of input. Errors: ErrAborted at the end of input or
// when ctx ends.
func (s *Session) line(ctx context.Context) (string, error) {
	type answer struct {
		text string
		err  error
	}
	// A read from a terminal cannot be interrupted. When ctx ends first the
	// goroutine stays until the process does, which is at once.
	got := make(chan answer, 1)
	go func() {
		text, err := s.reader().ReadString('\n')
		if errors.Is(err, io.EOF) && text != "" {
			err = nil
		}
		got <- answer{strings.TrimRight(text, "\r\n"), err}
	}()
	select {
	case a := <-got:
		if a.err != nil {
			return "", ErrAborted
		}
		return a.text, nil
	case <-ctx.Done():
		return "", ErrAborted
	}
}

// prompt asks for a text; an empty answer is the default.
func (s *Session) prompt(ctx context.Context, text, byDefault string) (string, error) {
	fmt.Fprintf(s.Out, "%s [%s]: ", text, byDefault)
	answer, err := s.line(ctx)
	if err == nil && answer == "" {
		answer = byDefault
	}
	return answer, err
}

// ask asks for a text that must be given.
func (s *Session) ask(ctx context.Context, text string) (string, error) {
	for {
		fmt.Fprintf(s.Out, "%s: ", text)
		answer, err := s.line(ctx)
		if err != nil || answer != "" {
			return answer, err
		}
	}
}

// confirm asks a question whose default is no.
func (s *Session) confirm(ctx context.Context, text string) (bool, error) {
	for {
		fmt.Fprintf(s.Out, "%s [y/N]: ", text)
		answer, err := s.line(ctx)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes", "t", "true", "1", "on":
			return true, nil
		case "", "n", "no", "f", "false", "0", "off":
			return false, nil
		}
		s.say("Error: invalid input")
	}
}

// confirmed asks unless forced. Errors: the text given when the answer is no.
func (s *Session) confirmed(ctx context.Context, force bool, question, refusal string) error {
	if force {
		return nil
	}
	yes, err := s.confirm(ctx, question)
	if err == nil && !yes {
		err = fail("%s", refusal)
	}
	return err
}

// password asks without echo on a terminal.
func (s *Session) password(ctx context.Context) (string, error) {
	in, ok := s.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return s.ask(ctx, "Password")
	}
	for {
		fmt.Fprint(s.Out, "Password: ")
		secret, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(s.Out)
		if err != nil {
			return "", ErrAborted
		}
		if len(secret) > 0 {
			return string(secret), nil
		}
	}
}
