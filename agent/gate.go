package agent

// The gate before PostgreSQL's port (rulings 14): made while this member is
// primary, refreshed behind every renewal, removed when it is not. internal/gate
// does it; this file decides when. Nothing waits for it: wishes are left for a
// goroutine, which carries out the newest.

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/gate"
)

// The gate's state in GET /patroni.
const (
	gateOff    = "off: pgha.gate"
	gateReady  = "ready: made while this member is primary"
	gateActive = "clients pass while the lease lasts"
)

// gateLeft is what protects without a gate.
const gateLeft = "PostgreSQL still ends with the lease, by its guard"

// gateServer is what the keeper reads of the running PostgreSQL.
type gateServer interface {
	RunningPort() int
	RunningListen() string
}

// gateKeeper owns the gate. open, remove and members may be called from any
// goroutine and do not wait.
type gateKeeper struct {
	shields *protection
	log     *slog.Logger
	kept    error // why the capability could not be kept from what is executed
	local   func() *config.Local
	server  gateServer
	wake    chan struct{}
	names   gateNames

	mu     sync.Mutex
	wish   *gateWish // not carried out yet
	marked bool      // sockets to the own server are marked

	// Of the goroutine alone.
	gate *gate.Gate // nil: not open for the port
	made bool       // there is a table of ours, or one may be left over
	said string
}

// gateWish is what the table should be: clients pass until that instant, or,
// zero, no table at all. done is closed when it was carried out or replaced.
type gateWish struct {
	until clock.Instant
	done  chan struct{}
}

// newGateKeeper is told why the capability could not be kept from what this
// process executes; nil: it is kept.
func newGateKeeper(mode string, kept error, shields *protection, log *slog.Logger) *gateKeeper {
	k := &gateKeeper{shields: shields, log: log, kept: kept, wake: make(chan struct{}, 1), made: true, names: gateNames{log: log, wake: make(chan struct{}, 1)}}
	k.mark(mode)
	return k
}

// mark decides whether sockets are marked from now on.
func (k *gateKeeper) mark(mode string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.marked = mode != "off" && k.kept == nil && gate.Permitted()
}

// start runs the keeper until life ends. It looks once whether a gate is
// possible, and says so.
func (k *gateKeeper) start(life context.Context, s *settings, server gateServer) {
	k.local, k.server = s.Local, server
	k.ready()
	go k.run(life) // ends with life
	go k.names.run(life)
}

// open lets clients pass as long as the guard's last resort lets PostgreSQL
// live: rulings 2.
func (k *gateKeeper) open(until clock.Instant, ttl time.Duration) {
	k.leave(gateWish{until: until.Add(-max(500*time.Millisecond, ttl/40))})
}

// remove takes the gate away: a standby's clients are nobody's business.
func (k *gateKeeper) remove() { k.leave(gateWish{}) }

func (k *gateKeeper) leave(w gateWish) <-chan struct{} {
	w.done = make(chan struct{})
	k.mu.Lock()
	if k.wish != nil {
		close(k.wish.done)
	}
	k.wish = &w
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return w.done
}

// finish ends the gate with the agent, unless PostgreSQL goes on without it:
// then the element stands until its end, or until the next agent refreshes it.
func (k *gateKeeper) finish(ctx context.Context, alive bool) {
	if alive || k.local == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	select {
	case <-k.leave(gateWish{}):
	case <-ctx.Done():
		k.log.Warn("the kernel did not remove the gate in time; clients of this port are refused until ten minutes after the lease's end",
			"remedy", "nft delete table inet "+gate.TableName(k.port()))
	}
}

// gateRetry is when a wish is tried again that could not be carried out.
const gateRetry = time.Second

func (k *gateKeeper) run(life context.Context) {
	var again <-chan time.Time
	var last gateWish
	for {
		select {
		case <-life.Done():
			return
		case <-k.wake:
		case <-again:
		}
		again = nil
		k.mu.Lock()
		w := k.wish
		k.wish = nil
		k.mu.Unlock()
		if w != nil {
			last = *w
		}
		if !k.carryOut(last) {
			again = time.After(gateRetry)
		}
		if w != nil {
			close(w.done)
		}
	}
}

