package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// leaseState is this member's lease. There is no goroutine that renews it: a
// member whose loop hangs must lose its keys (contract: dcs-layout.md section 3).
type leaseState struct {
	// turn is held by the one request about the lease that is under way; taking
	// it is bounded by the caller's context.
	turn chan struct{}

	mu    sync.Mutex
	id    dcs.LeaseID   // zero: grant one
	asked time.Duration // TTL it was asked for
}

func (l *leaseState) get() (dcs.LeaseID, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id, l.asked
}

func (l *leaseState) set(id dcs.LeaseID, asked time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.id, l.asked = id, asked
}

// SetTTL implements dcs.Store.
func (s *Store) SetTTL(ttl time.Duration) { s.ttl.Store(int64(ttl)) }

// confirmed is etcd's word about a lease, and when we asked for it.
type confirmed struct {
	header *pb.ResponseHeader
	lease  dcs.Lease
}

func (c confirmed) GetHeader() *pb.ResponseHeader { return c.header }

// KeepAlive implements dcs.Store.
func (s *Store) KeepAlive(ctx context.Context) (dcs.Lease, error) {
	if s.member == "" {
		return dcs.Lease{}, fmt.Errorf("renew lease: %w", errTool)
	}
	select {
	case s.lease.turn <- struct{}{}:
		defer func() { <-s.lease.turn }()
	case <-ctx.Done():
		return dcs.Lease{}, fmt.Errorf("renew lease: %w", unavailable(ctx.Err()))
	}
	ttl := time.Duration(s.ttl.Load())
	id, asked := s.lease.get()
	if id != 0 && asked == ttl {
		l, err := s.renew(ctx, id)
		if !errors.Is(err, errLeaseGone) {
			return l, err
		}
	}
	l, err := s.grant(ctx, ttl)
	if err == nil {
		s.lease.set(l.ID, ttl)
		return l, nil
	}
	if id != 0 && asked != ttl && errors.Is(err, dcs.ErrUnavailable) && ctx.Err() == nil {
		// The new TTL cannot be had (etcd out of space grants nothing but still
		// renews): the old lease is better than none.
		if l, old := s.renew(ctx, id); old == nil {
			return l, nil
		}
	}
	return dcs.Lease{}, err
}

// renew sends one keepalive on a stream of its own: an answer to an earlier
// request cannot be taken for the answer to this one.
func (s *Store) renew(ctx context.Context, id dcs.LeaseID) (dcs.Lease, error) {
	c, err := ask(ctx, s, func(ctx context.Context, e *endpoint) (confirmed, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		sent := s.clock.Now() // before anything of it can leave
		stream, err := e.leases().LeaseKeepAlive(ctx)
		if err != nil {
			return confirmed{}, err
		}
		// An error of Send is only "the stream broke"; Recv knows why.
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil && !errors.Is(err, io.EOF) {
			return confirmed{}, err
		}
		resp, err := stream.Recv()
		switch {
		case err != nil && leaseGone(err):
			return confirmed{}, errLeaseGone
		case err != nil:
			return confirmed{}, err
		case resp.ID != int64(id):
			return confirmed{}, fmt.Errorf("keepalive of lease %x answered for lease %x", id, resp.ID)
		case resp.TTL <= 0:
			return confirmed{}, errLeaseGone
		}
		if err := s.stillLed(ctx, e, resp.Header.GetRaftTerm()); err != nil {
			return confirmed{}, err
		}
		return confirmed{resp.Header, lease(id, resp.TTL, sent)}, nil
	})
	if err != nil {
		return dcs.Lease{}, fmt.Errorf("renew lease %x: %w", id, err)
	}
	return c.lease, nil
}

// stillLed asks, after a keepalive was answered in a raft term, whether that
// term's leader still leads. Etcd renews leases in its leader's memory without
// asking the others: a leader that lost them goes on confirming for up to two
// election timeouts (docs/etcd-keepalive.md), while they may elect another one
// that lets the lease end. A linearizable read cannot be answered by it.
func (s *Store) stillLed(ctx context.Context, e *endpoint, term uint64) error {
	resp, err := e.kv().Range(ctx, &pb.RangeRequest{Key: s.key(dcs.KeyLeader), CountOnly: true})
	if err != nil {
		return err
	}
	if resp.Header.GetRaftTerm() != term {
		return errStale
	}
	return nil
}

// grant gets a new lease. One that was granted without our learning of it
// runs out by itself.
func (s *Store) grant(ctx context.Context, ttl time.Duration) (dcs.Lease, error) {
	seconds := int64(math.Ceil(ttl.Seconds()))
	c, err := ask(ctx, s, func(ctx context.Context, e *endpoint) (confirmed, error) {
		sent := s.clock.Now()
		resp, err := e.leases().LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: seconds})
		if err != nil {
			return confirmed{}, err
		}
		return confirmed{resp.Header, lease(dcs.LeaseID(resp.ID), resp.TTL, sent)}, nil
	})
	if err != nil {
		return dcs.Lease{}, fmt.Errorf("grant a lease of %v: %w", ttl, err)
	}
	return c.lease, nil
}

func lease(id dcs.LeaseID, ttlSeconds int64, sent clock.Instant) dcs.Lease {
	return dcs.Lease{ID: id, TTL: time.Duration(ttlSeconds) * time.Second, SentAt: sent}
}

// leased renews the lease, then makes the transaction that attaches keys to
// it. When the lease ends between the two, once more.
func (s *Store) leased(ctx context.Context, build func(dcs.LeaseID) *pb.TxnRequest) (dcs.Lease, *pb.TxnResponse, error) {
	for again := false; ; again = true {
		l, err := s.KeepAlive(ctx)
		if err != nil {
			return dcs.Lease{}, nil, err
		}
		resp, err := tell(ctx, s, build(l.ID))
		if !errors.Is(err, errLeaseGone) {
			return l, resp, err
		}
		s.lease.set(0, 0)
		if again {
			return dcs.Lease{}, nil, unavailable(err)
		}
	}
}
