package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// splitHostPort splits "host:port" at the last colon. IPv6 addresses may
// stand in brackets; without them the part behind the last colon is the port
// when what precedes it is an address by itself ("::1:5432"). Port 0: none.
func splitHostPort(text string) (host string, port int, err error) {
	text = strings.TrimSpace(text)
	host = text
	if at := strings.LastIndexByte(text, ':'); at >= 0 && !strings.HasSuffix(text, "]") {
		head, tail := text[:at], text[at+1:]
		if !strings.Contains(head, ":") || isAddress(head) {
			p, err := strconv.Atoi(tail)
			if err != nil || p < 1 || p > 65535 {
				return "", 0, fmt.Errorf("%q: port %q is not a number from 1 to 65535", text, tail)
			}
			host, port = head, p
		}
	}
	host = strings.TrimSpace(host)
	if strings.Contains(host, ":") && !isAddress(host) {
		return "", 0, fmt.Errorf("%q: not an IPv6 address", host)
	}
	return strings.Trim(host, "[]"), port, nil
}

// isAddress says whether the text is an IP address, in brackets or not.
func isAddress(text string) bool {
	_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return err == nil
}

// splitListen splits "addr[,addr...][:port]", the port at the end counting
// for all of them, into the list for listen_addresses and the port.
func splitListen(text string, defaultPort int) (addresses string, port int, err error) {
	var hosts []string
	port = defaultPort
	parts := strings.Split(text, ",")
	for i, part := range parts {
		host, p, err := splitHostPort(part)
		if err != nil {
			return "", 0, err
		}
		if p != 0 && i < len(parts)-1 {
			return "", 0, fmt.Errorf("%q: the port stands once, behind the last address", text)
		}
		if p != 0 {
			port = p
		}
		if host == "" {
			return "", 0, fmt.Errorf("%q: an address is missing", text)
		}
		hosts = append(hosts, host)
	}
	return strings.Join(hosts, ","), port, nil
}

// joinHostPort is net.JoinHostPort with a number.
func joinHostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// LocalHost is where the agent reaches its own PostgreSQL by TCP: localhost
// if the server listens there, else the first address (contract: config.md 5.7).
func (p PostgreSQL) LocalHost() string {
	hosts := strings.Split(p.Listen, ",")
	for _, host := range hosts {
		switch host {
		case "*", "localhost", "0.0.0.0", "127.0.0.1":
			return "localhost"
		}
	}
	return hosts[0]
}
