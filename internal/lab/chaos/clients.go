package chaos

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/lab"
)

// Kind is how a client reaches PostgreSQL.
type Kind string

const (
	// TCP: from a machine of its own, by a string with all members.
	TCP Kind = "tcp"
	// New: as TCP, but each row over a connection of its own: a server whose
	// sessions work may still refuse everybody new.
	New Kind = "new"
	// Socket: on a member's machine, by the unix socket.
	Socket Kind = "socket"
	// Probe: on a member's machine, by TCP. Not reached by any cut either.
	Probe Kind = "probe"
	// Pipelined: by the unix socket, the next statement always there.
	Pipelined Kind = "pipeline"
	// Remote: as Pipelined, over TCP from the clients' machine.
	Remote Kind = "remote pipeline"
	// Inside: a statement that commits in a loop within the server.
	Inside Kind = "inside"
)

// Ack is one row that PostgreSQL acknowledged.
type Ack struct {
	Client int
	ID     int64
	// At is the server's clock just before the commit, Acked the client's when
	// the answer was there: one machine, one clock. The commit lies between.
	At, Acked time.Time
	Server    string
	// Timeline and LSN are where the server wrote just before the commit record.
	Timeline uint32
	LSN      uint64
}

// Log is what was acknowledged to one client.
type Log struct {
	Client int
	Kind   Kind
	// Host is where the client runs.
	Host string

	mu      sync.Mutex
	acks    []Ack
	sent    int64
	lastErr error
}

// Acks is a copy, in the order of the acknowledgements.
func (l *Log) Acks() []Ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Ack(nil), l.acks...)
}

func (l *Log) add(a Ack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.Client = l.Client
	l.acks = append(l.acks, a)
}

func (l *Log) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastErr = err
}

// next is an id that was never sent before.
func (l *Log) next() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	return l.sent
}

// returning is what every insert asks for beside its row: the clock, the
// timeline (first eight digits of a WAL file's name) and the position.
const returning = `(extract(epoch from clock_timestamp()) * 1000000)::bigint, ` +
	`substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), (pg_current_wal_insert_lsn() - '0/0')::bigint`

// company is the clients of one round.
type company struct {
	scene  *scene
	cancel context.CancelFunc
	wait   sync.WaitGroup
	until  time.Time // when sessions that nobody can reach any more end themselves

	mu   sync.Mutex
	logs []*Log

	received *received
}

// hire starts the clients of a round.
func (s *scene) hire(load Load) *company {
	ctx, cancel := context.WithCancel(context.Background())
	c := &company{scene: s, cancel: cancel, received: newReceived(), until: time.Now().Add(5 * time.Minute)}
	for range 2 {
		c.row(ctx, TCP, s.app.Name, 40*time.Millisecond, s.connectTCP)
	}
	c.row(ctx, New, s.app.Name, 200*time.Millisecond, s.connectTCP)
	for _, m := range s.cluster.Members {
		c.row(ctx, Socket, m.Name, 50*time.Millisecond, func(ctx context.Context) (*pgx.Conn, error) { return primaryOnly(ctx, m.ConnectSocket) })
		c.row(ctx, Probe, m.Name, 50*time.Millisecond, func(ctx context.Context) (*pgx.Conn, error) { return primaryOnly(ctx, m.Connect) })
		c.wait.Go(func() { c.sample(ctx, m) })
		c.wait.Go(func() { c.inside(ctx, m, load == Computes) })
		if load == Pipeline {
			c.wait.Go(func() { c.pipeline(ctx, m, Pipelined, m.ConnectSocket) })
			c.wait.Go(func() {
				c.pipeline(ctx, m, Remote, func(ctx context.Context) (*pgx.Conn, error) { return s.connectTo(ctx, m.Addr+":5432") })
			})
		}
	}
	return c
}

// log makes a client's log with a number of its own.
func (c *company) log(kind Kind, host string) *Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scene.clients++
	l := &Log{Client: c.scene.clients, Kind: kind, Host: host}
	c.logs = append(c.logs, l)
	return l
}

// all is every log so far.
func (c *company) all() []*Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Log(nil), c.logs...)
}

// dismiss ends all clients and waits for them.
func (c *company) dismiss() {
	c.cancel()
	c.wait.Wait()
}

// connectTCP is an application's connection: whichever server accepts writes.
// A machine that is gone is silent, so each gets a second: less is not
// enough for a handshake on a busy machine.
func (s *scene) connectTCP(ctx context.Context) (*pgx.Conn, error) {
	return s.connectBy(ctx, s.cluster.DSN())
}

