package instance

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/postgres"
)

// follow is how a node follows another.
func (n *node) follow(of *node) *Follow {
	src := of.source()
	return &Follow{Source: &src, Slot: n.OwnSlot()}
}

func (n *node) cloneFrom(of *node) {
	n.t.Helper()
	src := of.source()
	must(n.t, n.CreateReplica(within(n.t, 60*time.Second), ReplicaOptions{From: &src, BaseBackupOnly: true}))
	n.start(StartOptions{Role: postgres.RoleReplica, Recovery: n.follow(of)})
}

func (n *node) untilStreaming() { n.t.Helper(); n.untilStreamingOn(0) }

// untilStreamingOn waits for a timeline too: a standby of a promoted server
// streams the rest of the old one first.
func (n *node) untilStreamingOn(tl postgres.Timeline) {
	n.t.Helper()
	until(n.t, n.name+" streams", func() (bool, any) {
		o := n.observe()
		return o.Row != nil && o.Row.Streaming && o.Row.Received > 0 && (tl == 0 || o.Row.Timeline == tl), o.Row
	})
}

// untilAlone waits until there is no WAL receiver, nor one about to start.
func (n *node) untilAlone() {
	n.t.Helper()
	until(n.t, n.name+" stops streaming", func() (bool, any) {
		o := n.observe()
		return o.Row != nil && o.Row.ReceiverStatus == "", o.Row
	})
}

func member(name string) Slot { return Slot{Name: name, Use: SlotActive} }

// Three members through clone, promotion, following and rewind. Contract:
// ha-behaviour.md 3.4, 4, 8, 16, 17.3; config.md 5.5.
func TestCluster(t *testing.T) {
	root := clusterDir(t)
	a, b, c := newNode(t, root, "a"), newNode(t, root, "b"), newNode(t, root, "c")
	a.primary()
	ctx := within(t, 100*time.Second)
	must(t, a.SyncSlots(ctx, nil, []Slot{member("b"), member("c")}, nil))
	b.cloneFrom(a)
	c.cloneFrom(a)
	b.untilStreaming()
	c.untilStreaming()
	t.Run("standby", func(t *testing.T) { standbyFacts(t, a, b) })
	t.Run("unanswered", func(t *testing.T) { unanswered(t, b) })
	t.Run("slots", func(t *testing.T) { slots(t, a, b) })
	t.Run("rotated password", func(t *testing.T) { rotatedPassword(t, a, b) })
	t.Run("upstream", func(t *testing.T) { upstream(t, a, b, c) })
	t.Run("switch", func(t *testing.T) { cleanSwitch(t, a, b, c) })
	t.Run("diverged", func(t *testing.T) { diverged(t, a, b) })
}

func standbyFacts(t *testing.T, a, b *node) {
	o := b.observe()
	wantState(t, o, postgres.StateRunning, postgres.RoleReplica)
	if !o.Row.InRecovery || o.Row.Timeline != 1 || o.Row.ReplicationState() != "streaming" || o.Row.ReceiverSlot != "b" {
		t.Fatalf("standby row %+v", o.Row)
	}
	oa := a.observe()
	if len(oa.Row.Senders) != 2 || oa.Row.Senders[0].User != "repl" || len(oa.Row.Slots) != 2 || oa.Row.Slots[0].RestartLSN == 0 {
		t.Fatalf("primary row %+v", oa.Row)
	}
	ctx := within(t, 20*time.Second)
	check, err := b.NeedsFollow(ctx, b.follow(a))
	if err != nil || check.Differs {
		t.Fatalf("follows already: %+v, %v", check, err)
	}
	if _, err := a.NeedsFollow(ctx, a.follow(b)); !errors.Is(err, ErrNotInRecovery) && err != nil {
		t.Fatalf("a primary asked to follow: %v", err)
	}
	// Nobody to follow and back again, by reload.
	restart, err := b.Follow(ctx, &Follow{})
	if err != nil || restart {
		t.Fatalf("follow nobody: restart %v, %v", restart, err)
	}
	b.untilAlone()
	if o := b.observe(); o.Row.Timeline != 1 {
		t.Fatalf("timeline without WAL receiver %+v", o.Row)
	}
	check, err = b.NeedsFollow(ctx, b.follow(a))
	if err != nil || !check.Differs || check.Restart {
		t.Fatalf("follow again: %+v, %v", check, err)
	}
	if restart, err = b.Follow(ctx, b.follow(a)); err != nil || restart {
		t.Fatalf("follow again: restart %v, %v", restart, err)
	}
	b.untilStreaming()
	// A second agent finds the same server and loses nothing.
	second := b.open()
	if _, err := second.Adopt(ctx); err != nil {
		t.Fatal(err)
	}
	if changed, err := second.WriteFiles(ctx); err != nil || changed {
		t.Fatalf("files after adoption: changed %v, %v\n%s", changed, err, readAll(t, b.confFile()))
	}
}

