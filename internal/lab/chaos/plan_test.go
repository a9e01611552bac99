package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// The same seed gives the same rounds, alone or in a row; another seed others.
func TestPlanRepeats(t *testing.T) {
	o := Options{Seed: 7, TTL: 10, Harsh: true}
	other := Options{Seed: 8, TTL: 10, Harsh: true}
	differ := false
	for n := range 50 {
		if a, b := o.Plan(n).String(), o.Plan(n).String(); a != b {
			t.Errorf("%s\n%s", a, b)
		}
		differ = differ || o.Plan(n).String() != other.Plan(n).String()
	}
	if !differ {
		t.Error("the seed changes nothing")
	}
}

// Every fault comes in both modes before any comes again; pairs are harsh.
func TestPlanCovers(t *testing.T) {
	o := Options{Seed: 7, TTL: 10}
	deck := o.deck()
	seen := map[string]int{}
	for n := range 2 * len(deck) {
		r := o.Plan(n)
		if len(r.Strikes) != 1 {
			t.Errorf("%s: more than one fault", r)
		}
		seen[r.Strikes[0].Fault+" "+string(r.Mode)]++
		if s := r.Strikes[0]; s.fault().Instant != (s.For == 0) || s.For > 25*time.Second {
			t.Errorf("%s lasts %v", s.Fault, s.For)
		}
	}
	for _, f := range deck {
		if seen[f.Name+" async"] != 1 || seen[f.Name+" sync"] != 1 {
			t.Errorf("%s: %d asynchronous, %d synchronous", f.Name, seen[f.Name+" async"], seen[f.Name+" sync"])
		}
	}
	o.Harsh = true
	if r := o.Plan(2); len(r.Strikes) != 2 {
		t.Errorf("%s: want two faults", r)
	}
}

func TestFaultsAreChosenByName(t *testing.T) {
	o := Options{Faults: []string{"machine lost", "etcd frozen"}, TTL: 10}
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	for n := range 8 {
		if !slices.Contains(o.Faults, o.Plan(n).Strikes[0].Fault) {
			t.Error(o.Plan(n))
		}
	}
	o.Faults = []string{"machine los"}
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), `no fault "machine los"; there are: agent killed`) {
		t.Error(err)
	}
}
