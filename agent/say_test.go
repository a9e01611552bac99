package agent

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"pgha/agent/ha"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/logging"
)

// written is what a loop's log holds.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// TestResultLines is how cycles end in the log: one line for a healthy one,
// the owner of the lock before any other, the prefix in pause, and nothing
// when a quick retry has nothing new to say (contract: config.md 3.3,
// ha-behaviour.md 23).
func TestResultLines(t *testing.T) {
	owned := func(by string) *dcs.Cluster {
		if by == "" {
			return &dcs.Cluster{}
		}
		return &dcs.Cluster{Leader: &dcs.Leader{Name: by}}
	}
	for _, tc := range []struct {
		name  string
		pause bool
		steps []ha.Reason
		owner string
		lost  bool
		want  string
	}{
		{"heartbeats", false, []ha.Reason{{Code: ha.Leading, Self: "a"}, {Code: ha.Leading, Self: "a"}}, "a", false,
			"no action. I am (a), the leader with the lock\nno action. I am (a), the leader with the lock\n"},
		{"a promotion", false, []ha.Reason{{Code: ha.PromotedByAcquiring}}, "", false,
			"Lock owner: None; I am a\npromoted self to leader by acquiring session lock\n"},
		{"the same again", false, []ha.Reason{{Code: ha.NotHealthiest}, {Code: ha.NotHealthiest}}, "", false,
			"Lock owner: None; I am a\nfollowing a different leader because i am not the healthiest node\n"},
		{"another leads", false, []ha.Reason{{Code: ha.DemotedNoLock}}, "b", false,
			"Lock owner: b; I am a\ndemoting self because I do not have the lock and I was a leader\n"},
		{"pause", true, []ha.Reason{{Code: ha.Following, Self: "a", Member: "b"}, {Code: ha.PausedStopped}}, "b", false,
			"PAUSE: no action. I am (a), a secondary, and following a leader (b)\nLock owner: b; I am a\nPAUSE: postgres is not running\n"},
		{"nothing is known of the lock", false, []ha.Reason{{Code: ha.NoDCS}}, "", true, "DCS is not accessible\n"},
		{"counting down", false, []ha.Reason{{Code: ha.RidingThrough, Seconds: 9}, {Code: ha.RidingThrough, Seconds: 8}}, "", true,
			"DCS is not accessible; the leader key is certain for 9 more seconds\nDCS is not accessible; the leader key is certain for 8 more seconds\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var w written
			log, out, err := logging.New(config.Log{Format: "%(message)s"}, &w)
			if err != nil {
				t.Fatal(err)
			}
			l := &Loop{LoopOptions: LoopOptions{Self: "a", Log: log}}
			l.settings.Pause = tc.pause
			for _, r := range tc.steps {
				in := ha.Input{Cluster: owned(tc.owner)}
				if tc.lost {
					in.Cluster = nil
				}
				l.result(in, ha.Decision{Reason: r})
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
			if got := w.b.String(); got != tc.want {
				t.Errorf("got:\n%swant:\n%s", got, tc.want)
			}
		})
	}
}

// A line that several steps of one cycle have to say is said once, at its level.
func TestSaysOnce(t *testing.T) {
	var w written
	log, out, err := logging.New(config.Log{Format: "%(levelname)s: %(message)s"}, &w)
	if err != nil {
		t.Fatal(err)
	}
	l := &Loop{LoopOptions: LoopOptions{Log: log}}
	said := map[string]bool{}
	for range 2 {
		l.say(said, ha.Decision{Says: []ha.Line{{Level: ha.Info, Text: "one"}, {Level: ha.Warning, Text: "two"}, {Level: ha.Error, Text: "three"}, {Level: ha.Critical, Text: "four"}}})
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(w.b.String(), "\n", "|"); got != "INFO: one|WARNING: two|ERROR: three|CRITICAL: four|" {
		t.Errorf("%q", got)
	}
}
