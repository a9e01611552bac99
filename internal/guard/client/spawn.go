package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgha/internal/guard"
)

// Options say how a guard is started.
type Options struct {
	Exe      string // this program; "" is /proc/self/exe
	StateDir string // made with mode 0700 when absent; not writable for others
	DataDir  string
	Scope    string // shown in ps
	Epoch    uint64 // this agent's incarnation, as for Connect; not 0

	// Stdout and Stderr become the guard's and PostgreSQL's; nil discards.
	// Never a pipe that the agent itself reads: a frozen agent would block
	// PostgreSQL's log.
	Stdout, Stderr *os.File
	Log            *slog.Logger // nil discards
}

// Spawn starts a guard and connects to it. The guard outlives this process.
// A goroutine waits for the guard's end, so that it never stays a zombie.
// While a lost guard's undertaker is at work Spawn waits for it. Errors:
// ErrGuardRunning when a guard is alive; ctx.Err.
func Spawn(ctx context.Context, o Options) (*Client, error) {
	c, err := spawn(ctx, o)
	for errors.Is(err, ErrGuardRunning) {
		if err = settle(ctx, o.StateDir); err != nil {
			break
		}
		c, err = spawn(ctx, o)
	}
	if err != nil {
		return nil, fmt.Errorf("start the guard of %s: %w", o.DataDir, err)
	}
	return c, nil
}

func spawn(ctx context.Context, o Options) (*Client, error) {
	if err := prepareStateDir(o.StateDir); err != nil {
		return nil, err
	}
	stateDir, err := filepath.Abs(o.StateDir)
	if err != nil {
		return nil, err
	}
	dataDir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	cmd := &exec.Cmd{Path: o.Exe, Args: []string{guard.TitlePrefix + o.Scope}, Dir: "/",
		// One thread works and little is ever garbage; nothing else is inherited.
		Env: []string{guard.EnvMarker + "=1", guard.EnvStateDir + "=" + stateDir, guard.EnvDataDir + "=" + dataDir,
			guard.EnvEpoch + "=" + strconv.FormatUint(o.Epoch, 10), "GOMAXPROCS=1", "GOTRACEBACK=single"},
		ExtraFiles:  []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if o.Exe == "" {
		cmd.Path = "/proc/self/exe"
	}
	if o.Stdout != nil { // a nil *os.File in an io.Writer is not nil
		cmd.Stdout = o.Stdout
	}
	if o.Stderr != nil {
		cmd.Stderr = o.Stderr
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, err
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	go func() { // ends with the guard, which outlives every other owner
		err := cmd.Wait()
		log.Debug("guard ended", "pid", cmd.Process.Pid, "err", err)
	}()
	if err := awaitReady(ctx, ours); err != nil {
		// Without its word the guard is of no use; it has started nothing.
		cmd.Process.Kill()
		return nil, err
	}
	return connect(ctx, stateDir, o.Epoch)
}

// settle waits while the lock is held though no guard answers: that is a lost
// guard's undertaker, or a guard on its way out.
func settle(ctx context.Context, stateDir string) error {
	conn, err := dial(ctx, stateDir)
	if err == nil {
		conn.Close()
		return ErrGuardRunning
	}
	if !errors.Is(err, ErrNoGuard) {
		return err
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: its lock is still held: %w", ErrGuardRunning, ctx.Err())
	case <-time.After(10 * time.Millisecond):
		return nil
	}
}

// awaitReady reads the guard's one line from the pipe.
func awaitReady(ctx context.Context, pipe *os.File) error {
	stop := context.AfterFunc(ctx, func() { pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	text, err := io.ReadAll(io.LimitReader(pipe, 4096))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	line := strings.TrimSpace(string(text))
	switch f := strings.Fields(line); {
	case line == "ready":
		return nil
	case len(f) == 3 && f[0] == "error" && f[1] == "running":
		return ErrGuardRunning
	case len(f) == 3 && f[0] == "error":
		return refusal(line)
	default:
		return fmt.Errorf("it ended without a word (%q)", line)
	}
}

// prepareStateDir makes the directory; one that others may write to is
// refused, because they could replace the socket and the lock.
func prepareStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0 {
		return errors.New("state directory " + dir + " is writable for others")
	}
	return nil
}
