// Package dcstest is a DCS in memory, for tests and simulation, and the
// conformance suite that it and the real one must pass.
package dcstest

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// Memory is one scope in a DCS that exists only in this process. Leases end
// on the clock it was given. It starts no goroutine and keeps no time of its
// own: with a clock that moves by hand every run is the same.
type Memory struct {
	clock clock.Clock

	mu        sync.Mutex
	revision  dcs.Revision
	keys      map[dcs.Key]entry
	leases    map[dcs.LeaseID]lease
	lastLease dcs.LeaseID
	stores    []*Store
	hooks     Hooks
}

type entry struct {
	value    []byte
	lease    dcs.LeaseID
	revision dcs.Revision
}

type lease struct {
	ttl  time.Duration
	ends clock.Instant
}

// Hooks let a test be the network. Both run without any lock held: they may
// move the clock (a delay), block, or change the memory by hand.
type Hooks struct {
	// Request runs after the send time was taken, before the memory acts.
	Request func(Call) Fault
	// Reply runs after the memory acted, before the caller learns of it. Of the
	// faults only Lost has a meaning here.
	Reply func(Call) Fault
}

// Call is one request to the DCS. A method of the store may make several:
// AcquireLeader renews the lease, then writes.
type Call struct {
	Member string
	// Method of dcs.Store, e.g. "AcquireLeader".
	Method string
	Kind   Kind
}

// Kind says what a request does.
type Kind string

const (
	Read  Kind = "read"
	Renew Kind = "renew" // grants or renews the lease
	Write Kind = "write"
)

// Fault is what happens to a request.
type Fault int

const (
	// Pass: nothing.
	Pass Fault = iota
	// Unavailable: it was never sent. The caller knows.
	Unavailable
	// Lost: no answer came. As a request it was not done, as a reply it was;
	// the caller cannot tell which.
	Lost
	// Denied: refused for want of permission.
	Denied
)

// NewMemory returns an empty scope.
func NewMemory(c clock.Clock) *Memory {
	return &Memory{clock: c, keys: map[dcs.Key]entry{}, leases: map[dcs.LeaseID]lease{}}
}

// Open returns the scope as the member sees it; "" is an operator's tool.
func (m *Memory) Open(member string, ttl time.Duration) *Store {
	s := &Store{memory: m, member: member, ttl: ttl, wakes: make(chan struct{}, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stores = append(m.stores, s)
	return s
}

// SetHooks replaces the hooks.
func (m *Memory) SetHooks(h Hooks) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks = h
}

// Put writes a key by hand, without a lease and unguarded.
func (m *Memory) Put(key dcs.Key, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	m.change([]change{{key: key, value: []byte(value)}})
}

// Delete removes a key by hand.
func (m *Memory) Delete(key dcs.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	m.change([]change{{key: key, delete: true}})
}

// Revoke ends a lease now, with the keys attached to it.
func (m *Memory) Revoke(id dcs.LeaseID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(id)
}

// Expire ends the leases whose time has come and wakes who waits. Every call
// to a store does the same first; a simulator calls it when its clock moves.
func (m *Memory) Expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
}

// NextExpiry is when the next lease ends unless it is renewed; ok is false
// when there is none.
func (m *Memory) NextExpiry() (at clock.Instant, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.leases {
		if !ok || l.ends.Before(at) {
			at, ok = l.ends, true
		}
	}
	return at, ok
}

// expire ends due leases, the earliest first; the caller holds mu.
func (m *Memory) expire() {
	now := m.clock.Now()
	var due []dcs.LeaseID
	for id, l := range m.leases {
		if !l.ends.After(now) {
			due = append(due, id)
		}
	}
	slices.SortFunc(due, func(a, b dcs.LeaseID) int {
		return cmp.Or(cmp.Compare(m.leases[a].ends, m.leases[b].ends), cmp.Compare(a, b))
	})
	for _, id := range due {
		m.end(id)
	}
}

// end removes a lease and all its keys at one revision; the caller holds mu.
func (m *Memory) end(id dcs.LeaseID) {
	delete(m.leases, id)
	var gone []change
	for _, k := range slices.Sorted(maps.Keys(m.keys)) {
		if id != 0 && m.keys[k].lease == id {
			gone = append(gone, change{key: k, delete: true})
		}
	}
	m.change(gone)
}

// change is one key's new state.
type change struct {
	key    dcs.Key
	value  []byte
	lease  dcs.LeaseID
	delete bool
}

// change applies all changes at one new revision and wakes who waits for
// them; the caller holds mu.
func (m *Memory) change(changes []change) {
	wake, next := false, m.revision+1
	for _, c := range changes {
		_, existed := m.keys[c.key]
		if c.delete && !existed {
			continue
		}
		m.revision = next
		wake = wake || wakesOn[c.key]
		if c.delete {
			delete(m.keys, c.key)
			continue
		}
		m.keys[c.key] = entry{value: slices.Clone(c.value), lease: c.lease, revision: next}
	}
	if !wake {
		return
	}
	for _, s := range m.stores {
		select {
		case s.wakes <- struct{}{}:
		default: // merged with the one waiting
		}
	}
}

// wakesOn: rulings 27.
var wakesOn = map[dcs.Key]bool{
	dcs.KeyLeader: true, dcs.KeyConfig: true, dcs.KeyFailover: true, dcs.KeySync: true, dcs.KeyInitialize: true,
}
