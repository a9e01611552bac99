package config

import (
	"fmt"
	"net/url"
	"strings"
)

const defaultEtcdPort = 2379

// buildEtcd3 fills the endpoints: url and proxy before hosts before host
// (contract: config.md 3.2).
func (l *Local) buildEtcd3(n *Node) {
	l.Etcd3 = Etcd3{
		UseProxies:   n.boolean("use_proxies", false),
		SRV:          n.firstText("srv", "discovery_srv", "srv_domain"),
		SRVSuffix:    n.text("srv_suffix"),
		Username:     n.text("username"),
		Password:     Secret(n.text("password")),
		PasswordFile: n.text("password_file"),
		CACert:       n.text("cacert"),
		Cert:         n.text("cert"),
		Key:          n.text("key"),
	}
	switch e := &l.Etcd3; { // the key may live in the certificate's file, and is nothing without one
	case e.Cert == "":
		e.Key = ""
	case e.Key == "":
		e.Key = e.Cert
	}
	scheme := strings.ToLower(n.text("protocol"))
	setDefault(&scheme, "http")
	if scheme != "http" && scheme != "https" {
		l.dcsErrors = append(l.dcsErrors, l.problem("etcd3.protocol", fmt.Sprintf("expected http or https, got %q", scheme), ""))
		return
	}
	port := n.integer("port", 0)
	if port < 0 || port > 65535 {
		l.dcsErrors = append(l.dcsErrors, l.problem("etcd3.port", fmt.Sprintf("%d is no port", port), ""))
		return
	}
	switch {
	case n.text("proxy") != "":
		l.Etcd3.UseProxies = true
		l.Etcd3.SRV = ""
		l.etcdURL("etcd3.proxy", n.text("proxy"))
	case n.text("url") != "":
		l.Etcd3.SRV = ""
		l.etcdURL("etcd3.url", n.text("url"))
	case len(n.hosts("hosts")) > 0:
		for _, entry := range n.hosts("hosts") {
			l.etcdHost("etcd3.hosts", scheme, entry, port, false)
		}
	case n.text("host") != "":
		l.etcdHost("etcd3.host", scheme, n.text("host"), port, true)
		l.Etcd3.EveryAddress = !l.Etcd3.UseProxies // which stay as they are written
	}
}

// etcdHost adds one endpoint. The configured port beats that of host, and is
// the default for hosts.
func (l *Local) etcdHost(path, scheme, entry string, port int, portBeats bool) {
	if own, rest, ok := strings.Cut(entry, "://"); ok && (own == "http" || own == "https") {
		scheme, entry = own, strings.TrimSuffix(rest, "/")
	}
	host, own, err := splitHostPort(entry)
	if err == nil && host == "" {
		err = fmt.Errorf("%q: the host is missing", entry)
	}
	if err == nil && strings.ContainsAny(host, " \t/@") {
		err = fmt.Errorf("%q: not a host name", host)
	}
	if err != nil {
		l.dcsErrors = append(l.dcsErrors, l.problem(path, "expected host:port, got "+err.Error(), ""))
		return
	}
	if own == 0 || (portBeats && port != 0) {
		own = port
	}
	if own == 0 {
		own = defaultEtcdPort
	}
	l.Etcd3.Endpoints = append(l.Etcd3.Endpoints, scheme+"://"+joinHostPort(host, own))
}

// etcdURL takes scheme, host, port, user and password from a URL. One without
// a user also clears credentials given beside it: the URL is the whole truth.
func (l *Local) etcdURL(path, text string) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		// the text may hold a password: it is not repeated
		l.dcsErrors = append(l.dcsErrors, l.problem(path, "expected http[s]://[user:password@]host[:port]", ""))
		return
	}
	port := u.Port()
	setDefault(&port, fmt.Sprint(defaultEtcdPort))
	host, number, err := splitHostPort("[" + u.Hostname() + "]:" + port)
	if !strings.Contains(u.Hostname(), ":") {
		host, number, err = splitHostPort(u.Hostname() + ":" + port)
	}
	if err != nil {
		l.dcsErrors = append(l.dcsErrors, l.problem(path, "the port is not a number from 1 to 65535", ""))
		return
	}
	l.Etcd3.Endpoints = []string{u.Scheme + "://" + joinHostPort(host, number)}
	password, _ := u.User.Password()
	if l.Etcd3.Username != "" && u.User == nil {
		l.warn("etcd3.username", "not used: "+path+" has no user part and overrides it", "write user and password into the URL, or use hosts and protocol")
	}
	l.Etcd3.Username, l.Etcd3.Password = u.User.Username(), Secret(password)
}
