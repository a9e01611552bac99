package sim

import "time"

// stream is one replication connection.
type stream struct {
	from, to  *server
	sent      int // records on their way or there
	confirmed int // records the receiver is known to have
	busy      bool
	broken    bool
}

// retryReceive is how often a standby without a connection tries again.
const retryReceive = 500 * time.Millisecond

// receive connects the standby to its source, and keeps trying.
func (sv *server) receive() {
	if sv.dead || sv.primary || sv.stopping || sv.up != nil && !sv.up.broken {
		return
	}
	s := sv.m.s
	if src := s.machineNamed(sv.source); src != nil && sv.canStream(src) {
		c := &stream{from: src.db.run, to: sv, sent: len(sv.db.wal), confirmed: len(sv.db.wal)}
		sv.up = c
		src.db.run.down = append(src.db.run.down, c)
		c.send()
		return
	}
	sv.up = nil
	sv.after(retryReceive+s.dur(0, retryReceive), sv.receive)
}

// canStream says whether the source would serve this standby: it is up, the
// network carries both ways, and our log is the beginning of its log.
func (sv *server) canStream(src *machine) bool {
	up := src.db.run
	if up == nil || !up.ready || up.stopping || up.stuck() || !sv.m.s.net.both(sv.m.at, src.at) {
		return false
	}
	return src.db.systemID == sv.db.systemID && common(sv.db.wal, src.db.wal) == len(sv.db.wal)
}

// disconnect ends the standby's connection.
func (sv *server) disconnect() {
	if sv.up != nil {
		sv.up.cut()
		sv.up = nil
	}
}

// cut ends the connection for both sides.
func (c *stream) cut() {
	if c.broken {
		return
	}
	c.broken = true
	for i, d := range c.from.down {
		if d == c {
			c.from.down = append(c.from.down[:i:i], c.from.down[i+1:]...)
			break
		}
	}
	if c.to.up == c {
		c.to.up = nil
		c.to.after(c.to.m.s.dur(0, retryReceive), c.to.receive)
	}
}

// feed sends what is new to every connected standby.
func (sv *server) feed() {
	for _, c := range sv.down {
		c.send()
	}
}

// send carries everything that is new across, in one go; one at a time.
func (c *stream) send() {
	if c.broken || c.busy || c.sent >= len(c.from.db.wal) {
		return
	}
	s, a, b := c.from.m.s, c.from.m.at, c.to.m.at
	if !s.net.both(a, b) {
		// TCP would try again for a while; ours gives up after some of it.
		c.busy = true
		s.after(s.dur(100*time.Millisecond, 5*time.Second), func() {
			c.busy = false
			if !s.net.both(a, b) {
				c.cut()
				return
			}
			c.send()
		})
		return
	}
	upTo := len(c.from.db.wal)
	c.busy, c.sent = true, upTo
	s.after(s.net.delay(), func() {
		if !s.net.up(a, b) {
			c.busy = false
			c.cut()
			return
		}
		c.to.run(func() { c.arrive(upTo) })
	})
}

// arrive is the receiver's part: write, flush, confirm.
func (c *stream) arrive(upTo int) {
	c.busy = false
	if c.broken || c.to.up != c {
		return
	}
	to, from := c.to.db, c.from.db
	if have := len(to.wal); upTo > have && upTo <= len(from.wal) {
		to.wal = append(to.wal, from.wal[have:upTo]...)
	}
	if to.timeline != from.timeline {
		to.timeline = from.timeline
		to.history = append(to.history[:0:0], from.history...)
	}
	s := c.to.m.s
	s.after(s.net.delay(), func() {
		if !s.net.up(c.to.m.at, c.from.m.at) {
			c.cut()
			return
		}
		c.from.run(func() {
			if !c.broken {
				c.confirmed = max(c.confirmed, upTo)
				c.from.release(c.to.m.name, c.confirmed)
			}
		})
	})
	c.to.feed() // cascading
	c.send()
}

// release tells waiting clients that their commits are on a standby.
func (sv *server) release(by string, records int) {
	if sv.stopping {
		return
	}
	keep := sv.waiting[:0]
	for _, w := range sv.waiting {
		if w.records <= records && (w.by == "" || w.by == by) {
			sv.m.s.checks.acknowledge(sv, w.row)
		} else {
			keep = append(keep, w)
		}
	}
	sv.waiting = keep
}

// startClients lets clients write to whoever takes it, from everywhere.
func (s *Sim) startClients() {
	var again func()
	again = func() {
		for _, m := range s.nodes {
			if sv := m.db.run; sv.accepts() {
				sv.write()
			}
			if m.remnant && !m.frozen {
				s.checks.tally.Remnant++
				m.db.append(0)
			}
		}
		s.after(s.dur(10*time.Millisecond, 150*time.Millisecond), again)
	}
	s.after(0, again)
}

// write is one client's commit.
func (sv *server) write() {
	s := sv.m.s
	s.rows++
	row := s.rows
	sv.db.append(row)
	if partner := s.partner(sv.m.name); (s.shape.synchronous || partner != "") && !sv.boot {
		sv.waiting = append(sv.waiting, pendingCommit{row, len(sv.db.wal), partner})
	} else {
		s.checks.acknowledge(sv, row)
	}
	sv.feed()
}
