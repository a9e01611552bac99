package etcd

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pgha/internal/dcs"
)

const (
	// hedgeAfter: an endpoint silent that long is not waited for alone. A
	// frozen etcd member costs this much, once.
	hedgeAfter = 500 * time.Millisecond
	// freshFor: an endpoint that answered that recently is taken to be alive.
	freshFor = 250 * time.Millisecond
	// Pauses between rounds over all endpoints.
	firstPause, lastPause = 100 * time.Millisecond, time.Second
	// minAttempt: no attempt gets less, unless the context does.
	minAttempt = time.Second
)

// answer is a response of etcd.
type answer interface{ GetHeader() *pb.ResponseHeader }

// result is the end of one attempt.
type result[T answer] struct {
	endpoint *endpoint
	value    T
	err      error
}

// ask makes a request that may be made several times: at one endpoint after
// the other, or at several at once when one is slow, round after round, until
// one answers or ctx ends. Errors: dcs.ErrUnavailable, dcs.ErrDenied,
// errLeaseGone.
func ask[T answer](ctx context.Context, s *Store, call func(context.Context, *endpoint) (T, error)) (T, error) {
	var zero T
	var last error
	pause := firstPause
	began := time.Now()
	for {
		s.locate(ctx)
		r := round(ctx, s, call)
		if r.err == nil {
			return r.value, nil
		}
		last = better(last, r.err)
		if errors.Is(r.err, errLeaseGone) {
			return zero, r.err
		}
		if ctx.Err() != nil || s.closing.Load() || judge(r.err) == refused || s.hopeless(time.Since(began)) {
			return zero, s.explain(unavailable(last))
		}
		if !sleep(ctx, pause) {
			return zero, s.explain(unavailable(last))
		}
		pause = min(2*pause, lastPause)
	}
}

// better keeps the error that tells more: the end of our own patience hides
// what etcd said before.
func better(last, now error) error {
	if last != nil && (errors.Is(plain(now), context.DeadlineExceeded) || errors.Is(plain(now), context.Canceled)) {
		return last
	}
	return now
}

// sleep waits; it returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// round asks the endpoints, one more whenever those asked so far fail or stay
// silent. It returns the first answer, or the last error once all have failed.
// When all are silent it asks them again: a follower that forwarded a keepalive
// to a frozen etcd leader waits for that leader even after another one is
// elected, while a new request is forwarded to the new one. No attempt
// outlives the round.
func round[T answer](ctx context.Context, s *Store, call func(context.Context, *endpoint) (T, error)) result[T] {
	list, err := s.pool.order()
	if err != nil {
		return result[T]{err: err}
	}
	limit, hedge := shares(ctx, len(list))
	ctx, cancel := context.WithTimeout(ctx, limit)
	results := make(chan result[T], len(list))
	running := map[*endpoint]int{}
	defer func() {
		cancel()
		for range total(running) { // gRPC returns at once when its context ends
			<-results
		}
	}()
	timer := time.NewTimer(hedge)
	defer timer.Stop()
	asked := 0
	next := func() {
		e := list[asked%len(list)]
		asked++
		running[e]++
		timer.Reset(hedge)
		go func() { // waited for above
			v, err := attempt(ctx, s, e, call)
			results <- result[T]{e, v, err}
		}()
	}
	next()
	for {
		select {
		case <-timer.C:
			if ctx.Err() != nil {
				continue // no time is left to ask in; those under way end now
			}
			if next(); asked > len(list) {
				hedge = max(hedge, min(2*hedge, lastPause))
			}
		case r := <-results:
			if running[r.endpoint]--; running[r.endpoint] == 0 {
				delete(running, r.endpoint)
			}
			if r.err == nil {
				r.err = s.pool.answered(r.endpoint, r.value.GetHeader())
			}
			if r.err == nil || judge(r.err) == refused {
				s.tooSlow(running, r.endpoint)
				return r
			}
			s.gaveUp(ctx, r.endpoint, r.err)
			if asked < len(list) {
				next()
			}
			if len(running) == 0 {
				return r
			}
		}
	}
}

func total(running map[*endpoint]int) (n int) {
	for _, attempts := range running {
		n += attempts
	}
	return n
}

