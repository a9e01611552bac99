package etcd

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"pgha/internal/dcs"
)

// What transactions are made of.

func valueIs(key []byte, value string) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte(value)}}
}

func absent(key []byte) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 0}}
}

// revisionIs with zero holds for an absent key.
func revisionIs(key []byte, r dcs.Revision) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_ModRevision{ModRevision: int64(r)}}
}

// leaseIs with zero would hold for an absent key: never ask that.
func leaseIs(key []byte, id dcs.LeaseID) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_LEASE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Lease{Lease: int64(id)}}
}

func put(key, value []byte, id dcs.LeaseID) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value, Lease: int64(id)}}}
}

func remove(key, end []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key, RangeEnd: end}}}
}

func read(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}
}

func nested(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func ops(o ...*pb.RequestOp) []*pb.RequestOp { return o }

// writes turns the writes into guards and operations.
func (s *Store) writes(list []dcs.Write) (guards []*pb.Compare, do []*pb.RequestOp) {
	for _, w := range list {
		k := s.key(w.Key)
		if w.Guard.Absent {
			guards = append(guards, absent(k))
		}
		if w.Guard.Revision != 0 {
			guards = append(guards, revisionIs(k, w.Guard.Revision))
		}
		if w.Guard.Leader {
			guards = append(guards, valueIs(s.key(dcs.KeyLeader), s.member))
		}
		if w.Value == nil {
			do = append(do, remove(k, nil))
		} else {
			do = append(do, put(k, w.Value, s.leaseOf(w)))
		}
	}
	return guards, do
}

// leaseOf is the lease a write carries: ours, when it asks for it.
func (s *Store) leaseOf(w dcs.Write) dcs.LeaseID {
	if !w.Leased {
		return 0
	}
	id, _ := s.lease.get()
	return id
}
