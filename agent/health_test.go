package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pgha/agent/ha"
	"pgha/agent/rest"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/instance"
)

// handClock is moved by hand.
type handClock struct {
	clock.System
	mu  sync.Mutex
	now clock.Instant
}

func (c *handClock) Now() clock.Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *handClock) WithDeadline(parent context.Context, _ clock.Instant) (context.Context, context.CancelFunc) {
	return context.WithCancel(parent)
}

// scriptedDisk answers probes as told; one that hangs waits for release.
type scriptedDisk struct {
	mu      sync.Mutex
	data    instance.ProbeResult
	hang    chan struct{}
	under   int
	most    int
	connect instance.ProbeResult
}

func (d *scriptedDisk) ProbeConnect(context.Context) instance.ProbeResult {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.connect
}

func (d *scriptedDisk) ProbeWAL() instance.ProbeResult {
	return instance.ProbeResult{Verdict: instance.ProbeOK}
}

func (d *scriptedDisk) ProbeData() instance.ProbeResult {
	d.mu.Lock()
	d.under++
	d.most = max(d.most, d.under)
	hang := d.hang
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.under--
	return d.data
}

func (d *scriptedDisk) set(r instance.ProbeResult, hang chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.data, d.hang = r, hang
}

// healthRig is a health over scripted probes and a clock moved by hand.
type healthRig struct {
	*health
	t     *testing.T
	disk  *scriptedDisk
	clock *handClock
	rules healthRules
	woken int
}

func newHealthRig(t *testing.T, local string) *healthRig {
	t.Helper()
	l, err := config.LoadLocal("", []string{"PATRONI_CONFIGURATION=" + local})
	if err != nil {
		t.Fatal(err)
	}
	fine := instance.ProbeResult{Verdict: instance.ProbeOK}
	r := &healthRig{t: t, disk: &scriptedDisk{data: fine, connect: fine}, clock: &handClock{now: clock.Instant(time.Hour)}}
	r.rules = healthRules{Health: l.Pgha.Health, Interval: l.Pgha.Health.Interval, Retry: 4 * time.Second}
	if r.rules.Interval == 0 {
		r.rules.Interval = 10 * time.Second
	}
	r.health = newHealth(r.disk, r.clock, slog.New(slog.NewTextHandler(io.Discard, nil)), func() { r.woken++ },
		func() healthRules { return r.rules }, func() bool { return false })
	return r
}

