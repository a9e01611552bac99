// Package sim runs whole clusters in one goroutine and in no time: N members,
// each with the production Loop and Decide, over a modelled etcd, network,
// clock, PostgreSQL and guard. Tests only.
//
// Everything random comes from one seed, so a run that breaks an invariant
// can be run again, with its story told. The models are harsher than
// production: requests are lost, late or answered late; processes and whole
// machines freeze at the worst step; clocks drift and stand still.
package sim

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"pgha/internal/postgres"
)

// Time is true time: nanoseconds since the run began. No member can read it.
type Time int64

// Add returns the time d later.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns how long t is after u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Options say what to run.
type Options struct {
	Seed uint64
	// Calm: no faults and no operator; nothing may ever change then.
	Calm bool
	// Plant is a bug to plant; empty: none.
	Plant Plant
	// Tell keeps the story: one line per member and step.
	Tell bool
	// script runs instead of faults drawn by chance: a test schedules what is
	// to happen. hook sees every step that faults may strike.
	script func(*Sim)
	hook   func(m *machine, step string)
}

// Result is what a run left.
type Result struct {
	Seed uint64
	// Broken lists violated invariants, the first one first; nil: none.
	Broken []string
	// Story is there when Options.Tell was set.
	Story Story
	Tally Tally
}

// Tally counts what a run exercised, so that a test can say the faults were there.
type Tally struct {
	Acked, Lost, Promotions, Faults, StoppedForGood int
	// Outside the promise (docs/guarantees.md): rows acknowledged without the
	// leader key, and rows lost because such a primary came to lead again.
	// Remnant: rows written by a backend whose guard and undertaker were killed.
	Unfenced, LostBeside, Remnant int
	Virtual                       time.Duration
}

// Sim is one run.
type Sim struct {
	opt    Options
	rng    *rand.Rand
	now    Time
	seq    uint64
	queue  events
	story  Story
	shape  shape
	etcd   *etcd
	net    *network
	nodes  []*machine
	checks *checks
	procs  []*proc
	rows   uint64
	leases int64
	epochs uint64
	saved  *backup    // of etcd; nil: none
	sync   *syncState // what /sync says; nil: nothing
	ended  bool
	// lastTimeline is the highest in use anywhere.
	lastTimeline postgres.Timeline
}

// Run runs one seed to its end, or to the first broken invariant.
func Run(o Options) Result {
	s := &Sim{opt: o, rng: rand.New(rand.NewPCG(o.Seed, 0x9e3779b97f4a7c15))}
	s.shape = drawShape(s.rng, o)
	s.checks = newChecks(s)
	s.net = newNetwork(s)
	s.etcd = newEtcd(s)
	for i := range s.shape.members {
		s.nodes = append(s.nodes, newMachine(s, i))
	}
	s.tell("-", "%s", s.shape.String())
	for _, m := range s.nodes {
		s.after(s.dur(0, 500*time.Millisecond), m.boot)
	}
	s.startClients()
	s.startSync()
	s.plan()
	s.loop()
	s.story.seed = o.Seed
	if o.Tell {
		s.story.Summary = s.summary()
	}
	for _, p := range s.procs {
		p.kill()
	}
	s.checks.tally.Virtual = time.Duration(s.now)
	return Result{Seed: o.Seed, Broken: s.checks.broken, Story: s.story, Tally: s.checks.tally}
}

// loop runs events in order until the plan ends the run.
func (s *Sim) loop() {
	for !s.ended && len(s.queue) > 0 && len(s.checks.broken) == 0 {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.do()
		s.checks.step()
	}
}

// after runs do d later, in true time.
func (s *Sim) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.queue, event{at: s.now.Add(max(d, 0)), seq: s.seq, do: do})
}

// dur draws a duration between lo and hi.
func (s *Sim) dur(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(s.rng.Int64N(int64(hi-lo)))
}

// chance is true with probability p.
func (s *Sim) chance(p float64) bool { return s.rng.Float64() < p }

// machineNamed returns the machine of that member; nil when there is none.
func (s *Sim) machineNamed(name string) *machine {
	for _, m := range s.nodes {
		if m.name == name {
			return m
		}
	}
	return nil
}

// event is something that happens at a time; of two at the same time the one
// scheduled first goes first.
type event struct {
	at  Time
	seq uint64
	do  func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return last
}
