package tlsconf_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pgha/internal/tlsconf"
	"pgha/internal/tlsconf/tlstest"
)

// server accepts TLS with the certificate of the files as they are at each
// handshake, and answers with the client's common name.
func server(t *testing.T, files tlsconf.Files, clients *x509.CertPool) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(files.Cert, files.Key)
			return &c, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if conn := c.(*tls.Conn); conn.Handshake() == nil {
				_, _ = io.WriteString(conn, conn.ConnectionState().PeerCertificates[0].Subject.CommonName)
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wait.Wait() })
	return l.Addr().String()
}

// hello connects and returns what the server answers.
func hello(cfg *tls.Config, address string) (string, error) {
	c, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		return "", err
	}
	defer c.Close()
	name, err := io.ReadAll(c)
	return string(name), err
}

func TestClientFollowsFiles(t *testing.T) {
	dir := t.TempDir()
	one, two := tlstest.New(t, "one"), tlstest.New(t, "two")
	both := x509.NewCertPool()
	both.AppendCertsFromPEM(one.PEM)
	both.AppendCertsFromPEM(two.PEM)
	srv := one.Issue(t, dir, "server", "127.0.0.1")
	address := server(t, srv, both)
	files := one.Issue(t, dir, "client")
	cfg, err := tlsconf.Client(files, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	check := func(step string, want bool) {
		t.Helper()
		name, err := hello(cfg, address)
		if want && (err != nil || name != "client") {
			t.Errorf("%s: %q, %v", step, name, err)
		}
		var untrusted *tls.CertificateVerificationError
		if !want && !errors.As(err, &untrusted) {
			t.Errorf("%s: %v, want a certificate error", step, err)
		}
	}
	check("at first", true)
	two.Issue(t, dir, "server", "127.0.0.1")
	check("the server's authority changed", false)
	two.Issue(t, dir, "client") // certificate, key and CA file
	check("our files changed too", true)
	if err := os.Remove(files.CA); err != nil {
		t.Fatal(err)
	}
	check("the CA file is gone: the last good one stays", true)
	two.Issue(t, dir, "server", "127.0.0.2")
	check("the server has another address", false)
}

func TestClientRefuses(t *testing.T) {
	dir := t.TempDir()
	good := tlstest.New(t, "ca").Issue(t, dir, "x")
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]tlsconf.Files{
		"no CA file":          {CA: filepath.Join(dir, "missing")},
		"CA file without one": {CA: empty},
		"no certificate":      {CA: good.CA, Cert: filepath.Join(dir, "missing"), Key: good.Key},
		"key missing":         {CA: good.CA, Cert: good.Cert},
	} {
		if _, err := tlsconf.Client(f, "h"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if cfg, err := tlsconf.Client(tlsconf.Files{}, "h"); err != nil || cfg.InsecureSkipVerify {
		t.Errorf("the system's authorities: %v", err)
	}
}
