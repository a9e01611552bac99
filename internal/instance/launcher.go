package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// StopMode is how a postmaster is told to stop.
type StopMode string

const (
	// StopSmart waits for clients to leave (SIGTERM).
	StopSmart StopMode = "smart"
	// StopFast ends the sessions, writes a shutdown checkpoint and lets the
	// walsenders send it (SIGINT).
	StopFast StopMode = "fast"
	// StopImmediate ends at once, without a checkpoint (SIGQUIT): the next
	// start is a crash recovery.
	StopImmediate StopMode = "immediate"
)

// Signal is the signal a postmaster knows the mode by.
func (m StopMode) Signal() syscall.Signal {
	switch m {
	case StopSmart:
		return syscall.SIGTERM
	case StopImmediate:
		return syscall.SIGQUIT
	default:
		return syscall.SIGINT
	}
}

// Command is a postmaster to be started: a program, its arguments without
// the program itself, its whole environment and its working directory, which
// is always the data directory.
type Command struct {
	Path string
	Args []string
	Env  []string
	Dir  string
}

// ErrNotLaunched is returned by a Launcher that is asked about a postmaster
// it did not start. The server then acts on the process by itself: such a
// server was started by somebody else and is outside the promise (rulings 9).
var ErrNotLaunched = errors.New("the running postmaster was not started by this launcher")

// Launcher starts, promotes and signals the postmaster. The agent implements
// it over the guard (rulings 1), DirectLauncher without one.
type Launcher interface {
	// Start starts a postmaster and returns its pid once forked. primary says
	// that it is about to accept writes without a further promotion; a
	// launcher that knows a lease refuses it when the lease has run out.
	Start(ctx context.Context, cmd Command, primary bool) (pid int, err error)
	// Promote ends recovery: the file promote in the data directory and
	// SIGUSR1, both only while the lease lasts. It does not wait for the
	// result. Errors: ErrNotLaunched.
	Promote(ctx context.Context) error
	// Signal tells the postmaster to stop. Errors: ErrNotLaunched;
	// os.ErrProcessDone when it is gone.
	Signal(ctx context.Context, mode StopMode) error
	// Exited receives after a postmaster ended, or may have.
	Exited() <-chan struct{}
}

// DirectLauncher starts postmasters as plain children in sessions of their
// own, without lease and guard: they outlive this process. It serves tests
// and PostgreSQL without a guard. The zero value is not usable: NewDirectLauncher.
type DirectLauncher struct {
	mu     sync.Mutex
	pid    int
	dir    string
	exited chan struct{}
}

// NewDirectLauncher returns a launcher that has started nothing yet.
func NewDirectLauncher() *DirectLauncher {
	return &DirectLauncher{exited: make(chan struct{}, 1)}
}

// Start runs the command as a child. The child is reaped in the background,
// so that it never stays a zombie, which would block the next start.
func (l *DirectLauncher) Start(ctx context.Context, c Command, _ bool) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", c.Path, err)
	}
	l.mu.Lock()
	l.pid, l.dir = cmd.Process.Pid, c.Dir
	l.mu.Unlock()
	// Owned by the child itself: the goroutine ends with the postmaster.
	go func() {
		_ = cmd.Wait() // how it ended is read from pg_control
		l.mu.Lock()
		if l.pid == cmd.Process.Pid {
			l.pid = 0
		}
		l.mu.Unlock()
		select {
		case l.exited <- struct{}{}:
		default: // a notice is pending already
		}
	}()
	return cmd.Process.Pid, nil
}

// Promote creates the promote file and signals the postmaster.
func (l *DirectLauncher) Promote(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pid == 0 {
		return ErrNotLaunched
	}
	return promotePostmaster(l.dir, l.pid)
}

// Signal sends the mode's signal.
func (l *DirectLauncher) Signal(_ context.Context, mode StopMode) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pid == 0 {
		return ErrNotLaunched
	}
	return signalProcess(l.pid, mode.Signal())
}

// Exited receives once a child ended.
func (l *DirectLauncher) Exited() <-chan struct{} { return l.exited }

// promotePostmaster is what `pg_ctl promote` does: the file first, because
// the signal only makes the postmaster look for it.
func promotePostmaster(dir string, pid int) error {
	file := filepath.Join(dir, "promote")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create the promote file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("create %s: %w", file, err)
	}
	if err := signalProcess(pid, syscall.SIGUSR1); err != nil {
		_ = os.Remove(file) // else the next standby start would promote itself
		return fmt.Errorf("signal postmaster %d to promote: %w", pid, err)
	}
	return nil
}

func signalProcess(pid int, sig syscall.Signal) error {
	err := syscall.Kill(pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
