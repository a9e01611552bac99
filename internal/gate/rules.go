package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// The table. As `nft list table inet pgha_5432` shows it, without comments:
//
//	set lease { type inet_service; flags timeout }     # the port, while clients may pass
//	set fence { type inet_service; flags timeout }     # the port, while the gate shuts at all
//	set own { type inet_service; flags dynamic,timeout }  # client ports of the agent's own connections
//	set members4 { type ipv4_addr }  set members6 { type ipv6_addr }
//	set listen4 { type ipv4_addr }   set listen6 { type ipv6_addr }
//	chain in { type filter hook input priority -10; policy accept
//	    tcp dport 5432 goto to_server }       # with listen: one line a family, ip daddr @listen4
//	chain out { type filter hook output priority -10; policy accept
//	    oif lo tcp dport 5432 meta mark 0x70676861 update @own { tcp sport timeout 10m }
//	    tcp sport 5432 goto to_client }
//	chain to_server {
//	    tcp dport @lease accept
//	    tcp dport != @fence accept
//	    tcp flags & rst == rst accept         # resets end connections, ours among them
//	    ip saddr @members4 accept
//	    ip6 saddr @members6 accept
//	    iif lo meta mark 0x70676861 accept    # the agent
//	    reject with tcp reset }
//	chain to_client {
//	    tcp sport @lease accept ... as above, with daddr, and dport @own ...
//	    tcp flags set rst|ack }               # what the server sends becomes a reset
//
// Why what the server sends is turned into a reset instead of being dropped or
// rejected: the client waits for exactly this packet, and would wait on for
// hours (TCP keepalives start after two). The last words of a killed backend
// (FIN) are among them. A receiver delivers nothing of a segment with RST.

// Mark is the socket mark (SO_MARK) by which the gate knows the agent's own
// connections over TCP: "pgha". Setting it takes CAP_NET_ADMIN as well, so
// nobody without that right passes by it.
const Mark = 0x70676861

// ownFor is how long after its last packet a connection of the agent is known.
const ownFor = 10 * time.Minute

// format stands in every rule's comment; it changes with the rules, so that a
// newer agent makes the table of an older one anew.
const format = "pgha gate 1"

// priority is before the usual filter chains (0), whose rules go on to count.
var priority = nftables.ChainPriorityRef(-10)

const (
	nfprotoV4, nfprotoV6 = unix.NFPROTO_IPV4, unix.NFPROTO_IPV6
	flagRST, flagACK     = 0x04, 0x10
	loopback             = 1 // index of lo in every network namespace
)

// rule is one line: what it is for, and its expressions.
type rule struct {
	what  string
	exprs []expr.Any
}

// chain is one chain in the order of its rules.
type chain struct {
	name  string
	hook  *nftables.ChainHook // nil: reached by goto
	rules []rule
}

// side is what differs between packets to the server and packets to its clients.
type side struct {
	serverPort, clientPort uint32 // offset in the TCP header
	client, server         address
}

// address is where an end's address stands in the IP header.
type address struct{ v4, v6 uint32 }

var (
	toServer = side{serverPort: 2, clientPort: 0, client: address{12, 8}, server: address{16, 24}}
	toClient = side{serverPort: 0, clientPort: 2, client: address{16, 24}, server: address{12, 8}}
)

func load(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length}
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: 1} }
func is(value []byte) expr.Any       { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value} }
func in(set string) expr.Any         { return &expr.Lookup{SourceRegister: 1, SetName: set} }
func notIn(set string) expr.Any      { return &expr.Lookup{SourceRegister: 1, SetName: set, Invert: true} }

func verdict(kind expr.VerdictKind, chain string) expr.Any {
	return &expr.Verdict{Kind: kind, Chain: chain}
}

var accept = verdict(expr.VerdictAccept, "")

func port(p int) []byte { return binaryutil.BigEndian.PutUint16(uint16(p)) }

// ofPort matches TCP with the server's port on that side.
func (g *Gate) ofPort(s side) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyL4PROTO), is([]byte{unix.IPPROTO_TCP}),
		load(expr.PayloadBaseTransportHeader, s.serverPort, 2), is(port(g.Port))}
}

