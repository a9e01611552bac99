package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"pgha/internal/dcs"
	"pgha/internal/dcs/etcd"
)

// dnsServer answers over UDP from its records: SRV by "_kind._tcp.domain"
// with host:port values, addresses by name.
type dnsServer struct {
	conn net.PacketConn

	mu      sync.Mutex
	srv     map[string][]string
	hosts   map[string][]string
	asked   []string
	refuses bool // SERVFAIL to everything
}

func startDNS(t *testing.T) *dnsServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dnsServer{conn: conn, srv: map[string][]string{}, hosts: map[string][]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return s
}

// resolver asks this server only.
func (s *dnsServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

func (s *dnsServer) set(change func(*dnsServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *dnsServer) serve() {
	buf := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := s.answer(buf[:n]); answer != nil {
			s.conn.WriteTo(answer, from)
		}
	}
}

func (s *dnsServer) answer(query []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	m.Response, m.Additionals = true, nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET}
	add := func(body dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: body})
	}
	switch {
	case s.refuses:
		m.RCode = dnsmessage.RCodeServerFailure
	case q.Type == dnsmessage.TypeSRV:
		s.asked = append(s.asked, name)
		for _, target := range s.srv[name] {
			host, port, _ := net.SplitHostPort(target)
			number, _ := strconv.Atoi(port)
			add(&dnsmessage.SRVResource{Target: dnsmessage.MustNewName(host + "."), Port: uint16(number)})
		}
	default:
		for _, a := range s.hosts[name] {
			ip := netip.MustParseAddr(a)
			if q.Type == dnsmessage.TypeA && ip.Is4() {
				add(&dnsmessage.AResource{A: ip.As4()})
			} else if q.Type == dnsmessage.TypeAAAA && ip.Is6() {
				add(&dnsmessage.AAAAResource{AAAA: ip.As16()})
			}
		}
	}
	if len(m.Answers) == 0 && m.RCode == 0 {
		m.RCode = dnsmessage.RCodeNameError
		if len(s.hosts[name])+len(s.srv[name]) > 0 {
			m.RCode = dnsmessage.RCodeSuccess
		}
	}
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

func hostPort(t *testing.T, raw string) (string, string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Hostname(), u.Port()
}

// Which records count, one row a rule of config contract 3.2, with a real etcd
// behind the right ones.
func TestSRVRecords(t *testing.T) {
	live := sharedEtcd(t)
	_, port := hostPort(t, live)
	peers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/members" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `[{"id":1,"name":"a","clientURLs":[%q]}]`, live)
	}))
	t.Cleanup(peers.Close)
	secure := httptest.NewTLSServer(peers.Config.Handler) // nobody knows who signed it
	t.Cleanup(secure.Close)
	_, peerPort := hostPort(t, peers.URL)
	_, securePort := hostPort(t, secure.URL)
	right, dead := "etcd01.test:"+port, "etcd01.test:1"
	kinds := []string{"-client-ssl", "-client", "-ssl", "", "-server-ssl", "-server"}

	for _, tt := range []struct {
		name   string
		srv    map[string][]string // by kind
		suffix string
		given  []string // Endpoints
		asked  int      // how many kinds, in order
		broken string   // part of the error; empty: it works
	}{
		{name: "client", srv: map[string][]string{"-client": {right}}, asked: 2},
		{name: "client before the plain one", srv: map[string][]string{"-client": {right}, "": {dead}}, asked: 2},
		{name: "plain", srv: map[string][]string{"": {right}}, asked: 4},
		{name: "several targets", srv: map[string][]string{"-client": {dead, right}}, asked: 2},
		{name: "-ssl is https", srv: map[string][]string{"-client-ssl": {right}, "-client": {right}}, asked: 1, broken: "https://etcd01.test:" + port + ": the connection was closed without an answer"},
		{name: "-server asks the peer port", srv: map[string][]string{"-server": {"etcd01.test:" + peerPort}}, asked: 6},
		{name: "-server-ssl without verification", srv: map[string][]string{"-server-ssl": {"etcd01.test:" + securePort}}, asked: 5},
		{name: "-server-ssl that does not answer", srv: map[string][]string{"-server-ssl": {dead}, "-server": {"etcd01.test:" + peerPort}}, asked: 6},
		{name: "one peer of two answers", srv: map[string][]string{"-server": {dead, "etcd01.test:" + peerPort}}, asked: 6},
		{name: "suffix", suffix: "blue", srv: map[string][]string{"-client-blue": {right}, "-client": {dead}}, asked: 2},
		{name: "records before hosts", srv: map[string][]string{"-client": {right}}, given: []string{"http://127.0.0.1:1"}, asked: 2},
		{name: "hosts when there is no record", given: []string{live}, asked: 6},
		{name: "no record, no hosts", asked: 6, broken: "no record _etcd-client-ssl"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dns := startDNS(t)
			dns.set(func(s *dnsServer) {
				s.hosts["etcd01.test"] = []string{"127.0.0.1"}
				for kind, targets := range tt.srv {
					s.srv["_etcd"+kind+"._tcp.example.test"] = targets
				}
			})
			err := loadBy(t, dns, etcd.Options{SRV: "example.test", SRVSuffix: tt.suffix, Endpoints: tt.given})
			switch {
			case tt.broken == "" && err != nil:
				t.Errorf("load: %v", err)
			case tt.broken != "" && (!errors.Is(err, dcs.ErrUnavailable) || !strings.Contains(err.Error(), tt.broken)):
				t.Errorf("load: %v, want unavailable with %q", err, tt.broken)
			}
			var want []string
			for _, kind := range kinds[:tt.asked] {
				if tt.suffix != "" {
					kind += "-" + tt.suffix
				}
				want = append(want, "_etcd"+kind+"._tcp.example.test")
			}
			dns.set(func(s *dnsServer) {
				if got := slices.Compact(s.asked)[:min(len(want), len(slices.Compact(s.asked)))]; !slices.Equal(got, want) {
					t.Errorf("asked %v, want %v", got, want)
				}
			})
		})
	}
}

