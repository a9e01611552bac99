package ctl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/dcs/dcstest"
	"pgha/internal/render"
)

// watched is an output that ends the watch after some rounds.
type watched struct {
	bytes.Buffer
	rounds int
	end    context.CancelFunc
}

func (w *watched) Write(p []byte) (int, error) {
	w.Buffer.Write(p)
	if bytes.HasPrefix(p, []byte("[")) {
		if w.rounds--; w.rounds == 0 {
			w.end()
		}
	}
	return len(p), nil
}

// A watch opens the DCS once for all rounds (contract: pitfalls.md 254),
// clears the screen on a terminal only, and Ctrl-C is a normal end.
func TestWatch(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		out := &watched{rounds: 3, end: cancel}
		opened := 0
		s := &Session{
			Out: out, Err: io.Discard, Terminal: terminal, Now: time.Now,
			Open: func(context.Context, string) (Store, error) {
				opened++
				return dcstest.NewMemory(clock.System{}).Open("", time.Minute), nil
			},
		}
		if err := List(ctx, s, ListOptions{Clusters: []string{"shop"}, Format: render.JSON, Watch: time.Millisecond}); err != nil {
			t.Errorf("watch ended with %v", err)
		}
		if opened != 1 {
			t.Errorf("the DCS was opened %d times", opened)
		}
		want := strings.Repeat("[]\n", 3)
		if terminal {
			want = strings.Repeat("\x1b[2J\x1b[1;1H[]\n", 3)
		}
		if out.String() != want {
			t.Errorf("terminal %v: got %q, want %q", terminal, out.String(), want)
		}
	}
}

// A DCS that is gone ends a command with one line; a watch that has begun
// goes on and shows the error.
func TestUnavailable(t *testing.T) {
	memory := dcstest.NewMemory(clock.System{})
	fault := dcstest.Unavailable
	memory.SetHooks(dcstest.Hooks{Request: func(dcstest.Call) dcstest.Fault { return fault }})
	var stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out := &watched{rounds: 2, end: cancel}
	s := &Session{
		Out: out, Err: &stderr, Now: time.Now,
		Open: func(context.Context, string) (Store, error) { return memory.Open("", time.Minute), nil },
	}
	o := ListOptions{Clusters: []string{"shop"}, Format: render.JSON, Watch: time.Millisecond}
	err := List(ctx, s, o)
	if !errors.Is(err, dcs.ErrUnavailable) || strings.Contains(err.Error(), "\n") {
		t.Errorf("first round: got %v, want one line that wraps ErrUnavailable", err)
	}
	round := 0
	fault = dcstest.Pass
	memory.SetHooks(dcstest.Hooks{Request: func(dcstest.Call) dcstest.Fault {
		if round++; round == 2 {
			return dcstest.Unavailable
		}
		return dcstest.Pass
	}})
	if err := List(ctx, s, o); err != nil {
		t.Errorf("later round: %v", err)
	}
	if got := stderr.String(); strings.Count(got, "Error: read cluster") != 1 {
		t.Errorf("stderr %q", got)
	}
}

// A deletion that fails, or whose outcome is not known, says so.
func TestRemoveFails(t *testing.T) {
	for _, tc := range []struct {
		hooks dcstest.Hooks
		want  string
	}{
		{dcstest.Hooks{Request: func(c dcstest.Call) dcstest.Fault {
			if c.Kind == dcstest.Write {
				return dcstest.Unavailable
			}
			return dcstest.Pass
		}}, `remove cluster "shop": `},
		{dcstest.Hooks{Reply: func(c dcstest.Call) dcstest.Fault {
			if c.Kind == dcstest.Write {
				return dcstest.Lost
			}
			return dcstest.Pass
		}}, `remove cluster "shop": no answer; the keys may be gone or not`},
	} {
		memory := dcstest.NewMemory(clock.System{})
		memory.Put(dcs.KeyConfig, `{"ttl":30}`)
		memory.SetHooks(tc.hooks)
		s := &Session{
			In: strings.NewReader("shop\nYes I am aware\n"), Out: io.Discard, Err: io.Discard, Now: time.Now,
			Open: func(context.Context, string) (Store, error) { return memory.Open("", time.Minute), nil },
		}
		err := Remove(t.Context(), s, RemoveOptions{Cluster: "shop", Format: render.JSON})
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %q...", err, tc.want)
		}
	}
}

