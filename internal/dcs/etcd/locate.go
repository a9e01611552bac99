package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"pgha/internal/tlsconf"
)

// locator turns names into endpoints: SRV records, and a name that has several
// addresses (contract: config.md 3.2). Both are asked again when every
// endpoint has failed.
type locator struct {
	srv, suffix string
	endpoints   []string // as configured; used when the records name nobody
	resolver    *net.Resolver
	tls         tlsconf.Files

	turn chan struct{} // held by the one lookup under way, which alone uses the next two
	// bySrv: the records have named somebody. known are the addresses of names
	// as last seen. Both outlive a DNS that fails.
	bySrv bool
	known map[string][]string

	mu    sync.Mutex
	at    time.Time // of the last lookup; zero: none yet
	found bool
	err   error
}

const (
	// locateLimit bounds one lookup, all records together.
	locateLimit = 5 * time.Second
	// locateAgain is the shortest pause between two lookups.
	locateAgain = 5 * time.Second
	// maxMembersAnswer bounds what is read of GET /members.
	maxMembersAnswer = 1 << 20
)

// newLocator returns nil when there is nothing to look up.
func newLocator(o Options) *locator {
	if o.SRV == "" && !o.EveryAddress {
		return nil
	}
	l := &locator{srv: o.SRV, suffix: o.SRVSuffix, endpoints: o.Endpoints, resolver: o.Resolver, tls: o.TLS, turn: make(chan struct{}, 1), known: map[string][]string{}}
	if l.resolver == nil {
		l.resolver = net.DefaultResolver
	}
	return l
}

// srvKinds are the records in the order in which they are asked for; the first
// one that names somebody counts.
var srvKinds = []struct {
	name   string
	scheme string
	peers  bool // the records name peer ports, where /members lists the client URLs
}{
	{"_etcd-client-ssl", "https", false},
	{"_etcd-client", "http", false},
	{"_etcd-ssl", "https", false},
	{"_etcd", "http", false},
	{"_etcd-server-ssl", "https", true},
	{"_etcd-server", "http", true},
}

// locate looks the endpoints up when that is due: the first time, and again
// after all of them failed. One lookup at a time; others wait for it as long
// as ctx allows. What was found stays in use while a later lookup fails.
func (s *Store) locate(ctx context.Context) {
	l := s.locator
	if l == nil || !l.due(s.pool.allFailed()) {
		return
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return
	}
	if !l.due(s.pool.allFailed()) {
		return // the one before us has done it
	}
	ctx, cancel := context.WithTimeout(ctx, locateLimit)
	defer cancel()
	urls, err := l.find(ctx)
	if err == nil {
		err = s.pool.configure(urls)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Debug("etcd endpoints not looked up", "err", err)
	}
	l.done(err)
}

// locating is why the last lookup found nothing; nil when it did, or none is made.
func (s *Store) locating() error {
	if s.locator == nil {
		return nil
	}
	s.locator.mu.Lock()
	defer s.locator.mu.Unlock()
	return s.locator.err
}

func (l *locator) due(allFailed bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at.IsZero() || (allFailed || !l.found) && time.Since(l.at) >= locateAgain
}

func (l *locator) done(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at, l.err = time.Now(), err
	l.found = l.found || err == nil
}

// find returns the endpoints. Errors: nothing was found, and nothing is
// configured beside it.
func (l *locator) find(ctx context.Context) ([]string, error) {
	var urls []string
	var err error
	if l.srv != "" {
		urls, err = l.bySRV(ctx)
	}
	if len(urls) > 0 {
		l.bySrv = true
		return urls, nil
	}
	if len(l.endpoints) == 0 || l.bySrv {
		return nil, err
	}
	for _, u := range l.endpoints {
		urls = append(urls, l.addresses(ctx, u)...)
	}
	return urls, nil
}

