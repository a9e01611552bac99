// Package client is the agent's side of the guard process: it spawns guards,
// finds living ones, and speaks their protocol (../PROTOCOL.md).
//
// Every call is bounded by its context. A call that ends with the context's
// error may still take effect, except Start and Promote, which the guard
// refuses once the context's deadline has passed; ask State before acting on
// an unknown outcome.
package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard"
)

// What callers branch on.
var (
	// ErrNoGuard: no guard is alive, or it ended during the call. What it had
	// started is dead or dying: Sweep, then Spawn.
	ErrNoGuard = errors.New("no guard")
	// ErrGuardRunning: Spawn found a living guard; Connect to it, or wait
	// until it has ended.
	ErrGuardRunning = errors.New("another guard is alive")
	// ErrStaleEpoch: a newer agent speaks with this guard. This one must end.
	ErrStaleEpoch = errors.New("a newer agent has taken over")
	// ErrDeadline: too late to act for the lease, or for this call.
	ErrDeadline = errors.New("too late for the lease")
	// ErrOccupied: processes of the data directory are alive; Sweep or Adopt.
	ErrOccupied = errors.New("the data directory is in use")
	// ErrUnsupported: an older guard does not know the request.
	ErrUnsupported = errors.New("the guard does not know this request")
	// ErrRefused: any other refusal; the text says why.
	ErrRefused = errors.New("refused by the guard")
)

// Exit says how a postmaster ended. It arrives when nothing of its tree is
// left, or when the guard itself is lost.
type Exit struct {
	PID    int
	Status string // "exit:N", "signal:N", "unknown" (adopted); "" when the guard did not live to see it
	Stage  guard.Stage
	// GuardLost: the guard died before it had proved the tree empty. Its
	// undertaker is killing what is left and Spawn waits for that; Sweep all
	// the same before anything is started, it may have been lost too.
	GuardLost bool
}

// Client is a connection to one guard. Its methods may be called from several
// goroutines.
type Client struct {
	conn     net.Conn
	guardPID int

	mu      sync.Mutex // order of requests on the wire and in waiting
	waiting chan chan string

	exited chan Exit
	fired  chan guard.Stage
	done   chan struct{} // closed when the reader has ended
}

// maxWaiting bounds the requests under way on one connection.
const maxWaiting = 64

// Connect speaks to the living guard of the state directory. epoch is this
// agent's incarnation: CLOCK_BOOTTIME nanoseconds at its start; 0 observes
// only (State). Errors: ErrNoGuard; ErrStaleEpoch; ctx.Err when a guard is
// there but does not answer (it is frozen).
func Connect(ctx context.Context, stateDir string, epoch uint64) (*Client, error) {
	c, err := connect(ctx, stateDir, epoch)
	if err != nil {
		return nil, fmt.Errorf("connect to the guard in %s: %w", stateDir, err)
	}
	return c, nil
}

