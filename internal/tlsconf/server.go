package tlsconf

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
)

// ServerFiles says how the REST server identifies itself and its clients
// (contract: rest-api.md section 15).
type ServerFiles struct {
	KeyPair
	// CAFile verifies client certificates; empty: the system's store.
	CAFile string
	// VerifyClient is none (or empty), optional, required; any case.
	VerifyClient string
	// Ciphers is an OpenSSL list for TLS up to 1.2; empty: Go's choice.
	Ciphers string
}

// Server is a TLS configuration of a server that follows its files. All
// methods are safe for concurrent use.
type Server struct {
	files   ServerFiles
	current atomic.Pointer[serverState]
}

type serverState struct {
	config *tls.Config
	sum    [sha256.Size]byte
}

// NewServer reads the files. Errors: one of them is missing, damaged, or the
// key does not belong to the certificate.
func NewServer(files ServerFiles) (*Server, error) {
	s := &Server{files: files}
	if _, err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Files returns what the server was made from.
func (s *Server) Files() ServerFiles { return s.files }

// Config is for tls.Server: each handshake uses what the last successful
// Reload read.
func (s *Server) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.current.Load().config, nil
		},
	}
}

// Reload reads certificate, key and CA again and says whether any content
// changed (a renewed key under the same serial number counts). After an error
// the old configuration stays: a half-finished rotation must not close the
// server. Call it again later then.
func (s *Server) Reload() (changed bool, err error) {
	cert, key, ca, err := s.read()
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(bytes.Join([][]byte{cert, key, ca}, []byte{0}))
	if old := s.current.Load(); old != nil && old.sum == sum {
		return false, nil
	}
	config, err := s.build(cert, key, ca)
	if err != nil {
		return false, err
	}
	s.current.Store(&serverState{config: config, sum: sum})
	return true, nil
}

func (s *Server) read() (cert, key, ca []byte, err error) {
	if cert, err = os.ReadFile(s.files.CertFile); err != nil {
		return nil, nil, nil, fmt.Errorf("certificate: %w", err)
	}
	key = cert
	if s.files.KeyFile != "" {
		if key, err = os.ReadFile(s.files.KeyFile); err != nil {
			return nil, nil, nil, fmt.Errorf("private key: %w", err)
		}
	}
	if s.files.CAFile != "" {
		if ca, err = os.ReadFile(s.files.CAFile); err != nil {
			return nil, nil, nil, fmt.Errorf("CA: %w", err)
		}
	}
	return cert, key, ca, nil
}

func (s *Server) build(cert, key, ca []byte) (*tls.Config, error) {
	keyFile := s.files.KeyFile
	if keyFile == "" {
		keyFile = s.files.CertFile
	}
	pair, err := s.files.parse(cert, key, keyFile)
	if err != nil {
		return nil, err
	}
	suites, _ := CipherSuites(s.files.Ciphers)
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
		Certificates: []tls.Certificate{pair},
		CipherSuites: suites,
		ClientAuth:   s.files.clientAuth(),
	}
	if ca != nil {
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("CA %s: no certificate in it", s.files.CAFile)
		}
	}
	return config, nil
}

func (f ServerFiles) clientAuth() tls.ClientAuthType {
	switch strings.ToLower(f.VerifyClient) {
	case "required":
		return tls.RequireAndVerifyClientCert
	case "optional":
		return tls.VerifyClientCertIfGiven
	}
	return tls.NoClientCert
}

// CipherSuites translates an OpenSSL cipher list. Names Go does not offer,
// and keywords such as HIGH or !aNULL, are returned as ignored. No known name
// at all gives nil suites: Go's own choice.
func CipherSuites(list string) (suites []uint16, ignored []string) {
	known := map[string]uint16{}
	for _, suite := range tls.CipherSuites() {
		if slices.Contains(suite.SupportedVersions, tls.VersionTLS12) { // 1.3 has no choice
			known[opensslName(suite.Name)] = suite.ID
		}
	}
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(": ,;", r) }) {
		if id, ok := known[strings.ToUpper(name)]; ok {
			suites = append(suites, id)
		} else {
			ignored = append(ignored, name)
		}
	}
	return suites, ignored
}

// opensslName turns TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 into
// ECDHE-RSA-AES128-GCM-SHA256.
func opensslName(goName string) string {
	name := strings.NewReplacer("TLS_", "", "_WITH", "", "AES_", "AES", "_CBC", "").Replace(goName)
	if strings.Contains(name, "CHACHA20") {
		name = strings.TrimSuffix(name, "_SHA256")
	}
	return strings.ReplaceAll(name, "_", "-")
}

// loadPool reads a file, or every file of a directory, of CA certificates.
func loadPool(path string) (*x509.CertPool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("CA: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("CA: %w", err)
		}
		files = files[:0]
		for _, e := range entries {
			files = append(files, path+"/"+e.Name())
		}
	}
	pool, found := x509.NewCertPool(), false
	var errs []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = pool.AppendCertsFromPEM(text) || found
	}
	if !found {
		return nil, errors.Join(append([]error{fmt.Errorf("CA %s: no certificate in it", path)}, errs...)...)
	}
	return pool, nil
}
