package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"

	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/dcs/dcstest"
	"pgha/internal/dcs/etcd"
	"pgha/internal/tlsconf"
	"pgha/internal/tlsconf/tlstest"
)

type (
	authOptions = authpb.UserAddOptions
	permission  = authpb.Permission
)

const readWrite = authpb.READWRITE

// TestVersions runs against real etcd processes of every minor found in
// $PGHA_ETCD_BINDIR (subdirectories named after versions, as
// internal/lab/etcdbuild.sh fills them). Findings: docs/etcd-keepalive.md.
func TestVersions(t *testing.T) {
	bin := os.Getenv("PGHA_ETCD_BINDIR")
	if bin == "" {
		t.Skip("PGHA_ETCD_BINDIR is not set: fill it with internal/lab/etcdbuild.sh 3.7.3")
	}
	dirs, err := filepath.Glob(filepath.Join(bin, "3.*", "etcd"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no etcd in %s (%v)", bin, err)
	}
	for _, d := range dirs {
		version := filepath.Base(filepath.Dir(d))
		t.Run(version, func(t *testing.T) {
			o := labOptions{binaries: bin, version: version, members: 3}
			t.Run("conformance", func(t *testing.T) {
				l := startLab(t, o)
				dcstest.Run(t, func(t *testing.T) dcstest.Harness { return harness(t, l.urls(), nil) })
			})
			t.Run("leader killed", func(t *testing.T) { leaderKilled(t, o) })
			t.Run("leader frozen", func(t *testing.T) { memberFrozen(t, o, true) })
			t.Run("follower frozen", func(t *testing.T) { memberFrozen(t, o, false) })
			t.Run("no quorum", func(t *testing.T) { noQuorum(t, o) })
			t.Run("thawed leader", func(t *testing.T) { thawedLeader(t, o) })
			t.Run("auth switched on", func(t *testing.T) { authSwitchedOn(t, o) })
			t.Run("token expires", func(t *testing.T) { tokenExpires(t, o) })
			t.Run("no space", func(t *testing.T) { noSpace(t, o) })
			t.Run("certificate is the identity", func(t *testing.T) { certificateIdentity(t, o) })
		})
	}
}

// tempo is what a run of renewals saw.
type tempo struct {
	calls, failed int
	longest       time.Duration
	errs          map[string]int
}

// renewals holds the leader key for the time, renewing every 100 ms with the
// budget of one cycle; nothing but passing unavailability is tolerated.
func renewals(t *testing.T, s *etcd.Store, d time.Duration, fault func()) tempo {
	t.Helper()
	if err := s.PutMember(within(t, 10*time.Second), dcs.MemberData{State: "running"}); err != nil {
		t.Fatal(err)
	}
	l, err := s.AcquireLeader(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	seen := dcs.Leader{Name: "a", Lease: l.ID}
	r := tempo{errs: map[string]int{}}
	began, struck := time.Now(), false
	for time.Since(began) < d {
		if !struck && time.Since(began) > d/5 {
			struck = true
			fault()
		}
		sent := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		now, err := s.RenewLeader(ctx, seen)
		cancel()
		r.longest = max(r.longest, time.Since(sent))
		r.calls++
		switch {
		case err != nil:
			r.failed++
			r.errs[err.Error()]++
		case now.ID != l.ID:
			t.Fatalf("the lease changed from %x to %x", l.ID, now.ID)
		}
		<-time.After(100 * time.Millisecond)
	}
	c, err := s.Load(within(t, 10*time.Second))
	if err != nil || c.Leader == nil || c.Leader.Lease != l.ID || c.Leader.Name != "a" {
		t.Fatalf("at the end: %+v, %v", c, err)
	}
	t.Logf("FINDING %d renewals, %d failed, longest %v %v", r.calls, r.failed, r.longest.Round(time.Millisecond), r.errs)
	if r.failed > 0 {
		t.Errorf("%d renewals failed: %v", r.failed, r.errs)
	}
	return r
}

func leaderKilled(t *testing.T, o labOptions) {
	l := startLab(t, o)
	leader := l.leader()
	// The endpoint in use is the leader's.
	s := open(t, "kill", "a", rotate(l.urls(), leader.url)...)
	r := renewals(t, s, 6*time.Second, leader.kill)
	if r.longest > 4*time.Second {
		t.Errorf("a renewal took %v: more than an election", r.longest)
	}
}

func memberFrozen(t *testing.T, o labOptions, leads bool) {
	l := startLab(t, o)
	victim := l.leader()
	if !leads {
		for _, p := range l.members {
			if p != victim {
				victim = p
				break
			}
		}
	}
	defer victim.signal(syscall.SIGCONT)
	s := open(t, "freeze", "a", rotate(l.urls(), victim.url)...)
	watched := s.Wakes()
	r := renewals(t, s, 6*time.Second, func() {
		drain(watched)
		victim.signal(syscall.SIGSTOP)
	})
	limit := 900 * time.Millisecond
	if leads {
		limit = 4 * time.Second // etcd elects first
	}
	if r.longest > limit {
		t.Errorf("a renewal took %v, want at most %v", r.longest, limit)
	}
	// The watch was left too.
	drain(watched)
	if err := s.Apply(within(t, 5*time.Second), someConfig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-watched:
	case <-time.After(5 * time.Second):
		t.Error("not woken after the freeze")
	}
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// rotate puts the URL first.
func rotate(urls []string, first string) []string {
	out := []string{first}
	for _, u := range urls {
		if u != first {
			out = append(out, u)
		}
	}
	return out
}

// noQuorum: a member without the others confirms nothing.
func noQuorum(t *testing.T, o labOptions) {
	l := startLab(t, o)
	leader := l.leader()
	s := open(t, "quorum", "a", leader.url)
	if _, err := s.AcquireLeader(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	for _, p := range l.members {
		if p != leader {
			p.kill()
		}
	}
	// The last confirmation a leader without followers gives, if any.
	var last time.Duration
	for time.Since(cut) < 4*time.Second {
		sent := time.Since(cut)
		if _, err := s.KeepAlive(within(t, time.Second)); err == nil {
			last = sent
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Logf("FINDING last keepalive confirmed without quorum was sent %v after the cut", last.Round(time.Millisecond))
	if last > 100*time.Millisecond { // the kills take a moment
		t.Errorf("a keepalive sent %v after the loss of quorum was confirmed", last)
	}
	if _, err := s.Load(within(t, time.Second)); !errors.Is(err, dcs.ErrUnavailable) {
		t.Errorf("load without quorum: %v", err)
	}
}

// thawedLeader: an etcd leader was frozen while the others elected another one
// and let our lease end. Asked the moment it runs again, it still takes itself
// for the leader and the lease for alive.
func thawedLeader(t *testing.T, o labOptions) {
	l := startLab(t, o)
	victim := l.leader()
	fooled, tries := 0, 2
	for range tries {
		s, err := etcd.Open(t.Context(), etcd.Options{
			Endpoints: []string{victim.url}, UseProxies: true, Namespace: "/service", Scope: "thaw", Member: "a", TTL: 3 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		held, err := s.AcquireLeader(within(t, 5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		victim.signal(syscall.SIGSTOP)
		rest := open(t, "thaw", "", rotate(l.urls(), victim.url)[1:]...)
		eventually(t, "the lease ends without the frozen leader", 20*time.Second, func(ctx context.Context) error {
			c, err := rest.Load(ctx)
			if err == nil && c.Leader != nil {
				return errors.New("the key is still there")
			}
			return err
		})
		// The request is waiting in the frozen leader's socket when it wakes.
		asked := make(chan dcs.Lease)
		go func() { // answered below
			got, _ := s.KeepAlive(within(t, 2*time.Second))
			asked <- got
		}()
		<-time.After(50 * time.Millisecond)
		victim.signal(syscall.SIGCONT)
		if got := <-asked; got.ID == held.ID {
			fooled++
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		victim = l.leader()
	}
	t.Logf("FINDING dead leases confirmed by a thawed leader: %d of %d", fooled, tries)
	if fooled > 0 {
		t.Errorf("%d confirmations of a lease that had ended", fooled)
	}
}

func authSwitchedOn(t *testing.T, o labOptions) {
	l := startLab(t, o)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("old\nsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	openAs := func(user, member string, password config.Secret, file string) *etcd.Store {
		s, err := etcd.Open(t.Context(), etcd.Options{
			Endpoints: l.urls(), Namespace: "/service", Scope: "auth", Member: member,
			Username: user, Password: password, PasswordFile: file, TTL: 30 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := openAs("app", "a", "", file)
	nobody := openAs("", "b", "", "")
	wrong := openAs("app", "c", "wrong", "")
	watched := s.Wakes()
	if _, err := nobody.KeepAlive(within(t, 5*time.Second)); err != nil {
		t.Fatalf("before: %v", err)
	}
	r := renewals(t, s, 5*time.Second, func() { l.enableAuth("app", "secret", "/service/auth/") })
	t.Logf("FINDING auth on: longest renewal %v", r.longest.Round(time.Millisecond))

	_, err := nobody.Load(within(t, 5*time.Second))
	if !errors.Is(err, dcs.ErrDenied) {
		t.Errorf("load without a user: %v, want %v", err, dcs.ErrDenied)
	}
	_, err = nobody.KeepAlive(within(t, 5*time.Second))
	t.Logf("FINDING keepalive without a token: %v", err)
	_, err = wrong.Load(within(t, 5*time.Second))
	if !errors.Is(err, dcs.ErrDenied) {
		t.Errorf("load with a wrong password: %v, want %v", err, dcs.ErrDenied)
	}
	// A permission that is missing is told after two fresh tokens, not after the budget.
	other, err := etcd.Open(t.Context(), etcd.Options{
		Endpoints: l.urls(), Namespace: "/service", Scope: "authx", Member: "a", Username: "app", Password: "secret", TTL: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	began := time.Now()
	if _, err = other.Load(within(t, 10*time.Second)); !errors.Is(err, dcs.ErrDenied) || time.Since(began) > 3*time.Second {
		t.Errorf("load of another scope: %v after %v", err, time.Since(began))
	}
	// The watch recovered.
	drain(watched)
	eventually(t, "woken after authentication was switched on", 10*time.Second, func(ctx context.Context) error {
		if err := s.Apply(ctx, someConfig); err != nil {
			return err
		}
		select {
		case <-watched:
			return nil
		case <-time.After(200 * time.Millisecond):
			return errors.New("not woken")
		}
	})
	// Password changed on both sides: the file is read again when needed.
	ctx := asRoot(t, l)
	if _, err := pb.NewAuthClient(l.members[0].conn).UserChangePassword(ctx, &pb.AuthUserChangePasswordRequest{Name: "app", Password: "newer"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("secret\nnewer\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	quick(t, "load after the password changed", 3*time.Second, func(ctx context.Context) error { _, err := s.Load(ctx); return err })
}

// asRoot returns a context with root's token.
func asRoot(t *testing.T, l *lab) context.Context {
	t.Helper()
	ctx := within(t, 20*time.Second)
	resp, err := pb.NewAuthClient(l.members[0].conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: "root"})
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(ctx, "token", resp.Token)
}

func tokenExpires(t *testing.T, o labOptions) {
	o.flags = []string{"--auth-token-ttl=1"}
	l := startLab(t, o)
	l.enableAuth("app", "secret", "/service/token/")
	s, err := etcd.Open(t.Context(), etcd.Options{
		Endpoints: l.urls(), UseProxies: true, Namespace: "/service", Scope: "token", Member: "a",
		Username: "app", Password: "secret", TTL: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	watched := s.Wakes()
	for i := range 3 {
		quick(t, "keepalive", 2*time.Second, func(ctx context.Context) error { _, err := s.KeepAlive(ctx); return err })
		<-time.After(2500 * time.Millisecond) // the token's end
		drain(watched)
		quick(t, "load", 2*time.Second, func(ctx context.Context) error { _, err := s.Load(ctx); return err })
		quick(t, "write", 2*time.Second, func(ctx context.Context) error { return s.Apply(ctx, someConfig) })
		select {
		case <-watched:
		case <-time.After(5 * time.Second):
			t.Errorf("round %d: not woken after the token expired", i)
		}
	}
}

func noSpace(t *testing.T, o labOptions) {
	o.flags = []string{"--quota-backend-bytes=400000"}
	o.members = 1
	l := startLab(t, o)
	s := open(t, "full", "a", l.urls()...)
	if _, err := s.AcquireLeader(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("x"), 40000)
	var err error
	for range 100 {
		if err = s.Apply(within(t, 5*time.Second), dcs.Write{Key: dcs.KeyHistory, Value: big}); err != nil {
			break
		}
	}
	t.Logf("FINDING write: %v", err)
	if !errors.Is(err, dcs.ErrUnavailable) || !strings.Contains(err.Error(), "space") {
		t.Fatalf("write without space: %v, want %v that says why", err, dcs.ErrUnavailable)
	}
	c, err := s.Load(within(t, 5*time.Second))
	if err != nil || c.Leader == nil {
		t.Fatalf("load: %+v, %v", c, err)
	}
	kept, err := s.RenewLeader(within(t, 5*time.Second), *c.Leader)
	t.Logf("FINDING renewal: %v", err)
	if err != nil || kept.ID != c.Leader.Lease {
		t.Fatalf("renewal without space: %+v, %v", kept, err)
	}
	// A new TTL needs a new lease, which a full etcd may refuse: then the old one lives on.
	s.SetTTL(45 * time.Second)
	l2, err := s.KeepAlive(within(t, 5*time.Second))
	t.Logf("FINDING new ttl without space: same lease %v, %v", l2.ID == kept.ID, err)
	if err != nil {
		t.Errorf("keepalive with a new ttl without space: %v", err)
	}
}

func certificateIdentity(t *testing.T, o labOptions) {
	dir := t.TempDir()
	ca := tlstest.New(t, "ca")
	files := ca.Issue(t, dir, "root", "127.0.0.1") // servers and, in the lab's own connection, user root
	app := ca.Issue(t, dir, "app", "127.0.0.1")
	stranger := ca.Issue(t, dir, "stranger", "127.0.0.1")
	o.tls, o.members = &files, 1
	l := startLab(t, o)
	openAs := func(f tlsconf.Files) *etcd.Store {
		s, err := etcd.Open(t.Context(), etcd.Options{
			Endpoints: l.urls(), Namespace: "/service", Scope: "cn", Member: "a", TLS: f, TTL: 30 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := openAs(app)
	renewals(t, s, 3*time.Second, func() { l.enableAuth("app", "", "/service/cn/") })
	if _, err := openAs(stranger).Load(within(t, 5*time.Second)); !errors.Is(err, dcs.ErrDenied) {
		t.Errorf("load with a stranger's certificate: %v, want %v", err, dcs.ErrDenied)
	}
}
