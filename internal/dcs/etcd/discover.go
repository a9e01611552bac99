package etcd

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	discoverEvery = time.Minute
	discoverAgain = 5 * time.Second // after a failure
	discoverLimit = 5 * time.Second
)

// discover looks up etcd's members now and then, so that members added later,
// or left out of the configuration, are used too.
func (s *Store) discover(ctx context.Context) {
	for {
		again := discoverEvery
		if err := s.lookUp(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("etcd members not looked up", "err", err)
			again = discoverAgain
		}
		if !sleep(ctx, again) {
			return
		}
	}
}

func (s *Store) lookUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, discoverLimit)
	defer cancel()
	resp, err := ask(ctx, s, func(ctx context.Context, e *endpoint) (*pb.MemberListResponse, error) {
		return e.cluster().MemberList(ctx, &pb.MemberListRequest{})
	})
	if err != nil {
		return err
	}
	if added := s.pool.merge(resp.Members); len(added) > 0 {
		s.log.Debug("etcd endpoints discovered", "urls", added)
	}
	return nil
}
