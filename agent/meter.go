package agent

import (
	"context"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// Meter is told what the loop does, for monitoring. Its calls come from the
// loop and must not block.
type Meter interface {
	// Cycle: one pass has ended and its view is published.
	Cycle(Cycle)
	// Renewed: from the request that renewed the leader key until the guard
	// had the new deadline it took that long.
	Renewed(took time.Duration)
}

// Cycle is what one pass of the loop was.
type Cycle struct {
	View  View
	Tried ha.Tried
	// Finished is the job whose end the pass saw; nil: none.
	Finished *ha.JobResult
	Started  clock.Instant
	Ended    clock.Instant
}

// Took is how long it was, without the rest after it.
func (c Cycle) Took() time.Duration { return c.Ended.Sub(c.Started) }

// Overrun says whether it took longer than one pass may: the next is late.
func (c Cycle) Overrun() bool { return c.Took() > c.View.Settings.LoopWait }

// noMeter is told nothing: the simulator's.
type noMeter struct{}

func (noMeter) Cycle(Cycle)           {}
func (noMeter) Renewed(time.Duration) {}

// dcsOps are the operations of a store as the series call them.
var dcsOps = []string{"load", "keep_alive", "put_member", "acquire_leader", "renew_leader", "release_leader", "hand_over", "apply"}

// meteredStore measures the requests of the loop and of REST to a store.
type meteredStore struct {
	dcs.Store
	request func(op string, took time.Duration, failed bool)
}

// measure runs one operation. A refusal is an answer: it is no failure.
func (s meteredStore) measure(op string, do func() error) error {
	started := time.Now()
	err := do()
	s.request(op, time.Since(started), err != nil && dcs.Failed(err))
	return err
}

// Load implements dcs.Store.
func (s meteredStore) Load(ctx context.Context) (c *dcs.Cluster, err error) {
	err = s.measure("load", func() error { c, err = s.Store.Load(ctx); return err })
	return c, err
}

// KeepAlive implements dcs.Store.
func (s meteredStore) KeepAlive(ctx context.Context) (l dcs.Lease, err error) {
	err = s.measure("keep_alive", func() error { l, err = s.Store.KeepAlive(ctx); return err })
	return l, err
}

// PutMember implements dcs.Store.
func (s meteredStore) PutMember(ctx context.Context, data dcs.MemberData) error {
	return s.measure("put_member", func() error { return s.Store.PutMember(ctx, data) })
}

// AcquireLeader implements dcs.Store.
func (s meteredStore) AcquireLeader(ctx context.Context) (l dcs.Lease, err error) {
	err = s.measure("acquire_leader", func() error { l, err = s.Store.AcquireLeader(ctx); return err })
	return l, err
}

// RenewLeader implements dcs.Store.
func (s meteredStore) RenewLeader(ctx context.Context, seen dcs.Leader) (l dcs.Lease, err error) {
	err = s.measure("renew_leader", func() error { l, err = s.Store.RenewLeader(ctx, seen); return err })
	return l, err
}

// ReleaseLeader implements dcs.Store.
func (s meteredStore) ReleaseLeader(ctx context.Context, with ...dcs.Write) error {
	return s.measure("release_leader", func() error { return s.Store.ReleaseLeader(ctx, with...) })
}

// HandOver implements dcs.Store.
func (s meteredStore) HandOver(ctx context.Context, to dcs.Member, with ...dcs.Write) error {
	return s.measure("hand_over", func() error { return s.Store.HandOver(ctx, to, with...) })
}

// Apply implements dcs.Store.
func (s meteredStore) Apply(ctx context.Context, writes ...dcs.Write) error {
	return s.measure("apply", func() error { return s.Store.Apply(ctx, writes...) })
}
