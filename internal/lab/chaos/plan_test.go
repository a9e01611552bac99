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

// The gate changes with whole clusters, failsafe_mode with pairs of rounds; a
// fault that needs failsafe_mode has it, lasts long enough, and what the
// environment says holds for all rounds.
func TestPlanOfGateAndFailsafe(t *testing.T) {
	o := Options{Seed: 7, TTL: 10}
	seen := map[string]int{}
	for n := range 8 * freshEvery {
		r := o.Plan(n)
		if r.Gate != o.Plan(n-n%freshEvery).Gate {
			t.Errorf("%s: its cluster began without", r)
		}
		if r.Gate {
			seen["gate"]++
		}
		if r.Failsafe {
			seen["failsafe"]++
		}
		f := r.Strikes[0].fault()
		if f.NeedsFailsafe && !r.Failsafe || r.Strikes[0].For < o.part(f.Least) {
			t.Errorf("%s: too little", r)
		}
		if f.By == Failsafe && r.Failsafe != strings.HasSuffix(r.Name(), " (failsafe)") {
			t.Errorf("%s is counted as %q", r, r.Name())
		}
	}
	if seen["gate"] != 4*freshEvery || seen["failsafe"] < freshEvery || seen["failsafe"] > 5*freshEvery {
		t.Errorf("of %d rounds: %v", 8*freshEvery, seen)
	}
	o.Gate, o.Failsafe = "1", "0"
	if r := o.Plan(freshEvery); !r.Gate {
		t.Error(r)
	}
	if r := o.Plan(0); r.Failsafe && !r.Strikes[0].fault().NeedsFailsafe {
		t.Error(r)
	}
	o.Gate = "yes"
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "GATE=yes: want 1 for all rounds, 0 for none") {
		t.Error(err)
	}
}
