package gate

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// look compares the kernel's table with what it should be. why says the first
// difference; absent that there is no table at all. A rule is known by its
// comment: a rule cannot be changed but by replacing it. Errors: ErrForeign, or
// what the kernel said.
func (g *Gate) look(c *nftables.Conn) (why string, absent bool, err error) {
	table, err := c.ListTableOfFamily(g.table.Name, g.table.Family)
	if errors.Is(err, unix.ENOENT) {
		return "there is no table", true, nil
	}
	if err != nil {
		return "", false, err
	}
	why, err = g.lookAtRules(c)
	if err != nil || why != "" {
		return why, false, err
	}
	if table.Flags != 0 {
		return "the table is switched off (dormant)", false, nil
	}
	why, err = g.lookAtSets(c)
	return why, false, err
}

// lookAtRules compares chains and rules, and finds out whose they are.
func (g *Gate) lookAtRules(c *nftables.Conn) (why string, err error) {
	all, err := c.ListChainsOfTableFamily(g.table.Family)
	if err != nil {
		return "", err
	}
	for _, want := range g.chains() {
		i := slices.IndexFunc(all, func(ch *nftables.Chain) bool { return ch.Table.Name == g.table.Name && ch.Name == want.name })
		if i < 0 {
			why = first(why, "chain "+want.name+" is missing")
			continue
		}
		if ch := all[i]; want.hook != nil && (ch.Hooknum == nil || *ch.Hooknum != *want.hook || ch.Priority == nil || *ch.Priority != *priority) {
			why = first(why, "chain "+want.name+" is at another place")
		}
		rules, err := c.GetRules(g.table, all[i])
		if err != nil {
			return "", err
		}
		if len(rules) != len(want.rules) {
			why = first(why, fmt.Sprintf("chain %s has %d rules instead of %d", want.name, len(rules), len(want.rules)))
		}
		for i, r := range rules {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			if owner := g.ownerIn(comment); owner != "" {
				return g.foreign(c, owner)
			}
			if i < len(want.rules) && comment != g.comment(want.rules[i].what) {
				why = first(why, "chain "+want.name+" has other rules")
			}
		}
	}
	return why, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// ownerIn is the owner that a rule's comment names; empty when it is ours, or
// no comment of a gate at all.
func (g *Gate) ownerIn(comment string) string {
	text, isGate := strings.CutPrefix(comment, strings.TrimRight(format, "0123456789"))
	if !isGate {
		return ""
	}
	_, text, _ = strings.Cut(text, " ") // the format's number
	_, ours, _ := strings.Cut(g.comment(""), format+" ")
	if strings.HasPrefix(text, ours[:len(ours)-1]) {
		return ""
	}
	owner, _, _ := strings.Cut(text, ": ")
	return owner
}

// foreign is ErrForeign while the other owner's gate shuts or lets pass; one
// that nobody has refreshed for its fence is nobody's.
func (g *Gate) foreign(c *nftables.Conn, owner string) (why string, err error) {
	for _, s := range g.portSets() {
		if s.Dynamic {
			continue
		}
		elements, err := c.GetSetElements(s)
		if err == nil && len(elements) > 0 {
			return "", fmt.Errorf("%w: inet %s is %s's", ErrForeign, g.table.Name, owner)
		}
	}
	return owner + " left it long ago", nil
}

// lookAtSets compares the sets, and the addresses in them.
func (g *Gate) lookAtSets(c *nftables.Conn) (why string, err error) {
	sets, err := c.GetSets(g.table)
	if err != nil {
		return "", err
	}
	has := func(want *nftables.Set) bool {
		return slices.ContainsFunc(sets, func(s *nftables.Set) bool {
			return s.Name == want.Name && s.HasTimeout == want.HasTimeout && s.KeyType.Bytes == want.KeyType.Bytes
		})
	}
	for _, s := range g.portSets() {
		if !has(s) {
			return "set " + s.Name + " is missing", nil
		}
	}
	for _, s := range g.addressSets() {
		set := g.nftSet(s)
		if !has(set) {
			return "set " + s.name + " is missing", nil
		}
		elements, err := c.GetSetElements(set)
		if err != nil {
			return "", err
		}
		same := len(elements) == len(s.keys)
		for _, e := range elements {
			same = same && slices.ContainsFunc(s.keys, func(k []byte) bool { return bytes.Equal(k, e.Key) })
		}
		if !same {
			return "set " + s.name + " has other addresses", nil
		}
	}
	return "", nil
}
