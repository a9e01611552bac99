package chaos

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/lab"
)

// insideName marks the sessions whose statement has to be ended from outside.
const insideName = "chaos inside"

// loop is a statement that commits row after row and is answered only at its
// end. After each commit it writes the row's number, times and position into
// one of two files beside the data directory, in turn (one may be half written
// when it is killed): that is its acknowledgement, and it outlives a rewind.
//
// Parameters: client, work per row (a statement), file, latest end.
const loop = `do $loop$
declare n bigint := 0; at bigint; tli text; lsn bigint;
begin
	while clock_timestamp() < to_timestamp(%[4]d) loop
		n := n + 1;
		%[2]s;
		insert into chaos_rows values (%[1]d, n);
		select ` + returning + ` into at, tli, lsn;
		commit;
		execute format('copy (select %%s, %%s, (extract(epoch from clock_timestamp()) * 1000000)::bigint, %%L, %%s) to %%L (format csv)',
			n, at, tli, lsn, '%[3]s.' || n %% 2);
	end loop;
end $loop$`

// inside keeps such a statement running on the member while it is a primary.
// Each session is a client of its own: of its log the first and the last
// sample stand for all rows between.
func (c *company) inside(ctx context.Context, m *lab.Member, computes bool) {
	work := "perform pg_sleep(0.03)"
	if computes {
		work = "perform count(*) from generate_series(1, 20000)"
	}
	for ; ctx.Err() == nil; rest(ctx, 250*time.Millisecond) {
		conn, err := primaryOnly(ctx, m.ConnectSocket)
		if err != nil {
			continue
		}
		l := c.log(Inside, m.Name)
		file := filepath.Join(m.Dir, fmt.Sprintf("inside-%d", l.Client))
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn.PgConn().Exec(ctx, "set application_name = '"+insideName+"'").Close()
			_, err := conn.PgConn().Exec(ctx, fmt.Sprintf(loop, l.Client, work, file, c.until.Unix())).ReadAll()
			l.failed(err)
			conn.Close(context.Background())
		}()
		// The statement may go on when its client is gone: its files are
		// followed until the round's end.
		c.wait.Go(func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				l.follow(file)
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
			l.follow(file)
		})
		<-done
	}
}

// follow reads the newer of the two files.
func (l *Log) follow(file string) {
	for _, name := range []string{file + ".0", file + ".1"} {
		text, err := os.ReadFile(name)
		if err != nil || !strings.HasSuffix(string(text), "\n") {
			continue
		}
		f := strings.Split(strings.TrimSpace(string(text)), ",")
		if len(f) != 5 {
			continue
		}
		var n [5]int64
		for i, word := range f {
			if i != 3 {
				n[i], _ = strconv.ParseInt(word, 10, 64)
			}
		}
		l.mu.Lock()
		newer := n[0] > l.sent
		l.sent = max(l.sent, n[0])
		l.mu.Unlock()
		if newer {
			l.add(Ack{ID: n[0], At: time.UnixMicro(n[1]), Acked: time.UnixMicro(n[2]), Server: l.Host, Timeline: hex(f[3]), LSN: uint64(n[4])})
		}
	}
}

// endInside ends the statements that still run on a member.
func endInside(m *lab.Member) {
	m.Query("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = '" + insideName + "'")
}

// pipelineAhead is how many statements are under way at most: enough that the
// backend always finds the next one. Over the network and on a busy machine it
// takes longer until the next ones arrive.
const (
	pipelineAhead = 32
	remoteAhead   = 512
)

// pipeline keeps a client on the member that never lets its backend wait:
// such a backend never looks whether its postmaster is alive. It speaks
// PostgreSQL's protocol 3 itself, because what is sent when is the point.
func (c *company) pipeline(ctx context.Context, m *lab.Member, kind Kind, connect func(context.Context) (*pgx.Conn, error)) {
	for ; ctx.Err() == nil; rest(ctx, 250*time.Millisecond) {
		conn, err := primaryOnly(ctx, connect)
		if err != nil {
			continue
		}
		raw, err := conn.PgConn().Hijack() // logged in, nothing under way
		if err != nil {
			conn.Close(ctx)
			continue
		}
		host := m.Name
		if kind == Remote {
			host = c.scene.app.Name
		}
		l := c.log(kind, host)
		stop := context.AfterFunc(ctx, func() { raw.Conn.Close() })
		// A cut network is silent, and its client's next one must not wait for it.
		l.failed(l.stream(raw.Conn, m.Name))
		stop()
		raw.Conn.Close()
	}
}

// silent is how long a pipelining client waits for an answer.
const silent = 2 * time.Second

// stream writes and reads until the connection to that server ends.
func (l *Log) stream(conn net.Conn, server string) error {
	in := bufio.NewReader(conn)
	size := pipelineAhead
	if l.Kind == Remote {
		size = remoteAhead
	}
	ahead := make(chan struct{}, size)
	closed := make(chan struct{})
	defer close(closed)
	go func() {
		for {
			select {
			case <-closed:
				return
			case ahead <- struct{}{}:
			}
			// The count keeps the rate at some hundred rows a second.
			text := fmt.Sprintf("insert into chaos_rows values (%d, %d) returning %s, (select count(*) from generate_series(1, 10000))\x00",
				l.Client, l.next(), returning)
			q := append([]byte{'Q'}, binary.BigEndian.AppendUint32(nil, uint32(len(text)+4))...)
			if _, err := conn.Write(append(q, text...)); err != nil {
				return
			}
		}
	}()
	var a Ack
	for id := int64(1); ; {
		if l.Kind == Remote {
			conn.SetReadDeadline(time.Now().Add(silent))
		}
		kind, body, err := message(in)
		switch {
		case err != nil:
			return err
		case kind == 'E':
			return fmt.Errorf("row %d: %q", id, body)
		case kind == 'D':
			a = dataRow(body)
		case kind == 'C':
			a.ID, a.Acked, a.Server = id, time.Now(), server
			l.add(a)
			id++
		case kind == 'Z':
			<-ahead
		}
	}
}

// dataRow reads the three columns of returning.
func dataRow(body []byte) Ack {
	var text [3]string
	for i, rest := 0, body[2:]; i < 3; i++ {
		n := int(binary.BigEndian.Uint32(rest))
		text[i], rest = string(rest[4:4+n]), rest[4+n:]
	}
	at, _ := strconv.ParseInt(text[0], 10, 64)
	lsn, _ := strconv.ParseUint(text[2], 10, 64)
	return Ack{At: time.UnixMicro(at), Timeline: hex(text[1]), LSN: lsn}
}

// message reads one message: its type and its body.
func message(in *bufio.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	_, err = io.ReadFull(in, body)
	return head[0], body, err
}

// rest waits, or less when ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
