package lab

import (
	"context"
	"fmt"
	"time"

	"pgha/internal/writer"

	"github.com/jackc/pgx/v5"
)

// Writer is a client of the whole cluster that inserts all the time.
type Writer struct {
	*writer.Writer
	lab *Lab
}

// StartWriter returns once the first row is acknowledged. The test's end stops it.
func (c *Cluster) StartWriter() *Writer {
	c.lab.t.Helper()
	return c.startWriter(c.DSN(), "lab_writes")
}

// StartWriterTo is StartWriter into a table of its own: for a story with one
// writer after another.
func (c *Cluster) StartWriterTo(table string) *Writer {
	c.lab.t.Helper()
	return c.startWriter(c.DSN(), table)
}

// StartWriterAt is StartWriter with a connection string of its own: through a
// proxy.
func (c *Cluster) StartWriterAt(dsn string) *Writer {
	c.lab.t.Helper()
	return c.startWriter(dsn, "lab_writes")
}

func (c *Cluster) startWriter(dsn, table string) *Writer {
	c.lab.t.Helper()
	s, err := writer.Start(writer.Options{DSN: dsn, Table: table})
	c.lab.must(err)
	c.lab.t.Cleanup(s.Stop)
	w := &Writer{Writer: s, lab: c.lab}
	w.Advance(20 * time.Second)
	return w
}

// Advance waits until a row sent after the call is acknowledged.
func (w *Writer) Advance(timeout time.Duration) {
	w.lab.t.Helper()
	from := time.Now()
	w.lab.Until(timeout, "a write acknowledged", func() string {
		last, err := w.Last()
		if last.Sent.After(from) {
			return ""
		}
		_, acked := w.Count()
		return fmt.Sprintf("%d rows acknowledged so far; last error: %v", acked, err)
	})
}

// Lost stops the stream and returns the acknowledged rows that m does not have.
func (w *Writer) Lost(m *Member) []writer.Ack {
	w.lab.t.Helper()
	w.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var conn *pgx.Conn
	w.lab.Until(20*time.Second, m.Name+" to answer", func() string {
		var err error
		if conn, err = m.Connect(ctx); err != nil {
			return err.Error() // it may just be starting again
		}
		return ""
	})
	defer conn.Close(ctx)
	lost, present, err := w.Writer.Lost(ctx, conn)
	w.lab.must(err)
	sent, acked := w.Count()
	w.lab.t.Logf("writer: %d rows sent, %d acknowledged, %d in the table of %s, %d lost", sent, acked, present, m.Name, len(lost))
	return lost
}
