package agent

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// gateNames turns the hosts of other members into addresses, beside the path
// of a renewal: a name server may be slow. What a name last stood for is kept.
type gateNames struct {
	log  *slog.Logger
	wake chan struct{}

	mu    sync.Mutex
	hosts []string                // sorted, each once
	known map[string][]netip.Addr // of names; literal addresses are not in it
}

// gateNamesEvery is how often names are looked up again, lookupBound how long
// one may take.
const (
	gateNamesEvery = time.Minute
	lookupBound    = 2 * time.Second
)

// hostsOf are the hosts by which a member is known: where its PostgreSQL and
// its REST API are reached.
func hostsOf(m dcs.Member) (hosts []string) {
	if kv, err := postgres.ParseConninfo(m.ConnURL); err == nil && kv["host"] != "" {
		hosts = append(hosts, strings.Split(kv["host"], ",")...)
	}
	if u, err := url.Parse(m.APIURL); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	return hosts
}

// set replaces the hosts; new names are looked up soon.
func (n *gateNames) set(hosts []string) {
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	n.mu.Lock()
	same := slices.Equal(n.hosts, hosts)
	n.hosts = hosts
	n.mu.Unlock()
	if !same {
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

// addresses are all that is known of the hosts at this moment.
func (n *gateNames) addresses() (all []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		if a, err := netip.ParseAddr(h); err == nil {
			all = append(all, a)
		} else {
			for _, a := range n.known[h] {
				all = append(all, a.Unmap())
			}
		}
	}
	return all
}

// run looks names up until ctx ends.
func (n *gateNames) run(ctx context.Context) {
	tick := time.NewTicker(gateNamesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		case <-tick.C:
		}
		n.mu.Lock()
		hosts, known := slices.Clone(n.hosts), maps.Clone(n.known)
		n.mu.Unlock()
		fresh := map[string][]netip.Addr{}
		for _, h := range hosts {
			if _, err := netip.ParseAddr(h); err == nil {
				continue
			}
			lctx, cancel := context.WithTimeout(ctx, lookupBound)
			found, err := net.DefaultResolver.LookupNetIP(lctx, "ip", h)
			cancel()
			if fresh[h] = found; err != nil {
				fresh[h] = known[h]
				n.log.Debug("look up a member's host for the gate; what was known stays", "host", h, "err", err)
			}
		}
		n.mu.Lock()
		n.known = fresh
		n.mu.Unlock()
	}
}