// A standby that a new agent cannot ask keeps its source: without it it would
// look like one that may lead.
func unanswered(t *testing.T, b *node) {
	ctx := within(t, 20*time.Second)
	mute := b.open()
	mute.local.PostgreSQL.Superuser.Username = "nobody_of_that_name"
	found, err := mute.Adopt(ctx)
	if err != nil || !found.Running || found.Row != nil {
		t.Fatalf("adopt without an answer: %+v, %v", found, err)
	}
	before := readAll(t, b.confFile())
	if _, err := mute.WriteFiles(ctx); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(before) {
		if name, _, _ := strings.Cut(line, " "); postgres.IsRecoveryGUC(name) && !strings.Contains(readAll(t, b.confFile()), line) {
			t.Errorf("gone from the configuration of a server that was not asked: %s", line)
		}
	}
}

func readAll(t *testing.T, name string) string {
	b, err := os.ReadFile(name)
	must(t, err)
	return string(b)
}

func slots(t *testing.T, a, b *node) {
	ctx := within(t, 20*time.Second)
	a.sql("SELECT pg_create_physical_replication_slot('unknown', true)::text")
	a.sql("SELECT pg_create_physical_replication_slot('unreserved')::text")
	a.sql("SELECT pg_create_logical_replication_slot('logical', 'test_decoding')::text WHERE current_setting('wal_level') = 'logical'")
	want := []Slot{member("b"), member("c"), {Name: "unreserved", Use: SlotInactive}, {Name: "later", Use: SlotInactive}}
	paused := a.dyn
	paused.Pause = true
	a.Configure(a.eff, paused)
	must(t, a.SyncSlots(ctx, nil, want, nil))
	if got := slotNames(a); got != "b,c,later,unknown,unreserved" {
		t.Fatalf("paused: %s", got)
	}
	a.Configure(a.eff, a.dyn)
	must(t, a.SyncSlots(ctx, nil, want, nil))
	if got := slotNames(a); got != "b,c,later,unreserved" {
		t.Fatalf("slots: %s", got)
	}
	for _, s := range a.observe().Row.Slots {
		if s.RestartLSN == 0 {
			t.Fatalf("slot without reserved WAL: %+v", s)
		}
	}
	a.sql("SELECT pg_switch_wal()::text")
	to := a.observe().Row.Location
	want[3].LSN = to
	must(t, a.SyncSlots(ctx, nil, want, nil))
	for _, s := range a.observe().Row.Slots {
		if s.Name == "later" && s.RestartLSN != to {
			t.Fatalf("not moved to %s: %+v", to, s)
		}
	}
	// On a standby a slot is never moved beyond replay.
	must(t, b.SyncSlots(ctx, nil, []Slot{{Name: "c", Use: SlotInactive, LSN: to + 1<<30}}, nil))
	must(t, b.SyncSlots(ctx, nil, []Slot{{Name: "c", Use: SlotInactive, LSN: to + 1<<30}}, nil))
	if s := b.observe().Row.Slots; len(s) != 1 || s[0].RestartLSN == 0 || s[0].RestartLSN > b.observe().Row.Replayed {
		t.Fatalf("standby's slots %+v", s)
	}
}

func slotNames(n *node) string {
	var names []string
	for _, s := range n.observe().Row.Slots {
		names = append(names, s.Name)
	}
	return strings.Join(names, ",")
}

