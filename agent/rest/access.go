package rest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"pgha/internal/config"
	"pgha/internal/dcs"
)

// policy is who may change state, made from the configuration (contract:
// rest-api.md section 14; design decision 8).
type policy struct {
	// allowlist is what the entries resolved to; restricted says that there
	// were entries, so that none that resolved means nobody (section 18, 15).
	allowlist  []netip.Prefix
	restricted bool
	// includeMembers adds the members' addresses to the allowlist.
	includeMembers bool
	// needCert: the client certificate must be there and verified.
	needCert bool
	// credentials is the hash of the whole Authorization text; needAuth says
	// that one is asked for.
	credentials [sha256.Size]byte
	needAuth    bool
	// unresolved are entries to try again.
	unresolved []string
}

// resolveBudget bounds the look-up of one host name.
const resolveBudget = 2 * time.Second

// newPolicy resolves the allowlist. Entries that mean nothing are returned in
// policy.unresolved and deny.
func newPolicy(ctx context.Context, conf config.RestAPI) *policy {
	p := &policy{
		includeMembers: conf.AllowlistIncludeMembers,
		restricted:     len(conf.Allowlist) > 0,
		needAuth:       conf.Username != "" && conf.Password != "",
	}
	switch strings.ToLower(conf.VerifyClient) {
	case "optional", "required":
		p.needCert = conf.CertFile != ""
	}
	if p.needAuth {
		p.credentials = credentialsHash("Basic " + base64.StdEncoding.EncodeToString([]byte(conf.Username+":"+conf.Password.Reveal())))
	}
	for _, entry := range conf.Allowlist {
		prefixes := resolveEntry(ctx, strings.TrimSpace(entry))
		if len(prefixes) == 0 {
			p.unresolved = append(p.unresolved, entry)
		}
		p.allowlist = append(p.allowlist, prefixes...)
	}
	return p
}

// open says that nothing at all was configured: the default of design
// decision 8 stands in.
func (p *policy) open() bool {
	return !p.restricted && !p.includeMembers && !p.needCert && !p.needAuth
}

// resolveEntry reads a network, an address or a host name.
func resolveEntry(ctx context.Context, entry string) []netip.Prefix {
	if network, err := netip.ParsePrefix(entry); err == nil {
		return []netip.Prefix{unmapPrefix(network).Masked()}
	}
	var prefixes []netip.Prefix
	for _, a := range resolveHost(ctx, entry) {
		prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
	}
	return prefixes
}

// resolveHost returns the addresses of a host, unmapped and without zones;
// none when it is unknown.
func resolveHost(ctx context.Context, host string) []netip.Addr {
	if host == "" {
		return nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap().WithZone("")}
	}
	ctx, cancel := context.WithTimeout(ctx, resolveBudget)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range found {
		found[i] = found[i].Unmap().WithZone("")
	}
	return found
}

// unmapPrefix turns ::ffff:192.0.2.0/120 into 192.0.2.0/24.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// credentialsHash makes texts of any length comparable in constant time.
func credentialsHash(header string) [sha256.Size]byte { return sha256.Sum256([]byte(header)) }

// access is the refusal of a request that changes state, or nil. It looks at
// nothing but address, certificate and Authorization: the body is not read
// yet.
func (s *Server) access(r *http.Request, path string) *answer {
	p := s.settings.Load().policy
	if refusal := s.checkAddress(r, p, path); refusal != nil {
		return refusal
	}
	if p.needCert && !verifiedCert(r.TLS) {
		return refuseText(http.StatusForbidden, "client certificate required")
	}
	if !p.needAuth {
		return nil
	}
	header := r.Header.Get("Authorization")
	text := "not authenticated"
	if header == "" {
		text = "no auth header received"
	}
	have := credentialsHash(header)
	if subtle.ConstantTimeCompare(have[:], p.credentials[:]) == 1 {
		return nil
	}
	refusal := textAnswer(http.StatusUnauthorized, "%s", text)
	refusal.header = http.Header{"WWW-Authenticate": {`Basic realm="Patroni"`}}
	return &refusal
}

func verifiedCert(state *tls.ConnectionState) bool {
	return state != nil && len(state.VerifiedChains) > 0
}

func (s *Server) checkAddress(r *http.Request, p *policy, path string) *answer {
	client, known := clientAddr(r.RemoteAddr)
	if p.open() {
		if known && s.isNear(r.Context(), client) {
			return nil
		}
		return refuseText(http.StatusForbidden, "Access is denied: without restapi.authentication, verify_client or "+
			"restapi.allowlist only this machine and the members of the cluster may change anything. "+
			"Add the address %s to restapi.allowlist to permit it", client)
	}
	// The reference lets POST /failsafe pass by the list alone, not by
	// membership; without a list the addresses are not looked at.
	members := p.includeMembers && firstSegment(path) != "failsafe"
	if !p.restricted && !members {
		return nil
	}
	if known && (p.allows(client) || members && s.isMember(r.Context(), client)) {
		return nil
	}
	return refuseText(http.StatusForbidden, "Access is denied")
}

func (p *policy) allows(client netip.Addr) bool {
	for _, network := range p.allowlist {
		if network.Contains(client) {
			return true
		}
	}
	return false
}

// clientAddr is the peer's address. On a dual-stack socket IPv4 peers appear
// as ::ffff:a.b.c.d, which no IPv4 entry would match (section 18, 10).
func clientAddr(remote string) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}, false
	}
	return ap.Addr().Unmap().WithZone(""), true
}

// isNear says whether the address is loopback, this machine's own, or a
// member's.
func (s *Server) isNear(ctx context.Context, client netip.Addr) bool {
	return client.IsLoopback() || isOwn(client) || s.isMember(ctx, client)
}

func isOwn(client netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range own {
		if network, isNet := a.(*net.IPNet); isNet {
			if addr, valid := netip.AddrFromSlice(network.IP); valid && addr.Unmap() == client {
				return true
			}
		}
	}
	return false
}

// isMember says whether the address is that of a member's REST server. The
// last view that was read counts, however old, and the failsafe map: without
// the DCS members must still reach each other (rulings 29).
func (s *Server) isMember(ctx context.Context, client netip.Addr) bool {
	for _, host := range memberHosts(s.backend.Snapshot()) {
		for _, a := range resolveHost(ctx, host) {
			if a == client {
				return true
			}
		}
	}
	return false
}

func memberHosts(status *Status) []string {
	seen := map[string]bool{}
	var hosts []string
	add := func(apiURL string) {
		u, err := url.Parse(apiURL)
		if err != nil || u.Hostname() == "" || seen[u.Hostname()] {
			return
		}
		seen[u.Hostname()] = true
		hosts = append(hosts, u.Hostname())
	}
	for _, c := range []*dcs.Cluster{status.Cluster, status.LastCluster} {
		if c == nil {
			continue
		}
		for _, m := range c.Members {
			add(m.APIURL)
		}
		for _, apiURL := range c.Failsafe {
			add(apiURL)
		}
	}
	for _, apiURL := range status.Failsafe {
		add(apiURL)
	}
	return hosts
}