// connectTo is a connection from the clients' machine to one server.
func (s *scene) connectTo(ctx context.Context, addr string) (*pgx.Conn, error) {
	return s.connectBy(ctx, "postgres://postgres:"+lab.SuperuserPassword+"@"+addr+"/postgres?sslmode=disable")
}

func (s *scene) connectBy(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.ConnectTimeout = time.Second
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return s.app.Dial(ctx, network, addr)
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// primaryOnly gives a session up that a standby answers: its log would fill
// with refusals.
func primaryOnly(ctx context.Context, connect func(context.Context) (*pgx.Conn, error)) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	var standby bool
	err = conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&standby)
	if err == nil && standby {
		err = fmt.Errorf("a standby")
	}
	if err != nil {
		conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// row starts a client that inserts row after row and waits for each answer.
func (c *company) row(ctx context.Context, kind Kind, host string, every time.Duration, connect func(context.Context) (*pgx.Conn, error)) {
	l := c.log(kind, host)
	c.wait.Go(func() {
		var conn *pgx.Conn
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ctx.Err() == nil {
			var err error
			if conn == nil {
				conn, err = connect(ctx)
			}
			if err == nil {
				err = c.insert(ctx, l, conn)
			}
			l.failed(err)
			if (err != nil || kind == New) && conn != nil { // after an error: what became of the row is unknown
				conn.Close(ctx)
				conn = nil
			}
			pause := 1
			if conn == nil && host != c.scene.app.Name {
				pause = 4
			}
			for range pause {
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		}
		if conn != nil {
			conn.Close(context.Background())
		}
	})
}

func (c *company) insert(ctx context.Context, l *Log, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	a := Ack{ID: l.next(), Server: l.Host}
	var addr, timeline string
	var at, lsn int64
	err := conn.QueryRow(ctx, "insert into chaos_rows values ($1, $2) returning coalesce(host(inet_server_addr()), ''), "+returning,
		l.Client, a.ID).Scan(&addr, &at, &timeline, &lsn)
	if err != nil {
		return err
	}
	a.Acked = time.Now()
	if addr != "" {
		a.Server = c.scene.named(addr)
	}
	a.At, a.LSN = time.UnixMicro(at), uint64(lsn)
	a.Timeline = hex(timeline)
	l.add(a)
	return nil
}

// named is the member with that address.
func (s *scene) named(addr string) string {
	for _, m := range s.cluster.Members {
		if m.Addr == addr {
			return m.Name
		}
	}
	return addr
}

func hex(text string) uint32 {
	n, _ := strconv.ParseUint(text, 16, 32)
	return uint32(n)
}

// received is how far each standby had received each timeline.
type received struct {
	mu  sync.Mutex
	far map[string]map[uint32]uint64
}

func newReceived() *received { return &received{far: map[string]map[uint32]uint64{}} }

func (r *received) saw(member string, timeline uint32, lsn uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.far[member] == nil {
		r.far[member] = map[uint32]uint64{}
	}
	r.far[member][timeline] = max(r.far[member][timeline], lsn)
}

// best is the furthest that one of the members had a timeline.
func (r *received) best(timeline uint32, members []string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var best uint64
	for _, m := range members {
		best = max(best, r.far[m][timeline])
	}
	return best
}

// sample asks a standby, five times a second, how far it has received. Both
// values come from one look at the WAL receiver: a position without its
// timeline says nothing.
func (c *company) sample(ctx context.Context, m *lab.Member) {
	var conn *pgx.Conn
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if conn != nil {
				conn.Close(context.Background())
			}
			return
		case <-tick.C:
		}
		one, cancel := context.WithTimeout(ctx, time.Second)
		var err error
		if conn == nil {
			conn, err = m.Connect(one)
		}
		if err == nil {
			var timeline, lsn *int64
			err = conn.QueryRow(one, "select received_tli::bigint, (flushed_lsn - '0/0')::bigint from pg_stat_wal_receiver").Scan(&timeline, &lsn)
			if err == nil && timeline != nil && lsn != nil {
				c.received.saw(m.Name, uint32(*timeline), uint64(*lsn))
			}
			if err == pgx.ErrNoRows { // it receives nothing now
				err = nil
			}
		}
		if err != nil && conn != nil {
			conn.Close(ctx)
			conn = nil
		}
		cancel()
	}
}
