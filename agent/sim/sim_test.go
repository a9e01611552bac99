package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var (
	seeds = flag.Uint64("seeds", number("SEEDS", 200), "how many seeds to run")
	first = flag.Uint64("first", number("FIRST", 1), "the first of these seeds")
	all   = flag.Bool("all", false, "leave nothing out of a story")
	only  = flag.String("plant", "", "look for the planted bugs whose name contains this")
	seed  = flag.Uint64("seed", number("SEED", 0), "run this one seed and tell its story")
)

// TestMain lets the heap grow: a run lives for a moment, and collecting what it
// left took a third of the time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}

// planted is the bug named by -plant, for a story about it.
func planted() Plant {
	for _, p := range Plants {
		if *only != "" && strings.Contains(string(p), *only) {
			return p
		}
	}
	return PlantNone
}

func number(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// TestInvariants runs clusters through faults. A seed that breaks an
// invariant is run again to tell its story.
func TestInvariants(t *testing.T) {
	if *seed != 0 {
		story(t, Options{Seed: *seed, Plant: planted()})
		return
	}
	var total Tally
	for _, r := range many(Options{Seed: *first}, *seeds, PlantNone) {
		total.add(r.Tally)
		if r.Broken != nil && !t.Failed() {
			story(t, Options{Seed: r.Seed})
		}
		if r.Broken != nil {
			t.Errorf("seed %d: %s", r.Seed, r.Broken[0])
		}
	}
	t.Logf("%+v", total)
}

// TestCalm: without faults nobody is ever promoted, and nothing changes.
func TestCalm(t *testing.T) {
	for _, r := range many(Options{Calm: true}, max(1, *seeds/10), PlantNone) {
		if r.Broken != nil {
			story(t, Options{Seed: r.Seed, Calm: true})
			return
		}
	}
}

// TestPlantedBugsAreFound: a simulator that finds nothing may be blind.
func TestPlantedBugsAreFound(t *testing.T) {
	for _, plant := range Plants {
		if *only != "" && !strings.Contains(string(plant), *only) {
			continue
		}
		t.Run(string(plant), func(t *testing.T) {
			for _, r := range many(Options{Plant: plant}, plantedWithin, plant) {
				if r.Broken != nil && plant.Shows(r.Broken[0]) {
					t.Logf("seed %d: %s", r.Seed, r.Broken[0])
					return
				}
			}
			t.Errorf("not found within %d seeds", plantedWithin)
		})
	}
}

// plantedWithin is how many seeds a planted bug may take (rulings 55).
const plantedWithin = 200

// TestSameSeedSameStory: a run can be repeated byte for byte.
func TestSameSeedSameStory(t *testing.T) {
	for n := uint64(1); n <= 5; n++ {
		a, b := Run(Options{Seed: n, Tell: true}), Run(Options{Seed: n, Tell: true})
		if !slices.Equal(a.Story.Lines, b.Story.Lines) {
			t.Fatalf("seed %d tells two stories", n)
		}
		if quiet := Run(Options{Seed: n}); !slices.Equal(quiet.Broken, a.Broken) || quiet.Tally != a.Tally {
			t.Fatalf("seed %d runs differently when it is not told: %+v, %+v", n, quiet, a.Tally)
		}
	}
}

func story(t *testing.T, o Options) {
	t.Helper()
	o.Tell = true
	r := Run(o)
	text := r.Story.String()
	if *all {
		text = r.Story.All()
	}
	t.Logf("seed %d\n%s", o.Seed, text)
	for _, b := range r.Broken {
		t.Errorf("seed %d: %s", o.Seed, b)
	}
}

func (t *Tally) add(o Tally) {
	t.Acked += o.Acked
	t.Lost += o.Lost
	t.Promotions += o.Promotions
	t.Faults += o.Faults
	t.StoppedForGood += o.StoppedForGood
	t.Unfenced += o.Unfenced
	t.LostBeside += o.LostBeside
	t.Remnant += o.Remnant
	t.Virtual += o.Virtual
}

// many runs n seeds from o.Seed on, on two processors. It ends early once a plant that
// was looked for has shown itself.
func many(o Options, n uint64, look Plant) []Result {
	results := make([]Result, n)
	var mu sync.Mutex
	next, found := uint64(0), false
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				mu.Lock()
				if next == n || found {
					mu.Unlock()
					return
				}
				i := next
				next++
				mu.Unlock()
				one := o
				one.Seed = i + max(1, o.Seed)
				r := run(one)
				mu.Lock()
				results[i] = r
				found = found || look != PlantNone && r.Broken != nil && look.Shows(r.Broken[0])
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	return results
}

// run names the seed of a run that panics.
func run(o Options) Result {
	defer func() {
		if p := recover(); p != nil {
			panic(fmt.Sprintf("seed %d (plant %q): %v", o.Seed, o.Plant, p))
		}
	}()
	return Run(o)
}
