package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"pgha/internal/dcs"
)

// watched are the keys that wake (rulings 27). Members and status, which
// change every cycle, are not watched at all.
var watched = []dcs.Key{dcs.KeyLeader, dcs.KeyConfig, dcs.KeyFailover, dcs.KeySync, dcs.KeyInitialize}

const (
	// openPatience bounds login and the opening of a watch.
	openPatience = 3 * time.Second
	// steadyAfter: a watch that lived that long ended for a passing reason and
	// is opened again without a pause.
	steadyAfter = 5 * time.Second
	// deniedPause: each login costs etcd a tenth of a second of work.
	deniedPause = 5 * time.Second
)

// watch keeps one watch open until ctx ends. An open watch that dies is found
// by its stream's end, by gRPC's ping (at most pingEvery + pingPatience), or
// by any other request that finds the endpoint silent (pool.failed).
func (s *Store) watch(ctx context.Context) {
	select {
	case <-s.watchWant:
	case <-ctx.Done():
		return
	}
	pause := time.Duration(0)
	for ctx.Err() == nil {
		began := s.clock.Now()
		opened, err := s.watchAt(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Debug("etcd watch ended", "opened", opened, "err", err)
		if opened {
			s.wake() // changes may be missed until the next one is open
		}
		if opened && s.clock.Now().Sub(began) >= steadyAfter {
			pause = 0
		}
		if !sleep(ctx, pause) {
			return
		}
		pause = min(max(2*pause, firstPause), lastPause)
		if errors.Is(err, dcs.ErrDenied) {
			pause = deniedPause
		}
	}
}

// wake leaves one value in the channel.
func (s *Store) wake() {
	select {
	case s.wakes <- struct{}{}:
	default:
	}
}

// watchAt opens a watch at the best endpoint and serves it until it ends.
// opened says whether it ever stood.
func (s *Store) watchAt(ctx context.Context) (opened bool, err error) {
	list, err := s.pool.order()
	if err != nil {
		return false, err
	}
	e := list[0]
	open, cancel := context.WithCancel(ctx)
	defer cancel()
	opening := time.AfterFunc(openPatience, cancel)
	defer opening.Stop()

	authed, token, err := s.auth.context(open, e)
	if err == nil {
		opened, err = s.serveWatch(authed, e, func() { opening.Stop() })
	}
	if needsAuth(err.Error()) {
		s.auth.drop(token)
	} else if !errors.Is(err, dcs.ErrDenied) {
		s.gaveUp(ctx, e, err)
	}
	return opened, err
}

// serveWatch opens the watch and wakes on its events. It returns when the
// stream or any of its watchers ended, always with an error: a cancelled
// watcher does not end the stream by itself (contract: pitfalls.md 20).
func (s *Store) serveWatch(ctx context.Context, e *endpoint, stands func()) (opened bool, err error) {
	stream, err := e.watches().Watch(ctx)
	if err != nil {
		return false, err
	}
	for _, k := range watched {
		req := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: s.key(k)},
		}}
		if err := stream.Send(req); err != nil {
			_, err = stream.Recv() // knows why
			return false, fmt.Errorf("open watch: %w", err)
		}
	}
	created := 0
	for {
		resp, err := stream.Recv()
		if err != nil {
			return opened, err
		}
		if resp.Canceled {
			return opened, fmt.Errorf("watch cancelled by etcd: %s (compacted at %d)", resp.CancelReason, resp.CompactRevision)
		}
		if resp.Created {
			if created++; created == len(watched) {
				opened = true
				stands()
				s.wake() // what happened before it stood was not seen
			}
		}
		if len(resp.Events) > 0 {
			s.wake()
		}
	}
}
