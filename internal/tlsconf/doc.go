// Package tlsconf turns configuration into *tls.Config values that follow
// their files. It is the only place that builds one.
package tlsconf
