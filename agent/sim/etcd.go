package sim

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"pgha/internal/dcs"
)

// etcd is the store as its servers know it: keys, revisions, leases. It is
// one thing here, linearizable, that can be silent for a while; a change of
// its leader is a short silence after which every lease is as good as new.
type etcd struct {
	s        *Sim
	keys     map[dcs.Key]etcdKey
	leases   map[dcs.LeaseID]*etcdLease
	revision dcs.Revision
	silent   int          // how many faults keep it from answering
	view     *dcs.Cluster // of all keys, decoded; nil: changed since
}

type etcdKey struct {
	value    []byte
	lease    dcs.LeaseID
	revision dcs.Revision
}

type etcdLease struct {
	ttl   time.Duration
	ends  Time
	owner int
}

func newEtcd(s *Sim) *etcd {
	return &etcd{s: s, keys: map[dcs.Key]etcdKey{}, leases: map[dcs.LeaseID]*etcdLease{}, revision: 1}
}

// leader names the holder of the leader key; empty: nobody.
func (e *etcd) leader() string { return string(e.keys[dcs.KeyLeader].value) }

// grant makes a lease.
func (e *etcd) grant(owner int, ttl time.Duration) dcs.LeaseID {
	e.s.leases++
	id := dcs.LeaseID(e.s.leases)
	e.leases[id] = &etcdLease{ttl: ttl, owner: owner}
	e.extend(id)
	return id
}

// extend starts the lease's time anew; false when the lease is gone.
func (e *etcd) extend(id dcs.LeaseID) bool {
	l := e.leases[id]
	if l == nil {
		return false
	}
	e.prolong(id, l.ttl)
	return true
}

// prolong lets the lease end d from now.
func (e *etcd) prolong(id dcs.LeaseID, d time.Duration) {
	e.leases[id].ends = e.s.now.Add(d)
	e.expireLater(id, d)
}

// expireLater looks at the lease when it should end. etcd looks every half second.
func (e *etcd) expireLater(id dcs.LeaseID, d time.Duration) {
	e.s.after(d+e.s.dur(0, 500*time.Millisecond), func() {
		l := e.leases[id]
		if l == nil || e.silent > 0 || l.ends > e.s.now {
			return // renewed, or no leader that could end it
		}
		delete(e.leases, id)
		var gone []etcdWrite
		for _, k := range slices.Sorted(maps.Keys(e.keys)) {
			if e.keys[k].lease == id {
				gone = append(gone, etcdWrite{key: k})
			}
		}
		e.s.tell("etcd", "lease %d of %s ends, keys %d", id, e.s.nodes[l.owner].name, len(gone))
		e.write(gone)
	})
}

// hush makes etcd silent for d. Its leases do not end meanwhile, and start
// anew afterwards, with up to an election timeout more: what a new etcd leader
// does. No member knows of that, and none may count on it.
func (e *etcd) hush(d time.Duration) {
	e.silent++
	e.s.after(d, func() {
		if e.silent--; e.silent > 0 {
			return
		}
		for _, id := range slices.Sorted(maps.Keys(e.leases)) {
			e.prolong(id, e.leases[id].ttl+e.s.dur(0, electionTimeout))
		}
	})
}

// electionTimeout is etcd's, as operators set it for machines far apart.
const electionTimeout = 3 * time.Second

// etcdWrite is one key's new state; a nil value deletes it.
type etcdWrite struct {
	key   dcs.Key
	value []byte
	lease dcs.LeaseID
}

// write does all of it at one revision, and knocks on the members' doors.
func (e *etcd) write(writes []etcdWrite) {
	wake, next := false, e.revision+1
	for _, w := range writes {
		old, there := e.keys[w.key]
		if w.value == nil && !there {
			continue
		}
		e.revision, e.view = next, nil
		wake = wake || wakesOn[w.key]
		if w.key == dcs.KeyLeader && !bytes.Equal(old.value, w.value) {
			e.s.tell("etcd", "leader key: %q -> %q", old.value, w.value)
			if w.value == nil {
				e.s.checks.freed = e.s.now
			}
		}
		if w.value == nil {
			delete(e.keys, w.key)
		} else {
			e.keys[w.key] = etcdKey{value: w.value, lease: w.lease, revision: next}
		}
	}
	if !wake {
		return
	}
	for i, m := range e.s.nodes {
		e.s.net.send(etcdAt, i, func() { m.wake() })
	}
}

// wakesOn are the keys whose change wakes the members (rulings 27).
var wakesOn = map[dcs.Key]bool{
	dcs.KeyLeader: true, dcs.KeyConfig: true, dcs.KeyFailover: true, dcs.KeySync: true, dcs.KeyInitialize: true,
}

// put is an operator's hand on a key.
func (e *etcd) put(k dcs.Key, value string) { e.write([]etcdWrite{{key: k, value: []byte(value)}}) }

// remove is an operator's hand on a key.
func (e *etcd) remove(k dcs.Key) { e.write([]etcdWrite{{key: k}}) }

// read returns the whole scope, decoded as production does. Views are never
// changed, so that of an unchanged etcd serves again.
func (e *etcd) read() *dcs.Cluster {
	if e.view != nil {
		return e.view
	}
	kvs := make([]dcs.KV, 0, len(e.keys))
	for _, k := range slices.Sorted(maps.Keys(e.keys)) {
		v := e.keys[k]
		kvs = append(kvs, dcs.KV{Key: k, Value: v.value, Lease: v.lease, Revision: v.revision})
	}
	e.view = dcs.DecodeCluster(e.revision, kvs)
	return e.view
}
