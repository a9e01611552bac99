package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// store is one agent's access to etcd. It implements dcs.Store with the same
// requests as internal/dcs/etcd makes: what can get lost between two requests
// there can get lost here.
type store struct {
	a     *agentProcess
	ttl   time.Duration
	asked time.Duration // TTL of the present lease
	id    dcs.LeaseID
	seen  *dcs.Cluster // the last good read
	doubt bool         // a release or hand-over may still arrive
}

var _ dcs.Store = (*store)(nil)

var errGone = errors.New("requested lease not found")

// ask makes one read or renewal; lost ones are repeated until ctx ends.
func (st *store) ask(ctx context.Context, what string, act func(sent clock.Instant) error) error {
	end := deadlineOf(ctx)
	for {
		now := st.a.m.clock.Now()
		if !now.Before(end) {
			return fmt.Errorf("%s: %w", what, dcs.ErrUnavailable)
		}
		try := min(end, now.Add(max(end.Sub(now)/2, 300*time.Millisecond)))
		if answered, err := st.exchange(try, func() error { return act(now) }); answered {
			return err
		}
	}
}

// change makes one write. It is sent once: nobody knows what became of it
// when no answer comes.
func (st *store) change(ctx context.Context, what string, act func() error) error {
	answered, err := st.exchange(deadlineOf(ctx), act)
	if !answered {
		st.a.tell("%s: no answer", what)
		if st.a.m.s.opt.Plant == PlantUnknownIsDone {
			return nil
		}
		return fmt.Errorf("%s: %w", what, dcs.ErrUnknownOutcome)
	}
	return err
}

// exchange sends one request and waits for its answer until the instant.
func (st *store) exchange(until clock.Instant, act func() error) (answered bool, err error) {
	m := st.a.m
	m.s.net.send(m.at, etcdAt, func() {
		if m.s.etcd.silent > 0 {
			return
		}
		e := act()
		m.s.net.send(etcdAt, m.at, func() {
			st.a.run(func() {
				answered, err = true, e
				st.a.loop.poke()
			})
		})
	})
	st.a.loop.wait(until, func() bool { return answered })
	return answered, err
}

// Load implements dcs.Store.
func (st *store) Load(ctx context.Context) (*dcs.Cluster, error) {
	var c *dcs.Cluster
	var readAt Time
	err := st.ask(ctx, "read cluster", func(clock.Instant) error {
		c, readAt = st.a.m.s.etcd.read(), st.a.m.s.now
		return nil
	})
	if err != nil {
		return nil, err
	}
	c = st.a.m.s.opt.Plant.blind(c)
	st.seen = c
	st.a.m.reads(c, readAt)
	st.a.m.strike("the cluster was read")
	return c, nil
}

// Wakes implements dcs.Store; the models wake the loop directly.
func (st *store) Wakes() <-chan struct{} { return nil }

// SetTTL implements dcs.Store.
func (st *store) SetTTL(ttl time.Duration) { st.ttl = ttl }

// KeepAlive implements dcs.Store.
func (st *store) KeepAlive(ctx context.Context) (dcs.Lease, error) {
	s, e := st.a.m.s, st.a.m.s.etcd
	var l dcs.Lease
	if st.id != 0 && st.asked == st.ttl {
		id := st.id
		err := st.ask(ctx, "renew lease", func(sent clock.Instant) error {
			if !e.extend(id) {
				return errGone
			}
			l = dcs.Lease{ID: id, TTL: e.leases[id].ttl, SentAt: sent}
			return nil
		})
		if !errors.Is(err, errGone) {
			return st.planted(l, s), err
		}
	}
	ttl := st.ttl
	err := st.ask(ctx, "grant lease", func(sent clock.Instant) error {
		l = dcs.Lease{ID: e.grant(st.a.m.at, ttl), TTL: ttl, SentAt: sent}
		return nil
	})
	if err != nil {
		return dcs.Lease{}, err
	}
	st.id, st.asked = l.ID, ttl
	return st.planted(l, s), nil
}

