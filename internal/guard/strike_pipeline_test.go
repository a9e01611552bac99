package guard_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"pgha/internal/clock"
)

// pipeline is a client that never lets its backend wait: the next statements
// are always there before the last is answered (pipeline mode, batches). Such
// a backend never looks whether its postmaster is alive, so the postmaster's
// end alone does not end it.
type pipeline struct {
	conn net.Conn
	mu   sync.Mutex
	last clock.Instant
	rows int64
	done chan struct{}
}

const pipelineFirst = 1 << 40 // apart from the other writer's numbers

// pipeline connects as PostgreSQL's protocol version 3 says, without a
// library: what is sent when is the point.
func (b *box) pipeline() *pipeline {
	b.t.Helper()
	conn, err := net.Dial("unix", b.dir+"/.s.PGSQL.5432")
	must(b.t, err)
	p := &pipeline{conn: conn, done: make(chan struct{})}
	hello := append(binary.BigEndian.AppendUint32(nil, 3<<16), "user\x00postgres\x00database\x00postgres\x00\x00"...)
	_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(hello)+4)), hello...))
	must(b.t, err)
	in := bufio.NewReader(conn)
	for kind := byte(0); kind != 'Z'; {
		if kind, err = message(in); err != nil || kind == 'E' {
			b.t.Fatalf("connect: %c %v", kind, err)
		}
	}
	go func() { // ends with the connection
		for n := int64(pipelineFirst); ; n++ {
			text := fmt.Sprintf("insert into t values (%d)\x00", n)
			q := append([]byte{'Q'}, binary.BigEndian.AppendUint32(nil, uint32(len(text)+4))...)
			if _, err := conn.Write(append(q, text...)); err != nil {
				return
			}
		}
	}()
	go func() {
		defer close(p.done)
		for {
			kind, err := message(in)
			if err != nil || kind == 'E' {
				return
			}
			if kind == 'C' {
				p.mu.Lock()
				p.rows, p.last = p.rows+1, clock.Now()
				p.mu.Unlock()
			}
		}
	}()
	b.t.Cleanup(func() { conn.Close(); <-p.done })
	return p
}

// message reads one message and returns its type.
func message(in *bufio.Reader) (kind byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, err
	}
	_, err = in.Discard(int(binary.BigEndian.Uint32(head[1:])) - 4)
	return head[0], err
}

func (p *pipeline) acknowledged() (rows int64, last clock.Instant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rows, p.last
}

// judge checks the acknowledgements against the lease.
func (p *pipeline) judge(t *testing.T, deadline clock.Instant) {
	t.Helper()
	rows, last := p.acknowledged()
	if rows == 0 {
		t.Error("the pipelining client wrote nothing")
	}
	if last.After(deadline) {
		t.Errorf("pipelining client: acknowledged %v after the lease's end", last.Sub(deadline))
	}
	t.Logf("pipelining client: %d rows, the last %v before the lease ends", rows, deadline.Sub(last))
}
