package instance

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// sessionUses is after how many queries a held connection is replaced: a
// server that still serves old sessions may have stopped accepting new ones
// (rulings 21).
const sessionUses = 6

// session is one held connection with a token that admits one user at a
// time. Waiting for the token ends with the context, unlike a mutex.
type session struct {
	app   string
	token chan *held
}

// held is what travels with the token.
type held struct {
	conn *pgx.Conn
	uses int
	of   process // the postmaster it was opened to
}

func newSession(app string) session {
	s := session{app: app, token: make(chan *held, 1)}
	s.token <- &held{}
	return s
}

// use runs f on the held connection, opening one when there is none, it is
// worn out or belongs to an earlier postmaster (pitfalls 216). fresh says that
// the connection was opened for this call. After an error it is closed.
func (s *Server) use(ctx context.Context, ses session, f func(c *pgx.Conn, fresh bool) error) error {
	var h *held
	select {
	case h = <-ses.token:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { ses.token <- h }()
	s.mu.Lock()
	now := s.postmaster
	s.mu.Unlock()
	if h.conn != nil && (h.uses >= sessionUses || h.of != now || h.conn.IsClosed()) {
		h.close()
	}
	fresh := h.conn == nil
	if fresh {
		c, err := s.connectLocal(ctx, ses.app)
		if err != nil {
			return err
		}
		h.conn, h.uses, h.of = c, 0, now
	}
	h.uses++
	if err := f(h.conn, fresh); err != nil {
		h.close()
		return err
	}
	return nil
}

// close says good-bye without waiting for a server that may be frozen.
func (h *held) close() {
	if h.conn == nil {
		return
	}
	closeConn(h.conn)
	h.conn = nil
}

// closeSessions ends the held connections, before a start or stop. One that
// is in use is closed by its user: its postmaster has changed by then.
func (s *Server) closeSessions() {
	for _, ses := range []session{s.heartbeat, s.rest} {
		select {
		case h := <-ses.token:
			h.close()
			ses.token <- h
		default:
		}
	}
}

// withLocal runs f on a superuser connection of its own, closed afterwards.
func (s *Server) withLocal(ctx context.Context, f func(*pgx.Conn) error) error {
	c, err := s.connectLocal(ctx, "Patroni")
	if err != nil {
		return err
	}
	defer closeConn(c)
	return f(c)
}
