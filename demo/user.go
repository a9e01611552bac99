package demo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// dirVariable carries the demo's directory over becomeUser.
const dirVariable = "PGHA_DEMO_DIR"

// becomeUser replaces this root process by the same demo as a user that
// PostgreSQL accepts. It executes a copy of this binary, in the demo's
// directory: the original may lie where only root can read. It returns only
// with an error.
func becomeUser(o Options) error {
	u, err := pickUser(o.User)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/tmp", "pgha-demo-")
	if err != nil {
		return err
	}
	exe := filepath.Join(dir, "pgha")
	if err := errors.Join(copyBinary(exe), os.Chown(dir, uid, gid)); err != nil {
		os.RemoveAll(dir)
		return err
	}
	fmt.Fprintf(o.Out, "PostgreSQL does not run as root: everything runs as %s.\n", u.Username)
	env := []string{"HOME=" + dir, "USER=" + u.Username, "PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8",
		"TERM=" + os.Getenv("TERM"), dirVariable + "=" + dir}
	if err := errors.Join(syscall.Setgroups([]int{gid}), syscall.Setgid(gid), syscall.Setuid(uid), os.Chdir("/")); err != nil {
		return fmt.Errorf("become %s: %w", u.Username, err)
	}
	err = syscall.Exec(exe, append([]string{exe, "demo", "--bin-dir", o.BinDir}, o.flags()...), env)
	return fmt.Errorf("run %s as %s: %w", exe, u.Username, err)
}

// flags are the options again, for the process after becomeUser.
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
	return nil, setupErrorf("PostgreSQL does not run as root, and there is no user %v: pass --user NAME", candidates)
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
