package lab

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// DialSocket connects to the unix socket of the member's PostgreSQL as the
// user that the members' pg_hba.conf lets in (peer authentication). It is a
// local client's way: no network fault reaches it.
func (m *Member) DialSocket(ctx context.Context) (net.Conn, error) {
	var conn net.Conn
	err := m.lab.asUser(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", filepath.Join(m.Dir, ".s.PGSQL.5432"))
		return err
	})
	return conn, err
}

// ConnectSocket is a superuser's session over DialSocket.
func (m *Member) ConnectSocket(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("host=" + m.Dir + " port=5432 user=postgres database=postgres sslmode=disable")
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return m.DialSocket(ctx) }
	return pgx.ConnectConfig(ctx, cfg)
}

// asUser calls f on an OS thread whose effective user is the lab's
// unprivileged one: a socket remembers who connected it. The system call is
// made for this thread alone, which ends with its goroutine.
func (l *Lab) asUser(f func() error) error {
	if l.cred == nil {
		return f()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, see inside
		unchanged := ^uintptr(0)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, unchanged, uintptr(l.cred.Uid), unchanged); errno != 0 {
			result <- fmt.Errorf("become user %d: %w", l.cred.Uid, errno)
			return
		}
		result <- f()
	}()
	return <-result
}

// Undertaker is the pid of the guard's helper, its other child beside the
// postmaster; 0 when there is none.
func (m *Member) Undertaker() int {
	guard, server := m.Guard(), m.Postmaster()
	if guard == 0 {
		return 0
	}
	for _, pid := range children(guard) {
		if pid != server && strings.Contains(cmdline(pid), "undertaker") {
			return pid
		}
	}
	return 0
}