func connect(ctx context.Context, stateDir string, epoch uint64) (*Client, error) {
	conn, err := dial(ctx, stateDir)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, waiting: make(chan chan string, maxWaiting),
		exited: make(chan Exit, 1), fired: make(chan guard.Stage, 4), done: make(chan struct{})}
	go c.read() // ends with the connection; Close waits for it
	answer, err := c.ask(ctx, fmt.Sprintf("hello %d %d", guard.Protocol, epoch))
	if err == nil {
		_, pid, _ := strings.Cut(answer, " ")
		c.guardPID, err = strconv.Atoi(pid)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// dial goes through a descriptor of the directory: its path may be longer
// than a socket address.
func dial(ctx context.Context, stateDir string) (net.Conn, error) {
	dir, err := os.Open(stateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoGuard
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	path := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), guard.SocketName)
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			return nil, ErrNoGuard
		case errors.Is(err, syscall.EAGAIN): // a frozen guard's backlog is full
		default:
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// read hands answers to those who wait for them, in order, and events to
// their channels.
func (c *Client) read() {
	defer close(c.done)
	var exit Exit
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(make([]byte, 4096), 1<<20)
	for lines.Scan() {
		if event, ok := strings.CutPrefix(lines.Text(), "event "); ok {
			if c.take(event, &exit) {
				return
			}
			continue
		}
		select {
		case w := <-c.waiting:
			w <- lines.Text() // has room for its one answer
		default: // an answer nobody asked for: not our guard
			c.conn.Close()
		}
	}
	exit.GuardLost = true // it never said that the tree is empty
	c.exited <- exit
}

// take handles one event; true says that the guard has finished.
func (c *Client) take(event string, exit *Exit) bool {
	f := strings.Fields(event)
	switch {
	case len(f) >= 2 && f[0] == "fired":
		select {
		case c.fired <- stageOf(f[1]):
		default:
		}
	case len(f) >= 4 && f[0] == "exited":
		exit.PID, _ = strconv.Atoi(f[1])
		exit.Status, exit.Stage = f[2], stageOf(f[3])
	case f[0] == "empty" && exit.Status != "":
		c.exited <- *exit
		return true
	}
	return false
}

func stageOf(word string) guard.Stage {
	for _, s := range []guard.Stage{guard.StageFast, guard.StageKill} {
		if s.String() == word {
			return s
		}
	}
	return guard.StageNone
}

// ask sends one line and waits for its answer, without the "ok".
func (c *Client) ask(ctx context.Context, line string) (string, error) {
	w := make(chan string, 1)
	if err := c.send(ctx, line, w); err != nil {
		return "", err
	}
	var answer string
	select {
	case answer = <-w:
	case <-ctx.Done():
		return "", ctx.Err()
	case <-c.done:
		select {
		case answer = <-w: // it came just before the end
		default:
			return "", ErrNoGuard
		}
	}
	if rest, ok := strings.CutPrefix(answer, "ok"); ok {
		return strings.TrimPrefix(rest, " "), nil
	}
	return "", refusal(answer)
}

func (c *Client) send(ctx context.Context, line string, w chan string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.waiting <- w:
	default:
		return fmt.Errorf("%w: %d requests without an answer", context.DeadlineExceeded, maxWaiting)
	}
	// The socket's buffer takes thousands of lines; a guard that lets it fill
	// up is frozen, and half a line would spoil the rest of the connection.
	limit, _ := ctx.Deadline()
	c.conn.SetWriteDeadline(limit)
	if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
		c.conn.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return context.DeadlineExceeded
		}
		return ErrNoGuard
	}
	return nil
}

// refusal turns "error <code> <quoted text>" into an error to branch on.
func refusal(answer string) error {
	f := strings.Fields(answer)
	if len(f) < 2 || f[0] != "error" {
		return fmt.Errorf("unexpected answer %q", answer)
	}
	code, text := f[1], ""
	if len(f) > 2 {
		text, _ = guard.Unquote(f[2])
	}
	kind := ErrRefused
	switch code {
	case "stale-epoch":
		kind = ErrStaleEpoch
	case "deadline", "expired":
		kind = ErrDeadline
	case "occupied":
		kind = ErrOccupied
	case "unknown":
		kind = ErrUnsupported
	}
	return fmt.Errorf("%w (%s: %s)", kind, code, text)
}

// Exited delivers one value when the server's life is over, or the guard's.
// After Close it says GuardLost.
func (c *Client) Exited() <-chan Exit { return c.exited }

// Fired delivers the stages the guard fires because the lease runs out.
func (c *Client) Fired() <-chan guard.Stage { return c.fired }

// GuardPID is the guard's process.
func (c *Client) GuardPID() int { return c.guardPID }

// Wake sends the guard SIGCONT, for a guard that does not answer: it may have
// been stopped by mistake, and its kernel timer would end PostgreSQL.
func (c *Client) Wake() { syscall.Kill(c.guardPID, syscall.SIGCONT) }

// Close ends the connection, not the guard: its deadline stands.
func (c *Client) Close() {
	c.conn.Close()
	<-c.done
}

// notAfter is the instant at which the caller gives up, for the guard.
func notAfter(ctx context.Context) int64 {
	limit, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return int64(clock.Now().Add(time.Until(limit)))
}
