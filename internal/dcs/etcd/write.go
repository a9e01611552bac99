package etcd

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"pgha/internal/dcs"
)

// PutMember implements dcs.Store.
func (s *Store) PutMember(ctx context.Context, data dcs.MemberData) error {
	if s.member == "" {
		return fmt.Errorf("write member key: %w", errTool)
	}
	value := dcs.EncodeMember(data)
	build := func(id dcs.LeaseID) *pb.TxnRequest {
		return &pb.TxnRequest{Success: ops(put(s.key(dcs.MemberKey(s.member)), value, id))}
	}
	err := error(errLeaseGone)
	if id, _ := s.lease.get(); id != 0 {
		if _, err = tell(ctx, s, build(id)); errors.Is(err, errLeaseGone) {
			s.lease.set(0, 0)
		}
	}
	if errors.Is(err, errLeaseGone) {
		_, _, err = s.leased(ctx, build)
	}
	if err != nil {
		return fmt.Errorf("write member key of %q: %w", s.member, err)
	}
	return nil
}

// AcquireLeader implements dcs.Store. An empty key (written by hand: no member
// does that) is nobody's, like an absent one: without a lease it would
// otherwise keep everybody from leading for ever.
func (s *Store) AcquireLeader(ctx context.Context) (dcs.Lease, error) {
	k := s.key(dcs.KeyLeader)
	l, resp, err := s.leased(ctx, func(id dcs.LeaseID) *pb.TxnRequest {
		take := put(k, []byte(s.member), id)
		return &pb.TxnRequest{
			Compare: []*pb.Compare{absent(k)},
			Success: ops(take),
			Failure: ops(nested(&pb.TxnRequest{Compare: []*pb.Compare{valueIs(k, "")}, Success: ops(take), Failure: ops(read(k))})),
		}
	})
	if err == nil && !resp.Succeeded {
		resp = resp.Responses[0].GetResponseTxn()
	}
	if err == nil && !resp.GetSucceeded() {
		err = fmt.Errorf("%w: %s holds it", dcs.ErrConflict, holder(resp))
	}
	if err != nil {
		return l, fmt.Errorf("acquire leader key: %w", err)
	}
	return l, nil
}

// holder names who holds the leader key, by the read at the end of a failed
// transaction.
func holder(resp *pb.TxnResponse) string {
	if n := len(resp.Responses); n > 0 {
		if kvs := resp.Responses[n-1].GetResponseRange().GetKvs(); len(kvs) > 0 {
			return fmt.Sprintf("%q", kvs[0].Value)
		}
	}
	return "nobody"
}

// RenewLeader implements dcs.Store.
func (s *Store) RenewLeader(ctx context.Context, seen dcs.Leader) (dcs.Lease, error) {
	l, err := s.KeepAlive(ctx)
	if err != nil {
		return l, fmt.Errorf("renew leadership: %w", err)
	}
	if seen.Lease == l.ID && seen.Name == s.member {
		return l, nil
	}
	k := s.key(dcs.KeyLeader)
	l, resp, err := s.leased(ctx, func(id dcs.LeaseID) *pb.TxnRequest {
		return &pb.TxnRequest{
			Compare: []*pb.Compare{valueIs(k, s.member)},
			Success: ops(put(k, []byte(s.member), id)),
			Failure: ops(read(k)),
		}
	})
	if err == nil && !resp.Succeeded {
		err = fmt.Errorf("%w: %s holds it", dcs.ErrLeaderLost, holder(resp))
		if len(resp.Responses[0].GetResponseRange().GetKvs()) == 0 {
			err = fmt.Errorf("%w: it is gone", dcs.ErrConflict)
		}
	}
	if err != nil {
		return l, fmt.Errorf("re-attach leader key to lease %x: %w", l.ID, err)
	}
	return l, nil
}

// takeTries bounds how often TakeLeader looks again at a key that changes.
const takeTries = 3

// TakeLeader implements dcs.Store. The put is guarded by what was just read
// all the same: a request that comes to life late must not overwrite a leader.
func (s *Store) TakeLeader(ctx context.Context) (dcs.Lease, error) {
	k := s.key(dcs.KeyLeader)
	for range takeTries {
		at, _, err := s.leaderKey(ctx)
		if err != nil {
			return dcs.Lease{}, fmt.Errorf("take leader key: %w", err)
		}
		l, resp, err := s.leased(ctx, func(id dcs.LeaseID) *pb.TxnRequest {
			return &pb.TxnRequest{Compare: []*pb.Compare{revisionIs(k, at)}, Success: ops(put(k, []byte(s.member), id))}
		})
		if err != nil {
			return l, fmt.Errorf("take leader key: %w", err)
		}
		if resp.Succeeded {
			return l, nil
		}
	}
	return dcs.Lease{}, fmt.Errorf("take leader key: %w: it changes all the time", dcs.ErrUnavailable)
}

