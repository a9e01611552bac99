package dcstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// Store is one member's access to a Memory.
type Store struct {
	memory *Memory
	member string
	wakes  chan struct{}

	mu     sync.Mutex // guards what follows; taken after the memory's, never before it
	ttl    time.Duration
	id     dcs.LeaseID // zero: grant one
	closed bool
}

var _ dcs.Store = (*Store)(nil)

// errLeaseGone: the lease a write carries does not exist.
var errLeaseGone = errors.New("requested lease not found")

// request is one exchange with the memory: hooks around act. write says which
// error a lost answer is.
func (s *Store) request(ctx context.Context, method string, kind Kind, act func() error) error {
	m := s.memory
	m.mu.Lock()
	hooks := m.hooks
	m.mu.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return fmt.Errorf("%s: %w: store is closed", method, dcs.ErrUnavailable)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w: %w", method, dcs.ErrUnavailable, err)
	}
	lost := dcs.ErrUnavailable
	if kind == Write {
		lost = dcs.ErrUnknownOutcome
	}
	call := Call{Member: s.member, Method: method, Kind: kind}
	if hooks.Request != nil {
		switch hooks.Request(call) {
		case Pass:
		case Unavailable:
			return fmt.Errorf("%s: %w", method, dcs.ErrUnavailable)
		case Denied:
			return fmt.Errorf("%s: %w", method, dcs.ErrDenied)
		case Lost:
			return fmt.Errorf("%s: %w: no answer", method, lost)
		}
	}
	m.mu.Lock()
	m.expire()
	err := act()
	m.mu.Unlock()
	if hooks.Reply != nil && hooks.Reply(call) == Lost || ctx.Err() != nil {
		return fmt.Errorf("%s: %w: no answer", method, lost)
	}
	return err
}

