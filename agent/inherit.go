package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
)

// inheritMarker is the environment variable that names the descriptor with
// what the program before left. It is taken out of the environment at once.
const inheritMarker = "PGHA_HANDOVER"

// Names of descriptors in inherited.Files.
const (
	fileREST = "rest" // the listening socket
	fileLock = "lock" // agent.lock of the state directory, locked
)

// inherited is what one program hands to the next (JSON). Fields that are not
// known are passed over, those that are missing are zero: both directions of
// an upgrade must work.
type inherited struct {
	Protocol int           `json:"protocol"`
	From     string        `json:"from"` // pgha's version
	At       clock.Instant `json:"at"`   // right before exec
	Count    int           `json:"count"`
	// Files are descriptors by name.
	Files map[string]int `json:"files"`
	// Listen is restapi.listen that the socket was bound for.
	Listen string `json:"listen"`
	// Lease of this member, and the TTL it was asked for.
	Lease    int64         `json:"lease"`
	LeaseTTL time.Duration `json:"lease_ttl"`
	// LeaderUntil: the leader key is ours until then; zero: it is not.
	LeaderUntil clock.Instant `json:"leader_until"`
	// GivenUp: a release of the key without an answer may still be on its way;
	// the next renewal writes the key anew.
	GivenUp bool `json:"given_up,omitempty"`
	// Memory of the loop, without the last view of the cluster.
	Memory   ha.Memory             `json:"memory"`
	Schedule *dcs.ScheduledRestart `json:"schedule,omitempty"`
	// Failsafe mode: the map, what of it is not certain, whom this member
	// agreed with, and since when all that is known (ha.Failsafe.Born).
	Failsafe         map[string]string  `json:"failsafe,omitempty"`
	FailsafeDoubtful map[string]string  `json:"failsafe_doubtful,omitempty"`
	FailsafeSender   *ha.FailsafeSender `json:"failsafe_sender,omitempty"`
	Born             clock.Instant      `json:"born,omitempty"`
}

// count is how many hand-overs this process has seen; nil: none.
func (i *inherited) count() int {
	if i == nil {
		return 0
	}
	return i.Count
}

// takeInherited reads what the program before left; nil: this is an ordinary
// start. rest is the environment without the marker. It must come before
// anything is executed: the descriptors are inheritable until then.
func takeInherited(environ []string) (i *inherited, rest []string, err error) {
	value, found := "", false
	for _, v := range environ {
		if text, ok := strings.CutPrefix(v, inheritMarker+"="); ok {
			value, found = text, true
			continue
		}
		rest = append(rest, v)
	}
	os.Unsetenv(inheritMarker)
	if !found {
		return nil, rest, nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd <= 2 {
		return nil, rest, fmt.Errorf("%s=%q names no descriptor: it is set by a hand-over alone, remove it", inheritMarker, value)
	}
	text, err := readAll(fd)
	if err != nil {
		return nil, rest, fmt.Errorf("read what the program before has handed over: %w", err)
	}
	i = new(inherited)
	if err := json.Unmarshal(text, i); err != nil {
		return nil, rest, fmt.Errorf("read what the program before has handed over: %w", err)
	}
	for _, fd := range i.Files {
		unix.CloseOnExec(fd)
	}
	return i, rest, nil
}

func readAll(fd int) ([]byte, error) {
	f := os.NewFile(uintptr(fd), "hand-over")
	if f == nil {
		return nil, errors.New("no such descriptor")
	}
	defer f.Close()
	const most = 16 << 20
	return io.ReadAll(io.NewSectionReader(f, 0, most))
}

// lockOf is the lock of the state directory, as it was handed over; nil: it
// was not. Errors: it is another file's than the one configured.
func (i *inherited) lockOf(local *config.Local) (*os.File, error) {
	if i == nil {
		return nil, nil
	}
	fd, ok := i.Files[fileLock]
	if !ok {
		return nil, nil
	}
	path := filepath.Join(local.Pgha.StateDir, "agent.lock")
	f := os.NewFile(uintptr(fd), path)
	ours, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("the lock that was handed over: %w", err)
	}
	named, err := os.Stat(path)
	if err != nil || !os.SameFile(ours, named) {
		return nil, fmt.Errorf("the lock that was handed over is not %s: pgha.state_dir was changed, or the file removed", path)
	}
	return f, nil
}

// listener is the socket of REST as it was handed over; nil: there is none, or
// the configuration names another address by now.
func (i *inherited) listener(local *config.Local) (net.Listener, error) {
	if i == nil {
		return nil, nil
	}
	fd, ok := i.Files[fileREST]
	if !ok {
		return nil, nil
	}
	f := os.NewFile(uintptr(fd), "rest")
	defer f.Close() // FileListener has its own
	if i.Listen != local.RestAPI.Listen {
		return nil, nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("REST API: the socket that was handed over: %w", err)
	}
	return l, nil
}

// file is a descriptor that a part had handed over (agent.heirlooms); nil:
// none. Its caller owns it.
func (i *inherited) file(name string) *os.File {
	if i == nil {
		return nil
	}
	fd, ok := i.Files[name]
	if !ok {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

// reapInherited waits for the children that the program before had: above all
// the guard, which would stay a zombie else.
func reapInherited() {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				continue
			}
			if p, err := os.FindProcess(pid); err == nil {
				go p.Wait() // ends with the child, which may outlive us
			}
		}
	}
}

// leaderUntil is the later of what the guard holds and what the program before
// knew: the guard is disarmed in pause, and both are true.
func (i *inherited) leaderUntil(guard clock.Instant) clock.Instant {
	if i == nil {
		return guard
	}
	return max(guard, i.LeaderUntil)
}

// restore puts the loop where the program before left it. To be called before
// Run.
func (l *Loop) restore(i *inherited) {
	if i == nil {
		return
	}
	l.memory, l.givenUp = i.Memory, i.GivenUp
	l.twins.held(dcs.LeaseID(i.Lease))
	l.failsafe, l.doubtful, l.Promises.sender = i.Failsafe, i.FailsafeDoubtful, i.FailsafeSender
	if !i.Born.IsZero() { // else the one before did not know of failsafe mode: what it agreed to is not known
		l.Born = i.Born
	}
}

// firstViewPatience is how long REST's connections wait for what the first
// cycle finds.
const firstViewPatience = 5 * time.Second

// awaitFirstView keeps REST from answering before it knows anything: a load
// balancer would take "uninitialized" from the program that has just taken
// over for the loss of the primary. At an ordinary start it does not know yet
// who the members are: it would refuse POST /failsafe as a stranger's, and one
// refusal ends the primary that asked. Connections wait in the kernel meanwhile.
//
// published is closed by the first cycle's view.
func (a *agent) awaitFirstView(ctx context.Context, published <-chan struct{}) {
	late := time.NewTimer(firstViewPatience)
	defer late.Stop()
	select {
	case <-published:
	case <-late.C:
	case <-ctx.Done():
	}
}

// inheritStatus takes over what REST shows beside facts.
func (a *agent) inheritStatus() {
	i := a.inherited
	if i == nil {
		return
	}
	a.pub.schedule(i.Schedule)
	a.log.Info(fmt.Sprintf("hand-over: pgha %s has taken over from pgha %s after %v", a.options.Version, i.From, clock.Now().Sub(i.At).Round(time.Millisecond)),
		"handovers", i.Count)
}
