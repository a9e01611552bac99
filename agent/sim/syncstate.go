package sim

import (
	"fmt"
	"time"

	"pgha/internal/dcs"
)

// syncState is a /sync key that stands there: pgha does not write it, and
// obeys it (rulings 11). While it is there a primary of the pair acknowledges
// what the other one has.
type syncState struct{ leader, standby string }

// startSync puts the key once a pair streams, and removes it when the faults end.
func (s *Sim) startSync() {
	if !s.shape.syncKey || s.opt.script != nil {
		return
	}
	var look func()
	look = func() {
		if s.now > Time(s.shape.trouble) {
			return
		}
		leader := s.machineNamed(s.etcd.leader())
		if leader != nil && leader.db.run.accepts() && len(leader.db.run.down) > 0 {
			s.sync = &syncState{leader.name, leader.db.run.down[0].to.m.name}
			s.tell("op", "/sync: %s and %s", s.sync.leader, s.sync.standby)
			s.etcd.put(dcs.KeySync, fmt.Sprintf(`{"leader":%q,"sync_standby":%q}`, s.sync.leader, s.sync.standby))
			return
		}
		s.after(time.Second, look)
	}
	s.after(s.dur(0, 20*time.Second), look)
	s.after(s.shape.trouble, func() {
		s.sync = nil
		s.etcd.remove(dcs.KeySync)
	})
}

// partner is who has to confirm what that member acknowledges; empty: anybody,
// or nobody has to.
func (s *Sim) partner(name string) string {
	switch {
	case s.sync == nil || s.etcd.keys[dcs.KeySync].value == nil:
		return ""
	case s.sync.leader == name:
		return s.sync.standby
	case s.sync.standby == name:
		return s.sync.leader
	}
	return ""
}

// takesInSync: a replica races only if the /sync key that it has read names it.
func (c *checks) takesInSync(by *agentProcess) {
	s, seen := c.s, by.store.seen
	key := s.etcd.keys[dcs.KeySync]
	if s.sync == nil || key.value == nil || seen.Revision < key.revision || c.s.now < c.excused || by.settings.current.Pause {
		return
	}
	if sv := by.m.db.run; sv == nil || sv.primary {
		return
	}
	if f := seen.Failover; f != nil && f.Leader == "" && f.Candidate == by.m.name {
		return // an operator's manual failover
	}
	if by.m.name != s.sync.leader && by.m.name != s.sync.standby {
		c.fail("%s takes the leader key although it is not in /sync (%s, %s)", by.m.name, s.sync.leader, s.sync.standby)
	}
}

// takesBack: a running primary takes a free key only if no newer one existed.
func (c *checks) takesBack(by *agentProcess) {
	sv, seen := by.m.db.run, by.store.seen
	if sv == nil || !sv.primary || sv.boot || by.settings.current.Pause {
		return // in pause an operator's primary is left alone, whatever it is
	}
	history := c.s.etcd.read()
	if key := c.s.etcd.keys[dcs.KeyHistory]; seen.Revision >= key.revision && history.Timeline() > sv.db.timeline {
		c.fail("%s takes the key back on timeline %d although the cluster has a newer timeline, %d", by.m.name, sv.db.timeline, history.Timeline())
	}
	for _, t := range by.asked {
		if c.s.now.Sub(by.askedAt) < 3*time.Second && t.records > 0 && t.timeline > sv.db.timeline {
			c.fail("%s takes the key back on timeline %d although %s answered from a newer timeline, %d", by.m.name, sv.db.timeline, t.m.name, t.timeline)
		}
	}
}