// planted counts the lease from the answer, if that bug is planted.
func (st *store) planted(l dcs.Lease, s *Sim) dcs.Lease {
	if s.opt.Plant == PlantLeaseFromAnswer && l.ID != 0 {
		l.SentAt = st.a.m.clock.Now()
	}
	return l
}

// leased renews the lease and writes with it; once more when it ended in between.
func (st *store) leased(ctx context.Context, what string, act func(dcs.LeaseID) error) (dcs.Lease, error) {
	for again := false; ; again = true {
		l, err := st.KeepAlive(ctx)
		if err != nil {
			return dcs.Lease{}, err
		}
		err = st.change(ctx, what, func() error {
			if st.a.m.s.etcd.leases[l.ID] == nil {
				return errGone
			}
			return act(l.ID)
		})
		if !errors.Is(err, errGone) {
			return l, err
		}
		st.id = 0
		if again {
			return dcs.Lease{}, fmt.Errorf("%s: %w: %w", what, dcs.ErrUnavailable, err)
		}
	}
}

// PutMember implements dcs.Store.
func (st *store) PutMember(ctx context.Context, data dcs.MemberData) error {
	value, e := dcs.EncodeMember(data), st.a.m.s.etcd
	put := func(id dcs.LeaseID) error {
		if e.leases[id] == nil {
			return errGone
		}
		e.write([]etcdWrite{{dcs.MemberKey(st.a.m.name), value, id}})
		return nil
	}
	if id := st.id; id != 0 {
		err := st.change(ctx, "write member key", func() error { return put(id) })
		if !errors.Is(err, errGone) {
			return err
		}
		st.id = 0
	}
	_, err := st.leased(ctx, "write member key", put)
	return err
}

// AcquireLeader implements dcs.Store.
func (st *store) AcquireLeader(ctx context.Context) (dcs.Lease, error) {
	e := st.a.m.s.etcd
	st.a.m.s.checks.takes(st.a)
	st.a.m.s.checks.asks(st.a)
	st.a.m.s.checks.takesInSync(st.a)
	st.a.m.s.checks.takesBack(st.a)
	l, err := st.leased(ctx, "acquire leader key", func(id dcs.LeaseID) error {
		_, there := e.keys[dcs.KeyLeader]
		if there && st.a.m.s.opt.Plant != PlantUnguardedPut {
			return fmt.Errorf("acquire leader key: %w: %s holds it", dcs.ErrConflict, e.leader())
		}
		st.a.m.s.checks.taken(st.a)
		e.write([]etcdWrite{{dcs.KeyLeader, []byte(st.a.m.name), id}})
		return nil
	})
	if err == nil {
		st.a.m.confirmed(l)
		st.a.m.strike("the leader key was acquired")
	}
	return l, err
}

// RenewLeader implements dcs.Store.
func (st *store) RenewLeader(ctx context.Context, seen dcs.Leader) (dcs.Lease, error) {
	e, self := st.a.m.s.etcd, st.a.m.name
	l, err := st.KeepAlive(ctx)
	if err != nil && st.a.m.s.opt.Plant == PlantReadIsRenewal && seen.Name == self && st.id != 0 {
		return dcs.Lease{ID: st.id, TTL: st.ttl, SentAt: st.a.m.clock.Now()}, nil // the key was there a moment ago
	}
	if err != nil || seen.Lease == l.ID && seen.Name == self && !st.doubt {
		if err == nil {
			st.a.m.confirmed(l)
		}
		return l, err
	}
	l, err = st.leased(ctx, "re-attach leader key", func(id dcs.LeaseID) error {
		switch _, there := e.keys[dcs.KeyLeader]; {
		case !there:
			return fmt.Errorf("re-attach leader key: %w: it is gone", dcs.ErrConflict)
		case e.leader() != self:
			return fmt.Errorf("re-attach leader key: %w: %s holds it", dcs.ErrLeaderLost, e.leader())
		}
		e.write([]etcdWrite{{dcs.KeyLeader, []byte(self), id}})
		return nil
	})
	st.doubt = st.doubt && dcs.Failed(err)
	if err == nil {
		st.a.m.confirmed(l)
	}
	return l, err
}

