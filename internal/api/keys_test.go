package api_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgha/internal/api"
	"pgha/internal/config"
	"pgha/internal/tlsconf/tlstest"
)

// Every key of ctl, from the file to a member's answer: with the right value
// there is one, with another one there is none. Subtests are named after the
// keys (ctl contract, section 8).
func TestCtlKeys(t *testing.T) {
	dir := t.TempDir()
	ca, other := tlstest.New(t, "ours"), tlstest.New(t, "theirs")
	server, client := ca.Issue(t, dir, "server", "127.0.0.1"), ca.Issue(t, dir, "client", "127.0.0.1")
	foreign := other.Issue(t, t.TempDir(), "foreign", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(server.Cert, server.Key)
	if err != nil {
		t.Fatal(err)
	}
	const encrypted = "../tlsconf/testdata/" // a pair whose key openssl has encrypted
	member := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s:%s", user, password)
	}))
	member.Config.ErrorLog = log.New(io.Discard, "", 0)
	member.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	member.StartTLS()
	t.Cleanup(member.Close)
	ask := func(ctl string) (string, error) {
		file := filepath.Join(t.TempDir(), "patroni.yml")
		text := "scope: s\nrestapi: {authentication: {username: rest, password: p}}\nctl: {" + ctl + "}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := config.LoadLocal(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := api.NewToolClient(l.Ctl, l.RestAPI, false, "test")
		if err != nil {
			return "", err
		}
		defer c.CloseIdle()
		a, err := c.Do(context.Background(), http.MethodGet, member.URL, "patroni", nil)
		return a.Text(), err
	}
	files := func(ca, cert, key, more string) string {
		return strings.TrimSuffix("cacert: "+ca+", certfile: "+cert+", keyfile: "+key+", "+more, ", ")
	}
	good := files(client.CA, client.Cert, client.Key, "")
	secret := files(client.CA, encrypted+"cert.pem", encrypted+"pkcs8-aes256.key", "keyfile_password: ")
	for _, c := range []struct{ key, right, want, wrong string }{
		{"ctl.cacert", good, "rest:p", files(foreign.CA, client.Cert, client.Key, "")},
		{"ctl.certfile", good, "rest:p", "cacert: " + client.CA},
		{"ctl.keyfile", good, "rest:p", files(client.CA, client.Cert, foreign.Key, "")},
		{"ctl.keyfile_password", secret + "geheim", "rest:p", secret + "wrong"},
		{"ctl.authentication.username", good + ", authentication: {username: boss, password: b}", "boss:b", ""},
		{"ctl.authentication.password", good + ", authentication: {username: rest, password: other}", "rest:other", ""},
	} {
		t.Run(c.key, func(t *testing.T) {
			if got, err := ask(c.right); err != nil || got != c.want {
				t.Errorf("%s: %q, %v, want %q", c.right, got, err, c.want)
			}
			if c.wrong == "" {
				return
			}
			if got, err := ask(c.wrong); err == nil {
				t.Errorf("%s: answered %q", c.wrong, got)
			}
		})
	}
	t.Run("ctl.insecure", func(t *testing.T) { // the name is not looked at, and without a certificate of our own nothing is
		unnamed := ca.Issue(t, t.TempDir(), "elsewhere")
		pair, err := tls.LoadX509KeyPair(unnamed.Cert, unnamed.Key)
		if err != nil {
			t.Fatal(err)
		}
		member.TLS.Certificates = []tls.Certificate{pair}
		if got, err := ask(good); err == nil {
			t.Errorf("a certificate for another name: answered %q", got)
		}
		if got, err := ask("insecure: true, " + good); err != nil || got != "rest:p" {
			t.Errorf("insecure: %q, %v", got, err)
		}
	})
}
