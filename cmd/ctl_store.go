package cmd

import (
	"context"
	"os"
	"time"

	"pgha/ctl"
	"pgha/internal/config"
	"pgha/internal/dcs/etcd"
)

// production is the world outside a real process.
func production() outside {
	return outside{environ: os.Environ(), open: openStore, now: time.Now}
}

// openStore is an operator's view of one scope in etcd: no name, no lease.
// Nothing is connected before the first request.
func openStore(ctx context.Context, local *config.Local, scope string) (ctl.Store, error) {
	o := etcd.FromConfig(local)
	o.Scope, o.Member = scope, ""
	if o.Namespace == "" {
		o.Namespace = "/service"
	}
	o.TTL, o.LoopWait, o.RetryTimeout = 30*time.Second, 10*time.Second, 10*time.Second // shape TCP keepalive only
	store, err := etcd.Open(ctx, o)
	if err != nil {
		return nil, err // not store: a nil *etcd.Store is no nil Store
	}
	return store, nil
}
