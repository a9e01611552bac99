package guard

import "syscall"

// MaxLine bounds one line of the protocol in bytes, its newline included.
const MaxLine = 64 << 10

const maxConns = 16

// conn is one client. Nothing it does or fails to do makes the guard wait.
type conn struct {
	fd     int
	pid    int
	epoch  uint64 // 0: observer
	greet  bool   // said hello
	in     []byte
	closed bool
}

// accept takes one waiting client of our own user or root's.
func (g *guard) accept() {
	fd, _, err := syscall.Accept4(g.listen, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
	if err != nil {
		return
	}
	cred, err := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil || cred.Uid != 0 && int(cred.Uid) != syscall.Geteuid() {
		syscall.Close(fd)
		return
	}
	if len(g.conns) >= maxConns {
		g.evict()
	}
	g.conns = append(g.conns, &conn{fd: fd, pid: int(cred.Pid)})
}

// evict makes room: observers and the oldest incarnation first.
func (g *guard) evict() {
	oldest := g.conns[0]
	for _, c := range g.conns {
		if c.epoch < oldest.epoch {
			oldest = c
		}
	}
	g.drop(oldest)
	g.forget()
}

func (g *guard) drop(c *conn) {
	if !c.closed {
		c.closed = true
		syscall.Close(c.fd)
	}
}

// forget removes the connections that were dropped.
func (g *guard) forget() {
	kept := make([]*conn, 0, len(g.conns))
	for _, c := range g.conns {
		if !c.closed {
			kept = append(kept, c)
		}
	}
	g.conns = kept
}

// receive reads what is there, once, and answers the complete lines.
func (g *guard) receive(c *conn) {
	if c.closed {
		return
	}
	var buf [4096]byte
	n, err := syscall.Read(c.fd, buf[:])
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return
	}
	if err != nil || n == 0 {
		g.drop(c)
		return
	}
	c.in = append(c.in, buf[:n]...)
	for !c.closed {
		end := indexByte(c.in, '\n')
		if end < 0 {
			break
		}
		line := string(c.in[:end])
		c.in = c.in[end+1:]
		g.step(bootNow()) // a stage that is due comes before the request
		g.send(c, g.safely(c, line))
	}
	switch {
	case len(c.in) >= MaxLine:
		g.drop(c)
	case len(c.in) == 0:
		c.in = nil // the room of a long line is not kept
	}
}

// safely answers a line; a fault of ours in the answer must not end
// PostgreSQL.
func (g *guard) safely(c *conn, line string) (answer string) {
	defer func() {
		if recover() != nil {
			answer = refuse(codeRefused, "internal fault")
		}
	}()
	return g.answer(c, line)
}

// send writes a line, or drops a client that does not read its answers.
func (g *guard) send(c *conn, line string) {
	if c.closed {
		return
	}
	out := []byte(line + "\n")
	if n, err := syscall.Write(c.fd, out); err != nil || n != len(out) {
		g.drop(c)
	}
}

// event tells every client that greeted.
func (g *guard) event(text string) {
	for _, c := range g.conns {
		if c.greet {
			g.send(c, "event "+text)
		}
	}
}

func indexByte(b []byte, x byte) int {
	for i := range b {
		if b[i] == x {
			return i
		}
	}
	return -1
}
