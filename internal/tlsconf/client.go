package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// Files names PEM files. All may be empty: the system's authorities, no
// certificate of our own.
type Files struct {
	// CA holds the authorities a server must be signed by.
	CA string
	// Cert and Key are shown to servers that ask; both or none.
	Cert, Key string
}

// Client returns the configuration for connections to a server of that name
// (or IP address). Certificate, key and authorities are read again for each
// connection after they changed; files that cannot be read then end that
// connection (certificate, key) or leave the last good authorities in force.
func Client(f Files, serverName string) (*tls.Config, error) {
	info := transport.TLSInfo{TrustedCAFile: f.CA, CertFile: f.Cert, KeyFile: f.Key, ServerName: serverName}
	cfg, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("TLS for %s: %w", serverName, err)
	}
	cfg.ServerName = serverName
	if f.CA == "" {
		return cfg, nil
	}
	cas := &authorities{file: f.CA}
	if _, err := cas.current(); err != nil {
		return nil, fmt.Errorf("TLS for %s: %w", serverName, err)
	}
	// crypto/tls takes its authorities once. So its own check is replaced by
	// the same one over the current file.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		pool, err := cas.current()
		if err != nil {
			return err
		}
		return verify(state, pool, serverName)
	}
	return cfg, nil
}

// verify is crypto/tls's check of a server.
func verify(state tls.ConnectionState, pool *x509.CertPool, serverName string) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("verify %s: it showed no certificate", serverName)
	}
	opts := x509.VerifyOptions{Roots: pool, DNSName: serverName, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(opts)
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// authorities is a CA file, parsed again when it changed.
type authorities struct {
	file string

	mu   sync.Mutex
	seen fs.FileInfo
	pool *x509.CertPool
}

// current returns the authorities in the file now; the last good ones when it
// cannot be read or holds none.
func (a *authorities) current() (*x509.CertPool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, err := os.Stat(a.file)
	if err == nil && a.seen != nil && now.ModTime().Equal(a.seen.ModTime()) && now.Size() == a.seen.Size() && os.SameFile(now, a.seen) {
		return a.pool, nil
	}
	pool, err := readCAs(a.file)
	switch {
	case err == nil:
		a.pool, a.seen = pool, now
	case a.pool == nil:
		return nil, err
	}
	return a.pool, nil
}

func readCAs(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authorities: %s holds no certificate", file)
	}
	return pool, nil
}
