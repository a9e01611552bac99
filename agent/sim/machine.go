package sim

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"pgha/agent"
	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// machine is one member's host: a clock, a disk with the database, and what
// runs on it.
type machine struct {
	s      *Sim
	at     int // place in the network
	name   string
	clock  *machineClock
	kernel *actor // timers of the kernel: they stop only with the machine
	db     *database
	agent  *agentProcess
	frozen bool
	off    bool
	stillness
	// What the agent last told the guard, for one that is started later.
	holdUntil  clock.Instant
	holdTTL    time.Duration
	holdPaused bool
	pausedAt   Time // the guard was last seen disarmed for a pause
	// checkpointAt is when the checkpoint after the last promotion is done.
	checkpointAt Time
	stayStopped  bool
	// remnant: a backend outlived postmaster, guard and undertaker, and its
	// client is still answered. Outside the promise.
	remnant bool
}

// agentProcess is one incarnation of the daemon.
type agentProcess struct {
	actor
	loop     *proc
	ha       *agent.Loop
	store    *store
	epoch    uint64 // grows with each incarnation
	control  *control
	settings *settings
	woken    bool
	said     ha.Code // of the last cycle, for the story
	// answers of the last question to the peers, as they truly were.
	asked   []truth
	askedAt Time
}

type truth struct {
	m        *machine
	primary  bool
	records  int
	timeline postgres.Timeline
}

func newMachine(s *Sim, at int) *machine {
	m := &machine{s: s, at: at, name: string(rune('a' + at)), clock: newMachineClock(s)}
	m.kernel = &actor{m: m}
	m.db = &database{m: m, data: ha.DataEmpty}
	return m
}

// boot starts the agent: at power-on, and again whenever it has ended.
func (m *machine) boot() {
	if m.off || m.agent != nil && !m.agent.dead {
		return
	}
	a := &agentProcess{actor: actor{m: m}}
	m.agent = a
	m.forgets()
	m.s.epochs++
	a.epoch = m.s.epochs
	a.store = &store{a: a, ttl: m.s.shape.ttl}
	m.holdUntil, m.holdPaused = 0, false
	var until clock.Instant
	if sv := m.db.run; sv != nil {
		sv.guard.hello(a)
		until, m.holdUntil, m.holdTTL, m.holdPaused = sv.guard.until, sv.guard.until, sv.guard.ttl, sv.guard.paused
	}
	a.control = newControl(a)
	cfg := newSettings(m.s.shape)
	a.settings = cfg
	var born clock.Instant
	if m.s.opt.Plant == PlantNewAgentRaces {
		born = 1 // long ago
	}
	a.ha = agent.NewLoop(agent.LoopOptions{
		Self: m.name, Tags: m.tags, CanBoot: true,
		Clock: m.clock, Store: a.store, Server: a.control, Peers: a, Settings: cfg, Sleeper: a,
		Log: slog.New(&teller{a}), LeaderUntil: until, Born: born, Member: a.member, Publish: func(agent.View) {}, Record: a.record,
	})
	a.tell("agent starts")
	a.loop = a.spawn(func(*proc) {
		code := a.ha.Run(context.Background())
		a.tell("agent exits with %d", code)
		a.after(0, a.kill)
		m.s.after(5*time.Second, m.boot)
	})
}

func (a *agentProcess) tell(format string, args ...any) { a.m.s.tell(a.m.name, format, args...) }

// Sleep implements agent.Sleeper.
func (a *agentProcess) Sleep(_ context.Context, until clock.Instant) {
	a.loop.wait(until, func() bool { return a.woken })
	a.woken = false
}

// Wake implements agent.Sleeper.
func (a *agentProcess) Wake() {
	a.woken = true
	if a.loop != nil {
		a.loop.poke()
	}
}

// wake reaches the agent if it lives.
func (m *machine) wake() {
	if a := m.agent; a != nil {
		a.run(a.Wake)
	}
}

// changed: the agent notices that PostgreSQL came, went or moved on.
func (m *machine) changed() { m.wake() }

// tags are those of the shape: priorities differ, and with a cascade every
// member replicates from another one, the last two from each other.
func (m *machine) tags() config.Tags {
	t := config.Tags{FailoverPriority: 1}
	if m.s.shape.priorities {
		t.FailoverPriority = 1 + m.at%3
	}
	if h := m.s.shape; h.cascade {
		from := m.at + 1
		if from == h.members {
			from = m.at - 1
		}
		t.ReplicateFrom = m.s.nodes[from].name
	}
	return t
}

// member describes this member for its key.
func (a *agentProcess) member(v agent.View) dcs.MemberData {
	m := a.m
	d := dcs.MemberData{
		ConnURL: "postgres://" + m.name + "/", APIURL: "http://" + m.name + "/patroni", Version: "4.1.5",
		State: a.control.state, Role: a.control.role, Location: v.Local.Location, Timeline: v.Local.Timeline,
		Pgha: &dcs.PghaInfo{Version: "sim"},
	}
	if v.Local.Streaming {
		d.ReplicationState = "streaming"
	}
	if via := m.tags().ReplicateFrom; via != "" {
		d.Tags = map[string]any{"replicatefrom": via}
	}
	if v.Local.Primary() && m.s.now < m.checkpointAt {
		no := false
		d.CheckpointAfterPromote = &no
	}
	return d
}