// Load implements dcs.Store.
func (s *Store) Load(ctx context.Context) (*dcs.Cluster, error) {
	var c *dcs.Cluster
	err := s.request(ctx, "Load", Read, func() error {
		m := s.memory
		var kvs []dcs.KV
		for _, k := range slices.Sorted(maps.Keys(m.keys)) {
			e := m.keys[k]
			kvs = append(kvs, dcs.KV{Key: k, Value: slices.Clone(e.value), Lease: e.lease, Revision: e.revision})
		}
		c = dcs.DecodeCluster(m.revision, kvs)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Wakes implements dcs.Store.
func (s *Store) Wakes() <-chan struct{} { return s.wakes }

// SetTTL implements dcs.Store.
func (s *Store) SetTTL(ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ttl != s.ttl {
		s.ttl, s.id = ttl, 0
	}
}

// KeepAlive implements dcs.Store.
func (s *Store) KeepAlive(ctx context.Context) (dcs.Lease, error) {
	return s.keepAlive(ctx, "KeepAlive")
}

func (s *Store) keepAlive(ctx context.Context, method string) (dcs.Lease, error) {
	if s.member == "" {
		return dcs.Lease{}, fmt.Errorf("%s: a tool has no lease", method)
	}
	s.mu.Lock()
	ttl, id := s.ttl, s.id
	s.mu.Unlock()
	var sent clock.Instant
	var granted dcs.Lease
	// The closure runs after Request's delay; the send time is taken before.
	sent = s.memory.clock.Now()
	err := s.request(ctx, method, Renew, func() error {
		m := s.memory
		l, alive := m.leases[id]
		if !alive {
			m.lastLease++
			id, l = m.lastLease, lease{ttl: ttl}
		}
		l.ends = m.clock.Now().Add(l.ttl)
		m.leases[id] = l
		granted = dcs.Lease{ID: id, TTL: l.ttl, SentAt: sent}
		return nil
	})
	if err != nil {
		return dcs.Lease{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ttl == ttl { // else SetTTL came between: the next call grants
		s.id = granted.ID
	}
	return granted, nil
}

// leased renews the lease and writes with it; a lease that ended in between
// is granted anew, once.
func (s *Store) leased(ctx context.Context, method string, act func(dcs.LeaseID) error) (dcs.Lease, error) {
	for again := false; ; again = true {
		l, err := s.keepAlive(ctx, method)
		if err != nil {
			return dcs.Lease{}, err
		}
		err = s.request(ctx, method, Write, func() error {
			if _, alive := s.memory.leases[l.ID]; !alive {
				return errLeaseGone
			}
			return act(l.ID)
		})
		if !errors.Is(err, errLeaseGone) {
			return l, err
		}
		if again {
			return dcs.Lease{}, fmt.Errorf("%s: %w: %w", method, dcs.ErrUnavailable, err)
		}
	}
}

// PutMember implements dcs.Store.
func (s *Store) PutMember(ctx context.Context, data dcs.MemberData) error {
	value := dcs.EncodeMember(data)
	put := func(id dcs.LeaseID) error {
		if _, alive := s.memory.leases[id]; !alive {
			return errLeaseGone
		}
		s.memory.change([]change{{key: dcs.MemberKey(s.member), value: value, lease: id}})
		return nil
	}
	s.mu.Lock()
	id := s.id
	s.mu.Unlock()
	if id != 0 {
		err := s.request(ctx, "PutMember", Write, func() error { return put(id) })
		if !errors.Is(err, errLeaseGone) {
			return err
		}
	}
	_, err := s.leased(ctx, "PutMember", put)
	return err
}

// AcquireLeader implements dcs.Store.
func (s *Store) AcquireLeader(ctx context.Context) (dcs.Lease, error) {
	return s.leased(ctx, "AcquireLeader", func(id dcs.LeaseID) error {
		if e, there := s.memory.keys[dcs.KeyLeader]; there && len(e.value) > 0 {
			return fmt.Errorf("acquire the leader key: %w: %q holds it", dcs.ErrConflict, e.value)
		}
		s.putLeader(id)
		return nil
	})
}

// putLeader writes our name; the caller holds the memory's mu.
func (s *Store) putLeader(id dcs.LeaseID) {
	s.memory.change([]change{{key: dcs.KeyLeader, value: []byte(s.member), lease: id}})
}

// RenewLeader implements dcs.Store.
func (s *Store) RenewLeader(ctx context.Context, seen dcs.Leader) (dcs.Lease, error) {
	l, err := s.keepAlive(ctx, "RenewLeader")
	if err != nil || seen.Lease == l.ID && seen.Name == s.member {
		return l, err
	}
	return s.leased(ctx, "RenewLeader", func(id dcs.LeaseID) error {
		switch e, there := s.memory.keys[dcs.KeyLeader]; {
		case !there:
			return fmt.Errorf("re-attach the leader key: %w: it is gone", dcs.ErrConflict)
		case string(e.value) != s.member:
			return fmt.Errorf("re-attach the leader key: %w: %q holds it", dcs.ErrLeaderLost, e.value)
		}
		s.putLeader(id)
		return nil
	})
}

// TakeLeader implements dcs.Store.
func (s *Store) TakeLeader(ctx context.Context) (dcs.Lease, error) {
	return s.leased(ctx, "TakeLeader", func(id dcs.LeaseID) error {
		s.putLeader(id)
		return nil
	})
}

// ReleaseLeader implements dcs.Store.
func (s *Store) ReleaseLeader(ctx context.Context, with ...dcs.Write) error {
	return s.request(ctx, "ReleaseLeader", Write, func() error {
		if !s.leads() {
			return fmt.Errorf("release the leader key: %w: it is not ours", dcs.ErrConflict)
		}
		return s.apply(with, change{key: dcs.KeyLeader, delete: true})
	})
}

// HandOver implements dcs.Store.
func (s *Store) HandOver(ctx context.Context, candidate dcs.Member, with ...dcs.Write) error {
	return s.request(ctx, "HandOver", Write, func() error {
		theirs := s.memory.keys[dcs.MemberKey(candidate.Name)].lease
		if !s.leads() || candidate.Lease == 0 || theirs != candidate.Lease {
			return fmt.Errorf("hand the leader key to %q: %w", candidate.Name, dcs.ErrConflict)
		}
		return s.apply(with,
			change{key: dcs.KeyLeader, value: []byte(candidate.Name), lease: candidate.Lease},
			change{key: dcs.KeyFailover, value: dcs.EncodeFailover(nil)})
	})
}

// Apply implements dcs.Store.
func (s *Store) Apply(ctx context.Context, writes ...dcs.Write) error {
	if len(writes) == 0 {
		return nil
	}
	return s.request(ctx, "Apply", Write, func() error { return s.apply(writes) })
}

// Remove implements dcs.Store.
func (s *Store) Remove(ctx context.Context) error {
	return s.request(ctx, "Remove", Write, func() error {
		var all []change
		for _, k := range slices.Sorted(maps.Keys(s.memory.keys)) {
			all = append(all, change{key: k, delete: true})
		}
		s.memory.change(all)
		return nil
	})
}

// Close implements dcs.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// leads says whether the leader key holds our name; the caller holds the memory's mu.
func (s *Store) leads() bool {
	e, there := s.memory.keys[dcs.KeyLeader]
	return there && s.member != "" && string(e.value) == s.member
}

// apply does all writes and the changes at one revision, or nothing; the
// caller holds the memory's mu.
func (s *Store) apply(writes []dcs.Write, also ...change) error {
	for _, w := range writes {
		e, there := s.memory.keys[w.Key]
		switch {
		case w.Guard.Absent && there,
			w.Guard.Revision != 0 && e.revision != w.Guard.Revision,
			w.Guard.Leader && !s.leads():
			return fmt.Errorf("write %s: %w", w.Key, dcs.ErrConflict)
		}
		c := change{key: w.Key, value: w.Value, delete: w.Value == nil}
		if w.Leased {
			s.mu.Lock()
			id := s.id
			s.mu.Unlock()
			if _, alive := s.memory.leases[id]; !alive {
				return fmt.Errorf("write %s: %w: there is no lease to attach the key to", w.Key, dcs.ErrConflict)
			}
			c.lease = id
		}
		also = append(also, c)
	}
	s.memory.change(also)
	return nil
}
