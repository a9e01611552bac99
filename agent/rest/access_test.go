package rest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/tlsconf/tlstest"
)

// ownAddress is an address of this machine that is not loopback, if it has one.
func ownAddress() string {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, isNet := a.(*net.IPNet); isNet && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}

// TestAccess is rest-api.md section 14 with the fixes of section 18, and
// design decision 8.
func TestAccess(t *testing.T) {
	const (
		member, outsider, onlyFailsafe = "192.0.2.12", "198.51.100.7", "192.0.2.77"
		denied                         = "Access is denied"
	)
	open := config.RestAPI{}
	auth := config.RestAPI{Username: "u", Password: "p"}
	list := config.RestAPI{Allowlist: []string{"198.51.100.0/24", "2001:db8::/32"}, AllowlistSet: true}
	name := config.RestAPI{Allowlist: []string{"localhost"}, AllowlistSet: true}
	bad := config.RestAPI{Allowlist: []string{"no.such.host.invalid", "300.1.1.1/8"}, AllowlistSet: true}
	members := config.RestAPI{AllowlistIncludeMembers: true}
	both := config.RestAPI{Allowlist: []string{outsider}, AllowlistIncludeMembers: true, Username: "u", Password: "p"}
	cert := config.RestAPI{CertFile: "x", VerifyClient: "Optional"}
	right := "Basic " + base64.StdEncoding.EncodeToString([]byte("u:p"))
	verified := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}

	for _, tc := range []struct {
		name          string
		conf          config.RestAPI
		from          string
		path          string
		authorization string
		tls           *tls.ConnectionState
		code          int
		text          string // beginning
	}{
		{"nothing configured, loopback", open, "127.0.0.1", "/restart", "", nil, 0, ""},
		{"nothing configured, IPv6 loopback", open, "::1", "/restart", "", nil, 0, ""},
		{"nothing configured, own address", open, ownAddress(), "/restart", "", nil, 0, ""},
		{"nothing configured, a member", open, member, "/restart", "", nil, 0, ""},
		{"nothing configured, a member on a dual-stack socket", open, "::ffff:" + member, "/restart", "", nil, 0, ""},
		{"nothing configured, only in the failsafe map", open, onlyFailsafe, "/failsafe", "", nil, 0, ""},
		{"nothing configured, an outsider", open, outsider, "/restart", "", nil, 403, "Access is denied: without restapi.authentication, verify_client or restapi.allowlist"},
		{"credentials missing", auth, outsider, "/restart", "", nil, 401, "no auth header received"},
		{"credentials wrong", auth, outsider, "/restart", "Basic dTp4", nil, 401, "not authenticated"},
		{"scheme in lower case", auth, outsider, "/restart", "b" + right[1:], nil, 401, "not authenticated"},
		{"credentials right, from anywhere", auth, outsider, "/restart", right, nil, 0, ""},
		{"credentials wrong, a member", auth, member, "/restart", "", nil, 401, "no auth header received"},
		{"listed", list, outsider, "/restart", "", nil, 0, ""},
		{"listed, mapped", list, "::ffff:" + outsider, "/restart", "", nil, 0, ""},
		{"listed, IPv6", list, "2001:db8::5", "/restart", "", nil, 0, ""},
		{"not listed", list, member, "/restart", "", nil, 403, denied},
		{"not listed, loopback", list, "127.0.0.1", "/restart", "", nil, 403, denied},
		{"a name", name, "127.0.0.1", "/restart", "", nil, 0, ""},
		{"a list that resolves to nothing denies", bad, "127.0.0.1", "/restart", "", nil, 403, denied},
		{"members only, a member", members, member, "/restart", "", nil, 0, ""},
		{"members only, an outsider", members, outsider, "/restart", "", nil, 403, denied},
		{"members do not count for failsafe", both, member, "/failsafe", right, nil, 403, denied},
		{"no list, failsafe is not looked at", members, outsider, "/failsafe", "", nil, 0, ""},
		{"address before credentials", both, "203.0.113.1", "/restart", "", nil, 403, denied},
		{"listed, then credentials", both, outsider, "/restart", "", nil, 401, "no auth header received"},
		{"certificate missing", cert, "127.0.0.1", "/restart", "", &tls.ConnectionState{}, 403, "client certificate required"},
		{"certificate shown", cert, outsider, "/restart", "", verified, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status := replica(clock.Now())
			status.LastCluster, status.Cluster = status.Cluster, nil // the DCS is silent
			status.Failsafe = map[string]string{"db9": "http://" + onlyFailsafe + ":8008/patroni"}
			s := &Server{backend: &testAgent{status: status}, log: quiet()}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			s.settings.Store(&settings{conf: tc.conf, policy: newPolicy(ctx, tc.conf)})
			r := &http.Request{Method: http.MethodPost, RemoteAddr: netip.AddrPortFrom(netip.MustParseAddr(tc.from), 4711).String(), Header: http.Header{}, TLS: tc.tls}
			if tc.authorization != "" {
				r.Header.Set("Authorization", tc.authorization)
			}
			refusal := s.access(r.WithContext(ctx), tc.path)
			code, text := 0, ""
			if refusal != nil {
				code, text = refusal.code, string(refusal.body)
			}
			if code != tc.code || !strings.HasPrefix(text, tc.text) {
				t.Errorf("%d %q, want %d %q", code, text, tc.code, tc.text)
			}
		})
	}
}

