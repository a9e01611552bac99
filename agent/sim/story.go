package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgha/internal/dcs"
)

// Story is what happened in a run, told for people.
type Story struct {
	Lines []Line
	// Summary says how things stood at the end: who led, what ran, what was
	// broken; empty: nothing was told.
	Summary string
	seed    uint64
}

// Line is one event.
type Line struct {
	At Time
	// Holder is who held the leader key in etcd then; empty: nobody.
	Holder, Who, Text string
	// Routine: nothing new, the next of many cycles with the same result.
	Routine bool
}

// tell adds a line to the story.
func (s *Sim) tell(who, format string, args ...any) { s.note(false, who, format, args...) }

// note is tell for lines that may be routine.
func (s *Sim) note(routine bool, who, format string, args ...any) {
	if !s.opt.Tell {
		return
	}
	holder := ""
	if s.etcd != nil {
		holder = s.etcd.leader()
	}
	s.story.Lines = append(s.story.Lines, Line{s.now, holder, who, fmt.Sprintf(format, args...), routine})
}

// full is how long before its end a story is told without leaving anything out.
const full = 15 * time.Second

// String tells the story: how it ended, how to run it again, then what
// happened, routine left out until shortly before the end. Times are seconds
// of true time, from the beginning and before the end.
func (t Story) String() string { return t.tell(false) }

// All is String with nothing left out.
func (t Story) All() string { return t.tell(true) }

func (t Story) tell(all bool) string {
	if len(t.Lines) == 0 {
		return ""
	}
	var b strings.Builder
	end := t.Lines[len(t.Lines)-1].At
	fmt.Fprintf(&b, "%s\nAgain: make sim SEED=%d (nothing left out: go test ./agent/sim -run Invariants -v -seed=%d -all)\n\n", t.Summary, t.seed, t.seed)
	b.WriteString("     time  to end key  who   what\n")
	for _, l := range t.Lines {
		if l.Routine && !all && end.Sub(l.At) > full {
			continue
		}
		holder := l.Holder
		if holder == "" {
			holder = "-"
		}
		fmt.Fprintf(&b, "%9.3f %7.1f  %-3s  %-5s %s\n", time.Duration(l.At).Seconds(), l.At.Sub(end).Seconds(), holder, l.Who, l.Text)
	}
	return b.String()
}

// summary says how things stand now.
func (s *Sim) summary() string {
	var b strings.Builder
	if len(s.checks.broken) > 0 {
		fmt.Fprintf(&b, "Broken after %.3f s: %s.\n", time.Duration(s.now).Seconds(), s.checks.broken[0])
	} else {
		fmt.Fprintf(&b, "Nothing was broken in %.3f s.\n", time.Duration(s.now).Seconds())
	}
	fmt.Fprintf(&b, "%s\n", s.leaderText())
	if s.shape.failsafe {
		fmt.Fprintf(&b, "/failsafe: %s; members registered: %s.\n", s.etcd.keys[dcs.KeyFailsafe].value, registered(s.etcd.read()))
	}
	for _, m := range s.nodes {
		fmt.Fprintf(&b, "%s: %s\n", m.name, strings.Join(m.stands(), "; "))
	}
	if f := s.active(); len(f) > 0 {
		fmt.Fprintf(&b, "Faults at work: %s.\n", strings.Join(f, ", "))
	}
	if s.now < s.checks.excused {
		fmt.Fprintf(&b, "Outside the promise for %.1f s more (pause, or a hand at the leader key).\n", s.checks.excused.Sub(s.now).Seconds())
	}
	return b.String()
}

// registered names the members that have a key.
func registered(c *dcs.Cluster) string {
	var names []string
	for _, m := range c.Members {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

func (s *Sim) leaderText() string {
	key, there := s.etcd.keys[dcs.KeyLeader]
	if !there {
		return fmt.Sprintf("Nobody holds the leader key; it was freed %.1f s ago.", s.now.Sub(s.checks.freed).Seconds())
	}
	text := fmt.Sprintf("%s holds the leader key under lease %d", key.value, key.lease)
	if l := s.etcd.leases[key.lease]; l != nil {
		return text + fmt.Sprintf(", which etcd ends in %.1f s.", l.ends.Sub(s.now).Seconds())
	}
	return text + ", which is gone."
}

// stands says what runs on the machine, and how its deadline stands.
func (m *machine) stands() []string {
	var out []string
	sv := m.db.run
	switch {
	case m.off:
		return []string{"machine off"}
	case sv == nil:
		out = append(out, "no PostgreSQL")
	case sv.accepts():
		out = append(out, "accepts writes")
	case sv.primary:
		out = append(out, "a primary that accepts nothing now")
	case sv.promoting:
		out = append(out, "a standby that is being promoted")
	default:
		out = append(out, "a standby")
	}
	out = append(out, fmt.Sprintf("timeline %d, %d records", m.db.timeline, len(m.db.wal)))
	if sv != nil {
		switch g := sv.guard; {
		case g.paused:
			out = append(out, "guard disarmed for a pause")
		case g.until == 0:
			out = append(out, "guard not armed")
		default:
			out = append(out, fmt.Sprintf("guard's lease ends in %.1f s by its clock", g.until.Sub(m.clock.Now()).Seconds()))
		}
	}
	if m.unsure {
		out = append(out, "its clock stood still, and nothing has told it yet")
	}
	if m.remnant {
		out = append(out, "a backend has outlived guard and undertaker")
	}
	return out
}

// active lists what is broken now.
func (s *Sim) active() []string {
	var out []string
	add := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	for _, m := range s.nodes {
		add(m.frozen, "%s paused (clock stands still: %t)", m.name, m.clock.stopped)
		add(m.agent == nil || m.agent.dead, "%s without agent", m.name)
		add(m.agent != nil && m.agent.frozen && !m.agent.dead, "agent of %s frozen", m.name)
		add(m.agent != nil && m.agent.lag > 0, "agent of %s starved by up to %v", m.name, agentLag(m))
		add(m.clock.wall != 0, "civil time of %s wrong by %v", m.name, m.clock.wall)
		if sv := m.db.run; sv != nil {
			add(sv.guard.frozen, "guard of %s frozen", m.name)
			add(sv.frozen, "PostgreSQL of %s frozen", m.name)
		}
	}
	place := func(at int) string {
		if at == etcdAt {
			return "etcd"
		}
		return s.nodes[at].name
	}
	order := func(a, b [2]int) int { return slices.Compare(a[:], b[:]) }
	for _, l := range slices.SortedFunc(maps.Keys(s.net.cut), order) {
		add(s.net.cut[l] > 0, "%s to %s cut", place(l[0]), place(l[1]))
	}
	for _, l := range slices.SortedFunc(maps.Keys(s.net.lag), order) {
		add(true, "%s to %s slower by %v", place(l[0]), place(l[1]), s.net.lag[l])
	}
	add(s.etcd.silent > 0, "etcd silent")
	return out
}

func agentLag(m *machine) time.Duration {
	if m.agent == nil {
		return 0
	}
	return m.agent.lag
}
