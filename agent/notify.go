package agent

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"

	"pgha/internal/clock"
)

// notifier tells systemd how the agent is (contract: ha-behaviour.md 22).
// Without NOTIFY_SOCKET every call does nothing.
type notifier struct{}

func (notifier) ready()    { daemon.SdNotify(false, daemon.SdNotifyReady) }
func (notifier) stopping() { daemon.SdNotify(false, daemon.SdNotifyStopping) }

// reloading carries the monotonic time that notify-reload wants (pitfall 213).
func (notifier) reloading() {
	daemon.SdNotify(false, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, clock.Monotonic().Microseconds()))
}
