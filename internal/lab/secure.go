package lab

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"

	"pgha/internal/tlsconf"
	"pgha/internal/tlsconf/tlstest"
)

// RESTUser and RESTPassword are what a Secure cluster's API asks for.
const (
	RESTUser     = "restuser"
	RESTPassword = "a: pass#word" // what must be quoted in YAML, and a colon
)

// secure gives the member a certificate of the cluster's authority and returns
// the further lines of its sections restapi and ctl.
func (m *Member) secure() (restapi, ctl []string) {
	m.lab.t.Helper()
	c := m.cluster
	if !c.Secure {
		return nil, nil
	}
	if c.authority == nil {
		c.authority = tlstest.New(m.lab.t, "authority")
	}
	if m.tls == (tlsconf.Files{}) {
		m.tls = c.authority.Issue(m.lab.t, m.Dir, m.Name, m.Addr)
		for _, file := range []string{m.tls.CA, m.tls.Cert, m.tls.Key} {
			if m.lab.cred != nil {
				m.lab.must(os.Chown(file, int(m.lab.cred.Uid), int(m.lab.cred.Gid)))
			}
		}
	}
	restapi = []string{
		"certfile: " + m.tls.Cert, "keyfile: " + m.tls.Key, "cafile: " + m.tls.CA, "verify_client: required",
		"authentication:", "  username: " + RESTUser, "  password: '" + RESTPassword + "'",
	}
	return restapi, []string{"cacert: " + m.tls.CA, "certfile: " + m.tls.Cert, "keyfile: " + m.tls.Key}
}

// scheme is how the member's API is spoken to.
func (m *Member) scheme() string {
	if m.cluster.Secure {
		return "https"
	}
	return "http"
}

// identify adds the client's certificate and, for a change, the password.
func (m *Member) identify(transport *http.Transport, req *http.Request) {
	m.lab.t.Helper()
	if !m.cluster.Secure {
		return
	}
	pair, err := tls.LoadX509KeyPair(m.tls.Cert, m.tls.Key)
	m.lab.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(m.cluster.authority.PEM)
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}
	if req.Method != http.MethodGet {
		req.SetBasicAuth(RESTUser, RESTPassword)
	}
}
