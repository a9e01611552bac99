package rest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/config"
)

// Requests before, during and after a hold are all answered: those under way
// before it is complete, those that come during it when it is over.
func TestHoldRefusesNobody(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := heldServer(t, Route{Method: http.MethodGet, Path: "/pgha/v1/slow", Handle: func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		io.WriteString(w, "late")
	}})
	get := func(path string) <-chan string {
		answer := make(chan string, 1)
		go func() {
			r, err := (&http.Client{Timeout: 10 * time.Second}).Get("http://" + s.Addr().String() + path)
			if err != nil {
				answer <- err.Error()
				return
			}
			defer r.Body.Close()
			text, _ := io.ReadAll(r.Body)
			answer <- r.Status + string(text)
		}()
		return answer
	}
	slow := get("/pgha/v1/slow")
	<-entered
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Hold(short); err == nil {
		t.Fatal("held although a request was under way")
	}
	if got := <-get("/liveness"); got != "200 OK" {
		t.Fatalf("after a hold that failed: %q", got)
	}
	held := make(chan error, 1)
	go func() { held <- s.Hold(t.Context()) }()
	close(leave)
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	if got := <-slow; got != "200 OKlate" {
		t.Errorf("the request under way: %q", got)
	}
	during := get("/liveness")
	select {
	case got := <-during:
		t.Fatalf("answered during a hold: %q", got)
	case <-time.After(50 * time.Millisecond):
	}
	s.Resume()
	if got := <-during; got != "200 OK" {
		t.Errorf("the request that came during the hold: %q", got)
	}
}

func heldServer(t *testing.T, own Route) *Server {
	t.Helper()
	s, err := New(Options{Config: config.RestAPI{Listen: "127.0.0.1:0"}, Backend: well(), Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Own: []Route{own}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}
