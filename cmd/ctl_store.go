package cmd

import (
	"context"
	"os"
	"time"

	"pgha/ctl"
	"pgha/internal/config"
	"pgha/internal/dcs/etcd"
	"pgha/internal/tlsconf"
)

// production is the world outside a real process.
func production() outside {
	return outside{environ: os.Environ(), open: openStore, now: time.Now}
}

// openStore is an operator's view of one scope in etcd: no name, no lease.
// Nothing is connected before the first request.
func openStore(ctx context.Context, local *config.Local, scope string) (ctl.Store, error) {
	e := local.Etcd3
	namespace := local.Namespace
	if namespace == "" {
		namespace = "/service"
	}
	store, err := etcd.Open(ctx, etcd.Options{
		Endpoints: e.Endpoints, UseProxies: e.UseProxies, EveryAddress: e.EveryAddress, SRV: e.SRV, SRVSuffix: e.SRVSuffix,
		Username: e.Username, Password: e.Password, PasswordFile: e.PasswordFile,
		TLS:       tlsconf.Files{CA: e.CACert, Cert: e.Cert, Key: e.Key},
		Namespace: namespace, Scope: scope,
		TTL: 30 * time.Second, LoopWait: 10 * time.Second, RetryTimeout: 10 * time.Second, // shape TCP keepalive only
	})
	if err != nil {
		return nil, err // not store: a nil *etcd.Store is no nil Store
	}
	return store, nil
}
