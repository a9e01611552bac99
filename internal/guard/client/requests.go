package client

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard"
)

// Mode says what a started or promoted server may do, and so what it needs.
type Mode string

const (
	// Primary accepts writes: only with an armed deadline ahead.
	Primary Mode = guard.ModePrimary
	// Standby has standby.signal in its data directory.
	Standby Mode = guard.ModeStandby
	// SingleUser is single-user recovery.
	SingleUser Mode = guard.ModeSingleUser
	// UnguardedBootstrap accepts writes before any leader key exists.
	UnguardedBootstrap Mode = guard.ModeBootstrap
	// UnguardedPause accepts writes in a paused cluster, at a person's request.
	UnguardedPause Mode = guard.ModePause
)

// Command is what to execute as the postmaster: postgres itself, not pg_ctl.
type Command struct {
	Path string
	Args []string // with argv[0]
	Env  []string // complete; nothing is inherited
	Dir  string   // working directory at the start
}

// Start executes the postmaster under the guard and returns its process id;
// it does not wait until connections are accepted. Errors: ErrDeadline (no
// armed deadline ahead, or it passed meanwhile and the server was killed, or
// ctx had ended when the guard came to it); ErrOccupied; ErrRefused;
// ErrStaleEpoch; ErrNoGuard.
func (c *Client) Start(ctx context.Context, cmd Command, mode Mode) (pid int, err error) {
	words := []string{"start", string(mode), strconv.FormatInt(notAfter(ctx), 10),
		guard.Quote(cmd.Path), guard.Quote(cmd.Dir), strconv.Itoa(len(cmd.Args))}
	for _, w := range append(append([]string{}, cmd.Args...), cmd.Env...) {
		words = append(words, guard.Quote(w))
	}
	line := strings.Join(words, " ")
	if len(line) >= guard.MaxLine {
		return 0, fmt.Errorf("start %s under the guard: arguments and environment exceed %d bytes", cmd.Path, guard.MaxLine)
	}
	answer, err := c.ask(ctx, line)
	if err != nil {
		return 0, fmt.Errorf("start %s under the guard: %w", cmd.Path, err)
	}
	word, _, _ := strings.Cut(answer, " ")
	return strconv.Atoi(word)
}

// Arm extends the lease's deadline: the send time of the last confirmed
// keepalive plus the granted ttl. Once it returns nil the kernel's timer
// stands. It never shortens (ErrRefused; see Shorten). Errors: ErrDeadline
// when the deadline's kill stage has passed or the server is being killed;
// ErrStaleEpoch; ErrNoGuard.
func (c *Client) Arm(ctx context.Context, deadline clock.Instant, ttl time.Duration) error {
	return c.do(ctx, "arm the guard", fmt.Sprintf("arm %d %d", int64(deadline), int64(ttl)))
}

// Shorten is Arm that also takes an earlier deadline, after the lease was
// replaced by one with a shorter ttl.
func (c *Client) Shorten(ctx context.Context, deadline clock.Instant, ttl time.Duration) error {
	return c.do(ctx, "arm the guard", fmt.Sprintf("arm %d %d shorten", int64(deadline), int64(ttl)))
}

// Disarm gives the deadline up where no server runs or it is a standby;
// ErrRefused for a server that may be writable.
func (c *Client) Disarm(ctx context.Context) error { return c.do(ctx, "disarm the guard", "disarm") }

// DisarmForPause gives the deadline up whatever runs. Call it only after
// `pause: true` was read from the DCS (rulings 7).
func (c *Client) DisarmForPause(ctx context.Context) error {
	return c.do(ctx, "disarm the guard", "disarm pause")
}

// Promote asks the server to leave recovery and returns once it has been
// told, not once it accepts writes. Errors: ErrDeadline when the first stage
// of the deadline has passed (the server was killed if it passed during the
// call) or ctx had ended when the guard came to it; ErrRefused when not armed.
func (c *Client) Promote(ctx context.Context) error {
	return c.do(ctx, "promote", fmt.Sprintf("promote %d", notAfter(ctx)))
}

// PromoteUnguarded is Promote without an armed deadline, for the two modes
// that give it up by name. An armed deadline still counts.
func (c *Client) PromoteUnguarded(ctx context.Context, why Mode) error {
	return c.do(ctx, "promote", fmt.Sprintf("promote %d %s", notAfter(ctx), why))
}

// Stop asks the server to stop, mode smart, fast or immediate, and does not
// wait: see Exited. A later call may be harder, never softer.
func (c *Client) Stop(ctx context.Context, mode string) error {
	return c.do(ctx, "stop PostgreSQL", "stop "+mode)
}

// Kill sends SIGKILL to the whole tree and does not wait: see Exited.
func (c *Client) Kill(ctx context.Context) error { return c.do(ctx, "kill PostgreSQL", "kill") }

// Adopt puts a running postmaster that somebody else started under the guard.
// startTicks is field 22 of its /proc/PID/stat. Should the guard be lost, the
// undertaker ends it, not the kernel.
func (c *Client) Adopt(ctx context.Context, pid int, startTicks uint64) error {
	return c.do(ctx, "adopt the postmaster", fmt.Sprintf("adopt %d %d", pid, startTicks))
}

// Detach tells the guard that this agent leaves on purpose. The deadline stands.
func (c *Client) Detach(ctx context.Context) error { return c.do(ctx, "detach", "detach") }

func (c *Client) do(ctx context.Context, what, line string) error {
	if _, err := c.ask(ctx, line); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
