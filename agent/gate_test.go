package agent

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/gate"
)

type noServer struct{}

func (noServer) RunningPort() int      { return 0 }
func (noServer) RunningListen() string { return "" }

// TestGateNotPermitted: said once, in words that tell what is left; everything
// else goes on, and the agent's end waits for nothing.
func TestGateNotPermitted(t *testing.T) {
	for mode, want := range map[string]struct{ line, note string }{
		"auto": {"INFO", ""}, "on": {"WARN", "no gate"},
	} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		p := newProtection(log)
		k := newGateKeeper(mode, gate.ErrNotPermitted, p, log)
		local := &config.Local{Scope: "demo", Name: "pg01"}
		local.Pgha.Gate, local.PostgreSQL.Port = mode, 5432
		k.local, k.server = func() *config.Local { return local }, noServer{}
		ctx, cancel := context.WithCancel(t.Context())
		k.ready()
		ended := make(chan struct{})
		go func() { defer close(ended); k.run(ctx) }()
		for range 3 {
			k.open(clock.Now().Add(10*time.Second), 30*time.Second)
			k.remove()
		}
		k.finish(ctx, false)
		cancel()
		<-ended
		if got := p.shown()[partGate]; got != "no: not permitted (CAP_NET_ADMIN)" {
			t.Errorf("%s: shown %q", mode, got)
		}
		if got := p.note(); got != want.note {
			t.Errorf("%s: note %q, want %q", mode, got, want.note)
		}
		if n := strings.Count(out.String(), "not permitted"); n != 1 || !strings.Contains(out.String(), "level="+want.line) || !strings.Contains(out.String(), gateLeft) {
			t.Errorf("%s: said %d times:\n%s", mode, n, out.String())
		}
	}
}

// TestGateMembers: literal addresses count at once, names when they were
// looked up, and what cannot be looked up any more stays.
func TestGateMembers(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	k := newGateKeeper("auto", nil, newProtection(log), log)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); k.names.run(ctx) }()
	defer func() { cancel(); <-ended }()
	k.members(&dcs.Cluster{Members: []dcs.Member{
		{Name: "pg01", MemberData: dcs.MemberData{ConnURL: "postgres://10.0.0.1:5432/postgres"}},
		{Name: "pg02", MemberData: dcs.MemberData{ConnURL: "postgres://10.0.0.2:5432/postgres", APIURL: "http://[fd00::2]:8008/patroni"}},
		{Name: "pg03", MemberData: dcs.MemberData{ConnURL: "postgres://localhost:5432/postgres", APIURL: "%"}},
	}}, "pg01")
	literal := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")}
	if got := k.names.addresses(); len(got) < 2 || !slices.Equal(got[:2], literal) {
		t.Errorf("at once: %v", got)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	for end := time.Now().Add(5 * time.Second); !slices.Contains(k.names.addresses(), loopback); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("localhost is not looked up: %v", k.names.addresses())
		}
	}
}

func TestListenOf(t *testing.T) {
	for text, want := range map[string]int{"": 0, "*": 0, "localhost": 0, "10.0.0.1,0.0.0.0": 0, "::": 0, "10.0.0.1, 127.0.0.1": 2, "[::1],10.0.0.1": 2, "pg01,127.0.0.1": 0} {
		if got := listenOf(text); len(got) != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
