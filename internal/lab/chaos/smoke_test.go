package chaos

import (
	"path/filepath"
	"testing"
	"time"

	"pgha/internal/lab"
)

// One round, which every `make short` can afford: clients, a fault, repair and
// comparison work, and a frozen agent and guard leave one primary. Gate and
// failsafe_mode are left to the stories: this must not need their conditions.
func TestSmoke(t *testing.T) {
	if lab.Mode() != "short" && lab.Mode() != "all" {
		t.Skip("runs with `make short` and `make lab`")
	}
	s := Settings{Time: 5 * time.Minute, Only: -1, Rounds: 1, Options: Options{Seed: 9, TTL: 5, Gate: "0", Failsafe: "0", Faults: []string{"agent and guard frozen"}}}
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", ".lab", "chaos", "smoke"))
	if err != nil {
		t.Fatal(err)
	}
	r := Run(t, s, dir, t.Context().Done())
	for _, o := range r.Rounds {
		if len(o.Failures) > 0 {
			t.Errorf("%s", o.line())
		} else if o.Changes == 0 || o.Rows.Acked < 100 {
			t.Errorf("the round shows nothing: %s", o.line())
		}
	}
	if len(r.Rounds) != s.Rounds {
		t.Errorf("%d rounds of %d within %v", len(r.Rounds), s.Rounds, s.Time)
	}
}