// byAddress matches one family's packets whose address is in the set.
func byAddress(family byte, at address, set string) []expr.Any {
	offset, length := at.v4, uint32(4)
	if family == nfprotoV6 {
		offset, length = at.v6, 16
	}
	return []expr.Any{meta(expr.MetaKeyNFPROTO), is([]byte{family}), load(expr.PayloadBaseNetworkHeader, offset, length), in(set)}
}

// enter are the rules of a base chain that lead to another chain.
func (g *Gate) enter(s side, to string) []rule {
	if g.Listen == nil {
		return []rule{{"PostgreSQL", append(g.ofPort(s), verdict(expr.VerdictGoto, to))}}
	}
	v4, v6 := g.ofPort(s), g.ofPort(s)
	v4 = append(append(v4, byAddress(nfprotoV4, s.server, "listen4")...), verdict(expr.VerdictGoto, to))
	v6 = append(append(v6, byAddress(nfprotoV6, s.server, "listen6")...), verdict(expr.VerdictGoto, to))
	return []rule{{"PostgreSQL, IPv4", v4}, {"PostgreSQL, IPv6", v6}}
}

// exempt are the rules of both directions that let a packet pass.
func (g *Gate) exempt(s side) []rule {
	serverPort := load(expr.PayloadBaseTransportHeader, s.serverPort, 2)
	return []rule{
		{"clients, while the lease lasts", []expr.Any{serverPort, in("lease"), accept}},
		{"everybody, long after the agent's end", []expr.Any{serverPort, notIn("fence"), accept}},
		{"resets", []expr.Any{load(expr.PayloadBaseTransportHeader, 13, 1),
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{flagRST}, Xor: []byte{0}}, is([]byte{flagRST}), accept}},
		{"members, IPv4", append(byAddress(nfprotoV4, s.client, "members4"), accept)},
		{"members, IPv6", append(byAddress(nfprotoV6, s.client, "members6"), accept)},
	}
}

// chains are all of the table.
func (g *Gate) chains() []chain {
	lo, mark := binaryutil.NativeEndian.PutUint32(loopback), binaryutil.NativeEndian.PutUint32(Mark)
	learn := append([]expr.Any{meta(expr.MetaKeyOIF), is(lo)}, g.ofPort(toServer)...)
	learn = append(learn, meta(expr.MetaKeyMARK), is(mark), load(expr.PayloadBaseTransportHeader, toServer.clientPort, 2),
		&expr.Dynset{SrcRegKey: 1, SetName: "own", Operation: uint32(unix.NFT_DYNSET_OP_UPDATE), Timeout: ownFor})
	return []chain{
		{"to_server", nil, append(g.exempt(toServer),
			rule{"the agent", []expr.Any{meta(expr.MetaKeyIIF), is(lo), meta(expr.MetaKeyMARK), is(mark), accept}},
			rule{"shut", []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}})},
		{"to_client", nil, append(g.exempt(toClient),
			rule{"the agent", []expr.Any{meta(expr.MetaKeyOIF), is(lo), load(expr.PayloadBaseTransportHeader, toClient.clientPort, 2), in("own"), accept}},
			rule{"shut", reset()})},
		{"in", nftables.ChainHookInput, g.enter(toServer, "to_server")},
		{"out", nftables.ChainHookOutput, append([]rule{{"remember the agent's connections", learn}}, g.enter(toClient, "to_client")...)},
	}
}

// reset makes RST|ACK of a segment's flags; the header's length, in the same
// sixteen bits, stays.
func reset() []expr.Any {
	return []expr.Any{
		load(expr.PayloadBaseTransportHeader, 12, 2),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0xf0, 0}, Xor: []byte{0, flagRST | flagACK}},
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 12, Len: 2,
			CsumType: expr.CsumTypeInet, CsumOffset: 16},
	}
}

// comment is what identifies a rule as made by this format for this owner. nft
// shows it; it holds 128 characters.
func (g *Gate) comment(what string) string {
	owner := g.Owner
	if len(owner) > 60 {
		sum := sha256.Sum256([]byte(owner))
		owner = owner[:40] + "." + hex.EncodeToString(sum[:8])
	}
	return format + " " + owner + ": " + what
}