// What another writer changed since the configuration was read is never lost.
func TestEditConfigConflict(t *testing.T) {
	memory := dcstest.NewMemory(clock.System{})
	memory.Put(dcs.KeyConfig, `{"ttl":30}`)
	for _, tc := range []struct {
		name  string
		hooks dcstest.Hooks
		want  string
	}{
		{"another writer", dcstest.Hooks{Request: func(c dcstest.Call) dcstest.Fault {
			if c.Kind == dcstest.Write {
				memory.SetHooks(dcstest.Hooks{})
				memory.Put(dcs.KeyConfig, `{"ttl":31}`)
			}
			return dcstest.Pass
		}}, "Config modification aborted due to concurrent changes"},
		{"no answer", dcstest.Hooks{Reply: func(c dcstest.Call) dcstest.Fault {
			if c.Kind == dcstest.Write {
				return dcstest.Lost
			}
			return dcstest.Pass
		}}, "no answer from the DCS: the change may be stored or not, look with: pgha ctl show-config shop"},
	} {
		memory.SetHooks(tc.hooks)
		s := &Session{
			In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Now: time.Now,
			Open: func(context.Context, string) (Store, error) { return memory.Open("", time.Minute), nil },
		}
		err := EditConfig(t.Context(), s, EditConfigOptions{Cluster: "shop", Set: []string{"ttl=60"}, Force: true, Quiet: true})
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v", tc.name, err)
		}
	}
}

func TestParseWhen(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	now := time.Date(2031, 2, 3, 4, 5, 6, 0, zone)
	for text, want := range map[string]string{
		"": "0001-01-01T00:00:00Z", "now": "0001-01-01T00:00:00Z", "NOW": "0001-01-01T00:00:00Z",
		"2031-02-03T10:00":       "2031-02-03T10:00:00+02:00",
		"2031-02-03 10:00:01":    "2031-02-03T10:00:01+02:00",
		"2031-02-03T10:00+00":    "2031-02-03T10:00:00Z",
		"2031-02-03T10:00-03:30": "2031-02-03T10:00:00-03:30",
		"10:00":                  "2031-02-03T10:00:00+02:00",
	} {
		at, err := parseWhen(text, now)
		if err != nil || at.Format(time.RFC3339) != want {
			t.Errorf("%q: got %v, %v; want %s", text, at.Format(time.RFC3339), err, want)
		}
	}
	for _, text := range []string{"soon", "2031-02-30T10:00", "25:00", "-"} {
		if at, err := parseWhen(text, now); err == nil {
			t.Errorf("%q was read as %v", text, at)
		}
	}
}

// Ctrl-C at a prompt aborts though the terminal gives no answer.
func TestPromptEndsWithContext(t *testing.T) {
	in, _ := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &Session{In: in, Out: io.Discard}
	if _, err := s.ask(ctx, "Text"); !errors.Is(err, ErrAborted) {
		t.Errorf("got %v", err)
	}
}

// Times on the command line: an instant with a zone, or a refusal.
func FuzzWhen(f *testing.F) {
	for _, s := range []string{"now", "10:00", "2031-02-03T10:00", "T10:00", "2031-02-03 10:00+00", "", "-", "24:00", "10:00Z"} {
		f.Add(s)
	}
	now := time.Date(2031, 3, 30, 1, 30, 0, 0, time.FixedZone("", 3600))
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseWhen(text, now)
		if err != nil && !at.IsZero() {
			t.Fatalf("%q: %v with %v", text, at, err)
		}
		if err == nil && !at.IsZero() && isoTime(at) == "" {
			t.Fatalf("%q: %v cannot be written", text, at)
		}
	})
}
