package instance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
)

// The safe point of a stop: the instant from which no client can write.
// Contract: ha-behaviour.md 14 step 5.

// sessionsGone says whether no session is left and none can come any more. The
// list is made anew each time: a session may have been opened while the
// postmaster was being told to stop. From the moment its pid file says that it
// stops it takes nobody in. What cannot be read means "not yet".
func (w *stopWatch) sessionsGone(ctx context.Context, p process) bool {
	if w.deaf || w.o.OnSafe == nil {
		return false
	}
	if !w.closed {
		dir := w.s.dataDir()
		f, ok := look(ctx, func() pidFile { f, _ := readPidFile(dir); return f })
		w.deaf = w.deaf || !ok
		if w.closed = f.pid == p.pid && f.status == "stopping"; !w.closed {
			return false
		}
	}
	clients, err := w.s.clientBackends(p)
	if err != nil {
		if !w.blind {
			w.s.log.Warn("stop: cannot tell whether sessions are left; waiting for the end of the postmaster", "err", err)
		}
		w.blind = true
		return false
	}
	return len(clients) == 0
}

// auxiliary are the process titles of a postmaster's children that serve no
// client, up to PostgreSQL 18 (pitfalls 83).
var auxiliary = []string{
	"logger", "checkpointer", "background writer", "writer", "walwriter", "wal writer",
	"walreceiver", "wal receiver", "walsender", "wal sender", "autovacuum launcher", "autovacuum worker",
	"archiver", "startup", "stats collector", "logical replication", "bgworker", "background worker",
	"io worker", "slotsync worker", "slot sync worker", "walsummarizer", "wal summarizer",
	"parallel worker", "TimescaleDB", "pg_cron", "datachannel",
}

// clientBackend says whether a process title is that of a session. Titles
// read "postgres: [cluster: ]what ..."; anything unknown counts as a client,
// which errs towards waiting. An empty title is a process on its way out.
func clientBackend(title, cluster string) bool {
	rest, ok := strings.CutPrefix(title, "postgres: ")
	if !ok {
		return title != ""
	}
	if cluster != "" {
		rest = strings.TrimPrefix(rest, cluster+": ")
	}
	for _, a := range auxiliary {
		if strings.HasPrefix(rest, a) {
			return false
		}
	}
	return true
}

// clientBackends lists the sessions that must be gone before the stop is safe.
func (s *Server) clientBackends(p process) ([]process, error) {
	return clientBackendsIn("/proc", p, s.parameters()["cluster_name"])
}

// clientBackendsIn lists the sessions among the postmaster's children. Whatever
// is not certainly none counts, and an error is no empty list: it says that
// nobody knows.
func clientBackendsIn(proc string, p process, cluster string) (clients []process, err error) {
	all, err := childrenIn(proc, p.pid)
	if err != nil {
		return nil, fmt.Errorf("list the processes of PostgreSQL: %w", err)
	}
	for _, c := range all {
		title, err := os.ReadFile(fmt.Sprintf("%s/%d/cmdline", proc, c.pid))
		if err != nil && !vanished(err) {
			return nil, fmt.Errorf("read the title of process %d: %w", c.pid, err)
		}
		if err == nil && len(title) == 0 { // a zombie has none, and writes nothing
			st, err := readStatIn(proc, c.pid)
			if err != nil && !vanished(err) {
				return nil, fmt.Errorf("read the state of process %d: %w", c.pid, err)
			}
			if err == nil && st.state != 'Z' && st.state != 'X' {
				clients = append(clients, c)
			}
			continue
		}
		if err == nil && clientBackend(cleanTitle(title), cluster) {
			clients = append(clients, c)
		}
	}
	return clients, nil
}

func cleanTitle(cmdline []byte) string {
	return strings.TrimRight(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})), " ")
}
