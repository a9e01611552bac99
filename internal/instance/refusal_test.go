package instance

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"pgha/internal/postgres"
)

// What a tool left half made is not started. Contract: ha-behaviour.md 3.4;
// rulings 58.
func TestHalfMadeDirectories(t *testing.T) {
	root := clusterDir(t)
	a, b := newNode(t, root, "a"), newNode(t, root, "b")
	a.primary()
	must(t, a.Stop(within(t, 20*time.Second), StopOptions{}))
	must(t, a.setMark(markRewind))
	if o := a.observe(); !o.HalfRewound {
		t.Fatalf("half rewound: %+v", o)
	}
	if _, err := a.Start(t.Context(), StartOptions{Role: postgres.RolePrimary}); !errors.Is(err, ErrHalfRewound) {
		t.Fatalf("start: %v", err)
	}
	// A directory put in its place by hand is another one.
	must(t, os.Rename(a.dataDir(), a.dataDir()+".old"))
	must(t, os.CopyFS(a.dataDir(), os.DirFS(a.dataDir()+".old")))
	must(t, os.Chmod(a.dataDir(), 0o700))
	a.start(StartOptions{Role: postgres.RolePrimary})

	// A cancelled clone leaves nothing, one cut short by the end of the agent
	// is known as such.
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan struct{}, 8)
	time.AfterFunc(50*time.Millisecond, cancel)
	src := a.source()
	err := b.CreateReplica(ctx, ReplicaOptions{From: &src, BaseBackupOnly: true, Progress: func(_, _ int64) { seen <- struct{}{} }})
	if err == nil {
		t.Fatal("the cancelled clone succeeded")
	}
	if o := b.observe(); o.DataDir != DataDirMissing && o.DataDir != DataDirEmpty || o.HalfCloned || o.Role != postgres.RoleUninitialized {
		t.Fatalf("after the cancelled clone: %+v", o)
	}
	must(t, b.setMark(markClone))
	must(t, os.MkdirAll(b.dataDir()+"/base", 0o700))
	if o := b.observe(); !o.HalfCloned || o.SystemID != "" {
		t.Fatalf("half cloned: %+v", o)
	}
	if _, err := b.Start(t.Context(), StartOptions{Recovery: b.follow(a)}); !errors.Is(err, ErrHalfCloned) {
		t.Fatalf("start: %v", err)
	}
	var copied int64
	must(t, b.CreateReplica(within(t, 30*time.Second), ReplicaOptions{From: &src, BaseBackupOnly: true, Progress: func(done, total int64) { copied = done }}))
	if copied == 0 {
		t.Error("no progress was reported")
	}
	if o := b.observe(); o.HalfCloned || !o.RecoveryFiles || o.SystemID != a.observe().SystemID || o.State != postgres.StateStopped {
		t.Fatalf("after the clone: %+v", o)
	}
	if err := a.RemoveDataDir(); !errors.Is(err, ErrRunning) {
		t.Fatalf("remove the directory of a running server: %v", err)
	}
}

// A primary whose start is cancelled does not come up behind our back.
// Contract: ha-behaviour.md 7.
func TestStartCancelled(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	n.primary()
	must(t, n.Stop(within(t, 20*time.Second), StopOptions{}))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("lost leader lock")
	n.launcher = cancelling{n.launcher, func() { cancel(why) }}
	r, err := n.Start(ctx, StartOptions{Role: postgres.RolePrimary})
	if r != StartFailed || !errors.Is(err, why) {
		t.Fatalf("start: %s, %v", r, err)
	}
	if o := n.observe(); o.Alive || o.State != postgres.StateStartFailed {
		t.Fatalf("after the cancelled start: %+v", o)
	}
}

// cancelling is a launcher whose caller loses its lease right after the fork.
type cancelling struct {
	Launcher
	cancel func()
}

func (c cancelling) Start(ctx context.Context, cmd Command, primary bool) (int, error) {
	pid, err := c.Launcher.Start(ctx, cmd, primary)
	c.cancel()
	return pid, err
}
