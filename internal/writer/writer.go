// Package writer is a client that writes all the time: one row after the
// other through one multi-host string, as an application would, with its own
// log of what PostgreSQL acknowledged. The lab and the demo measure with it
// how long nobody could write and which acknowledged rows are lost.
package writer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options of a Writer.
type Options struct {
	// DSN names all members and target_session_attrs=read-write.
	DSN string
	// Table is created when missing; it is part of SQL text as it stands.
	Table string
	// Every is the pause between rows; zero: 5 ms.
	Every time.Duration
	// Timeout is how long one insert may take; zero: 2 s.
	Timeout time.Duration
}

// Ack is one insert that PostgreSQL acknowledged.
type Ack struct {
	ID    int64
	Sent  time.Time
	Acked time.Time
	// Server is host:port of the server that acknowledged it.
	Server string
}

// Writer is the stream of inserts. No id is ever sent twice.
type Writer struct {
	opts   Options
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	acks    []Ack
	sent    int64
	lastErr error
}

// Start begins to write, and to try again after errors, until Stop. It does
// not wait for the first row. Errors: the DSN is wrong.
func Start(opts Options) (*Writer, error) {
	if opts.Every == 0 {
		opts.Every = 5 * time.Millisecond
	}
	if opts.Timeout == 0 {
		opts.Timeout = 2 * time.Second
	}
	if _, err := pgx.ParseConfig(opts.DSN); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Writer{opts: opts, cancel: cancel, done: make(chan struct{})}
	go w.loop(ctx)
	return w, nil
}

// Stop ends the stream and waits for it; the log stays. It may be called twice.
func (w *Writer) Stop() {
	w.cancel()
	<-w.done
}

// Acks is a copy of the log so far, in the order of the acknowledgements.
func (w *Writer) Acks() []Ack {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Ack(nil), w.acks...)
}

// Last is the latest acknowledgement; the zero Ack when there is none. The
// error is that of the latest attempt, nil when it succeeded.
func (w *Writer) Last() (Ack, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.acks) == 0 {
		return Ack{}, w.lastErr
	}
	return w.acks[len(w.acks)-1], w.lastErr
}

// Count is the number of rows sent and of those acknowledged.
func (w *Writer) Count() (sent int64, acked int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent, len(w.acks)
}

// Gap is the longest time between two acknowledgements, of which the later
// one came after since.
func (w *Writer) Gap(since time.Time) time.Duration {
	var longest time.Duration
	acks := w.Acks()
	for i := len(acks) - 1; i > 0 && acks[i].Acked.After(since); i-- {
		longest = max(longest, acks[i].Acked.Sub(acks[i-1].Acked))
	}
	return longest
}

// Lost compares the log with the table as conn sees it: the acknowledged rows
// that are not there, and how many rows are. It may be called while writing
// goes on.
func (w *Writer) Lost(ctx context.Context, conn *pgx.Conn) (lost []Ack, present int, err error) {
	acks := w.Acks() // before the table is read: what comes later may not be in it
	rows, err := conn.Query(ctx, "select id from "+w.opts.Table)
	if err != nil {
		return nil, 0, fmt.Errorf("read the rows of %s: %w", w.opts.Table, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, 0, fmt.Errorf("read the rows of %s: %w", w.opts.Table, err)
	}
	there := make(map[int64]bool, len(ids))
	for _, id := range ids {
		there[id] = true
	}
	for _, a := range acks {
		if !there[a.ID] {
			lost = append(lost, a)
		}
	}
	return lost, len(ids), nil
}

// Connect opens a connection as the Writer does: to whichever server accepts
// writes. A machine that is gone does not refuse but is silent, so each host
// gets 300 ms.
func (w *Writer) Connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(w.opts.DSN)
	if err != nil {
		return nil, err
	}
	cfg.ConnectTimeout = 300 * time.Millisecond
	return pgx.ConnectConfig(ctx, cfg)
}

// loop writes until ctx ends. After any error the connection is given up: what
// became of that row is unknown, and its id is not used again.
func (w *Writer) loop(ctx context.Context) {
	defer close(w.done)
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.Background())
		}
	}()
	pause := time.NewTicker(w.opts.Every)
	defer pause.Stop()
	created := false
	for ctx.Err() == nil {
		var err error
		if conn == nil {
			conn, err = w.Connect(ctx)
		}
		if err == nil && !created {
			err = w.create(ctx, conn)
			created = err == nil
		}
		if err == nil {
			err = w.insert(ctx, conn)
		}
		if err != nil && conn != nil {
			conn.Close(ctx)
			conn = nil
		}
		w.mu.Lock()
		w.lastErr = err
		w.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
}

func (w *Writer) create(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, w.opts.Timeout)
	defer cancel()
	_, err := conn.Exec(ctx, "create table if not exists "+w.opts.Table+
		" (id bigint primary key, at timestamptz not null default clock_timestamp())")
	return err
}

func (w *Writer) insert(ctx context.Context, conn *pgx.Conn) error {
	w.mu.Lock()
	w.sent++
	id := w.sent
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, w.opts.Timeout)
	defer cancel()
	sent := time.Now()
	var server string
	err := conn.QueryRow(ctx, "insert into "+w.opts.Table+
		" (id) values ($1) returning host(inet_server_addr()) || ':' || inet_server_port()", id).Scan(&server)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks = append(w.acks, Ack{ID: id, Sent: sent, Acked: time.Now(), Server: server})
	return nil
}
