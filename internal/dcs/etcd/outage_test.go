package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"pgha/internal/dcs"
	"pgha/internal/dcs/etcd"
)

// What a holder's renewal and read become when etcd is in trouble. The agent
// knows three outcomes: the DCS failed (failsafe mode, or a step-down before
// the lease ends: agent/ha/testdata/failsafe.txt and dcs_silent.txt), the key
// is gone (the race), the key is another's (the only proof that it is lost).
type outcomes struct {
	load, renew func(error) bool
}

func works(err error) bool  { return err == nil }
func failed(err error) bool { return dcs.Failed(err) }
func gone(err error) bool   { return errors.Is(err, dcs.ErrConflict) }
func lost(err error) bool   { return errors.Is(err, dcs.ErrLeaderLost) }

// TestOutageClasses strikes a real etcd under a holder of the leader key, one
// class of error at a time. It takes the newest etcd in $PGHA_ETCD_BINDIR.
func TestOutageClasses(t *testing.T) {
	bin := os.Getenv("PGHA_ETCD_BINDIR")
	if bin == "" {
		t.Skip("PGHA_ETCD_BINDIR is not set: fill it with internal/lab/etcdbuild.sh 3.7.3")
	}
	dirs, err := filepath.Glob(filepath.Join(bin, "3.*", "etcd"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no etcd in %s (%v)", bin, err)
	}
	version := filepath.Base(filepath.Dir(dirs[len(dirs)-1]))
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const auth, small = true, "--quota-backend-bytes=400000"
	down := outcomes{failed, failed}
	for _, tc := range []struct {
		name    string
		members int
		auth    bool
		flags   []string
		strike  func(t *testing.T, l *lab, s *etcd.Store)
		want    outcomes
	}{
		{"all endpoints refuse connections", 3, false, nil, func(_ *testing.T, l *lab, _ *etcd.Store) {
			for _, p := range l.members {
				p.kill()
			}
		}, down},
		{"all are silent", 3, false, nil, func(t *testing.T, l *lab, _ *etcd.Store) {
			for _, p := range l.members {
				p.signal(syscall.SIGSTOP)
				t.Cleanup(func() { p.signal(syscall.SIGCONT) })
			}
		}, down},
		{"no leader", 3, false, nil, func(_ *testing.T, l *lab, _ *etcd.Store) {
			l.members[0].kill()
			l.members[1].kill()
		}, down},
		{"permission denied", 1, auth, nil, func(t *testing.T, l *lab, _ *etcd.Store) {
			_, err := pb.NewAuthClient(l.members[0].conn).UserRevokeRole(asRoot(t, l), &pb.AuthUserRevokeRoleRequest{Name: "app", Role: "app"})
			must(t, err)
		}, down},
		{"password changed, token invalidated", 1, auth, nil, func(t *testing.T, l *lab, _ *etcd.Store) {
			_, err := pb.NewAuthClient(l.members[0].conn).UserChangePassword(asRoot(t, l), &pb.AuthUserChangePasswordRequest{Name: "app", Password: "other"})
			must(t, err)
		}, down},
		{"user deleted", 1, auth, nil, func(t *testing.T, l *lab, _ *etcd.Store) {
			_, err := pb.NewAuthClient(l.members[0].conn).UserDelete(asRoot(t, l), &pb.AuthUserDeleteRequest{Name: "app"})
			must(t, err)
		}, down},
		{"token expired", 1, auth, []string{"--auth-token-ttl=1"}, func(*testing.T, *lab, *etcd.Store) {
			<-time.After(2500 * time.Millisecond) // the token's end
		}, outcomes{works, works}},
		{"authentication switched on", 1, false, nil, func(_ *testing.T, l *lab, _ *etcd.Store) {
			l.enableAuth("somebody", "secret", "/other/")
		}, down},
		{"compacted", 1, false, nil, func(t *testing.T, l *lab, s *etcd.Store) {
			c, err := s.Load(within(t, 5*time.Second))
			must(t, err)
			_, err = pb.NewKVClient(l.members[0].conn).Compact(within(t, 5*time.Second), &pb.CompactionRequest{Revision: int64(c.Revision), Physical: true})
			must(t, err)
		}, outcomes{works, works}},
		{"no space", 1, false, []string{small}, func(t *testing.T, _ *lab, s *etcd.Store) { fill(t, s) }, outcomes{works, works}},
		{"no space, lease not found", 1, false, []string{small}, func(t *testing.T, l *lab, s *etcd.Store) {
			fill(t, s)
			revoke(t, l, s)
		}, outcomes{works, failed}},
		{"lease not found, key gone with it", 1, false, nil, revoke, outcomes{works, gone}},
		{"lease not found, another holds the key", 1, false, nil, func(t *testing.T, l *lab, s *etcd.Store) {
			revoke(t, l, s)
			_, err := open(t, "outage", "b", l.urls()...).AcquireLeader(within(t, 5*time.Second))
			must(t, err)
		}, outcomes{works, lost}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := startLab(t, labOptions{binaries: bin, version: version, members: tc.members, flags: append(tc.flags, "--bcrypt-cost=4")})
			o := etcd.Options{Endpoints: l.urls(), UseProxies: true, Namespace: "/service", Scope: "outage", Member: "a",
				TTL: 30 * time.Second, LoopWait: 10 * time.Second, RetryTimeout: 10 * time.Second}
			if tc.auth {
				l.enableAuth("app", "secret", "/service/outage/")
				o.Username, o.Password = "app", "secret"
			}
			s, err := etcd.Open(t.Context(), o)
			must(t, err)
			t.Cleanup(func() { _ = s.Close() })
			_, err = s.AcquireLeader(within(t, 30*time.Second))
			must(t, err)
			c, err := s.Load(within(t, 10*time.Second))
			must(t, err)
			seen := *c.Leader
			tc.strike(t, l, s)
			for _, try := range []struct {
				what string
				do   func(context.Context) error
				want func(error) bool
			}{
				{"renewal", func(ctx context.Context) error { _, err := s.RenewLeader(ctx, seen); return err }, tc.want.renew},
				{"read", func(ctx context.Context) error { _, err := s.Load(ctx); return err }, tc.want.load},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				began := time.Now()
				err := try.do(ctx)
				cancel()
				t.Logf("FINDING %s after %v: %v", try.what, time.Since(began).Round(time.Millisecond), err)
				if !try.want(err) {
					t.Errorf("%s: %v", try.what, err)
				}
			}
		})
	}
}

// revoke ends the holder's lease, and with it the leader key.
func revoke(t *testing.T, l *lab, s *etcd.Store) {
	t.Helper()
	c, err := s.Load(within(t, 5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pb.NewLeaseClient(l.members[0].conn).LeaseRevoke(within(t, 5*time.Second), &pb.LeaseRevokeRequest{ID: int64(c.Leader.Lease)}); err != nil {
		t.Fatal(err)
	}
}

// fill uses up etcd's quota.
func fill(t *testing.T, s *etcd.Store) {
	t.Helper()
	big := bytes.Repeat([]byte("x"), 40000)
	for range 100 {
		if err := s.Apply(within(t, 5*time.Second), dcs.Write{Key: dcs.KeyHistory, Value: big}); err != nil {
			return
		}
	}
	t.Fatal("etcd's quota was never used up")
}