// loadBy reads an empty scope of a store that resolves names at dns, both for
// the lookup and for its connections.
func loadBy(t *testing.T, dns *dnsServer, o etcd.Options) error {
	t.Helper()
	o.Namespace, o.Scope, o.Resolver = "/service", "srv", dns.resolver()
	s, err := etcd.Open(t.Context(), o)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Load(within(t, 5*time.Second))
	return err
}

// A name with several addresses: each is an endpoint, so a dead one costs
// little; DNS that fails later changes nothing, and new addresses are found
// once the old ones have failed.
func TestNamesAreFollowed(t *testing.T) {
	live := sharedEtcd(t)
	_, port := hostPort(t, live)
	dns := startDNS(t)
	dns.set(func(s *dnsServer) { s.hosts["etcd.test"] = []string{"127.0.0.2", "127.0.0.1"} })
	s, err := etcd.Open(t.Context(), etcd.Options{
		Endpoints: []string{"http://etcd.test:" + port}, EveryAddress: true, UseProxies: true, Resolver: dns.resolver(),
		Namespace: "/service", Scope: "names", Member: "a", TTL: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	load := func(ctx context.Context) error { _, err := s.Load(ctx); return err }
	quick(t, "one address of two", 2*time.Second, load)
	dns.set(func(s *dnsServer) { s.refuses = true })
	quick(t, "DNS away", 2*time.Second, load)
}

// DNS is away at the start: the error says so, and the endpoints are found as
// soon as it is back.
func TestSRVWhenDNSReturns(t *testing.T) {
	_, port := hostPort(t, sharedEtcd(t))
	dns := startDNS(t)
	dns.set(func(s *dnsServer) {
		s.refuses = true
		s.hosts["etcd01.test"] = []string{"127.0.0.1"}
		s.srv["_etcd-client._tcp.example.test"] = []string{"etcd01.test:" + port}
	})
	s, err := etcd.Open(t.Context(), etcd.Options{SRV: "example.test", Resolver: dns.resolver(), Namespace: "/service", Scope: "back", Member: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Load(within(t, time.Second)); !errors.Is(err, dcs.ErrUnavailable) || !strings.Contains(err.Error(), "etcd3.srv example.test") {
		t.Errorf("without DNS: %v", err)
	}
	dns.set(func(s *dnsServer) { s.refuses = false })
	if _, err := s.Load(within(t, 15*time.Second)); err != nil {
		t.Errorf("DNS is back: %v", err)
	}
}