// record tells the story of each cycle's result.
func (a *agentProcess) record(v agent.View, d ha.Decision) {
	a.m.cycled()
	a.m.s.checks.cycled(a, v, d)
	a.m.stayStopped = d.Reason.Code == ha.StayStopped || d.Reason.Code == ha.SystemIDMismatch || v.Note != "" && v.Memory.Rewind == ha.RewindNeed && !v.Local.RewindUsable
	if a.m.s.opt.Tell {
		same := a.said == d.Reason.Code
		a.said = d.Reason.Code
		a.m.s.note(same, a.m.name, "%s: %s (%s, %s, timeline %d at %s%s)", d.Reason.Code, d.Reason, a.control.state, a.control.role,
			v.Local.Timeline, v.Local.Location, leaseText(v.LeaderUntil, a.m.clock.Now()))
	}
}

// leaseText is how the agent believes its leadership to stand; empty: it has none.
func leaseText(until, now clock.Instant) string {
	if until == 0 {
		return ""
	}
	return fmt.Sprintf(", lease ends in %.1f s", until.Sub(now).Seconds())
}

// Ask implements agent.Peers: every member's agent answers what is true when
// the question arrives.
func (a *agentProcess) Ask(ctx context.Context, members []dcs.Member, slow string) []ha.Peer {
	s, limit := a.m.s, deadlineOf(ctx)
	answers := make([]ha.Peer, len(members))
	a.asked, a.askedAt = nil, s.now
	missing := len(members)
	for i, mem := range members {
		answers[i] = ha.Peer{Name: mem.Name, Fault: "no answer"}
		to := s.machineNamed(mem.Name)
		s.net.send(a.m.at, to.at, func() {
			if to.agent == nil || to.off {
				return
			}
			to.agent.run(func() {
				p, t := to.agent.answer()
				s.net.send(to.at, a.m.at, func() {
					a.run(func() {
						if missing < 0 {
							return // too late: nobody listens any more
						}
						answers[i] = p
						a.asked = append(a.asked, t)
						missing--
						a.loop.poke()
					})
				})
			})
		})
	}
	all := func() bool { return missing == 0 }
	othersDone := func() bool { return missing == 0 || missing == 1 && lacks(answers, slow) }
	if slow != "" && a.loop.wait(limit, othersDone) && !all() {
		limit = min(limit, a.m.clock.Now().Add(300*time.Millisecond))
	}
	a.loop.wait(limit, all)
	missing = -1
	out := append([]ha.Peer(nil), answers...)
	s.opt.Plant.distort(out, s.etcd.leader() == a.m.name)
	return out
}

func lacks(answers []ha.Peer, name string) bool {
	for _, p := range answers {
		if p.Name == name {
			return p.Fault != ""
		}
	}
	return false
}

// distort plants bugs of the race: what decisions believe of the others.
func (p Plant) distort(answers []ha.Peer, leading bool) {
	for i := range answers {
		switch p {
		case PlantPrimaryIgnored:
			answers[i].Answered = answers[i].Answered && !answers[i].Primary
		case PlantTimelineIgnored:
			answers[i].Timeline = 0
		case PlantRaceBlind:
			answers[i].Location = min(answers[i].Location, walStart+1)
		case PlantNoCheckpoint:
			if leading && answers[i].Answered && !answers[i].Primary {
				answers[i].Location = 1 << 40
			}
		}
	}
}

// answer is what this member's REST API says now. A server that does not
// answer queries has no position to show: its answer is of no use to a race.
func (a *agentProcess) answer() (ha.Peer, truth) {
	p := ha.Peer{Name: a.m.name, Priority: a.m.tags().FailoverPriority, Pgha: true}
	sv := a.m.db.run
	if sv == nil || !sv.ready || sv.stuck() || sv.stopping {
		p.Fault = "not running"
		return p, truth{m: a.m}
	}
	p.Answered, p.Running, p.Primary = true, true, sv.primary
	p.Streaming = sv.up != nil && !sv.up.broken
	p.Location, p.Timeline = a.m.db.location(), a.m.db.timeline
	return p, truth{a.m, sv.primary, len(a.m.db.wal), a.m.db.timeline}
}

// teller turns the loop's log into the story, and watches for its own alarms.
type teller struct{ a *agentProcess }

// Enabled implements slog.Handler.
func (t *teller) Enabled(_ context.Context, l slog.Level) bool {
	return t.a.m.s.opt.Tell && l >= slog.LevelWarn || l >= slog.LevelError
}

// Handle implements slog.Handler.
func (t *teller) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(at slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", at.Key, at.Value)
		return true
	})
	if r.Message == "too many steps in one cycle, please report it as a BUG" {
		t.a.m.s.checks.fail("%s: %s", t.a.m.name, line)
	}
	t.a.m.s.note(r.Message == "Loop time exceeded, rescheduling immediately.", t.a.m.name, "%s: %s", r.Level, line)
	return nil
}

// WithAttrs implements slog.Handler.
func (t *teller) WithAttrs([]slog.Attr) slog.Handler { return t }

// WithGroup implements slog.Handler.
func (t *teller) WithGroup(string) slog.Handler { return t }

// systemID is the identifier that this machine's initdb would draw.
func (m *machine) systemID() postgres.SystemID {
	return postgres.SystemID(fmt.Sprintf("74%017d", m.s.rng.Int64N(1e15)))
}