// look steps once and waits until nothing but a hanging attempt is under way.
func (r *healthRig) look(hanging int) {
	r.t.Helper()
	r.step(r.t.Context())
	end := time.Now().Add(10 * time.Second)
	for {
		r.health.mu.Lock()
		n := 0
		for _, s := range r.state {
			if s.under {
				n++
			}
		}
		r.health.mu.Unlock()
		if n == hanging {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d attempts under way, want %d", n, hanging)
		}
		select {
		case <-r.kick:
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// row is the failures of the data probe as decisions see them.
func (r *healthRig) row() (failures int, lasts time.Duration, hanging bool) {
	for _, f := range r.facts().Failing {
		if f.Probe == ha.ProbeDataWrite {
			return f.Failures, r.clock.Now().Sub(f.Since), f.Hanging
		}
	}
	return 0, 0, false
}

const anyMember = "{name: a, scope: s, postgresql: {data_dir: /d}"

// Errors count in a row, three of them span retry_timeout, and one success
// ends the row.
func TestFailuresInARow(t *testing.T) {
	r := newHealthRig(t, anyMember+"}")
	r.look(0)
	if n, _, _ := r.row(); n != 0 || r.woken != 0 {
		t.Fatalf("all is well: %d failures, woken %d times", n, r.woken)
	}
	r.disk.set(instance.ProbeResult{Verdict: instance.ProbeFailed, Why: "no space left on device"}, nil)
	r.clock.pass(10 * time.Second)
	for want := 1; want <= 3; want++ {
		r.look(0)
		if n, lasts, hanging := r.row(); n != want || lasts != time.Duration(want-1)*2*time.Second || hanging || r.woken != want {
			t.Fatalf("after %d: %d failures over %v, hanging %t, woken %d", want, n, lasts, hanging, r.woken)
		}
		r.clock.pass(2 * time.Second)
	}
	shown := r.shown()[0]
	if shown.State != rest.ProbeFailing || shown.Failures != 3 || shown.Why != "no space left on device" {
		t.Errorf("shown: %+v", shown)
	}
	r.disk.set(instance.ProbeResult{Verdict: instance.ProbeOK}, nil)
	r.look(0)
	if n, _, _ := r.row(); n != 0 || r.woken != 4 || r.shown()[0].State != rest.ProbeOK {
		t.Errorf("well again: %d failures, woken %d, %+v", n, r.woken, r.shown()[0])
	}
}

// A probe that hangs is left alone: it counts once each retry_timeout, never
// runs twice, and an agent that was frozen itself has seen one look, not many.
func TestHangingProbe(t *testing.T) {
	r := newHealthRig(t, anyMember+"}")
	release := make(chan struct{})
	r.disk.set(instance.ProbeResult{Verdict: instance.ProbeOK}, release)
	r.look(1)
	if n, _, _ := r.row(); n != 0 {
		t.Fatal("it has only begun")
	}
	for want := 1; want <= 2; want++ {
		r.clock.pass(4 * time.Second)
		r.look(1)
		r.look(1)
		if n, lasts, hanging := r.row(); n != want || lasts != time.Duration(want)*4*time.Second || !hanging {
			t.Fatalf("%d failures over %v, hanging %t, want %d", n, lasts, hanging, want)
		}
	}
	r.clock.pass(time.Hour) // the agent was frozen
	r.look(1)
	if n, _, _ := r.row(); n != 3 {
		t.Errorf("%d failures after a freeze of the agent, want one more", n)
	}
	r.disk.set(instance.ProbeResult{Verdict: instance.ProbeOK}, nil)
	close(release)
	r.look(0)
	if n, _, _ := r.row(); n != 0 || r.disk.most != 1 {
		t.Errorf("answered: %d failures, %d at a time", n, r.disk.most)
	}
}

// Nothing is written into a directory that a clone is filling, and what was
// known of the one before is forgotten.
func TestNoProbeWhileDataAreReplaced(t *testing.T) {
	r := newHealthRig(t, anyMember+"}")
	r.disk.set(instance.ProbeResult{Verdict: instance.ProbeFailed, Why: "no space left on device"}, nil)
	r.look(0)
	r.health.replacing = func() bool { return true }
	r.clock.pass(time.Minute)
	r.look(0)
	if n, _, _ := r.row(); n != 0 || r.shown()[0].State != rest.ProbeUnknown {
		t.Errorf("%d failures, %+v", n, r.shown()[0])
	}
}

// Each key of pgha.health does what it says.
func TestHealthKeys(t *testing.T) {
	for _, tc := range []struct {
		lines string
		want  string
	}{
		{"", "data_write=ok wal_write=ok connect=ok stay=false every=10s"},
		{"connect: false", "data_write=ok wal_write=ok connect=off stay=false every=10s"},
		{"data_write: off", "data_write=off wal_write=ok connect=ok stay=false every=10s"},
		{"wal_write: no", "data_write=ok wal_write=off connect=ok stay=false every=10s"},
		{"failover: false", "data_write=ok wal_write=ok connect=ok stay=true every=10s"},
		{"interval: 3", "data_write=ok wal_write=ok connect=ok stay=false every=3s"},
		{"interval: 0", "data_write=ok wal_write=ok connect=ok stay=false every=1s"},
	} {
		r := newHealthRig(t, anyMember+", pgha: {health: {"+tc.lines+"}}}")
		r.look(0)
		var got []string
		for _, p := range r.shown() {
			got = append(got, p.Name+"="+string(p.State))
		}
		got = append(got, fmt.Sprintf("stay=%t every=%s", r.facts().Stay, r.rules.Interval))
		if text := strings.Join(got, " "); text != tc.want {
			t.Errorf("%s: %s, want %s", tc.lines, text, tc.want)
		}
	}
}

// Exhausted connections are no failure, and are said when they begin and end.
func TestCrowded(t *testing.T) {
	r := newHealthRig(t, anyMember+"}")
	r.disk.connect = instance.ProbeResult{Verdict: instance.ProbeOK, Full: true, Why: "all 97 ordinary connections are in use"}
	r.look(0)
	if f := r.facts(); len(f.Failing) != 0 || f.Crowded == "" || r.woken != 1 {
		t.Errorf("full: %+v, woken %d", f, r.woken)
	}
	r.disk.connect = instance.ProbeResult{Verdict: instance.ProbeOK}
	r.clock.pass(10 * time.Second)
	r.look(0)
	if f := r.facts(); f.Crowded != "" || r.woken != 2 {
		t.Errorf("free again: %+v, woken %d", f, r.woken)
	}
}