// bySRV asks for one kind of record after the other.
func (l *locator) bySRV(ctx context.Context) ([]string, error) {
	var failure error
	for _, kind := range srvKinds {
		name := kind.name
		if l.suffix != "" {
			name += "-" + l.suffix
		}
		name += "._tcp." + l.srv
		_, records, err := l.resolver.LookupSRV(ctx, "", "", name)
		var dns *net.DNSError
		if err != nil && len(records) == 0 && !(errors.As(err, &dns) && dns.IsNotFound) {
			failure = err
		}
		urls, err := l.named(ctx, kind.scheme, kind.peers, records)
		if len(urls) > 0 {
			return urls, nil
		}
		if err != nil {
			failure = fmt.Errorf("%s: %w", name, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if failure == nil {
		failure = fmt.Errorf("no record _etcd-client-ssl, _etcd-client, _etcd-ssl, _etcd, _etcd-server-ssl or _etcd-server%s below _tcp.%s", dashed(l.suffix), l.srv)
	}
	return nil, fmt.Errorf("etcd3.srv %s: %w", l.srv, failure)
}

func dashed(suffix string) string {
	if suffix == "" {
		return ""
	}
	return "-" + suffix + " (each with it)"
}

// named are the client URLs that records stand for.
func (l *locator) named(ctx context.Context, scheme string, peers bool, records []*net.SRV) ([]string, error) {
	var urls []string
	var failure error
	for _, r := range records {
		host := strings.TrimSuffix(r.Target, ".")
		if host == "" || r.Port == 0 { // "." is: no such service here
			continue
		}
		at := scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(r.Port)))
		if !peers {
			urls = append(urls, at)
			continue
		}
		members, err := l.members(ctx, at)
		if len(members) > 0 {
			return members, nil // one member knows all
		}
		failure = err
	}
	return urls, failure
}

// members asks a peer port for the members' client URLs. Its certificate is
// not verified: the client URLs' are.
func (l *locator) members(ctx context.Context, peer string) ([]string, error) {
	conf, err := tlsconf.NewClient(tlsconf.ClientFiles{
		Verify: tlsconf.VerifyNone, KeyPair: tlsconf.KeyPair{CertFile: l.tls.Cert, KeyFile: l.tls.Key},
	})
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Resolver: l.resolver}
	transport := &http.Transport{TLSClientConfig: conf, DialContext: dialer.DialContext, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, peer+"/members", nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%s/members: %s", peer, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMembersAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s/members: %w", peer, err)
	}
	urls, err := parseMembers(text)
	if err != nil {
		return nil, fmt.Errorf("%s/members: %w", peer, err)
	}
	return urls, nil
}

// parseMembers reads the answer of a peer port.
func parseMembers(text []byte) (urls []string, err error) {
	var list []struct {
		ClientURLs []string `json:"clientURLs"`
		IsLearner  bool     `json:"isLearner"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	for _, m := range list {
		if !m.IsLearner {
			urls = append(urls, m.ClientURLs...)
		}
	}
	if len(urls) == 0 {
		return nil, errors.New("no member names a client URL")
	}
	return urls, nil
}

// addresses makes an endpoint of each address of a name. One address, or none
// now, leaves the name: it is resolved anew with each connection. With TLS the
// name stays as well: the certificate is for it.
func (l *locator) addresses(ctx context.Context, endpoint string) []string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" || net.ParseIP(u.Hostname()) != nil || u.Hostname() == "localhost" {
		return []string{endpoint}
	}
	addresses, err := l.resolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		addresses = l.known[u.Hostname()]
	}
	l.known[u.Hostname()] = addresses
	if len(addresses) < 2 {
		return []string{endpoint}
	}
	var urls []string
	for _, a := range addresses {
		one := *u
		one.Host = "[" + a + "]"
		if !strings.Contains(a, ":") {
			one.Host = a
		}
		if p := u.Port(); p != "" {
			one.Host += ":" + p
		}
		urls = append(urls, one.String())
	}
	return urls
}
