package etcd

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"pgha/internal/dcs"
)

// A call whose time is over, or nearly, ends at once: seen in `pgha ctl resume
// --wait`, which asked again and again in the last moment and never came back.
func TestSpentContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, endpoints := range [][]string{
		{"http://" + silent.Addr().String()},
		{"http://127.0.0.1:1", "http://127.0.0.1:2", "http://" + silent.Addr().String()},
	} {
		s, err := Open(t.Context(), Options{Endpoints: endpoints, UseProxies: true, Namespace: "/service", Scope: "spent"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, left := range []time.Duration{-time.Second, 0, time.Microsecond, time.Millisecond, 20 * time.Millisecond} {
			done := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), left)
				defer cancel()
				_, err := s.Load(ctx)
				done <- err
			}()
			select {
			case err := <-done:
				if !errors.Is(err, dcs.ErrUnavailable) {
					t.Errorf("%v left: %v", left, err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%v left: no end in 10 s", left)
			}
		}
	}
}
