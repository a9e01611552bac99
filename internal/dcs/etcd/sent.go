package etcd

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// sendMark tells whether a request got as far as the connection. What was not
// sent did not happen, whatever the error says.
type sendMark struct{ sent atomic.Bool }

type sendMarkKey struct{}

// marked returns a context under which the next request sets the mark.
func marked(ctx context.Context) (context.Context, *sendMark) {
	m := new(sendMark)
	return context.WithValue(ctx, sendMarkKey{}, m), m
}

// sendWatcher sets the marks: gRPC calls it when the header of a request is
// handed to a live connection, which is before any byte leaves.
type sendWatcher struct{}

func (sendWatcher) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (sendWatcher) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.OutHeader, *stats.OutPayload:
		if m, ok := ctx.Value(sendMarkKey{}).(*sendMark); ok {
			m.sent.Store(true)
		}
	}
}

func (sendWatcher) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sendWatcher) HandleConn(context.Context, stats.ConnStats)                       {}
