package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// Verify says how far a client believes a server's certificate.
type Verify int

const (
	// VerifyFull checks chain and host name.
	VerifyFull Verify = 0
	// VerifyChain checks the chain only: members call each other by
	// addresses their certificates need not name.
	VerifyChain Verify = 1
	// VerifyNone believes everything.
	VerifyNone Verify = 2
)

// ClientFiles says how a client of the members' REST servers identifies
// itself and them.
type ClientFiles struct {
	KeyPair // without CertFile: no client certificate
	// CA is a file or a directory; empty: the system's store.
	CA     string
	Verify Verify
}

// NewClient builds the configuration of a REST client. Errors name the file.
// The client certificate is read anew at each handshake, so a renewed one is
// used without a reload.
func NewClient(f ClientFiles) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" && f.Verify != VerifyNone {
		pool, err := loadPool(f.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	if f.CertFile != "" {
		if _, err := f.KeyPair.Load(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := f.KeyPair.Load()
			return &pair, err
		}
	}
	switch f.Verify {
	case VerifyNone:
		config.InsecureSkipVerify = true
	case VerifyChain:
		// The library checks chain and name together or not at all.
		config.InsecureSkipVerify = true
		config.VerifyConnection = verifyChain(config.RootCAs)
	case VerifyFull:
	}
	return config, nil
}

func verifyChain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		between := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		if err != nil {
			return fmt.Errorf("server certificate: %w", err)
		}
		return nil
	}
}
