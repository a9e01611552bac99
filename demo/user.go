package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// runUnprivileged runs the demo again as a user that PostgreSQL accepts: from
// a copy of this binary, since the original may lie where only root can read.
func runUnprivileged(ctx context.Context, o Options) error {
	u, err := pickUser(o.User)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/tmp", "pgha-demo-bin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	exe := filepath.Join(dir, "pgha")
	if err := copyBinary(exe); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "PostgreSQL does not run as root: everything runs as %s.\n", u.Username)

	cmd := exec.Command(exe, append([]string{"demo", "--bin-dir", o.BinDir}, o.flags()...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=/tmp", "USER=" + u.Username, "LC_ALL=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin", "TERM=" + os.Getenv("TERM"), "TZ=" + os.Getenv("TZ")}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	// The child cleans up at SIGTERM, which it also gets if we are killed; that
	// signal comes when the starting thread ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM,
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the demo as %s: %w", u.Username, err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &ExitError{Code: exit.ExitCode()}
	}
	return err
}

// ExitError is the end of the demo that ran as another user; it has said
// itself what was wrong.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("the demo ended with exit code %d", e.Code) }

// flags are the options again, for the second process.
func (o Options) flags() []string {
	var f []string
	for name, value := range map[string]string{"--script": o.Script, "--etcd-bin": o.EtcdBin} {
		if value != "" {
			f = append(f, name, value)
		}
	}
	return f
}

// pickUser is --user, else postgres, else who called sudo.
func pickUser(name string) (*user.User, error) {
	candidates := []string{name}
	if name == "" {
		candidates = []string{"postgres", os.Getenv("SUDO_USER")}
	}
	for _, c := range candidates {
		if u, err := user.Lookup(c); err == nil && u.Uid != "0" {
			return u, nil
		}
	}
	return nil, fmt.Errorf("%w: PostgreSQL does not run as root, and there is no user %v: pass --user NAME", ErrSetup, candidates)
}

func copyBinary(to string) error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
