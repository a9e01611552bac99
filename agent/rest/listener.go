package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// listener wraps accepted connections in TLS when the settings of the moment
// say so: switching it on or off needs no new socket.
type listener struct {
	net.Listener
	tlsConfig func() *tls.Config
	held      *hold
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	for err != nil && l.held.park(err) {
		conn, err = l.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	if conf := l.tlsConfig(); conf != nil {
		return tls.Server(conn, conf), nil // the handshake is the server's, with its timeout
	}
	return conn, nil
}

func (s *Server) wrap(l net.Listener) *listener { return &listener{l, s.tlsConfig, &s.held} }

// tcpUserTimeout is TCP_USER_TIMEOUT of Linux, which package syscall lacks.
const tcpUserTimeout = 0x12

// listen binds the address. Accepted sockets inherit the time after which
// unacknowledged data ends a connection (contract: rest-api.md section 1).
func (s *Server) listen(ctx context.Context, address string) (*listener, error) {
	lc := net.ListenConfig{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var errSet error
			err := raw.Control(func(fd uintptr) {
				errSet = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, 10_000)
			})
			return errors.Join(err, errSet)
		},
	}
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("REST server: %w (is restapi.listen an address of this machine, and the port free?)", err)
	}
	return s.wrap(l), nil
}

// connections bounds how many are open. A new one beyond the bound takes the
// place of the one that has been idle, or silent from its beginning, for
// longest; if all are busy the new one is closed. So clients that connect and
// stay silent cannot lock the others out.
type connections struct {
	most int
	mu   sync.Mutex
	busy map[net.Conn]bool
	// fresh have not sent a request yet; they are among idle as well.
	fresh map[net.Conn]bool
	// idle in the order they became so, longest first.
	idle []net.Conn
}

func newConnections(most int) *connections {
	return &connections{most: most, busy: map[net.Conn]bool{}, fresh: map[net.Conn]bool{}}
}

// changed is http.Server.ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spoke(conn, state)
	delete(c.busy, conn)
	for i, other := range c.idle {
		if other == conn {
			c.idle = append(c.idle[:i], c.idle[i+1:]...)
			break
		}
	}
	switch state {
	case http.StateNew:
		c.makeRoom(conn)
		c.idle = append(c.idle, conn)
	case http.StateIdle:
		c.idle = append(c.idle, conn)
	case http.StateActive:
		c.busy[conn] = true
	case http.StateHijacked, http.StateClosed:
	}
}

func (c *connections) makeRoom(conn net.Conn) {
	if len(c.busy)+len(c.idle) < c.most {
		return
	}
	victim := conn
	if len(c.idle) > 0 {
		victim = c.idle[0]
	}
	// In its own time: closing TLS says goodbye, and waits for that.
	if t, isTLS := victim.(*tls.Conn); isTLS {
		victim = t.NetConn()
	}
	_ = victim.Close()
}