// TakeLeader implements dcs.Store. The loop never calls it.
func (st *store) TakeLeader(context.Context) (dcs.Lease, error) {
	panic("sim: the loop takes no leader key unguarded")
}

// asLeader makes the changes if the key is ours and as it was just read.
func (st *store) asLeader(ctx context.Context, what string, with []dcs.Write, ok func() bool, do ...etcdWrite) error {
	e := st.a.m.s.etcd
	var read etcdKey
	if err := st.ask(ctx, what, func(clock.Instant) error { read = e.keys[dcs.KeyLeader]; return nil }); err != nil {
		return err
	}
	seen := read // a repeated question may still arrive, and nobody waits for its answer
	if string(seen.value) != st.a.m.name {
		return fmt.Errorf("%s: %w: the key is not ours", what, dcs.ErrConflict)
	}
	err := st.change(ctx, what, func() error {
		if e.keys[dcs.KeyLeader].revision != seen.revision || !ok() {
			return fmt.Errorf("%s: %w", what, dcs.ErrConflict)
		}
		if do[0].key == dcs.KeyLeader && do[0].value != nil {
			st.a.m.s.checks.handedOver(st.a.m, string(do[0].value), do[0].lease)
		}
		return st.apply(with, do...)
	})
	st.doubt = st.doubt || errors.Is(err, dcs.ErrUnknownOutcome)
	return err
}

// ReleaseLeader implements dcs.Store.
func (st *store) ReleaseLeader(ctx context.Context, with ...dcs.Write) error {
	err := st.asLeader(ctx, "release leader key", with, func() bool { return true }, etcdWrite{key: dcs.KeyLeader})
	st.a.m.strike("the leader key was released")
	return err
}

// HandOver implements dcs.Store.
func (st *store) HandOver(ctx context.Context, to dcs.Member, with ...dcs.Write) error {
	e := st.a.m.s.etcd
	if m := st.a.m.s.machineNamed(to.Name); m != nil {
		m.strike("it is about to be given the leader key")
	}
	err := st.asLeader(ctx, "hand leader key over", with,
		func() bool {
			now := e.keys[dcs.MemberKey(to.Name)].lease
			if st.a.m.s.opt.Plant == PlantHandOverBlind {
				now = to.Lease
			}
			return to.Lease != 0 && now == to.Lease && e.leases[to.Lease] != nil
		},
		etcdWrite{dcs.KeyLeader, []byte(to.Name), to.Lease},
		etcdWrite{dcs.KeyFailover, []byte("{}"), 0})
	if err == nil {
		st.a.m.strike("the leader key was handed over")
	}
	return err
}

// Apply implements dcs.Store.
func (st *store) Apply(ctx context.Context, writes ...dcs.Write) error {
	return st.change(ctx, "write "+string(writes[0].Key), func() error { return st.apply(writes) })
}

// apply does all writes, or none; it runs in etcd.
func (st *store) apply(writes []dcs.Write, do ...etcdWrite) error {
	e := st.a.m.s.etcd
	for _, w := range writes {
		k, there := e.keys[w.Key]
		switch {
		case w.Guard.Absent && there,
			w.Guard.Revision != 0 && k.revision != w.Guard.Revision,
			w.Guard.Leader && e.leader() != st.a.m.name:
			return fmt.Errorf("write %s: %w", w.Key, dcs.ErrConflict)
		}
		var id dcs.LeaseID
		if w.Leased {
			if id = st.id; e.leases[id] == nil {
				return fmt.Errorf("write %s: %w", w.Key, dcs.ErrUnavailable)
			}
		}
		do = append(do, etcdWrite{w.Key, w.Value, id})
	}
	e.write(do)
	return nil
}

// Remove implements dcs.Store. The loop never calls it.
func (st *store) Remove(context.Context) error { panic("sim: the loop removes no cluster") }

// Close implements dcs.Store.
func (st *store) Close() error { return nil }
