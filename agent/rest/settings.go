package rest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"pgha/internal/api"
	"pgha/internal/config"
	"pgha/internal/tlsconf"
)

// settings is the configuration in force, replaced as a whole.
type settings struct {
	conf         config.RestAPI
	address      string // to listen on
	policy       *policy
	serverHeader string
	tls          *tlsconf.Server // nil: plain HTTP
}

// newSettings validates and reads files. Errors: an address that is none, a
// certificate that cannot be used.
func newSettings(ctx context.Context, conf config.RestAPI, version string, log *slog.Logger) (*settings, error) {
	address, err := listenAddress(conf.Listen)
	if err != nil {
		return nil, err
	}
	set := &settings{conf: conf, address: address, policy: newPolicy(ctx, conf), serverHeader: serverHeader(conf.ServerTokens, version, log)}
	for _, entry := range set.policy.unresolved {
		log.Error("restapi.allowlist: the entry is no network and no host that can be resolved: it admits nobody", "entry", entry)
	}
	if set.policy.open() {
		log.Warn("restapi has neither authentication nor verify_client nor allowlist: changes are accepted from this machine and the cluster's members only")
	}
	switch strings.ToLower(conf.VerifyClient) {
	case "", "none", "optional", "required":
	default:
		log.Error("restapi.verify_client must be none, optional or required: taken as none", "value", conf.VerifyClient)
	}
	if conf.CertFile == "" {
		return set, nil
	}
	if _, ignored := tlsconf.CipherSuites(conf.Ciphers); len(ignored) > 0 {
		log.Warn("restapi.ciphers: names that are not supported are ignored", "names", strings.Join(ignored, ":"))
	}
	set.tls, err = tlsconf.NewServer(tlsFiles(conf))
	if err != nil {
		return nil, fmt.Errorf("restapi: %w", err)
	}
	return set, nil
}

func tlsFiles(conf config.RestAPI) tlsconf.ServerFiles {
	return tlsconf.ServerFiles{
		KeyPair:      tlsconf.KeyPair{CertFile: conf.CertFile, KeyFile: conf.KeyFile, Password: conf.KeyFilePassword.Reveal()},
		CAFile:       conf.CAFile,
		VerifyClient: conf.VerifyClient,
		Ciphers:      conf.Ciphers,
	}
}

// listenAddress turns the setting into what net.Listen takes: an empty host
// or * is every address, IPv6 and IPv4.
func listenAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "" {
		//lint:ignore ST1005 the reference's text
		return "", fmt.Errorf(`Invalid "restapi" config: expected <HOST>:<PORT> for "listen", but got "%s"`, listen)
	}
	if host == "*" {
		host = ""
	}
	return net.JoinHostPort(host, port), nil
}

// serverHeader is the header Server for server_tokens.
func serverHeader(tokens, version string, log *slog.Logger) string {
	switch strings.ToLower(tokens) {
	case "productonly":
		return "Patroni"
	case "minimal":
		return "Patroni/" + api.PatroniVersion
	case "", "original":
	default:
		log.Warn("restapi.server_tokens must be original, minimal or productonly: taken as original", "value", tokens)
	}
	return "BaseHTTP/0.6 pgha/" + version
}

// extraHeaders are the configured ones; those for HTTPS win over equal names.
func (s *settings) extraHeaders(secure bool) map[string]string {
	if !secure || len(s.conf.HTTPSExtraHeaders) == 0 {
		return s.conf.HTTPExtraHeaders
	}
	merged := make(map[string]string, len(s.conf.HTTPExtraHeaders)+len(s.conf.HTTPSExtraHeaders))
	for _, headers := range []map[string]string{s.conf.HTTPExtraHeaders, s.conf.HTTPSExtraHeaders} {
		for key, value := range headers {
			merged[key] = value
		}
	}
	return merged
}