func rotatedPassword(t *testing.T, a, b *node) {
	ctx := within(t, 20*time.Second)
	must(t, os.WriteFile(filepath.Join(b.dir, "pgpass"), []byte("*:*:*:repl:old\n"), 0o600))
	check, err := b.NeedsFollow(ctx, b.follow(a))
	if err != nil || !check.Differs || check.Restart {
		t.Fatalf("passfile: %+v, %v", check, err)
	}
	restart, err := b.Follow(ctx, b.follow(a))
	if err != nil || restart {
		t.Fatalf("follow: %v, %v", restart, err)
	}
	if check, err = b.NeedsFollow(ctx, b.follow(a)); err != nil || check.Differs {
		t.Fatalf("after follow: %+v, %v", check, err)
	}
}

// cleanSwitch: a stops cleanly, b is promoted, a and c follow without rewind.
// upstream: what the server that a standby followed answers, asked by the
// running standby and by the files of the stopped one (rulings 16).
func upstream(t *testing.T, a, b, c *node) {
	ctx := within(t, 40*time.Second)
	want := func(n *node, state UpstreamState, at *node) {
		t.Helper()
		address := ""
		if at != nil {
			src := at.source()
			address = src.Host + ":" + src.Port
		}
		if up, err := n.AskUpstream(ctx); err != nil || up.State != state || up.At != address {
			t.Fatalf("%s asks: %+v, %v; want %s at %s", n.name, up, err, state, address)
		}
	}
	want(a, UpstreamNone, nil)
	want(b, UpstreamPrimary, a)
	restart, err := c.Follow(ctx, c.follow(b))
	if err != nil || restart {
		t.Fatalf("c follows b: restart %v, %v", restart, err)
	}
	want(c, UpstreamFed, b)
	must(t, c.Stop(ctx, StopOptions{}))
	want(c, UpstreamFed, b)
	must(t, b.Stop(ctx, StopOptions{}))
	want(b, UpstreamPrimary, a)
	want(c, UpstreamSilent, b)
	b.start(StartOptions{Recovery: b.follow(a)})
	c.start(StartOptions{Recovery: c.follow(a)})
	b.untilStreaming()
	c.untilStreaming()
}

func cleanSwitch(t *testing.T, a, b, c *node) {
	ctx := within(t, 40*time.Second)
	a.sql("CREATE TABLE public.switched AS SELECT 1 AS x")
	var shutdown postgres.ControlData
	must(t, a.Stop(ctx, StopOptions{OnShutDown: func(d postgres.ControlData) { shutdown = d }}))
	until(t, "b has the shutdown checkpoint", func() (bool, any) {
		o := b.observe()
		return o.Row != nil && o.Row.Position() >= shutdown.CheckpointLSN, o.Row
	})
	begun := time.Now()
	must(t, b.Promote(ctx, nil))
	t.Logf("promotion took %s", time.Since(begun))
	o := b.observe()
	wantState(t, o, postgres.StateRunning, postgres.RolePrimary)
	if o.Row.Timeline != 2 {
		t.Fatalf("promoted row %+v", o.Row)
	}
	must(t, b.Promote(ctx, nil)) // again: a success
	must(t, b.SyncSlots(ctx, nil, []Slot{member("a"), member("c")}, nil))
	restart, err := c.Follow(ctx, c.follow(b))
	if err != nil || restart {
		t.Fatalf("c follows b: restart %v, %v", restart, err)
	}
	c.untilStreamingOn(2)
	if d, err := c.Examine(ctx, b.source()); err != nil || d.Verdict != postgres.NotNeeded {
		t.Fatalf("examine c: %+v, %v", d, err)
	}
	// The ex-primary: stopped, timeline 1, its checkpoint ends at the switch point.
	d, err := a.Examine(ctx, b.source())
	if err != nil || d.Verdict != postgres.NotNeeded || d.Own.InRecovery || d.LeaderTimeline != 2 {
		t.Fatalf("examine a: %+v, %v", d, err)
	}
	a.start(StartOptions{Role: postgres.RoleReplica, Recovery: a.follow(b)})
	a.untilStreamingOn(2)
}

