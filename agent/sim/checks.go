package sim

import (
	"fmt"
	"slices"
	"time"

	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// checks are the invariants. They are about true time and about what clients
// were told; no member could compute them.
type checks struct {
	s      *Sim
	broken []string
	tally  Tally
	acked  []ackedRow // and not yet lost
	// outside the promise until then: pause (rulings 7), hand edits (rulings 9).
	excused Time
	// stray are the timelines of members that were promoted without the key,
	// where the promise does not reach: an operator's hand or pause (rulings 7,
	// 9), or a clock that stood still (rulings 10). Nobody can tell such a
	// timeline from that of a leader; a promotion that goes on from one may
	// lose what the cluster's own timeline had.
	stray  map[postgres.Timeline]bool
	freed  Time            // when the leader key was last given up or lost
	vacant time.Duration   // how long it had been free when it was taken
	handed map[string]bool // got the key by hand-over, and has not been promoted since
	named  map[string]bool // is the candidate of a manual failover
	away   string          // whom the switchover that is being raced for leads away from
}

type ackedRow struct{ row, by uint64 }

func newChecks(s *Sim) *checks {
	return &checks{s: s, handed: map[string]bool{}, named: map[string]bool{}, stray: map[postgres.Timeline]bool{}}
}

// fail notes a violated invariant; the first one ends the run.
func (c *checks) fail(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	c.s.tell("-", "BROKEN: %s", line)
	c.broken = append(c.broken, line)
}

// excuse suspends the fencing invariants for d.
func (c *checks) excuse(d time.Duration) { c.excused = max(c.excused, c.s.now.Add(d)) }

// step looks at the instant after an event.
func (c *checks) step() {
	if c.s.now < c.excused {
		return
	}
	var writable *machine
	for _, m := range c.s.nodes {
		if !m.db.run.accepts() {
			continue
		}
		if m.db.run.guard.paused {
			m.pausedAt = c.s.now
		}
		if !m.sure() {
			continue
		}
		if m.pausedAt != 0 && c.s.now.Sub(m.pausedAt) < c.s.shape.retry {
			continue // it learns only now that the pause, which is outside the promise (rulings 7), is over
		}
		if m.db.run.boot && c.s.etcd.leader() == m.name {
			m.db.run.boot = false
			c.opened(m.db.run)
		}
		if m.db.run.boot {
			continue // a cluster of its own that nobody knows: its clients' rows are not acknowledged here
		}
		if writable != nil {
			c.fail("two members accept writes: %s and %s", writable.name, m.name)
			return
		}
		writable = m
		if holder := c.s.etcd.leader(); holder != m.name && !(c.s.shape.failsafe && holder == "") {
			c.fail("%s accepts writes without the leader key (holder %q)", m.name, c.s.etcd.leader())
			return
		}
	}
}

// acknowledge: a client was told that its row is safe.
func (c *checks) acknowledge(sv *server, row uint64) {
	if sv.boot {
		return
	}
	if c.s.etcd.leader() != sv.m.name && (!sv.m.sure() || c.s.now < c.excused) {
		c.tally.Unfenced++ // outside the promise, counted (rulings 7, 10)
		sv.alone = true
		return
	}
	c.tally.Acked++
	c.acked = append(c.acked, ackedRow{row, uint64(sv.m.at)})
}

// lacking splits the acknowledged rows by whether the log holds them.
func (c *checks) lacking(wal []record) (there, lost []ackedRow) {
	have := make(map[uint64]bool, len(wal))
	for _, r := range wal {
		have[r.row] = true
	}
	for _, r := range c.acked {
		if have[r.row] {
			there = append(there, r)
		} else {
			lost = append(lost, r)
		}
	}
	return there, lost
}

// promoted: rows that the new primary never received are lost now. They may
// be lost only where nobody who answered the race had them, and never in a
// hand-over.
func (c *checks) promoted(sv *server) {
	m := sv.m
	c.tally.Promotions++
	if c.s.opt.Calm {
		c.fail("needless promotion of %s", m.name)
	}
	if c.s.etcd.leader() != m.name && (!m.sure() || c.s.now < c.excused) {
		c.stray[sv.db.timeline] = true
	}
	if !m.sure() && c.s.etcd.leader() != m.name {
		sv.alone = true
		return
	}
	there, lost := c.lacking(sv.db.wal)
	handed, named := c.handed[m.name], c.named[m.name]
	delete(c.handed, m.name)
	delete(c.named, m.name)
	if len(lost) == 0 {
		return
	}
	c.acked = there
	c.tally.Lost += len(lost)
	c.s.tell(m.name, "%d acknowledged rows are lost by this promotion", len(lost))
	if c.s.now < c.excused || c.unsure() || c.strayed(sv.db) {
		return
	}
	if handed {
		c.fail("hand-over to %s lost %d acknowledged rows", m.name, len(lost))
		return
	}
	if m.agent == nil || named {
		return
	}
	for _, t := range m.agent.asked {
		if t.m == m || t.m.name == c.away || t.records == 0 {
			continue
		}
		if seen := m.agent.store.seen; c.s.shape.failsafe && len(seen.Failsafe) > 0 && seen.Failsafe[t.m.name] == "" {
			continue // not in /failsafe: it never leads, so nobody waits for its rows (docs/guarantees.md, "Rows")
		}
		if c.vacant >= c.s.shape.ttl && t.m.db.timeline != sv.db.history[len(sv.db.history)-1].Timeline {
			continue // another branch, and it did not take its chance for a ttl
		}
		for _, r := range t.m.db.wal[:min(t.records, len(t.m.db.wal))] {
			if r.row == lost[0].row && r.row != 0 {
				c.fail("%s was promoted and lost row %d, which %s had when it answered", m.name, r.row, t.m.name)
				return
			}
		}
	}
}

// strayed says whether this log went over a stray timeline.
func (c *checks) strayed(d *database) bool {
	return slices.ContainsFunc(d.history, func(e postgres.HistoryEntry) bool { return c.stray[e.Timeline] })
}

// unsure: a clock stood still lately; two primaries may have written.
func (c *checks) unsure() bool {
	for _, m := range c.s.nodes {
		if m.unsure {
			return true
		}
	}
	return false
}

// opened: a server begins to accept writes; what was promised must be in it.
func (c *checks) opened(sv *server) {
	if sv.boot || !sv.m.sure() && c.s.etcd.leader() != sv.m.name {
		return
	}
	_, lost := c.lacking(sv.db.wal)
	if len(lost) > 0 && c.s.now >= c.excused && !c.unsure() {
		c.fail("%s serves without %d acknowledged rows that no promotion gave up", sv.m.name, len(lost))
	}
}

// taken: a member creates the leader key.
func (c *checks) taken(by *agentProcess) {
	clear(c.handed)
	c.vacant = c.s.now.Sub(c.freed)
	f := by.store.seen.Failover // the request it decided by, which may have changed since
	c.away = ""
	if f != nil {
		c.away = f.Leader // not compared with in a switchover (contract: ha-behaviour.md 10)
	}
	c.named[by.m.name] = f != nil && f.Candidate == by.m.name
	c.retaken(by.m)
}

// retaken: a primary that wrote for a while beside the cluster, outside the
// promise, holds the key again without a promotion. What was acknowledged
// elsewhere meanwhile is lost by that, and counted.
func (c *checks) retaken(m *machine) {
	sv := m.db.run
	if sv == nil || !sv.primary || !sv.alone {
		return
	}
	sv.alone = false
	there, lost := c.lacking(sv.db.wal)
	c.acked = there
	c.tally.LostBeside += len(lost)
	if len(lost) > 0 {
		c.s.tell(m.name, "%d acknowledged rows are lost: it wrote beside the cluster, outside the promise, and leads again", len(lost))
	}
}

// takes: a member decided to create the leader key.
func (c *checks) takes(by *agentProcess) {
	m := by.m
	if f := by.store.seen.Failover; f != nil && f.Candidate == m.name {
		return
	}
	if sv := m.db.run; sv != nil && !sv.primary && c.s.now.Sub(by.askedAt) < 3*time.Second {
		for _, t := range by.asked {
			if t.primary {
				c.fail("%s takes the leader key although %s answered as a primary", m.name, t.m.name)
			}
		}
	}
}

// handedOver: the leader gives its key to a candidate, under the lease that it
// believes to be the candidate's.
func (c *checks) handedOver(from *machine, to string, lease dcs.LeaseID) {
	c.handed[to] = true
	if from.db.run.accepts() {
		c.fail("%s handed the key to %s while it accepts writes", from.name, to)
	}
	if now := c.s.etcd.keys[dcs.MemberKey(to)].lease; now != lease {
		c.fail("%s handed the key to %s under lease %d, which is not its member key's (%d)", from.name, to, lease, now)
	}
}

// unhealed says what is still wrong with the cluster; empty: nothing.
func (c *checks) unhealed() string {
	leader := c.s.machineNamed(c.s.etcd.leader())
	if leader == nil {
		return fmt.Sprintf("nobody leads (key %q)", c.s.etcd.leader())
	}
	if !leader.db.run.accepts() {
		return leader.name + " leads but is no running primary"
	}
	for _, m := range c.s.nodes {
		if m == leader {
			continue
		}
		sv := m.db.run
		if sv.fedBy(leader.db.run) && len(m.db.wal)+100 > len(leader.db.wal) {
			continue
		}
		if m.stayStopped {
			continue // rulings 58, or a diverged standby nobody may touch: said so, waits for an operator
		}
		return m.name + " does not stream from " + leader.name
	}
	return ""
}

// fedBy says whether a standby streams from that server, in a cascade perhaps.
func (sv *server) fedBy(leader *server) bool {
	for range 10 { // longer than any cascade: two that feed each other end here
		if sv == nil || !sv.ready || sv.primary || sv.up == nil {
			return false
		}
		if sv.up.from == leader {
			return true
		}
		sv = sv.up.from
	}
	return false
}

// final looks at the data once the cluster is whole again.
func (c *checks) final() {
	leader := c.s.machineNamed(c.s.etcd.leader())
	if _, lost := c.lacking(leader.db.wal); len(lost) > 0 {
		c.fail("the leader %s lacks %d acknowledged rows that no promotion gave up", leader.name, len(lost))
	}
	for _, m := range c.s.nodes {
		if m.stayStopped {
			c.tally.StoppedForGood++
			c.s.tell(m.name, "stays as it is until an operator reinitializes it")
		}
	}
}

// requestText is a failover request, as an operator's tool writes it.
func requestText(leader, candidate string) string {
	return string(dcs.EncodeFailover(&dcs.Failover{Leader: leader, Candidate: candidate}))
}
