package dcstest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/dcs/dcstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handClock moves only when told.
type handClock struct{ now atomic.Int64 }

func newHandClock() *handClock {
	c := &handClock{}
	c.now.Store(int64(time.Hour))
	return c
}

func (c *handClock) Now() clock.Instant      { return clock.Instant(c.now.Load()) }
func (c *handClock) Wall() time.Time         { return time.Unix(0, c.now.Load()) }
func (c *handClock) advance(d time.Duration) { c.now.Add(int64(d)) }
func (c *handClock) WithDeadline(ctx context.Context, _ clock.Instant) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

func TestMemoryConforms(t *testing.T) {
	dcstest.Run(t, func(t *testing.T) dcstest.Harness {
		c := newHandClock()
		m := dcstest.NewMemory(c)
		return dcstest.Harness{
			Open:   func(member string, ttl time.Duration) dcs.Store { return m.Open(member, ttl) },
			Put:    m.Put,
			Delete: m.Delete,
			Revoke: m.Revoke,
			Pass: func() {
				c.advance(100 * time.Millisecond)
				m.Expire()
			},
			Clock:    c,
			ShortTTL: 2 * time.Second,
		}
	})
}

// The three outcomes of a write, and that a delay counts against the lease.
func TestMemoryFaults(t *testing.T) {
	c := newHandClock()
	m := dcstest.NewMemory(c)
	a := m.Open("a", 10*time.Second)
	write := func() error {
		return a.Apply(t.Context(), dcs.Write{Key: dcs.KeyConfig, Value: []byte("{}"), Guard: dcs.Guard{Absent: true}})
	}
	written := func() bool {
		cl, err := m.Open("", 0).Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return cl.Config != nil
	}
	on := func(kind dcstest.Kind, f dcstest.Fault) func(dcstest.Call) dcstest.Fault {
		return func(call dcstest.Call) dcstest.Fault {
			if call.Member == "a" && call.Kind == kind {
				return f
			}
			return dcstest.Pass
		}
	}
	for _, tt := range []struct {
		name  string
		hooks dcstest.Hooks
		want  error
		done  bool
	}{
		{"unavailable", dcstest.Hooks{Request: on(dcstest.Write, dcstest.Unavailable)}, dcs.ErrUnavailable, false},
		{"denied", dcstest.Hooks{Request: on(dcstest.Write, dcstest.Denied)}, dcs.ErrDenied, false},
		{"request lost", dcstest.Hooks{Request: on(dcstest.Write, dcstest.Lost)}, dcs.ErrUnknownOutcome, false},
		{"reply lost", dcstest.Hooks{Reply: on(dcstest.Write, dcstest.Lost)}, dcs.ErrUnknownOutcome, true},
	} {
		m.SetHooks(tt.hooks)
		if err := write(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if written() != tt.done {
			t.Errorf("%s: written is %v, want %v", tt.name, !tt.done, tt.done)
		}
	}

	m.SetHooks(dcstest.Hooks{Request: func(dcstest.Call) dcstest.Fault {
		c.advance(3 * time.Second)
		return dcstest.Pass
	}})
	sent := c.Now()
	l, err := a.KeepAlive(t.Context())
	if err != nil || l.SentAt != sent || l.Deadline() != sent.Add(10*time.Second) {
		t.Errorf("lease %+v, %v: want it counted from the send time %d", l, err, sent)
	}
	if at, ok := m.NextExpiry(); !ok || at != sent.Add(13*time.Second) {
		t.Errorf("the memory ends the lease at %d, want %d", at, sent.Add(13*time.Second))
	}
	m.SetHooks(dcstest.Hooks{Request: on(dcstest.Renew, dcstest.Lost)})
	if _, err := a.KeepAlive(t.Context()); !errors.Is(err, dcs.ErrUnavailable) {
		t.Errorf("keepalive without an answer: %v, want %v", err, dcs.ErrUnavailable)
	}
}