// TestProtectedRoutes: which requests ask for credentials at all, and that
// they do so before the body is there.
func TestProtectedRoutes(t *testing.T) {
	_, url := start(t, well(), func(o *Options) { o.Config.Username, o.Config.Password = "u", "p" })
	for _, tc := range []struct {
		method, path string
		code         int
	}{
		{"POST", "/reload", 401}, {"POST", "/sigterm", 401}, {"POST", "/restart", 401}, {"POST", "/reinitialize", 401},
		{"POST", "/failover", 401}, {"POST", "/switchover", 401}, {"POST", "/failsafe", 401}, {"POST", "/citus", 401}, {"POST", "/mpp", 401},
		{"PATCH", "/config", 401}, {"PUT", "/config/x", 401}, {"DELETE", "/restart", 401}, {"DELETE", "/switchover", 401},
		{"GET", "/config", 200}, {"GET", "/cluster", 200}, {"GET", "/metrics", 200}, {"GET", "/patroni", 200}, {"POST", "/config", 501}, {"DELETE", "/config", 501},
	} {
		t.Run(tc.method+tc.path, func(t *testing.T) {
			t.Parallel()
			announced := "Content-Length: 10\r\n" // and never sent
			if tc.method == http.MethodGet {
				announced = ""
			}
			got, _ := raw(t, url, tc.method+" "+tc.path+" HTTP/1.1\r\nHost: x\r\n"+announced+"\r\n")
			if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", tc.code)) {
				t.Errorf("%.60q, want %d", got, tc.code)
			}
			if tc.code == 401 && !strings.Contains(got, "Www-Authenticate: Basic realm=\"Patroni\"\r\n") {
				t.Errorf("no challenge in %q", got)
			}
		})
	}
}

