package etcd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/internal/dcs"
	"pgha/internal/dcs/etcd"
	"pgha/internal/tlsconf"
	"pgha/internal/tlsconf/tlstest"
)

// tlsServer speaks TLS, and HTTP behind it, on a loopback address.
func tlsServer(t *testing.T, own tlsconf.Files, clients tls.ClientAuthType) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(own.Cert, own.Key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = nil
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: clients, NextProtos: []string{"h2"}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// silentListener accepts and never answers.
func silentListener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// What a person reads when etcd cannot be asked: each endpoint with its own
// reason, one line, and what to look at first. An operator's tool learns it
// soon where waiting cures nothing.
func TestReasonsOfEachEndpoint(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := tlstest.New(t, "ours"), tlstest.New(t, "theirs")
	right := ours.Issue(t, dir, "etcd", "127.0.0.1")
	elsewhere := ours.Issue(t, dir, "elsewhere", "192.0.2.1")
	stranger := theirs.Issue(t, dir, "stranger", "127.0.0.1")
	refused, silent := freeAddress(), silentListener(t)
	secureEtcd, strict := tlsServer(t, right, tls.NoClientCert), tlsServer(t, right, tls.RequireAnyClientCert)
	misnamed, foreign := tlsServer(t, elsewhere, tls.NoClientCert), tlsServer(t, stranger, tls.NoClientCert)
	plain := strings.TrimPrefix(sharedEtcd(t), "http://")
	ca := tlsconf.Files{CA: right.CA}

	for _, tt := range []struct {
		name      string
		endpoints []string
		tls       tlsconf.Files
		want      []string
		hint      string
		slow      bool // silence may end: all the time is used
	}{
		{"refused", []string{"http://" + refused}, tlsconf.Files{}, []string{"http://" + refused + ": dial tcp " + refused + ": connect: connection refused"}, "is etcd running there?", false},
		{"silent", []string{"http://" + silent}, tlsconf.Files{}, []string{"http://" + silent + ": no answer"}, "is the network", true},
		{"each its own", []string{"http://" + refused, "http://" + silent}, tlsconf.Files{}, []string{refused + ": dial tcp", "; http://" + silent + ": no answer"}, "is etcd running there?", true},
		{"no such name", []string{"http://etcd.invalid:2379"}, tlsconf.Files{}, []string{"http://etcd.invalid:2379: ", "no such host"}, "names in etcd3.hosts", false},
		{"another authority", []string{"https://" + foreign}, ca, []string{"https://" + foreign + ": ", "unknown authority"}, "etcd3.cacert (" + right.CA + ")", false},
		{"no authority given", []string{"https://" + secureEtcd}, tlsconf.Files{}, []string{"unknown authority"}, "set etcd3.cacert", false},
		{"another name", []string{"https://" + misnamed}, ca, []string{"valid for 192.0.2.1, not 127.0.0.1"}, "as their certificates do", false},
		{"a certificate is asked for", []string{"https://" + strict}, ca, []string{"https://" + strict, "certificate required"}, "set etcd3.cert and etcd3.key", false},
		{"TLS to etcd without", []string{"https://" + plain}, ca, []string{"https://" + plain + ": the connection was closed"}, "etcd3.protocol to http;", false},
		{"no TLS to etcd with", []string{"http://" + secureEtcd}, tlsconf.Files{}, []string{"http://" + secureEtcd}, "etcd3.protocol to https", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := etcd.Open(t.Context(), etcd.Options{Endpoints: tt.endpoints, UseProxies: true, TLS: tt.tls, Namespace: "/service", Scope: "x"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			patience := 10 * time.Second
			if tt.slow {
				patience = 2 * time.Second
			}
			began := time.Now()
			_, err = s.Load(within(t, patience))
			if took := time.Since(began); !tt.slow && took > 8*time.Second {
				t.Errorf("took %v", took)
			}
			if !errors.Is(err, dcs.ErrUnavailable) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "desc =") {
				t.Fatalf("got %v, want one plain line that wraps ErrUnavailable", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in %v", w, err)
				}
			}
			told := new(etcd.UnreachedError)
			if !errors.As(err, &told) || !strings.Contains(told.Hint(), tt.hint) {
				t.Errorf("%v: hint %q, want %q", err, told.Hint(), tt.hint)
			}
		})
	}
}

// Files that cannot be used are named with their keys, before anything is asked.
func TestTLSFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	good := tlstest.New(t, "ca").Issue(t, dir, "etcd", "127.0.0.1")
	empty := filepath.Join(dir, "empty.crt")
	if err := os.WriteFile(empty, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, files := range map[string]tlsconf.Files{
		"etcd3.cacert: open /nonexistent.crt":                               {CA: "/nonexistent.crt"},
		"etcd3.cacert: " + empty + " holds no certificate":                  {CA: empty},
		"etcd3.cert (/nonexistent.crt), etcd3.key (" + good.Key + "): open": {Cert: "/nonexistent.crt", Key: good.Key},
		"etcd3.key (" + empty + "):":                                        {Cert: good.Cert, Key: empty},
	} {
		_, err := etcd.Open(t.Context(), etcd.Options{Endpoints: []string{"https://127.0.0.1:1"}, TLS: files})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", files, err, want)
		}
	}
}

// An agent uses all the time it is given, also where nobody listens.
func TestAgentsGoOnTrying(t *testing.T) {
	s := open(t, "patient", "a", "http://"+freeAddress())
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	began := time.Now()
	if _, err := s.Load(ctx); err == nil || time.Since(began) < 3*time.Second {
		t.Errorf("gave up after %v: %v", time.Since(began), err)
	}
}
