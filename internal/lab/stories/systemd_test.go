package stories

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// manager is the service manager's side of the notify protocol: a datagram
// socket that remembers what it got.
type manager struct {
	mu   sync.Mutex
	seen []string
}

func listenAsManager(t *testing.T, l *lab.Lab) (*manager, string) {
	t.Helper()
	path := filepath.Join(l.Dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	m, done := &manager{}, make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 8192); ; {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.seen = append(m.seen, string(b[:n]))
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return m, path
}

// since are the messages from the n-th on.
func (m *manager) since(n int) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.seen[n:]...)
}

func (m *manager) count() int { return len(m.since(0)) }

// await waits for a message that begins so, from the n-th on, and returns how
// many there were by then.
func (m *manager) await(l *lab.Lab, n int, begin string) int {
	at := 0
	l.Until(30*time.Second, "a message "+begin, func() string {
		for i, text := range m.since(n) {
			if strings.HasPrefix(text, begin) {
				at = n + i + 1
				return ""
			}
		}
		return fmt.Sprintf("%q", m.since(n))
	})
	return at
}

// The agent under systemd: ready, status, keepalives, reload, a hand-over, a freeze that
// ends the keepalives, a replaced agent that takes PostgreSQL over, stop. None
// of systemd's variables reaches PostgreSQL or the guard.
func TestSystemd(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(1)
	c := l.NewCluster(e, lab.Options{Members: []string{"pg01"}, TTL: 20})
	m := c.Members[0]
	systemd, path := listenAsManager(t, l)
	env := []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=1000000"}
	m.StartEnv(env, "agent", m.Config())

	n := systemd.await(l, 0, "READY=1")
	systemd.await(l, n, "WATCHDOG=1")
	systemd.await(l, n, "STATUS=leader, holding the lock, ")
	pid := m.Postmaster()
	for who, p := range map[string]int{"PostgreSQL": pid, "its guard": m.Guard()} {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p))
		if err != nil {
			t.Fatal(err)
		}
		for _, variable := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
			if strings.Contains(string(environ), variable) {
				t.Errorf("%s has %s in its environment", who, variable)
			}
		}
	}

	n = systemd.count()
	if err := m.Agent().Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	n = systemd.await(l, n, "RELOADING=1\nMONOTONIC_USEC=")
	systemd.await(l, n, "READY=1")

	// A hand-over is a reload to systemd: the main process stays. The next
	// program has its own signals, keepalives, and nothing of it in children.
	send(t, m, syscall.SIGUSR2)
	n = systemd.await(l, n, "RELOADING=1\nMONOTONIC_USEC=")
	n = systemd.await(l, n, "READY=1")
	systemd.await(l, n, "WATCHDOG=1")
	awaitHandOvers(l, m, 1)
	sameServer(t, m, pid)
	send(t, m, syscall.SIGHUP)
	n = systemd.await(l, n, "RELOADING=1\nMONOTONIC_USEC=")
	systemd.await(l, n, "READY=1")

	m.FreezeAgent()
	n = systemd.count()
	l.Never(3*time.Second, "a frozen agent sends nothing", func() string {
		if got := systemd.since(n); len(got) > 1 { // one may have been on its way
			return fmt.Sprintf("%q", got)
		}
		return ""
	})
	m.KillAgent() // what WatchdogSec does with KillMode=process
	m.ThawAgent()
	<-m.Agent().Done()
	n = systemd.count()
	m.StartEnv(env, "agent", m.Config())
	systemd.await(l, n, "READY=1")
	systemd.await(l, n, "STATUS=leader, holding the lock, ")
	sameServer(t, m, pid)

	n = systemd.count()
	m.Shutdown(30 * time.Second)
	systemd.await(l, n, "STOPPING=1")
	if m.Postmaster() != 0 {
		t.Error("PostgreSQL still runs")
	}
}
