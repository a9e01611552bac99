package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Options are what `make chaos` is asked for.
type Options struct {
	Seed uint64
	// Harsh adds a second fault to every round, on another or the same machine.
	Harsh bool
	// Faults are names from the catalogue; all when empty.
	Faults []string
	// Load is what every round has; empty: the plan chooses.
	Load Load
	// Gate and Failsafe are "1" or "0" for all rounds; empty: the plan chooses.
	Gate, Failsafe string
	// Patroni has the real Patroni on all members: what the checker then finds
	// shows that it can find it, and what pgha is measured against.
	Patroni bool
	// TTL of the cluster, in seconds.
	TTL int
}

// Mode is how the cluster replicates in a round.
type Mode string

const (
	Async Mode = "async"
	// Sync is the user's own synchronous_standby_names: 'ANY 1 (*)' (rulings 11).
	Sync Mode = "sync"
)

// Load is what runs on the primary beside the clients that are always there.
type Load string

const (
	// Waits: the statement inside the server sleeps between its commits.
	Waits Load = "waits"
	// Computes: it never waits, so it never notices by itself that its
	// postmaster is dead.
	Computes Load = "computes"
	// Pipeline: a client whose next statement is always there already.
	Pipeline Load = "pipeline"
)

// Round is one round of a plan.
type Round struct {
	Number int
	Mode   Mode
	Load   Load
	// Gate: the agents have CAP_NET_ADMIN, so a gate before PostgreSQL's port.
	Gate bool
	// Failsafe is failsafe_mode.
	Failsafe bool
	Strikes  []Strike
}

// Strike is one fault in a round.
type Strike struct {
	Fault string
	// Target is whom: leader, replica, etcd, etcd-leader, all.
	Target Target
	// At is when it begins, counted from the first one; For how long it lasts.
	At, For time.Duration
}

// Target is whom a fault hits; it becomes a machine when the fault begins.
type Target string

const (
	Leader     Target = "leader"
	Replica    Target = "replica"
	EtcdMember Target = "etcd member"
	EtcdLeader Target = "etcd leader"
	EtcdAll    Target = "etcd"
	Cluster    Target = "cluster"
)

// Name is the fault, or the two faults with a plus between them, with what
// its figures depend on.
func (r Round) Name() string {
	var names []string
	for _, s := range r.Strikes {
		name := s.Fault
		if s.Target == Replica {
			name += " (replica)"
		}
		if by := s.fault().By; by == Failsafe && r.Failsafe || by == Gate && r.Gate {
			name += " (" + string(by) + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, " + ")
}

// String is the round as one line of the plan.
func (r Round) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "round %d: %s, %s", r.Number, r.Mode, r.Load)
	if r.Gate {
		b.WriteString(", gate")
	}
	if r.Failsafe {
		b.WriteString(", failsafe")
	}
	for _, s := range r.Strikes {
		fmt.Fprintf(&b, "; +%.1fs %s on %s for %.1fs", s.At.Seconds(), s.Fault, s.Target, s.For.Seconds())
	}
	return b.String()
}

// Plan returns round n (from 0) of the plan. Two rounds in a row have the same
// faults: the first asynchronous, the second synchronous. Every fault comes
// once before any comes again.
func (o Options) Plan(n int) Round {
	deck := o.deck()
	pair, cycle := n/2, n/2/len(deck)
	order := rand.New(rand.NewPCG(o.Seed, uint64(cycle))).Perm(len(deck))
	rnd := rand.New(rand.NewPCG(o.Seed, 1<<32+uint64(pair)))
	first := deck[order[pair%len(deck)]]
	r := Round{Number: n, Mode: Async, Load: []Load{Waits, Waits, Computes, Pipeline}[rnd.IntN(4)]}
	r.Strikes = []Strike{o.strike(rnd, first, 85)}
	if o.Harsh {
		second := o.strike(rnd, deck[rnd.IntN(len(deck))], 50)
		if !second.fault().Instant || !first.Instant {
			second.At = o.part(rnd.Float64() * 1.2)
		}
		r.Strikes = append(r.Strikes, second)
	}
	if n%2 == 1 {
		r.Mode = Sync
	}
	// The gate is a matter of whole clusters, which last for so many rounds.
	r.Gate = (uint64(n/freshEvery)+o.Seed)%2 == 0
	r.Failsafe = rnd.IntN(3) == 0
	if o.Gate != "" {
		r.Gate = o.Gate == "1"
	}
	if o.Failsafe != "" {
		r.Failsafe = o.Failsafe == "1"
	}
	for _, s := range r.Strikes {
		r.Failsafe = r.Failsafe || s.fault().NeedsFailsafe
	}
	if o.Patroni {
		r.Gate = false
	}
	if o.Load != "" {
		r.Load = o.Load
	}
	return r
}

// deck is the faults to choose from.
func (o Options) deck() []Fault {
	if len(o.Faults) == 0 {
		return catalogue
	}
	return slices.DeleteFunc(slices.Clone(catalogue), func(f Fault) bool { return !slices.Contains(o.Faults, f.Name) })
}

// strike chooses target and times: the leader in so many of 100 cases.
func (o Options) strike(rnd *rand.Rand, f Fault, leader int) Strike {
	s := Strike{Fault: f.Name, Target: f.On}
	if f.On == Leader && !f.LeaderOnly && rnd.IntN(100) >= leader {
		s.Target = Replica
	}
	// Shorter than the lease, about as long, and long enough for a new primary
	// to be well under way before the old one wakes up.
	part := []float64{0.25, 0.6, 0.95, 1.15, 1.6, 2.2}[rnd.IntN(6)]
	if s.For = o.part(part * (0.9 + 0.2*rnd.Float64())); f.Most > 0 {
		s.For = min(s.For, o.part(f.Most))
	}
	s.For = max(s.For, o.part(f.Least))
	if f.Instant {
		s.For = 0
	}
	return s
}

// part is that much of the ttl, in whole tenths of a second.
func (o Options) part(of float64) time.Duration {
	return time.Duration(float64(o.TTL)*of*10) * 100 * time.Millisecond
}

// fault is the strike's entry in the catalogue.
func (s Strike) fault() Fault {
	i := slices.IndexFunc(catalogue, func(f Fault) bool { return f.Name == s.Fault })
	return catalogue[i]
}

// Check says which names there are not.
func (o Options) Check() error {
	if loads := []Load{"", Waits, Computes, Pipeline}; !slices.Contains(loads, o.Load) {
		return fmt.Errorf("LOAD=%s: want %s, %s or %s", o.Load, Waits, Computes, Pipeline)
	}
	for name, v := range map[string]string{"GATE": o.Gate, "FAILSAFE": o.Failsafe} {
		if v != "" && v != "0" && v != "1" {
			return fmt.Errorf("%s=%s: want 1 for all rounds, 0 for none, or nothing for some", name, v)
		}
	}
	var all []string
	for _, f := range catalogue {
		all = append(all, f.Name)
	}
	for _, name := range o.Faults {
		if !slices.Contains(all, name) {
			return fmt.Errorf("FAULTS: there is no fault %q; there are: %s", name, strings.Join(all, "; "))
		}
	}
	return nil
}