// shares divides the time left: how long a round may take, and how long an
// endpoint may be silent before the next one is asked as well.
func shares(ctx context.Context, endpoints int) (limit, hedge time.Duration) {
	deadline, ok := ctx.Deadline()
	if !ok { // a bug of the caller; bounded all the same
		return 10 * time.Second, hedgeAfter
	}
	left := time.Until(deadline)
	return max(left/2, min(left, minAttempt)), min(hedgeAfter, left/time.Duration(endpoints+1))
}

// tooSlow marks the endpoints that the winner beat.
func (s *Store) tooSlow(running map[*endpoint]int, winner *endpoint) {
	for e := range running {
		if e != winner {
			s.pool.failed(e)
		}
	}
}

// gaveUp marks an endpoint whose attempt failed, unless the caller withdrew or
// we closed the connection ourselves: that tells nothing about the endpoint.
func (s *Store) gaveUp(ctx context.Context, e *endpoint, err error) {
	closedByUs := ctx.Err() == nil && status.Code(err) == codes.Canceled
	if !closedByUs && !errors.Is(ctx.Err(), context.Canceled) {
		s.pool.failedWith(e, reason(err))
	}
}

// attempt makes one request at one endpoint, logging in as often as that can
// help: twice with a fresh token (contract: dcs-layout.md section 5).
func attempt[T any](ctx context.Context, s *Store, e *endpoint, call func(context.Context, *endpoint) (T, error)) (T, error) {
	var zero T
	for tokens := 0; ; tokens++ {
		authed, used, err := s.auth.context(ctx, e)
		if err != nil {
			return zero, at(e, err)
		}
		v, err := call(authed, e)
		if err == nil || judge(err) != authenticate {
			return v, err
		}
		if !s.auth.renewable(err) || tokens == 2 {
			return zero, at(e, s.auth.denied(err))
		}
		s.auth.drop(used)
	}
}

// at names the endpoint that denied a request.
func at(e *endpoint, err error) error {
	if errors.Is(err, dcs.ErrDenied) {
		return &DeniedError{URL: e.url, cause: err}
	}
	return err
}

// tell makes a request that must not be made twice: a write. It goes to an
// endpoint that is known to be alive; if it surely did not happen there it is
// repeated elsewhere, otherwise its outcome is unknown.
func tell(ctx context.Context, s *Store, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	pause := firstPause
	for {
		e, err := s.proven(ctx)
		if err != nil {
			return nil, err
		}
		var mark *sendMark
		resp, err := attempt(ctx, s, e, func(ctx context.Context, e *endpoint) (*pb.TxnResponse, error) {
			ctx, mark = marked(ctx)
			return e.kv().Txn(ctx, req)
		})
		switch {
		case err == nil:
			_ = s.pool.answered(e, resp.Header) // committed is committed, in any term
			return resp, nil
		case leaseGone(err):
			return nil, errLeaseGone
		case judge(err) == refused:
			return nil, unavailable(err)
		}
		s.gaveUp(ctx, e, err)
		if !notDone(err, mark != nil && mark.sent.Load()) {
			return nil, unknown(err)
		}
		if ctx.Err() != nil || !sleep(ctx, pause) {
			return nil, unavailable(err)
		}
		pause = min(2*pause, lastPause)
	}
}

// proven returns an endpoint that answered a moment ago, asking if need be. A
// write sent to a frozen member would be lost for as long as ctx allows, and
// could come to life later; a read is simply repeated elsewhere.
func (s *Store) proven(ctx context.Context) (*endpoint, error) {
	if e := s.pool.fresh(freshFor); e != nil && ctx.Err() == nil {
		return e, nil
	}
	_, e, err := s.peek(ctx, dcs.KeyLeader)
	return e, err
}

// peek reads one key and says who answered.
func (s *Store) peek(ctx context.Context, k dcs.Key) (*pb.RangeResponse, *endpoint, error) {
	type found struct {
		*pb.RangeResponse
		by *endpoint
	}
	f, err := ask(ctx, s, func(ctx context.Context, e *endpoint) (found, error) {
		resp, err := e.kv().Range(ctx, &pb.RangeRequest{Key: s.key(k)})
		return found{resp, e}, err
	})
	return f.RangeResponse, f.by, err
}