func (g *Gate) portSet(name string, dynamic bool) *nftables.Set {
	return &nftables.Set{Table: g.table, Name: name, KeyType: nftables.TypeInetService, KeyByteOrder: binaryutil.BigEndian, HasTimeout: true, Dynamic: dynamic}
}

// addressSets are the sets of addresses with what belongs into them.
func (g *Gate) addressSets() []addressSet {
	sets := []addressSet{{name: "members4"}, {name: "members6", v6: true}, {name: "listen4"}, {name: "listen6", v6: true}}
	for _, part := range []struct {
		first     int
		addresses []netip.Addr
	}{{0, g.members}, {2, g.Listen}} {
		for _, a := range part.addresses {
			a = a.Unmap()
			s := &sets[part.first]
			if a.Is6() {
				s = &sets[part.first+1]
			}
			s.keys = append(s.keys, a.AsSlice())
		}
	}
	return sets
}

type addressSet struct {
	name string
	v6   bool
	keys [][]byte
}

func (g *Gate) nftSet(s addressSet) *nftables.Set {
	set := &nftables.Set{Table: g.table, Name: s.name, KeyType: nftables.TypeIPAddr, KeyByteOrder: binaryutil.BigEndian}
	if s.v6 {
		set.KeyType = nftables.TypeIP6Addr
	}
	return set
}

func (s addressSet) elements() []nftables.SetElement {
	elements := make([]nftables.SetElement, len(s.keys))
	for i, k := range s.keys {
		elements[i] = nftables.SetElement{Key: k}
	}
	return elements
}

// portSets are the sets of ports.
func (g *Gate) portSets() []*nftables.Set {
	return []*nftables.Set{g.portSet("lease", false), g.portSet("fence", false), g.portSet("own", true)}
}

// add queues the whole table with its elements.
func (g *Gate) add(c *nftables.Conn, left time.Duration) error {
	c.AddTable(g.table)
	for _, s := range g.portSets() {
		var elements []nftables.SetElement
		if d := g.timeoutOf(s.Name, left); d > 0 {
			elements = []nftables.SetElement{{Key: port(g.Port), Timeout: d}}
		}
		if err := c.AddSet(s, elements); err != nil {
			return err
		}
	}
	for _, s := range g.addressSets() {
		if err := c.AddSet(g.nftSet(s), s.elements()); err != nil {
			return err
		}
	}
	policy := nftables.ChainPolicyAccept
	for _, ch := range g.chains() {
		made := &nftables.Chain{Name: ch.name, Table: g.table}
		if ch.hook != nil {
			made.Type, made.Hooknum, made.Priority, made.Policy = nftables.ChainTypeFilter, ch.hook, priority, &policy
		}
		c.AddChain(made)
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: g.table, Chain: made, Exprs: r.exprs,
				UserData: userdata.AppendString(nil, userdata.TypeComment, g.comment(r.what))})
		}
	}
	return nil
}

// timeoutOf is how long the port's element lasts in that set; 0: it is not there.
func (g *Gate) timeoutOf(set string, left time.Duration) time.Duration {
	left = max(left, 0).Truncate(time.Millisecond) // the kernel's unit
	switch set {
	case "lease":
		return left
	case "fence":
		return left + g.Fence
	}
	return 0
}

// refresh queues new ends for the elements. Add, delete, add: kernels before
// 6.12 keep the old end of an element that is there, and to delete one that is
// not is an error.
func (g *Gate) refresh(c *nftables.Conn, left time.Duration) error {
	for _, s := range g.portSets() {
		if s.Dynamic {
			continue
		}
		first, d := []nftables.SetElement{{Key: port(g.Port), Timeout: time.Minute}}, g.timeoutOf(s.Name, left)
		if err := c.SetAddElements(s, first); err != nil {
			return err
		}
		if err := c.SetDeleteElements(s, []nftables.SetElement{{Key: port(g.Port)}}); err != nil {
			return err
		}
		if d > 0 {
			if err := c.SetAddElements(s, []nftables.SetElement{{Key: port(g.Port), Timeout: d}}); err != nil {
				return err
			}
		}
	}
	return nil
}
