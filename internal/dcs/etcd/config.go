package etcd

import (
	"pgha/internal/config"
	"pgha/internal/tlsconf"
)

// FromConfig is where a configuration says that etcd is, and which scope
// there is meant. Timing, clock and log are the caller's.
func FromConfig(l *config.Local) Options {
	e := l.Etcd3
	return Options{
		Endpoints: e.Endpoints, UseProxies: e.UseProxies, EveryAddress: e.EveryAddress, SRV: e.SRV, SRVSuffix: e.SRVSuffix,
		Username: e.Username, Password: e.Password, PasswordFile: e.PasswordFile,
		TLS:       tlsconf.Files{CA: e.CACert, Cert: e.Cert, Key: e.Key},
		Namespace: l.Namespace, Scope: l.Scope, Member: l.Name,
	}
}