// leaderKey reads the leader key's revision (zero: absent) and holder.
func (s *Store) leaderKey(ctx context.Context) (dcs.Revision, string, error) {
	resp, _, err := s.peek(ctx, dcs.KeyLeader)
	if err != nil {
		return 0, "", err
	}
	if len(resp.Kvs) == 0 {
		return 0, "", nil
	}
	return dcs.Revision(resp.Kvs[0].ModRevision), string(resp.Kvs[0].Value), nil
}

// ReleaseLeader implements dcs.Store.
func (s *Store) ReleaseLeader(ctx context.Context, with ...dcs.Write) error {
	if err := s.asLeader(ctx, nil, ops(remove(s.key(dcs.KeyLeader), nil)), with); err != nil {
		return fmt.Errorf("release leader key: %w", err)
	}
	return nil
}

// HandOver implements dcs.Store.
func (s *Store) HandOver(ctx context.Context, candidate dcs.Member, with ...dcs.Write) error {
	err := error(fmt.Errorf("%w: the candidate has no lease", dcs.ErrConflict))
	if candidate.Lease != 0 {
		err = s.asLeader(ctx,
			[]*pb.Compare{leaseIs(s.key(dcs.MemberKey(candidate.Name)), candidate.Lease)},
			ops(
				put(s.key(dcs.KeyLeader), []byte(candidate.Name), candidate.Lease),
				put(s.key(dcs.KeyFailover), dcs.EncodeFailover(nil), 0),
			), with)
	}
	if errors.Is(err, errLeaseGone) { // the candidate's: it ended meanwhile
		err = fmt.Errorf("%w: %w", dcs.ErrConflict, err)
	}
	if err != nil {
		return fmt.Errorf("hand leader key to %q: %w", candidate.Name, err)
	}
	return nil
}

// asLeader makes the changes if the leader key holds our name, in exactly the
// state just read: by name alone, a request that was given up and comes to
// life late would end a leadership gained since.
func (s *Store) asLeader(ctx context.Context, guards []*pb.Compare, do []*pb.RequestOp, with []dcs.Write) error {
	at, name, err := s.leaderKey(ctx)
	if err != nil {
		return err
	}
	if s.member == "" || at == 0 || name != s.member {
		return fmt.Errorf("%w: the key is not ours but %q's", dcs.ErrConflict, name)
	}
	k := s.key(dcs.KeyLeader)
	more, writes := s.writes(with)
	return s.guarded(ctx, &pb.TxnRequest{
		Compare: append(append(guards, valueIs(k, s.member), revisionIs(k, at)), more...),
		Success: append(do, writes...),
	})
}

// guarded makes a transaction that has one branch.
func (s *Store) guarded(ctx context.Context, req *pb.TxnRequest) error {
	resp, err := tell(ctx, s, req)
	if err == nil && !resp.Succeeded {
		return dcs.ErrConflict
	}
	return err
}

// Apply implements dcs.Store.
func (s *Store) Apply(ctx context.Context, writes ...dcs.Write) error {
	if len(writes) == 0 {
		return nil
	}
	keys := make([]dcs.Key, 0, len(writes))
	err := error(nil)
	for _, w := range writes {
		keys = append(keys, w.Key)
		if w.Guard.Leader && s.member == "" {
			err = fmt.Errorf("%w: a tool is never the leader", dcs.ErrConflict)
		}
		if w.Leased && s.leaseOf(w) == 0 {
			err = fmt.Errorf("%w: there is no lease to attach the key to", dcs.ErrConflict)
		}
	}
	if err == nil {
		guards, do := s.writes(writes)
		err = s.guarded(ctx, &pb.TxnRequest{Compare: guards, Success: do})
	}
	if errors.Is(err, errLeaseGone) {
		err = fmt.Errorf("%w: %w", dcs.ErrConflict, err)
	}
	if err != nil {
		return fmt.Errorf("write %v: %w", keys, err)
	}
	return nil
}

// Remove implements dcs.Store.
func (s *Store) Remove(ctx context.Context) error {
	if err := s.guarded(ctx, &pb.TxnRequest{Success: ops(remove([]byte(s.prefix), prefixEnd(s.prefix)))}); err != nil {
		return fmt.Errorf("remove %s: %w", s.prefix, err)
	}
	return nil
}
