// Package ctl is `pgha ctl`: list, switchover, restart, edit-config and the
// other commands of patronictl, with its texts, prompts and exit codes
// (contract: ctl.md). Every command is one function over a Session and an
// options struct; cmd turns the command line into those.
package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"pgha/internal/clusterops"
	"pgha/internal/dcs"
	"pgha/internal/render"
)

// connectLimit bounds every read and write of the DCS (contract: ctl.md
// section 10 item 2).
const connectLimit = 10 * time.Second

// Store is what the commands need of one scope in the DCS.
type Store interface {
	Load(ctx context.Context) (*dcs.Cluster, error)
	Apply(ctx context.Context, writes ...dcs.Write) error
	Remove(ctx context.Context) error
	Close() error
}

// Session is what a command runs with. Close it afterwards.
type Session struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal says that Out is a terminal: only then are colours, a pager
	// and a cleared screen used.
	Terminal bool
	// Scope is the configured cluster name, for commands that were given none.
	Scope string
	// Strict makes Failed report what patronictl forgives (contract: ctl.md
	// section 7).
	Strict bool
	// Quiet leaves warnings out (LOGLEVEL above WARNING).
	Quiet bool
	// Open connects to one scope.
	Open func(ctx context.Context, scope string) (Store, error)
	// Agents speaks REST; asked for when the first request is due.
	Agents func() (clusterops.Agents, error)
	// Now is the civil time, in the zone people read.
	Now func() time.Time
	// Tick is the pause between two looks while waiting. Zero: 1 s.
	Tick time.Duration

	lines  *bufio.Reader
	stores map[string]Store
	failed bool // patronictl exits 0 all the same
	hard   bool // it would not
}

// Close ends the connections of the session.
func (s *Session) Close() error {
	var errs []error
	for _, store := range s.stores {
		errs = append(errs, store.Close())
	}
	s.stores = nil
	return errors.Join(errs...)
}

// Failed returns ErrFailed when something was reported as failed though the
// command went through: a member that could not be reached, or with Strict
// anything. Else nil.
func (s *Session) Failed() error {
	if s.hard || s.Strict && s.failed {
		return ErrFailed
	}
	return nil
}

// store connects to a scope, once a session.
func (s *Session) store(ctx context.Context, scope string) (Store, error) {
	if store := s.stores[scope]; store != nil {
		return store, nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	store, err := s.Open(ctx, scope)
	if err != nil {
		return nil, oneLine(err)
	}
	if s.stores == nil {
		s.stores = make(map[string]Store)
	}
	s.stores[scope] = store
	return store, nil
}

// load reads a cluster. The error is ready to be shown.
func (s *Session) load(ctx context.Context, scope string) (*dcs.Cluster, error) {
	store, err := s.store(ctx, scope)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	c, err := store.Load(ctx)
	if err != nil {
		return nil, oneLine(fmt.Errorf("read cluster %q: %w", scope, err))
	}
	return c, nil
}

// write changes keys of a scope, all or none.
func (s *Session) write(ctx context.Context, scope string, writes ...dcs.Write) error {
	store, err := s.store(ctx, scope)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	return store.Apply(ctx, writes...)
}

// cluster settles the cluster's name and reads it.
func (s *Session) cluster(ctx context.Context, name string) (string, *dcs.Cluster, error) {
	if name == "" {
		name = s.Scope
	}
	if name == "" {
		return "", nil, &UsageError{Text: "Missing argument 'CLUSTER_NAME'."}
	}
	c, err := s.load(ctx, name)
	return name, c, err
}

// showTable prints the members as `list` does.
func (s *Session) showTable(c *dcs.Cluster, scope string) error {
	return clusterops.Print(s.Out, c, clusterops.List{Scope: scope, Format: render.Pretty})
}

// say prints one line of output.
func (s *Session) say(format string, args ...any) { fmt.Fprintf(s.Out, format+"\n", args...) }

// sayFailed prints a line that reports a failure patronictl exits 0 after.
func (s *Session) sayFailed(format string, args ...any) {
	s.failed = true
	s.say(format, args...)
}

// sayUnreached prints a line that reports a member without an answer.
// patronictl ends with a stack trace and code 1 there; the code stays.
func (s *Session) sayUnreached(format string, args ...any) {
	s.hard = true
	s.say(format, args...)
}

// warn writes a log line to the error stream.
func (s *Session) warn(format string, args ...any) {
	if !s.Quiet {
		stamp := s.Now().Format("2006-01-02 15:04:05.000")
		fmt.Fprintf(s.Err, "%s - WARNING - %s\n", strings.Replace(stamp, ".", ",", 1), fmt.Sprintf(format, args...))
	}
}

// stamp is the local time as switchover prints it: five decimals.
func (s *Session) stamp() string { return s.Now().Format("2006-01-02 15:04:05.00000") }

func (s *Session) tick() time.Duration {
	if s.Tick > 0 {
		return s.Tick
	}
	return time.Second
}

// ErrFailed: a failure that was reported on the output already (--strict).
var ErrFailed = errors.New("failed; see the output")

// ErrAborted: a prompt met the end of input or Ctrl-C.
//
//lint:ignore ST1005 the exact text scripts see
var ErrAborted = errors.New("Aborted!")

// Error is a failure with the text patronictl prints behind "Error: ".
type Error struct {
	Text  string
	Cause error // may be nil
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

func fail(format string, args ...any) error { return &Error{Text: fmt.Sprintf(format, args...)} }

// oneLine keeps an error's text on one line and its cause for callers.
func oneLine(err error) error {
	if own := new(Error); errors.As(err, &own) {
		return own
	}
	return &Error{Text: strings.Join(strings.Fields(err.Error()), " "), Cause: err}
}

// UsageError is a command line that cannot be meant: exit code 2.
type UsageError struct{ Text string }

// Error returns the text.
func (e *UsageError) Error() string { return e.Text }

// readFile is os.ReadFile, or all of the session's input for "-".
func (s *Session) readFile(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(s.reader())
	}
	return os.ReadFile(path)
}
