package lab

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Ack is one insert that PostgreSQL acknowledged.
type Ack struct {
	ID     int64
	Sent   time.Time
	Acked  time.Time
	Server string // address of the server that acknowledged it
}

// Writer inserts one row after the other as a client of the whole cluster
// would: one multi-host string, read-write. It keeps its own log of what was
// acknowledged and never sends an id twice.
type Writer struct {
	lab    *Lab
	dsn    string
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	acks    []Ack
	sent    int64
	lastErr error
}

const writesTable = `create table if not exists lab_writes (
	id bigint primary key, at timestamptz not null default clock_timestamp())`

// StartWriter creates the table and starts inserting. The test's end stops it.
func (c *Cluster) StartWriter() *Writer {
	c.lab.t.Helper()
	w := &Writer{lab: c.lab, dsn: c.DSN(), done: make(chan struct{})}
	c.until(20*time.Second, "the writer's table", func() string {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		conn, err := w.connect(ctx)
		if err != nil {
			return err.Error()
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, writesTable); err != nil {
			return err.Error()
		}
		return ""
	})
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go w.loop(ctx)
	c.lab.t.Cleanup(w.Stop)
	w.Advance(10 * time.Second)
	return w
}

func (w *Writer) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(w.dsn)
	if err != nil {
		return nil, err
	}
	// Per host: a machine that is gone does not refuse, it is silent.
	cfg.ConnectTimeout = 300 * time.Millisecond
	return pgx.ConnectConfig(ctx, cfg)
}

// loop writes until ctx ends. After any error the connection is given up: what
// became of that row is unknown, so its id is not used again.
func (w *Writer) loop(ctx context.Context) {
	defer close(w.done)
	var conn *pgx.Conn
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		var err error
		if conn == nil {
			conn, err = w.connect(ctx)
		}
		if err == nil {
			if err = w.insert(ctx, conn); err != nil {
				conn.Close(ctx)
				conn = nil
			}
		}
		w.mu.Lock()
		w.lastErr = err
		w.mu.Unlock()
		<-pause.C
	}
	if conn != nil {
		conn.Close(context.Background())
	}
}

func (w *Writer) insert(ctx context.Context, conn *pgx.Conn) error {
	w.mu.Lock()
	w.sent++
	id := w.sent
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	sent := time.Now()
	var server string
	err := conn.QueryRow(ctx, `insert into lab_writes (id) values ($1) returning host(inet_server_addr())`, id).Scan(&server)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks = append(w.acks, Ack{ID: id, Sent: sent, Acked: time.Now(), Server: server})
	return nil
}

// Stop ends the stream; the log stays.
func (w *Writer) Stop() {
	w.cancel()
	<-w.done
}

// Acks is a copy of the log so far.
func (w *Writer) Acks() []Ack {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Ack(nil), w.acks...)
}

// Advance waits until a row sent after the call is acknowledged.
func (w *Writer) Advance(timeout time.Duration) {
	w.lab.t.Helper()
	from := time.Now()
	w.lab.Until(timeout, "a write acknowledged", func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.acks); n > 0 && w.acks[n-1].Sent.After(from) {
			return ""
		}
		return fmt.Sprintf("%d rows acknowledged so far; last error: %v", len(w.acks), w.lastErr)
	})
}

// Gap is the longest time without an acknowledgement that ended after since.
func (w *Writer) Gap(since time.Time) time.Duration {
	var longest time.Duration
	acks := w.Acks()
	for i := 1; i < len(acks); i++ {
		if acks[i].Acked.After(since) {
			longest = max(longest, acks[i].Acked.Sub(acks[i-1].Acked))
		}
	}
	return longest
}

// Lost stops the stream and returns the acknowledged rows that m does not have.
func (w *Writer) Lost(m *Member) []Ack {
	w.lab.t.Helper()
	w.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := m.Connect(ctx)
	w.lab.must(err)
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "select id from lab_writes")
	w.lab.must(err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	w.lab.must(err)
	present := make(map[int64]bool, len(ids))
	for _, id := range ids {
		present[id] = true
	}
	var lost []Ack
	for _, a := range w.Acks() {
		if !present[a.ID] {
			lost = append(lost, a)
		}
	}
	w.lab.t.Logf("writer: %d rows sent, %d acknowledged, %d in the table of %s, %d lost", w.sent, len(w.Acks()), len(ids), m.Name, len(lost))
	return lost
}