// carryOut makes the table what is wished. It returns false when that is to be
// tried again.
func (k *gateKeeper) carryOut(w gateWish) bool {
	off := k.local().Pgha.Gate == "off"
	if off {
		w.until = 0
	}
	if !k.ready() || w.until.IsZero() && !k.made {
		return true
	}
	if w.until.IsZero() {
		err := k.gate.Remove()
		if err == nil || errors.Is(err, gate.ErrForeign) {
			k.made = false
			k.ready()
			return true
		}
		k.fails(err, "clients of this port are refused until ten minutes after the last lease's end")
		return false
	}
	k.gate.Members(k.names.addresses())
	k.made = true
	why, err := k.gate.Extend(w.until)
	if err != nil {
		k.fails(err, "clients that came through the gate are shut out when the last renewal that it heard of ends")
		return errors.Is(err, gate.ErrForeign)
	}
	if why != "" {
		k.log.Warn("the gate was not as it had been left, and was made anew", "found", why)
	}
	k.shields.works(partGate, gateActive)
	k.said = ""
	return true
}

// ready opens the gate for PostgreSQL's port, and says what is the matter when
// there is none. It returns false then.
func (k *gateKeeper) ready() bool {
	mode, port := k.local().Pgha.Gate, k.port()
	permitted := k.kept == nil && gate.Permitted()
	k.mark(mode)
	switch {
	case mode == "off" && (!k.made || !permitted):
		k.shields.works(partGate, gateOff)
		return false
	case k.kept != nil:
		k.lacks(mode, k.kept)
		return false
	case !permitted:
		k.lacks(mode, gate.ErrNotPermitted)
		return false
	}
	listen := listenOf(k.server.RunningListen())
	if k.gate != nil && k.gate.Port == port && slices.Equal(k.gate.Listen, listen) {
		if !k.made {
			k.shields.works(partGate, gateReady)
		}
		return true
	}
	if k.gate != nil && k.gate.Port != port {
		k.gate.Remove() // PostgreSQL has left that port
	}
	local := k.local()
	g, err := gate.Open(gate.Options{Port: port, Owner: local.Scope + "/" + local.Name, Listen: listen})
	if k.gate = g; err != nil {
		k.lacks(mode, err)
		return false
	}
	k.shields.works(partGate, gateReady)
	return true
}

// lacks says that there is no gate. By default that is a piece of news, not a
// warning: most members have the right to one only when their unit gives it.
func (k *gateKeeper) lacks(mode string, err error) {
	if mode == "on" {
		k.shields.lacks(partGate, err.Error(), gateLeft+"; see pgha.gate and AmbientCapabilities in pgha.service", "no gate")
		return
	}
	k.shields.set(partGate, "no: "+err.Error(), "", "")
	if k.said != err.Error() {
		k.said = err.Error()
		k.log.Info("no kernel gate before PostgreSQL's port: "+err.Error()+"; "+gateLeft, "part", partGate)
	}
}

// fails says that a gate which was possible is not kept up.
func (k *gateKeeper) fails(err error, what string) {
	k.shields.lacks(partGate, err.Error(), what, "gate fails")
}

// port is PostgreSQL's: the one it was started with, else the configured one.
func (k *gateKeeper) port() int {
	if p := k.server.RunningPort(); p != 0 {
		return p
	}
	return k.local().PostgreSQL.Port
}

// listenOf are the addresses of listen_addresses; nil, all of the machine,
// unless each is written as a number.
func listenOf(text string) (addresses []netip.Addr) {
	for part := range strings.SplitSeq(text, ",") {
		a, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(part), "[]"))
		if err != nil || a.IsUnspecified() {
			return nil
		}
		addresses = append(addresses, a.WithZone(""))
	}
	return addresses
}

// onStandby sets what is called when PostgreSQL was started as a standby: it
// takes readers at once.
func (l *launcher) onStandby(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.standby = f
}

// markOwn marks a socket that goes to the own server: the gate knows the
// agent's connections by it.
func (k *gateKeeper) markOwn(network, _ string, c syscall.RawConn) error {
	k.mu.Lock()
	marked := k.marked
	k.mu.Unlock()
	if !marked || !strings.HasPrefix(network, "tcp") {
		return nil
	}
	return c.Control(func(fd uintptr) {
		// Without the mark it is a client like others: no reason not to connect.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, gate.Mark)
	})
}

// members tells the gate who the others are: their connections pass.
func (k *gateKeeper) members(c *dcs.Cluster, self string) {
	if c == nil {
		return
	}
	var hosts []string
	for _, m := range c.Members {
		if m.Name != self {
			hosts = append(hosts, hostsOf(m)...)
		}
	}
	k.names.set(hosts)
}
