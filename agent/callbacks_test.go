package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgha/internal/postgres"
)

// scripts stands for the operator's programs: each run waits until it is
// killed or told to end.
type scripts struct {
	mu       sync.Mutex
	log      []string
	running  map[string]chan struct{} // closed to let a run end
	stubborn bool                     // it may not be killed
}

func (s *scripts) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *scripts) run(ctx context.Context, command string, args []string, _ func(string)) error {
	end := make(chan struct{})
	s.mu.Lock()
	s.running[args[0]] = end
	stubborn := s.stubborn
	s.mu.Unlock()
	s.note("begin %s %s", command, strings.Join(args, " "))
	killed := ctx.Done()
	if stubborn {
		killed = nil
	}
	select {
	case <-end:
		s.note("end %s", args[0])
		return nil
	case <-killed:
		s.note("killed %s", args[0])
		return context.Cause(ctx)
	}
}

// let lets a running script end.
func (s *scripts) let(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.running[kind])
}

func (s *scripts) await(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		got := slices.Clone(s.log)
		s.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("got  %q\nwant %q", got, want)
		case <-tick.C:
		}
	}
}

func newCallbacks() (*callbacks, *scripts) {
	s := &scripts{running: map[string]chan struct{}{}}
	return &callbacks{run: s.run, scope: "demo", log: slog.New(slog.DiscardHandler),
		command: func(c callback) string {
			if c == onStop {
				return "" // not configured
			}
			return "cb"
		}}, s
}

// Contract: ha-behaviour.md 21: one at a time, the newer kills the running one;
// on_reload has its own lane.
func TestNewerCallbackKillsTheRunningOne(t *testing.T) {
	c, s := newCallbacks()
	c.call(onStop, postgres.RolePrimary) // nothing to run
	c.call(onStart, postgres.RoleReplica)
	s.await(t, "begin cb on_start replica demo")
	c.call(onReload, postgres.RoleReplica)
	s.await(t, "begin cb on_start replica demo", "begin cb on_reload replica demo")
	c.call(onRoleChange, postgres.RolePromoted)
	want := []string{"begin cb on_start replica demo", "begin cb on_reload replica demo", "killed on_start", "begin cb on_role_change primary demo"}
	s.await(t, want...)
	c.call(onReload, postgres.RolePrimary)
	want = append(want, "killed on_reload", "begin cb on_reload primary demo")
	s.await(t, want...)
	s.let("on_role_change")
	want = append(want, "end on_role_change")
	s.await(t, want...)
	s.let("on_reload")
	s.await(t, append(want, "end on_reload")...)
}

// What may not be killed is waited for; of those that wait meanwhile the
// newest counts.
func TestStubbornCallbackIsWaitedFor(t *testing.T) {
	c, s := newCallbacks()
	s.stubborn = true
	c.call(onStart, postgres.RoleReplica)
	s.await(t, "begin cb on_start replica demo")
	c.call(onRestart, postgres.RoleReplica)
	c.call(onRoleChange, postgres.RolePrimary)
	s.await(t, "begin cb on_start replica demo")
	s.let("on_start")
	s.await(t, "begin cb on_start replica demo", "end on_start", "begin cb on_role_change primary demo")
	s.let("on_role_change")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c.finish(ctx)
	s.await(t, "begin cb on_start replica demo", "end on_start", "begin cb on_role_change primary demo", "end on_role_change")
}

// Callbacks end with the agent, after a grace.
func TestCallbacksEndWithTheAgent(t *testing.T) {
	c, s := newCallbacks()
	c.call(onStart, postgres.RoleReplica)
	s.await(t, "begin cb on_start replica demo")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.finish(ctx)
	s.await(t, "begin cb on_start replica demo", "killed on_start")
	c.call(onRestart, postgres.RoleReplica)
	c.finish(ctx)
	s.await(t, "begin cb on_start replica demo", "killed on_start")
}

// A failing callback is no obstacle to the next.
func TestFailingCallback(t *testing.T) {
	var mu sync.Mutex
	ran := 0
	c := &callbacks{scope: "demo", log: slog.New(slog.DiscardHandler), command: func(callback) string { return "cb" },
		run: func(context.Context, string, []string, func(string)) error {
			mu.Lock()
			defer mu.Unlock()
			ran++
			return errors.New("exit status 1")
		}}
	for range 2 {
		c.call(onStart, postgres.RoleReplica)
		<-c.roles.idle
	}
	if ran != 2 {
		t.Errorf("ran %d times", ran)
	}
}

// Contract: ha-behaviour.md 21, "when".
func TestAnnouncer(t *testing.T) {
	var said []string
	a := newAnnouncer(func(c callback, r postgres.Role) { said = append(said, string(c)+" "+string(r)) })
	want := func(events ...string) {
		t.Helper()
		if !slices.Equal(said, events) {
			t.Fatalf("said %q, want %q", said, events)
		}
		said = nil
	}
	// A former primary that is found stopped comes back: a start.
	if a.turns(postgres.RoleDemoted) {
		t.Error("a change of role before anything was announced")
	}
	a.starting(onStart)
	a.ready(10, postgres.RoleReplica)
	a.ready(10, postgres.RoleReplica) // the loop sees it as well
	want("on_start replica")
	a.say(onRoleChange, postgres.RolePrimary)
	a.starting(onRestart)
	a.ready(10, postgres.RolePrimary) // the old server, still there
	a.ready(11, postgres.RolePrimary)
	want("on_role_change primary", "on_restart primary")
	// Stepping down: on_role_change stands for the start.
	if !a.turns(postgres.RolePrimary) || a.turns(postgres.RoleReplica) {
		t.Error("turns")
	}
	a.say(onStop, postgres.RolePrimary)
	a.starting(onNothing)
	a.say(onRoleChange, postgres.RoleReplica)
	a.ready(12, postgres.RoleReplica)
	want("on_stop primary", "on_role_change replica")
	// Started by hand, with a pid used before.
	a.gone()
	a.ready(12, postgres.RoleReplica)
	want("on_start replica")
	// A bootstrap is silent until it has a leader.
	a.hush(true)
	a.gone()
	a.ready(13, postgres.RolePrimary)
	a.say(onReload, postgres.RolePrimary)
	want()
	a.hush(false)
	a.ready(13, postgres.RolePrimary)
	want("on_start primary")
}
