package sim

import (
	"maps"
	"slices"
	"time"

	"pgha/agent/ha"
	"pgha/internal/dcs"
)

// Faults of etcd as a whole.

// silence: nobody answers.
func (s *Sim) silence(_ *machine, d time.Duration) {
	s.tell("etcd", "silent for %v", d)
	s.etcd.hush(d)
}

// changeLeader: a short silence, after which every lease is as good as new, and
// a little better (lessor.Promote adds up to an election timeout): the key of a
// dead leader stays that much longer.
func (s *Sim) changeLeader(*machine, time.Duration) {
	s.tell("etcd", "changes its leader")
	s.etcd.hush(s.dur(0, 2500*time.Millisecond))
}

// backup is what `etcdctl snapshot save` keeps.
type backup struct {
	taken    Time
	keys     map[dcs.Key]etcdKey
	leases   map[dcs.LeaseID]etcdLease
	revision dcs.Revision
}

func (e *etcd) save() *backup {
	b := &backup{taken: e.s.now, keys: maps.Clone(e.keys), leases: map[dcs.LeaseID]etcdLease{}, revision: e.revision}
	for id, l := range e.leases {
		b.leases[id] = *l
	}
	return b
}

// load replaces all there is by the backup, revisions included; its leases
// have their whole time again.
func (e *etcd) load(b *backup) {
	e.keys, e.revision, e.leases = maps.Clone(b.keys), b.revision, map[dcs.LeaseID]*etcdLease{}
	e.view = nil
	for _, id := range slices.Sorted(maps.Keys(b.leases)) {
		l := b.leases[id]
		e.leases[id] = &l
		e.extend(id)
	}
	e.s.checks.freed = e.s.now
}

// restore puts etcd back to what it was a while ago. To the members that is a
// hand at the leader key, which is outside the promise of 0 s (rulings 9).
func (s *Sim) restore(_ *machine, d time.Duration) {
	b := s.saved
	s.saved = nil
	if b == nil || s.now.Sub(b.taken) > 3*s.shape.ttl {
		if s.machineNamed(s.etcd.leader()) != nil && s.etcd.keys[dcs.KeyConfig].value != nil {
			s.saved = s.etcd.save()
		}
		return
	}
	s.tell("etcd", "is restored from a backup of %v ago, leader then %q", s.now.Sub(b.taken), b.keys[dcs.KeyLeader].value)
	s.tampered()
	s.etcd.load(b)
	s.etcd.hush(min(d, s.shape.ttl/2))
	s.wakeAll()
}

// wipe leaves an empty etcd. A member without data would make a new cluster
// of it, as Patroni's would, so this happens only where all have theirs.
func (s *Sim) wipe(*machine, time.Duration) {
	leader := s.machineNamed(s.etcd.leader())
	if leader == nil || !leader.db.run.accepts() {
		return
	}
	for _, m := range s.nodes {
		if m.db.data != ha.DataPresent || m.db.half {
			return
		}
	}
	s.tell("etcd", "is empty")
	s.tampered()
	s.etcd.load(&backup{keys: map[dcs.Key]etcdKey{}, revision: 1})
	s.wakeAll()
}

// tampered excuses what follows from a leader key that was changed behind the
// members' backs: nobody can know before the next read, or the end of the lease.
func (s *Sim) tampered() { s.checks.excuse(2*s.shape.ttl + 10*time.Second) }

func (s *Sim) wakeAll() {
	for i, m := range s.nodes {
		s.net.send(etcdAt, i, func() { m.wake() })
	}
}