// TestTLS: with verify_client optional reading needs no certificate and
// changing does; new files are used without a new socket.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := tlstest.New(t, "test")
	files := ca.Issue(t, dir, "db1", "127.0.0.1")
	clientFiles := ca.Issue(t, dir, "client")
	conf := config.RestAPI{Listen: "127.0.0.1:0", CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA, VerifyClient: "optional",
		HTTPExtraHeaders: map[string]string{"X-A": "http"}, HTTPSExtraHeaders: map[string]string{"X-A": "https"}}
	s, _ := start(t, well(), func(o *Options) { o.Config = conf })
	url := "https://" + s.Addr().String() + "/patroni"

	client := func(ctl config.Ctl) *api.Client {
		c, err := api.NewToolClient(ctl, config.RestAPI{CAFile: files.CA}, false, "test")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.CloseIdle)
		return c
	}
	do := func(c *api.Client, method, path string) int {
		t.Helper()
		a, err := c.Do(context.Background(), method, url, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if method == http.MethodGet && a.Header.Get("X-A") != "https" {
			t.Errorf("extra header %q", a.Header.Get("X-A"))
		}
		return a.Code
	}
	plain, known := client(config.Ctl{}), client(config.Ctl{CertFile: clientFiles.Cert, KeyFile: clientFiles.Key})
	if code := do(plain, http.MethodGet, "primary"); code != 200 {
		t.Errorf("reading without certificate: %d", code)
	}
	if code := do(plain, http.MethodPost, "reload"); code != 403 {
		t.Errorf("changing without certificate: %d", code)
	}
	if code := do(known, http.MethodPost, "reload"); code != 202 {
		t.Errorf("changing with certificate: %d", code)
	}

	// A renewed certificate is shown without being told.
	before := serverCert(t, s.Addr().String())
	ca.Issue(t, dir, "db1", "127.0.0.1")
	if msg := s.maintainOnce(context.Background(), ""); msg != "" {
		t.Fatal(msg)
	}
	after := serverCert(t, s.Addr().String())
	if bytes.Equal(before, after) {
		t.Error("the old certificate is still shown")
	}
	// Half of a rotation keeps the old one.
	if err := os.WriteFile(files.Key, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if msg := s.maintainOnce(context.Background(), ""); msg == "" {
		t.Error("a broken key was taken")
	}
	if !bytes.Equal(after, serverCert(t, s.Addr().String())) {
		t.Error("a broken key changed what is shown")
	}
	// Reconfigured to required: the handshake itself fails without one.
	ca.Issue(t, dir, "db1", "127.0.0.1")
	conf.VerifyClient = "required"
	if err := s.Reconfigure(context.Background(), conf); err != nil {
		t.Fatal(err)
	}
	if _, err := client(config.Ctl{}).Do(context.Background(), http.MethodGet, url, "primary", nil); err == nil {
		t.Error("no certificate, and yet an answer")
	}
	if code := do(client(config.Ctl{CertFile: clientFiles.Cert, KeyFile: clientFiles.Key}), http.MethodGet, "primary"); code != 200 {
		t.Errorf("with certificate: %d", code)
	}
}

func serverCert(t *testing.T, addr string) []byte {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Raw
}

// TestPeerClientBelievesAddresses: agents call each other by addresses their
// certificates need not name.
func TestPeerClientBelievesAddresses(t *testing.T) {
	dir := t.TempDir()
	ca := tlstest.New(t, "test")
	files := ca.Issue(t, dir, "db1") // no address in it
	s, _ := start(t, well(), func(o *Options) {
		o.Config = config.RestAPI{Listen: "127.0.0.1:0", CertFile: files.Cert, KeyFile: files.Key}
	})
	url := "https://" + s.Addr().String() + "/patroni"
	other := tlstest.New(t, "other").Issue(t, t.TempDir(), "x")
	for _, tc := range []struct {
		name string
		ctl  config.Ctl
		good bool
	}{
		{"nothing configured", config.Ctl{}, true},
		{"own certificate, chain checked", config.Ctl{CertFile: files.Cert, KeyFile: files.Key, CACert: files.CA}, true},
		{"own certificate, another authority", config.Ctl{CertFile: files.Cert, KeyFile: files.Key, CACert: other.CA}, false},
	} {
		c, err := api.NewPeerClient(tc.ctl, config.RestAPI{}, "test")
		if err != nil {
			t.Fatal(err)
		}
		p := c.Peer(context.Background(), dcs.Member{Name: "db1", MemberData: dcs.MemberData{APIURL: url}})
		if p.Reachable() != tc.good {
			t.Errorf("%s: %v", tc.name, p.Err)
		}
		c.CloseIdle()
	}
}
