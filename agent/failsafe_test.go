package agent

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"pgha/agent/ha"
	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// Either a member leads or is about to, or it is bound to another's leading.
func TestPromises(t *testing.T) {
	p := NewPromises(clock.System{}, false)
	from := func(name string) ha.FailsafeSender { return ha.FailsafeSender{Name: name} }
	if !p.Accept(from("b"), time.Minute) || p.claim(0) {
		t.Fatal("agreed, and leads")
	}
	heard := p.Sender().Heard
	if s := p.Sender(); s.Name != "b" || s.Until.Sub(s.Heard) != time.Minute || s.Mixed {
		t.Errorf("%+v", s)
	}
	if !p.Accept(from("c"), time.Second) || !p.Sender().Mixed || p.Sender().Until.Sub(heard) < time.Minute {
		t.Errorf("an agreement was shortened by a later one: %+v", p.Sender())
	}
	if p.claim(heard) {
		t.Error("the later agreement is not known to be over")
	}
	if !p.claim(p.Sender().Heard) || p.Sender() != nil {
		t.Error("an agreement that is over binds")
	}
	if p.Accept(from("b"), time.Minute) {
		t.Error("leads, and agreed")
	}
	p.note(false, false) // the DCS could not be read: it may be the leader still
	if p.Accept(from("b"), time.Minute) {
		t.Error("may lead, and agreed")
	}
	p.note(false, true)
	if !p.Accept(from("b"), -time.Second) || p.Sender() != nil || !p.claim(0) {
		t.Error("an agreement whose time is over binds")
	}
	p.note(false, true)
	p.Accept(from("b"), time.Minute)
	p.given()
	if p.Sender() != nil || p.Accept(from("b"), time.Minute) {
		t.Error("a key that was given does not end the agreement")
	}
	if NewPromises(clock.System{}, true).Accept(from("b"), time.Minute) {
		t.Error("an agent beside a guard with a deadline agreed")
	}
}

// A member that answers late is waited for; one whose agent is just restarting
// is asked again; a refusal is told with its text.
func TestFailsafeRound(t *testing.T) {
	serve := func(h http.HandlerFunc) dcs.Member {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return dcs.Member{MemberData: dcs.MemberData{APIURL: s.URL + "/patroni"}}
	}
	var tries atomic.Int32
	late := serve(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(2500 * time.Millisecond) // longer than Patroni waits, and than the second request comes
		w.Header().Set("lsn", "42")
		w.Write([]byte("Accepted"))
	})
	restarting := serve(func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) <= 2 { // the client repeats the first at once
			panic(http.ErrAbortHandler)
		}
		w.Write([]byte("Accepted"))
	})
	refuses := serve(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		w.Write([]byte("Running as a leader"))
	})
	polite := serve(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("Welcome")) })
	dead := dcs.Member{MemberData: dcs.MemberData{APIURL: "http://127.0.0.1:1/patroni"}}
	members := []dcs.Member{late, restarting, refuses, polite, dead, {}}
	for i, name := range []string{"late", "restarting", "refuses", "polite", "dead", "nowhere"} {
		members[i].Name = name
	}
	log := slog.New(slog.DiscardHandler)
	p := &peers{log: log, failsafe: failsafeClient{client: api.NewClient(api.ClientOptions{Timeout: time.Hour}), log: log}}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	for i, want := range []ha.FailsafeAnswer{
		{Accepted: true, Location: 42}, {Accepted: true}, {Refused: true, Fault: "status 500: Running as a leader"},
		{Refused: true, Fault: "status 200: Welcome"}, {}, {Refused: true, Fault: "it has no api_url in /failsafe"},
	} {
		got := p.AskFailsafe(ctx, members[i:i+1], FailsafeNote{Name: "a", TTL: 30 * time.Second})[0]
		want.Name = members[i].Name
		if want.Name == "dead" && got.Fault != "" {
			got.Fault = ""
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", members[i].Name, got, want)
		}
	}
}

// The map: what a read or a write left, and what a write without an answer may
// still put there.
func TestFailsafeMap(t *testing.T) {
	l := &Loop{doubtful: map[string]string{"c": "u"}}
	l.knowFailsafe(map[string]string{"a": "x"})
	if len(l.failsafe) != 2 || l.failsafe["c"] != "u" {
		t.Errorf("%v lacks a name that may be there", l.failsafe)
	}
	l.settings.FailsafeMode = true
	l.knowFailsafe(nil)
	if l.failsafe != nil || l.doubtful == nil {
		t.Errorf("a map that nobody reads any more binds nobody: %v, %v", l.failsafe, l.doubtful)
	}
	l.settings.FailsafeMode = false
	l.knowFailsafe(nil)
	if l.failsafe != nil || l.doubtful != nil {
		t.Errorf("a deleted map stays with the mode off: %v, %v", l.failsafe, l.doubtful)
	}
}

// TestFirstFailsafeMapWithoutAnswer: where there was no map, a write of unknown
// outcome keeps nobody from racing, so it permits no failsafe mode.
func TestFirstFailsafeMapWithoutAnswer(t *testing.T) {
	l := &Loop{LoopOptions: LoopOptions{Store: mute{}, Log: slog.New(slog.DiscardHandler)}}
	l.settings.FailsafeMode = true
	l.writeFailsafe(context.Background(), map[string]string{"a": "x", "b": "y"})
	if l.failsafe != nil {
		t.Errorf("goes by a map that perhaps never came to be: %v", l.failsafe)
	}
	l.knowFailsafe(map[string]string{"a": "x"})
	if l.failsafe["b"] != "y" {
		t.Errorf("%v lacks a name that may still come", l.failsafe)
	}
}

// mute is a store whose writes get no answer.
type mute struct{ dcs.Store }

// Apply implements dcs.Store.
func (mute) Apply(context.Context, ...dcs.Write) error { return dcs.ErrUnknownOutcome }
