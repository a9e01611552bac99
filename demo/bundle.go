package demo

import (
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"os"
)

// bundle holds etcdtrio.gz when the binary comes from `make build`; a plain
// `go build` has only the README.
//
//go:embed bundle
var bundle embed.FS

const bundleName = "bundle/etcdtrio.gz"

// bundled says whether this binary carries the demo's etcd.
func bundled() bool {
	f, err := bundle.Open(bundleName)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// unpack writes the demo's etcd to path.
func unpack(path string) error {
	f, err := bundle.Open(bundleName)
	if err != nil {
		return setupErrorf("this pgha was built without its etcd")
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("unpack the demo's etcd: %w", err)
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, zipped); err != nil {
		out.Close()
		return fmt.Errorf("unpack the demo's etcd: %w", err)
	}
	return out.Close()
}
