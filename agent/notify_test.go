package agent

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgha/agent/ha"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// serviceManager is systemd's side of the notify protocol.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
}

// listenNotify sets the variables as systemd does and returns its side.
func listenNotify(t *testing.T, watchdog time.Duration) (*serviceManager, *notifier) {
	t.Helper()
	dir, err := os.MkdirTemp("", "n") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := newNotifier(slog.New(slog.DiscardHandler))
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if v, there := os.LookupEnv(name); there {
			t.Errorf("%s=%s is left for children", name, v)
		}
	}
	return &serviceManager{t, conn}, n
}

// next is the next message; "" when none comes in that time.
func (m *serviceManager) next(within time.Duration) string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 4096)
	size, err := m.conn.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:size])
}

// until reads on until a message begins so.
func (m *serviceManager) until(begin string) string {
	m.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if got := m.next(time.Second); strings.HasPrefix(got, begin) {
			return got
		}
	}
	m.t.Fatalf("no message %s...", begin)
	return ""
}

func TestNotifyMessages(t *testing.T) {
	m, n := listenNotify(t, 0)
	n.ready()
	n.reloading()
	n.stopping()
	for _, want := range []string{"READY=1", "RELOADING=1\nMONOTONIC_USEC=", "STOPPING=1"} {
		if got := m.next(time.Second); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q...", got, want)
		}
	}
}

// The keepalive goes with the loop: it ends when the loop is late, and comes
// back when the loop does. Status lines come whatever the loop does.
func TestKeepaliveNeedsTheLoop(t *testing.T) {
	m, n := listenNotify(t, 40*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.run(ctx) }()
	defer func() { cancel(); <-done }()

	n.fine(time.Minute)
	m.until("WATCHDOG=1")
	n.fine(-time.Second) // it should have spoken a second ago
	for deadline := time.Now().Add(5 * time.Second); m.next(200*time.Millisecond) != ""; {
		if time.Now().After(deadline) {
			t.Fatal("keepalives go on although the loop is stuck")
		}
	}
	n.say("still\nhere")
	if got := m.next(5 * time.Second); got != "STATUS=still here" {
		t.Errorf("%q", got)
	}
	n.fine(time.Minute)
	m.until("WATCHDOG=1")
}

// A service manager that does not read (its queue is full) stops nobody.
func TestSilentServiceManagerDoesNotBlock(t *testing.T) {
	_, n := listenNotify(t, 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			n.say("busy")
			n.fine(time.Second)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the loop's calls wait for a service manager that does not read")
	}
}

func TestStatusLine(t *testing.T) {
	led := &dcs.Cluster{Leader: &dcs.Leader{Name: "b"}}
	standby := ha.Local{Alive: true, Queried: true, InRecovery: true, Streaming: true, State: postgres.StateRunning, Role: postgres.RoleReplica}
	silent := standby
	silent.Streaming = false
	for _, tc := range []struct {
		view View
		want string
	}{
		{View{Local: ha.Local{Alive: true, State: postgres.StateRunning}, LeaderUntil: second(12), Reason: ha.Reason{Code: ha.Leading}},
			"leader, holding the lock, 12 s left"},
		{View{Local: standby, LeaderUntil: second(5), Reason: ha.Reason{Code: ha.PromotedWithLock}},
			"holding the lock, 5 s left, PostgreSQL running as a replica; promoted self to leader because I had the session lock"},
		{View{Local: standby, Cluster: led, Reason: ha.Reason{Code: ha.Following}}, "replica of b, streaming"},
		{View{Local: silent, Cluster: led, ClusterLost: true, Reason: ha.Reason{Code: ha.NoDCS}},
			"replica of b, not streaming; the DCS is silent; DCS is not accessible"},
		{View{Local: ha.Local{Alive: true, State: postgres.StateRunning}, Settings: ha.Settings{Dynamic: config.Dynamic{Pause: true}}, Reason: ha.Reason{Code: ha.PausedPrimaryNoLock}},
			"primary without the lock; paused; continue to run as primary without lock"},
		{View{Local: ha.Local{State: postgres.StateStopped, InRecovery: true}, Cluster: &dcs.Cluster{}, Reason: ha.Reason{Code: ha.StartFailed}, Note: "see the log"},
			"PostgreSQL stopped, nobody leads; failed to start postgres; see the log"},
	} {
		if got := statusLine(tc.view, "a", second(0)); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}
