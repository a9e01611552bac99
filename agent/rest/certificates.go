package rest

import (
	"crypto/x509"
	"encoding/pem"
	"maps"
	"os"
	"sync"
	"time"
)

// certificates knows when the certificates of some files end. Files are read
// by refresh, never by a scrape: a file system that hangs must not take the
// metrics with it.
type certificates struct {
	files func() []string // may be nil

	mu    sync.Mutex
	until map[string]time.Time
}

// refresh reads the files. What cannot be read or holds no certificate is
// left out: the part that uses the file says so.
func (c *certificates) refresh() {
	if c.files == nil {
		return
	}
	until := map[string]time.Time{}
	for _, file := range c.files() {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if end := firstEnd(text); !end.IsZero() {
			until[file] = end
		}
	}
	c.mu.Lock()
	c.until = until
	c.mu.Unlock()
}

// ends is by file when the first of its certificates ends.
func (c *certificates) ends() map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.until)
}

// firstEnd is the earliest end among the certificates of a PEM file; zero:
// there are none.
func firstEnd(text []byte) (first time.Time) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && (first.IsZero() || cert.NotAfter.Before(first)) {
			first = cert.NotAfter
		}
	}
	return first
}
