// Package gate keeps one nftables table in front of PostgreSQL's port. While
// an element with a timeout is in its set, clients pass; when nobody refreshes
// it, the kernel itself resets their connections, whether any process here
// still runs or not (docs/guarantees.md, "The kernel gate").
//
// The package knows no leases and takes no decisions: it is told until when
// clients may pass. It touches no other table. gate.go is what callers use,
// rules.go the table as data, verify.go what it looks like in the kernel,
// capability.go the right to do all that.
package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"pgha/internal/clock"
)

var (
	// ErrNotPermitted: this process has no CAP_NET_ADMIN in its network namespace.
	ErrNotPermitted = errors.New("not permitted (CAP_NET_ADMIN)")
	// ErrUnsupported: the kernel has no nf_tables, or not all that is needed of it.
	ErrUnsupported = errors.New("the kernel cannot do it (nf_tables)")
	// ErrForeign: the port's table belongs to somebody else, who still uses it.
	ErrForeign = errors.New("the table belongs to another member")
)

// fenceAfter is how long after its end a gate that nobody refreshes stays
// shut. After that everybody passes again: the table may be the only thing
// left of an agent that was killed, and whoever runs PostgreSQL on this port
// next (Patroni, a person) knows nothing of it.
const fenceAfter = 10 * time.Minute

// callBound limits one exchange with the kernel. Usually it is milliseconds;
// somebody else's large transaction holds it up.
const callBound = 2 * time.Second

// Options say what a gate is for.
type Options struct {
	// Port is PostgreSQL's; the table is named after it.
	Port int
	// Owner is who the table belongs to, "scope/name"; it stands in the rules' comments.
	Owner string
	// Listen are the addresses that PostgreSQL listens on; nil: all. Another
	// server on the same port of another address is not this gate's business.
	Listen []netip.Addr
	// Fence is how long after its end a gate that nobody refreshes stays shut;
	// zero: ten minutes.
	Fence time.Duration
	// Clock measures what is left until the end; nil: the system's.
	Clock clock.Clock
}

// Gate is the table of one port. Its methods are for one goroutine.
type Gate struct {
	Options
	table   *nftables.Table
	members []netip.Addr
	made    bool // this Gate has seen its table whole
	moved   bool // other members than the table knows
}

// TableName is the name of a port's table, family inet.
func TableName(port int) string { return fmt.Sprintf("pgha_%d", port) }

// Open says whether this kernel lets this process do all that a gate needs: a
// table that is made and deleted in one transaction, so that nobody ever sees
// it. It changes nothing; a table that an earlier process left stands. Errors:
// ErrNotPermitted, ErrUnsupported, or what the kernel said.
func Open(o Options) (*Gate, error) {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Fence == 0 {
		o.Fence = fenceAfter
	}
	g := &Gate{Options: o, table: &nftables.Table{Name: TableName(o.Port), Family: nftables.TableFamilyINet}}
	probe := *g
	probe.table = &nftables.Table{Name: g.table.Name + "_probe", Family: nftables.TableFamilyINet}
	err := probe.exchange(func(c *nftables.Conn) error {
		if err := probe.add(c, time.Second); err != nil {
			return err
		}
		c.DelTable(probe.table)
		return c.Flush()
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Members sets whose connections pass whatever the element says: replication,
// copies and rewinds of other members. It takes effect with the next Extend.
func (g *Gate) Members(addresses []netip.Addr) {
	var members []netip.Addr
	for _, a := range addresses {
		members = append(members, a.Unmap().WithZone(""))
	}
	slices.SortFunc(members, netip.Addr.Compare)
	members = slices.Compact(members)
	g.moved = g.moved || !slices.Equal(members, g.members)
	g.members = members
}

// extendTries is how often an element is set again because setting it took
// longer than slowCall: its timeout began late.
const (
	extendTries = 3
	slowCall    = 50 * time.Millisecond
)

// Extend lets clients pass until that instant; one that is over shuts the gate
// at once. A table that is missing, damaged or of another shape is made anew in
// one transaction, without a moment in which anybody is refused; why says what
// was wrong, empty when nothing or when it is made for the first time. Errors: ErrForeign, ErrNotPermitted, or what
// the kernel said; the old element then stands until its end.
func (g *Gate) Extend(until clock.Instant) (why string, err error) {
	for try := 0; ; try++ {
		asked := g.Clock.Now()
		remade, err := g.set(until.Sub(asked))
		if why == "" {
			why = remade
		}
		// A timeout counts from when the kernel took it: a process that stood
		// still in between would have set an end that is too late.
		late := g.Clock.Now().Sub(asked) > slowCall
		if err != nil || !late || try == extendTries {
			return why, err
		}
	}
}

// set makes the table whole and the element last so long.
func (g *Gate) set(left time.Duration) (why string, err error) {
	err = g.exchange(func(c *nftables.Conn) error {
		var absent bool
		if why, absent, err = g.look(c); err != nil {
			return err
		}
		if why == "" {
			if err := g.refresh(c, left); err != nil {
				return err
			}
			return c.Flush()
		}
		if !absent {
			c.DelTable(g.table)
		}
		if !g.made || g.moved {
			why = "" // it is news of nobody
		}
		if err := g.add(c, left); err != nil {
			return err
		}
		return c.Flush()
	})
	if err == nil {
		g.made, g.moved = true, false
	}
	return why, err
}

// Remove deletes the table, if there is one and it is ours: everybody passes.
func (g *Gate) Remove() error {
	g.made = false
	return g.exchange(func(c *nftables.Conn) error {
		_, absent, err := g.look(c)
		if err != nil || absent {
			return err
		}
		c.DelTable(g.table)
		if err := c.Flush(); !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	})
}

// exchange calls f with a connection of its own: after an error the next one
// must not find answers that are left over. Every answer is awaited for
// callBound at most.
func (g *Gate) exchange(f func(*nftables.Conn) error) error {
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return c.SetDeadline(time.Now().Add(callBound))
	}))
	if err == nil {
		defer c.CloseLasting()
		err = f(c)
	}
	return explain(err)
}

// explain sorts the kernel's answers.
func explain(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrForeign):
		return err
	case errors.Is(err, unix.EPERM):
		return ErrNotPermitted
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return fmt.Errorf("nf_tables: %w", err)
}
