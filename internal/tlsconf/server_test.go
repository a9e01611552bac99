package tlsconf_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgha/internal/tlsconf"
	"pgha/internal/tlsconf/tlstest"
)

// TestKeyPassword reads keys as openssl writes them.
func TestKeyPassword(t *testing.T) {
	for _, tc := range []struct {
		file, password, text string // text: part of the refusal, empty: good
	}{
		{"pkcs8-aes256.key", "geheim", ""},
		{"pkcs8-aes128-sha1.key", "geheim", ""},
		{"traditional.key", "geheim", ""},
		{"pkcs8-aes256.key", "wrong", "missing or wrong password"},
		{"pkcs8-aes256.key", "", "missing or wrong password"},
		{"traditional.key", "wrong", "missing or wrong password"},
		{"pkcs8-scrypt.key", "geheim", "not PBKDF2"},
		{"absent.key", "", "no such file"},
	} {
		pair := tlsconf.KeyPair{CertFile: "testdata/cert.pem", KeyFile: "testdata/" + tc.file, Password: tc.password}
		_, err := pair.Load()
		if (err == nil) != (tc.text == "") || err != nil && (!strings.Contains(err.Error(), tc.text) || !strings.Contains(err.Error(), tc.file)) {
			t.Errorf("%s with %q: %v", tc.file, tc.password, err)
		}
		if strings.Contains(tc.text, "password") && !errors.Is(err, tlsconf.ErrKeyPassword) {
			t.Errorf("%s: %v is not ErrKeyPassword", tc.file, err)
		}
	}
}

// TestKeyInCertFile: without a key file the key is behind the certificate.
func TestKeyInCertFile(t *testing.T) {
	cert, err := os.ReadFile("testdata/cert.pem")
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile("testdata/pkcs8-aes256.key")
	if err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(both, append(cert, key...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (tlsconf.KeyPair{CertFile: both, Password: "geheim"}).Load(); err != nil {
		t.Error(err)
	}
}

func TestCipherSuites(t *testing.T) {
	suites, ignored := tlsconf.CipherSuites("ECDHE-RSA-AES128-GCM-SHA256:HIGH:ecdhe-ecdsa-chacha20-poly1305, !aNULL ECDHE-RSA-AES256-GCM-SHA384")
	want := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}
	if !slices.Equal(suites, want) || !slices.Equal(ignored, []string{"HIGH", "!aNULL"}) {
		t.Errorf("%x, ignored %v", suites, ignored)
	}
	if suites, _ := tlsconf.CipherSuites(""); suites != nil {
		t.Errorf("no list: %x", suites)
	}
}

// TestServerReload: contents decide, not names or serial numbers.
func TestServerReload(t *testing.T) {
	dir := t.TempDir()
	f := tlstest.New(t, "test").Issue(t, dir, "db1", "127.0.0.1")
	s, err := tlsconf.NewServer(tlsconf.ServerFiles{KeyPair: tlsconf.KeyPair{CertFile: f.Cert, KeyFile: f.Key}, CAFile: f.CA, VerifyClient: "required"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		change  func()
		changed bool
		bad     bool
	}{
		{"nothing", func() {}, false, false},
		{"another authority for clients", func() { overwrite(t, f.CA, tlstest.New(t, "other").PEM) }, true, false},
		{"the same again", func() {}, false, false},
		{"an empty authority", func() { overwrite(t, f.CA, nil) }, false, true},
		{"certificate gone", func() { _ = os.Remove(f.Cert) }, false, true},
		{"all new", func() { tlstest.New(t, "new").Issue(t, dir, "db1") }, true, false},
	} {
		tc.change()
		changed, err := s.Reload()
		if changed != tc.changed || (err != nil) != tc.bad {
			t.Errorf("%s: changed %v, %v", tc.name, changed, err)
		}
	}
}

func overwrite(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRESTClientVerify: what each level believes of a server that another
// authority signed, or that is called by a name it does not have.
func TestRESTClientVerify(t *testing.T) {
	ca, other := tlstest.New(t, "ours"), tlstest.New(t, "other")
	dir := t.TempDir()
	named, unnamed := ca.Issue(t, dir, "named", "127.0.0.1"), ca.Issue(t, dir, "unnamed")
	foreign := other.Issue(t, t.TempDir(), "foreign", "127.0.0.1")
	caDir := t.TempDir()
	overwrite(t, filepath.Join(caDir, "a.pem"), ca.PEM)
	overwrite(t, filepath.Join(caDir, "README"), []byte("no certificate"))

	for _, tc := range []struct {
		name   string
		server tlsconf.Files
		verify tlsconf.Verify
		ca     string
		good   bool
	}{
		{"full, named", named, tlsconf.VerifyFull, named.CA, true},
		{"full, a directory of authorities", named, tlsconf.VerifyFull, caDir, true},
		{"full, not named", unnamed, tlsconf.VerifyFull, named.CA, false},
		{"full, foreign", foreign, tlsconf.VerifyFull, named.CA, false},
		{"chain, not named", unnamed, tlsconf.VerifyChain, named.CA, true},
		{"chain, foreign", foreign, tlsconf.VerifyChain, named.CA, false},
		{"none, foreign", foreign, tlsconf.VerifyNone, "", true},
	} {
		client, err := tlsconf.NewClient(tlsconf.ClientFiles{CA: tc.ca, Verify: tc.verify})
		if err != nil {
			t.Fatal(err)
		}
		if err := handshake(t, tc.server, client); (err == nil) != tc.good {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if _, err := tlsconf.NewClient(tlsconf.ClientFiles{CA: filepath.Join(caDir, "README")}); err == nil {
		t.Error("a CA file without certificates was taken")
	}
}

func handshake(t *testing.T, files tlsconf.Files, client *tls.Config) error {
	t.Helper()
	s, err := tlsconf.NewServer(tlsconf.ServerFiles{KeyPair: tlsconf.KeyPair{CertFile: files.Cert, KeyFile: files.Key}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", s.Config())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.(*tls.Conn).Handshake() // the client's error tells
		conn.Close()
	}()
	defer func() { listener.Close(); <-done }()
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", listener.Addr().String(), client)
	if err != nil {
		return err
	}
	return conn.Close()
}