// diverged: b crashes with WAL nobody has, a is promoted, b is rewound.
func diverged(t *testing.T, a, b *node) {
	ctx := within(t, 60*time.Second)
	// Nobody receives what b writes from here on.
	if _, err := a.Follow(ctx, &Follow{}); err != nil {
		t.Fatal(err)
	}
	a.untilAlone()
	b.sql("CREATE TABLE public.lost AS SELECT generate_series(1, 1000) AS x")
	b.sql("CHECKPOINT")
	p, _ := b.findPostmaster()
	must(t, syscall.Kill(p.pid, syscall.SIGKILL))
	must(t, a.Promote(ctx, nil))
	a.sql("CREATE TABLE public.won AS SELECT 1 AS x")
	must(t, a.Checkpoint(ctx))
	until(t, "b's backends are gone", func() (bool, any) { return len(leftOf(b)) == 0, leftOf(b) })
	o := b.observe()
	if o.State != postgres.StateCrashed || o.Control == nil || !o.Control.State.CrashedPrimary() {
		t.Fatalf("crashed b: %+v", o)
	}
	if usable, why := b.RewindUsable(ctx); !usable {
		t.Fatalf("rewind is not usable: %s", why)
	}
	must(t, b.CrashRecover(ctx))
	d, err := b.Examine(ctx, a.source())
	if err != nil || d.Verdict != postgres.Needed {
		t.Fatalf("examine b: %+v, %v", d, err)
	}
	// First against a leader that is not there: nothing is changed.
	gone := a.source()
	gone.Port = "1"
	if r, err := b.Rewind(ctx, gone); err == nil || r.Outcome != RewindLeaderGone || r.HalfRewound {
		t.Fatalf("rewind from nobody: %+v, %v", r, err)
	}
	cutShort(t, a, b)
	if r, err := b.Rewind(ctx, a.source()); err != nil || r.Outcome != RewindDone {
		t.Fatalf("rewind: %+v, %v", r, err)
	}
	if _, err := b.Start(ctx, StartOptions{Role: postgres.RolePrimary}); !errors.Is(err, ErrRecoveryFiles) {
		t.Fatalf("a rewound server as primary: %v", err)
	}
	must(t, a.SyncSlots(ctx, nil, []Slot{member("b"), member("c")}, nil))
	b.start(StartOptions{Role: postgres.RoleReplica, Recovery: b.follow(a)})
	b.untilStreaming()
	until(t, "b has a's history", func() (bool, any) {
		got := b.sql("SELECT COALESCE(to_regclass('public.lost')::text, '-') || COALESCE(to_regclass('public.won')::text, '-')")
		return strings.HasPrefix(got, "-") && strings.HasSuffix(got, "won"), got
	})
	if d, err := b.Examine(ctx, a.source()); err != nil || d.Verdict != postgres.NotNeeded {
		t.Fatalf("examine b after the rewind: %+v, %v", d, err)
	}
}

// cutShort: a pg_rewind that dies after it has begun to change files leaves a
// directory that is not started. Contract: rulings 58; pitfalls 120.
func cutShort(t *testing.T, a, b *node) {
	ctx := within(t, 20*time.Second)
	script := filepath.Join(b.dir, "dying_rewind")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\necho 'pg_rewind: need to copy 30 MB' >&2\nexit 1\n"), 0o700))
	broken := b.eff
	broken.BinName = map[string]string{"pg_rewind": script}
	b.Configure(broken, b.dyn)
	r, err := b.Rewind(ctx, a.source())
	if err == nil || r.Outcome != RewindFailed || !r.HalfRewound || !b.observe().HalfRewound {
		t.Fatalf("rewind cut short: %+v, %v", r, err)
	}
	if _, err := b.Start(ctx, StartOptions{Role: postgres.RoleReplica, Recovery: b.follow(a)}); !errors.Is(err, ErrHalfRewound) {
		t.Fatalf("start of a half rewound directory: %v", err)
	}
	b.Configure(b.eff, b.dyn)
}

// leftOf lists processes in the data directory, which a start would trip over.
func leftOf(n *node) []string {
	var left []string
	dirs, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, d := range dirs {
		if to, err := os.Readlink(d); err == nil && to == n.dataDir() {
			left = append(left, d)
		}
	}
	return left
}
