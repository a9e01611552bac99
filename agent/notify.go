package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"pgha/internal/clock"
)

// notifier tells systemd how the agent is (contract: ha-behaviour.md 22).
// Without NOTIFY_SOCKET every call does nothing. No call waits for systemd
// longer than sendBound; those of the loop do not wait at all.
type notifier struct {
	socket string // empty: nobody listens
	// every is the unit's WatchdogSec; 0: none.
	every time.Duration
	log   *slog.Logger

	// fineUntil is the instant of CLOCK_MONOTONIC, as a duration, until which
	// the loop is certain to be well without another word from it.
	fineUntil atomic.Int64
	status    chan string // the next STATUS=; the last one wins
}

// sendBound limits one message to a service manager that does not read.
const sendBound = time.Second

// newNotifier takes systemd's variables out of the environment: whatever the
// agent starts, PostgreSQL and hooks above all, must not speak to systemd in
// its name (pitfall: an inherited STOPPING=1).
func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{socket: os.Getenv("NOTIFY_SOCKET"), log: log, status: make(chan string, 1)}
	every, err := daemon.SdWatchdogEnabled(true)
	if err != nil {
		log.Warn("systemd's watchdog is not served", "err", err)
	}
	n.every = every
	os.Unsetenv("NOTIFY_SOCKET")
	return n
}

func (n *notifier) ready()    { n.send(daemon.SdNotifyReady) }
func (n *notifier) stopping() { n.send(daemon.SdNotifyStopping) }

// reloading carries the monotonic time that notify-reload wants (pitfall 213).
func (n *notifier) reloading() {
	n.send(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, clock.Monotonic().Microseconds()))
}

// say sets the line that `systemctl status` shows. It never waits.
func (n *notifier) say(text string) {
	text = strings.Join(strings.Fields(text), " ") // one message, one line
	select {
	case <-n.status: // overtaken
	default:
	}
	select {
	case n.status <- text:
	default: // somebody else was quicker; theirs is as new
	}
}

// fine is the loop's sign of life: it is well, and the next sign comes within
// that time, or it is stuck.
func (n *notifier) fine(within time.Duration) {
	n.fineUntil.Store(int64(clock.Monotonic() + within))
}

// run sends status lines, and keepalives while the loop shows signs of life,
// until ctx ends. A loop that is stuck costs the agent its life then, and
// PostgreSQL nothing: the unit kills the agent alone, and the next one takes
// PostgreSQL over from its guard (docs/ARCHITECTURE.md, "systemd's watchdog").
func (n *notifier) run(ctx context.Context) {
	if n.socket == "" {
		return
	}
	beat := make(<-chan time.Time) // never
	if n.every > 0 {
		ticker := time.NewTicker(max(n.every/4, time.Millisecond))
		defer ticker.Stop()
		beat = ticker.C
	}
	last, stuck := "", false
	for {
		select {
		case <-ctx.Done():
			return
		case text := <-n.status:
			if text != last {
				last = text
				n.send("STATUS=" + text)
			}
		case <-beat:
			late := clock.Monotonic() - time.Duration(n.fineUntil.Load())
			if late <= 0 {
				stuck = false
				n.send(daemon.SdNotifyWatchdog)
				continue
			}
			if !stuck {
				n.log.Error(fmt.Sprintf("the HA loop has shown no sign of life when it should have; systemd gets no keepalive until it does, and restarts this agent after WatchdogSec (%v)", n.every))
			}
			stuck = true
		}
	}
}

// send writes one message. Errors are for the log at level DEBUG: an agent
// that systemd does not hear works on.
func (n *notifier) send(message string) {
	if n.socket == "" {
		return
	}
	name := n.socket
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:] // the abstract namespace
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		defer conn.Close()
		if err = conn.SetWriteDeadline(time.Now().Add(sendBound)); err == nil {
			_, err = conn.Write([]byte(message))
		}
	}
	if err != nil {
		n.log.Debug("notify systemd", "err", err)
	}
}
