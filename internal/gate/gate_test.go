package gate

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgha/internal/clock"
)

const testPort = 21770

// inNamespace runs f on a thread with a network namespace of its own, in which
// lo is up. Sockets that f makes stay there.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs a network namespace: run as root")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		sh(t, "ip link set lo up")
		f(t)
	})
	wg.Wait()
}

func sh(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func open(t *testing.T, o Options) *Gate {
	t.Helper()
	if o.Port == 0 {
		o.Port, o.Owner = testPort, "demo/pg01"
	}
	g, err := Open(o)
	if err != nil {
		t.Errorf("open: %v", err)
		runtime.Goexit()
	}
	return g
}

func extend(t *testing.T, g *Gate, d time.Duration) (why string) {
	t.Helper()
	why, err := g.Extend(clock.Now().Add(d))
	if err != nil {
		t.Errorf("extend by %s: %v", d, err)
		runtime.Goexit()
	}
	return why
}

// echo answers every byte on all addresses of the port. At 'd' and 'q' it
// sends on got and waits for hold; after 'q' it ends without an answer.
func echo(t *testing.T, port int) (got chan bool, hold chan struct{}) {
	t.Helper()
	got, hold = make(chan bool, 2), make(chan struct{})
	l, err := net.Listen("tcp", net.JoinHostPort("", itoa(port)))
	if err != nil {
		t.Errorf("listen: %v", err)
		runtime.Goexit()
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 1)
				for {
					if _, err := io.ReadFull(c, b); err != nil {
						return
					}
					if b[0] == 'd' || b[0] == 'q' {
						got <- true
						<-hold
					}
					if b[0] == 'q' {
						return
					}
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	return got, hold
}

func itoa(port int) string {
	return strings.TrimPrefix(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)).String(), "0.0.0.0:")
}

func dial(from, to string, mark bool) (net.Conn, error) {
	d := net.Dialer{Timeout: 2 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	if mark {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return errors.Join(c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, Mark) }))
		}
	}
	return d.DialContext(context.Background(), "tcp", net.JoinHostPort(to, itoa(testPort)))
}

func mustDial(t *testing.T, from, to string, mark bool) net.Conn {
	t.Helper()
	c, err := dial(from, to, mark)
	if err != nil {
		t.Errorf("dial %s from %s: %v", to, from, err)
		runtime.Goexit()
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say sends one byte and waits for the answer.
func say(c net.Conn, what byte) error {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte{what}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func wantReset(t *testing.T, who string, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("%s: %v, want a reset", who, err)
	}
}

func wantPass(t *testing.T, who string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v, want to pass", who, err)
	}
}

// waitShut waits for the end of the element.
func waitShut(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		c, err := dial("127.0.0.1", "127.0.0.1", false)
		if err != nil {
			return
		}
		c.Close()
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the gate did not shut")
}

func TestClientsPassWhileTheElementLasts(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		sh(t, "ip addr add 10.9.9.1/24 dev lo; ip addr add fd00::9/64 dev lo; ip addr add fd00::1/64 dev lo")
		got, hold := echo(t, testPort)
		g := open(t, Options{})
		g.Members([]netip.Addr{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("fd00::9")})
		before := mustDial(t, "127.0.0.1", "127.0.0.1", false)
		if why := extend(t, g, time.Minute); why != "" {
			t.Errorf("made for the first time: %q", why)
		}
		clients := map[string]net.Conn{
			"before the gate": before, "IPv4": mustDial(t, "127.0.0.1", "127.0.0.1", false),
			"IPv6": mustDial(t, "::1", "::1", false), "own address": mustDial(t, "10.9.9.1", "10.9.9.1", false),
		}
		exempt := map[string]net.Conn{
			"member, IPv4": mustDial(t, "127.0.0.9", "127.0.0.1", false), "member, IPv6": mustDial(t, "fd00::9", "fd00::1", false),
			"agent, IPv4": mustDial(t, "127.0.0.1", "127.0.0.1", true), "agent, IPv6": mustDial(t, "::1", "::1", true),
		}
		waiting, quitting := mustDial(t, "", "127.0.0.1", false), mustDial(t, "", "::1", false)
		answers, ends := make(chan error, 1), make(chan error, 1)
		go func() { answers <- say(waiting, 'd') }()
		go func() { ends <- say(quitting, 'q') }()
		for who, c := range clients {
			wantPass(t, who, say(c, 'x'))
		}
		<-got
		<-got
		// Nobody speaks in between: only the later end may count.
		extend(t, g, 50*time.Millisecond)
		extend(t, g, time.Minute)
		time.Sleep(100 * time.Millisecond)
		wantPass(t, "refreshed", say(before, 'x'))
		extend(t, g, 200*time.Millisecond)
		waitShut(t)
		close(hold) // what comes now is too late
		for who, c := range clients {
			wantReset(t, who, say(c, 'x'))
		}
		for who, c := range exempt {
			wantPass(t, who, say(c, 'x'))
		}
		for who, from := range map[string][2]string{"new, IPv4": {"127.0.0.1", "127.0.0.1"}, "new, IPv6": {"::1", "::1"}} {
			_, err := dial(from[0], from[1], false)
			wantReset(t, who, err)
		}
		_, err := dial("127.0.0.9", "127.0.0.1", false)
		wantPass(t, "new, member", err)
		_, err = dial("::1", "::1", true)
		wantPass(t, "new, agent", err)
		wantReset(t, "a client that waits for an answer", <-answers)
		wantReset(t, "a client whose server ends", <-ends)

		extend(t, g, time.Minute)
		mustDial(t, "127.0.0.1", "127.0.0.1", false)
		if why := extend(t, g, -time.Second); why != "" {
			t.Errorf("found %q wrong", why)
		}
		_, err = dial("127.0.0.1", "127.0.0.1", false)
		wantReset(t, "an end that is over", err)
		if err := g.Remove(); err != nil {
			t.Errorf("remove: %v", err)
		}
		wantPass(t, "removed", say(mustDial(t, "127.0.0.1", "127.0.0.1", false), 'x'))
		if rest := sh(t, "nft list ruleset"); rest != "" {
			t.Errorf("left over:\n%s", rest)
		}
		wantPass(t, "removed again", g.Remove())
	})
}
