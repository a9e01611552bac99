package etcd_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/dcs/etcd"
)

// proxy stands between a store and etcd. Mute holds back what etcd answers;
// deaf what the store sends. It never closes a connection by itself.
type proxy struct {
	url    string
	target string
	done   chan struct{}
	wait   sync.WaitGroup

	mu         sync.Mutex
	mute, deaf bool
	changed    chan struct{}
}

func newProxy(t *testing.T, targetURL string) *proxy {
	t.Helper()
	u, err := url.Parse(targetURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{url: "http://" + l.Addr().String(), target: u.Host, done: make(chan struct{}), changed: make(chan struct{})}
	p.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wait.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		close(p.done)
		_ = l.Close()
		p.wait.Wait()
	})
	return p
}

func (p *proxy) set(mute, deaf bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute, p.deaf = mute, deaf
	close(p.changed)
	p.changed = make(chan struct{})
}

// gate waits while the direction is held back; false when the proxy ends.
func (p *proxy) gate(held func() bool) bool {
	for {
		p.mu.Lock()
		wait, changed := held(), p.changed
		p.mu.Unlock()
		if !wait {
			return true
		}
		select {
		case <-changed:
		case <-p.done:
			return false
		}
	}
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	ended := make(chan struct{}, 2)
	pump := func(to, from net.Conn, held func() bool) {
		defer func() { ended <- struct{}{} }()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if err != nil || !p.gate(held) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	p.wait.Go(func() { pump(server, client, func() bool { return p.deaf }) })
	p.wait.Go(func() { pump(client, server, func() bool { return p.mute }) })
	select {
	case <-ended:
	case <-p.done:
	}
}

// open returns a store on the URLs with a scope of its own.
func open(t *testing.T, scope, member string, urls ...string) *etcd.Store {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Options{
		Endpoints: urls, UseProxies: true, Namespace: "/service", Scope: scope, Member: member,
		TTL: 30 * time.Second, LoopWait: 10 * time.Second, RetryTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// quick runs f and complains when it fails or takes longer than the limit.
func quick(t *testing.T, what string, limit time.Duration, f func(context.Context) error) {
	t.Helper()
	began := time.Now()
	if err := f(within(t, 10*time.Second)); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if took := time.Since(began); took > limit {
		t.Errorf("%s took %v, want at most %v", what, took, limit)
	}
}

var someConfig = dcs.Write{Key: dcs.KeyConfig, Value: []byte("{}")}

func TestUnreachable(t *testing.T) {
	s := open(t, "unreachable", "a", "http://"+freeAddress())
	const patience = 700 * time.Millisecond
	for name, call := range map[string]func(context.Context) error{
		"load":      func(ctx context.Context) error { _, err := s.Load(ctx); return err },
		"keepalive": func(ctx context.Context) error { _, err := s.KeepAlive(ctx); return err },
		"acquire":   func(ctx context.Context) error { _, err := s.AcquireLeader(ctx); return err },
		"release":   func(ctx context.Context) error { return s.ReleaseLeader(ctx) },
		"apply":     func(ctx context.Context) error { return s.Apply(ctx, someConfig) },
		"remove":    s.Remove,
	} {
		began := time.Now()
		err := call(within(t, patience))
		if !errors.Is(err, dcs.ErrUnavailable) || errors.Is(err, dcs.ErrUnknownOutcome) {
			t.Errorf("%s: %v, want %v", name, err, dcs.ErrUnavailable)
		}
		if err != nil && !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%s does not say why: %v", name, err)
		}
		// The whole budget is used: an outage may be shorter than it.
		if took := time.Since(began); took < patience/2 || took > 2*patience {
			t.Errorf("%s gave up after %v of %v", name, took, patience)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []etcd.Options{
		{},
		{Endpoints: []string{"127.0.0.1:2379"}},
		{Endpoints: []string{"ftp://x:1"}},
		{Endpoints: []string{"http://"}},
	} {
		if s, err := etcd.Open(t.Context(), o); err == nil {
			_ = s.Close()
			t.Errorf("%v was accepted", o.Endpoints)
		}
	}
}

// One endpoint of several that accepts and never answers, refuses, or freezes
// later costs well under a second, once.
func TestSilentEndpoint(t *testing.T) {
	live := sharedEtcd(t)
	silent := newProxy(t, live)
	silent.set(true, true)
	s := open(t, "silent", "a", "http://"+freeAddress(), silent.url, live)
	const once, then = 900 * time.Millisecond, 300 * time.Millisecond
	load := func(ctx context.Context) error { _, err := s.Load(ctx); return err }
	quick(t, "first load", once, load)
	quick(t, "second load", then, load)
	quick(t, "put member", then, func(ctx context.Context) error { return s.PutMember(ctx, dcs.MemberData{}) })

	// The endpoint in use freezes between two writes.
	frozen := newProxy(t, live)
	s = open(t, "silent2", "a", frozen.url, live)
	quick(t, "acquire", then, func(ctx context.Context) error { _, err := s.AcquireLeader(ctx); return err })
	<-time.After(300 * time.Millisecond) // longer than an answer vouches for the endpoint
	frozen.set(true, true)
	quick(t, "write while frozen", once, func(ctx context.Context) error { return s.Apply(ctx, someConfig) })
	quick(t, "keepalive after it", then, func(ctx context.Context) error { _, err := s.KeepAlive(ctx); return err })
	quick(t, "release", then, func(ctx context.Context) error { return s.ReleaseLeader(ctx) })
}

// A watch on a silent connection is left when another request finds it silent.
func TestWatchLeavesSilentEndpoint(t *testing.T) {
	live := sharedEtcd(t)
	p := newProxy(t, live)
	s := open(t, "watchmoves", "a", p.url, live)
	other := open(t, "watchmoves", "", live)
	next := func(what string) {
		t.Helper()
		select {
		case <-s.Wakes():
		case <-time.After(5 * time.Second):
			t.Fatalf("not woken: %s", what)
		}
	}
	next("the watch stands")
	p.set(true, true)
	quick(t, "load", time.Second, func(ctx context.Context) error { _, err := s.Load(ctx); return err })
	next("the watch was lost, or stands again")
	deadline := time.After(5 * time.Second)
	for i := 0; ; i++ {
		// Writes until one is seen: the new watch may not stand at the first.
		if err := other.Apply(within(t, 5*time.Second), someConfig); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.Wakes():
			if i > 1 { // not merely the loss and the opening
				return
			}
		case <-deadline:
			t.Fatal("no wake-up through the live endpoint")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// The three outcomes of a write.
func TestWriteOutcomes(t *testing.T) {
	live := sharedEtcd(t)
	p := newProxy(t, live)
	s := open(t, "outcomes", "a", p.url)
	direct := open(t, "outcomes", "", live)
	written := func() bool {
		c, err := direct.Load(within(t, 5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		return c.Config != nil
	}
	warm := func() {
		t.Helper()
		if _, err := s.Load(within(t, 5*time.Second)); err != nil { // vouches for the endpoint
			t.Fatal(err)
		}
	}

	warm()
	p.set(true, false) // etcd hears us, we do not hear etcd
	if err := s.Apply(within(t, 400*time.Millisecond), someConfig); !errors.Is(err, dcs.ErrUnknownOutcome) {
		t.Errorf("answer lost: %v, want %v", err, dcs.ErrUnknownOutcome)
	}
	if !written() {
		t.Error("the write was to be done")
	}
	if err := direct.Remove(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}

	p.set(false, false)
	warm()
	p.set(true, true)
	if err := s.Apply(within(t, 400*time.Millisecond), someConfig); !errors.Is(err, dcs.ErrUnknownOutcome) {
		t.Errorf("request lost: %v, want %v", err, dcs.ErrUnknownOutcome)
	}
	// Nobody vouches for the endpoint any more: what follows is not even sent.
	if err := s.Apply(within(t, 400*time.Millisecond), someConfig); !errors.Is(err, dcs.ErrUnavailable) {
		t.Errorf("not sent: %v, want %v", err, dcs.ErrUnavailable)
	}
	if written() {
		t.Error("a lost request was done")
	}
}

// A release that nobody answered may arrive late: after the next renewal it
// finds the key changed.
func TestRenewalVoidsReleaseInDoubt(t *testing.T) {
	s := open(t, "doubt", "a", sharedEtcd(t))
	ctx := within(t, 5*time.Second)
	if _, err := s.AcquireLeader(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := s.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	seen := *c.Leader
	seen.Lease = 0 // how the loop asks for the key to be written anew
	if _, err := s.RenewLeader(ctx, seen); err != nil {
		t.Fatal(err)
	}
	late := dcs.Write{Key: dcs.KeyLeader, Guard: dcs.Guard{Revision: c.Leader.Revision}}
	if err := s.Apply(ctx, late); !errors.Is(err, dcs.ErrConflict) {
		t.Errorf("what was guarded by the key as it was: %v, want %v", err, dcs.ErrConflict)
	}
	fresh, err := s.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RenewLeader(ctx, *fresh.Leader); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Load(ctx); err != nil || again.Leader.Revision != fresh.Leader.Revision {
		t.Errorf("still in doubt after the renewal: %+v, %v", again, err)
	}
}

// A confirmation that arrives late confirms only its own request.
func TestLateKeepaliveAnswer(t *testing.T) {
	p := newProxy(t, sharedEtcd(t))
	s := open(t, "late", "a", p.url)
	first, err := s.KeepAlive(within(t, 5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	p.set(true, false)
	if l, err := s.KeepAlive(within(t, 300*time.Millisecond)); !errors.Is(err, dcs.ErrUnavailable) || l.ID != 0 {
		t.Fatalf("keepalive without an answer: %+v, %v", l, err)
	}
	p.set(false, true) // the late answer arrives; requests do not get through
	if l, err := s.KeepAlive(within(t, 300*time.Millisecond)); !errors.Is(err, dcs.ErrUnavailable) {
		t.Fatalf("the late answer confirmed a later request: %+v, %v", l, err)
	}
	p.set(false, false)
	l, err := s.KeepAlive(within(t, 10*time.Second))
	if err != nil || l.ID != first.ID || !l.SentAt.After(first.SentAt) {
		t.Fatalf("keepalive after the fault: %+v, %v", l, err)
	}
}

// The lease counts from the send time, however late the answer is.
func TestLeaseCountsFromSending(t *testing.T) {
	p := newProxy(t, sharedEtcd(t))
	s := open(t, "sending", "a", p.url)
	if _, err := s.KeepAlive(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	p.set(true, false)
	got := make(chan dcs.Lease, 1)
	go func() {
		l, _ := s.KeepAlive(within(t, 5*time.Second))
		got <- l
	}()
	<-time.After(200 * time.Millisecond) // shorter than a second attempt
	released := clock.Now()
	p.set(false, false)
	if l := <-got; l.ID == 0 || !l.SentAt.Before(released) {
		t.Errorf("lease %+v, want it counted from before %d", l, released)
	}
}

// What answers but is no etcd is an ordinary failure.
func TestNotEtcd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\n<hr/>")
			_ = c.Close()
		}
	})
	defer wait.Wait()
	defer l.Close()
	s := open(t, "notetcd", "a", "http://"+l.Addr().String())
	if _, err := s.Load(within(t, 500*time.Millisecond)); !errors.Is(err, dcs.ErrUnavailable) {
		t.Errorf("load: %v, want %v", err, dcs.ErrUnavailable)
	}
}

func TestPasswordFileUnreadable(t *testing.T) {
	s, err := etcd.Open(t.Context(), etcd.Options{
		Endpoints: []string{sharedEtcd(t)}, Scope: "x", Member: "a", Username: "u",
		PasswordFile: filepath.Join(t.TempDir(), "missing"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Load(within(t, 5*time.Second))
	if !errors.Is(err, dcs.ErrDenied) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("load: %v, want %v because of %v", err, dcs.ErrDenied, os.ErrNotExist)
	}
}
