package ha

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// maxScenarioSteps is the loop's bound on the steps of one cycle: reaching it
// is a bug in a decision.
const maxScenarioSteps = 40

// TestScenario runs testdata/*.txt. `cycle a` starts a story at member a with
// the facts below it; `next` is its next cycle, where only what changed is
// named. Each prints the steps of one cycle as the loop would run them. The
// notation is that of scenario_facts_test.go; what is not said holds:
// members a, b and c, b leads, all at 0/5000000 on timeline 1, answers to
// writes are "done", members that are not named as peers do not answer.
// Re-record with `make golden`, then read the diff.
func TestScenario(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var s *story
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "cycle":
				self := "a"
				if len(d.CmdArgs) > 0 {
					self = d.CmdArgs[0].Key
				}
				s = newStory(self)
			case "next":
				if s == nil {
					d.Fatalf(t, "next without a cycle before it")
				}
				s.advance()
			default:
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			for _, line := range strings.Split(d.Input, "\n") {
				if err := s.fact(strings.Fields(line)); err != nil {
					d.Fatalf(t, "%q: %v", line, err)
				}
			}
			return s.cycle()
		})
	})
}

// story is one member's life over some cycles.
type story struct {
	in Input // facts that hold until changed; Cluster is built from view
	// view is the cluster in the DCS; after is how it reads once Reload was
	// asked for.
	view   view
	reload []string
	silent bool // the DCS does not answer reads
	script script
	// scripted answers of peers; those in the cluster but not here are silent.
	peers map[string]Peer
	// agree are scripted answers to a failsafe round; who is not here is silent.
	agree   map[string]FailsafeAnswer
	running *Job          // the job that the previous cycle started or left running
	slept   time.Duration // how long the previous cycle rested
	out     strings.Builder
}

// script is how this cycle's attempts end.
type script struct {
	renew, acquire, release, handOver, failover, initialize, register, config Outcome
	watchdog                                                                  Outcome
	follow                                                                    FollowOutcome
	examine                                                                   ExamineOutcome
	upstream                                                                  UpstreamOutcome
	why                                                                       string
}

func everythingWorks() script {
	return script{renew: Done, acquire: Done, release: Done, handOver: Done, failover: Done,
		initialize: Done, register: Done, config: Done, watchdog: Done, follow: FollowSame, examine: ExamineSame, upstream: UpstreamDead}
}

const (
	ownSystemID   = "7000000000000000001"
	otherSystemID = "7000000000000000002"
	storyLease    = dcs.LeaseID(7)
)

func newStory(self string) *story {
	s := &story{view: newView(), script: everythingWorks(), peers: map[string]Peer{}, agree: map[string]FailsafeAnswer{}}
	s.in = Input{
		Now: clock.Instant(0).Add(1000 * time.Second), Wall: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
		Self: self, CanBootstrap: true, Lease: storyLease, Settings: storySettings(),
		Local: Local{SystemID: ownSystemID, Alive: true, State: postgres.StateRunning, Role: postgres.RoleReplica, InRecovery: true,
			Queried: true, Timeline: 1, Location: 0x5000000, RewindUsable: true, MajorVersion: 15},
	}
	s.in.Tags.FailoverPriority = 1
	return s
}

// advance goes on to the next cycle: time passes, what was started runs.
func (s *story) advance() {
	wait := s.slept
	if wait == 0 {
		wait = s.in.Settings.LoopWait
	}
	s.pass(wait)
	s.in.Job, s.in.Finished, s.in.Request = s.running, nil, nil
	s.script, s.reload = everythingWorks(), nil
}

func (s *story) pass(d time.Duration) {
	s.in.Now, s.in.Wall = s.in.Now.Add(d), s.in.Wall.Add(d)
}

// cycle asks Decide until the cycle ends, and returns the story of it.
func (s *story) cycle() string {
	s.out.Reset()
	s.in.Cluster = nil
	if !s.silent {
		s.in.Cluster = s.view.cluster()
		s.in.Failsafe.Members = s.in.Cluster.Failsafe
	}
	s.in.Tried, s.in.Peers = Tried{}, nil
	if l := s.in.Cluster; l != nil && l.Leader != nil && l.Leader.Name != s.in.Self {
		s.in.LeaderUntil = 0
	}
	before := s.in.Memory
	if s.in.Finished != nil {
		s.in.Job, s.running = nil, nil
	}
	said := map[string]bool{}
	var d Decision
	for step := 0; ; step++ {
		if step == maxScenarioSteps {
			s.printf("TOO MANY STEPS: %T again and again\n", d.Action)
			break
		}
		d = Decide(s.in)
		s.in.Memory, s.in.Finished = d.Memory, nil
		for _, l := range d.Says {
			if !said[l.Text] { // as the loop does it
				said[l.Text] = true
				s.printf("%s: %s\n", levelName(l.Level), l.Text)
			}
		}
		if s.ends(d) {
			break
		}
		s.printf("%s%s -> %s", describe(d.Action), because(d.Reason), s.execute(d.Action))
		s.out.WriteString("\n")
	}
	s.printf("%s [%s]\n", d.Reason.String(), d.Reason.Code)
	if d.Note != "" {
		s.printf("note: %s\n", d.Note)
	}
	s.out.WriteString(memoryChanges(s.in.Now, before, s.in.Memory))
	return s.out.String()
}

// ends says whether the decision ended the cycle, and notes what is left.
func (s *story) ends(d Decision) bool {
	switch a := d.Action.(type) {
	case Rest:
		s.slept = a.Again
		s.running = s.in.Job
		s.printf("%s\n", describe(a))
	case Exit:
		s.printf("%s\n", describe(a))
	case StartJob:
		if s.in.Job != nil {
			s.printf("TWO JOBS: %s runs already\n", s.in.Job.Name)
		}
		s.running, s.slept = &Job{JobSpec: a.Job, Started: s.in.Now}, time.Second
		s.printf("%s\n", describe(a))
	default:
		return false
	}
	return true
}

func (s *story) printf(format string, args ...any) { fmt.Fprintf(&s.out, format, args...) }

// execute is the loop's execute with scripted outcomes.
func (s *story) execute(action Action) string {
	t, o := &s.in.Tried, s.script
	switch a := action.(type) {
	case Reload:
		t.Reloaded++
		return s.reread()
	case TouchMember:
		t.Touched = true
		s.view.add(s.in.Self)
		s.in.Cluster = s.view.cluster()
		return "done"
	case ClaimInitialize:
		t.Initialize = o.initialize
		if o.initialize == Done {
			s.view.initialize = "mine"
			s.in.Cluster = s.view.cluster()
		}
		return outcomeName(o.initialize)
	case UnclaimInitialize:
		t.Initialize = o.initialize
		return outcomeName(o.initialize)
	case PutSystemID:
		t.Initialize = o.initialize
		if o.initialize == Done {
			s.view.initialize = string(a.ID)
			s.in.Cluster = s.view.cluster()
		}
		return outcomeName(o.initialize)
	case RegisterCluster:
		t.Register = o.register
		return outcomeName(o.register)
	case RestoreConfig:
		t.Config = o.config
		s.view.badConfig = s.view.badConfig && o.config != Done
		s.in.Cluster = s.view.cluster()
		return outcomeName(o.config)
	case AskFailsafe, ExtendLeadership:
		return s.executeFailsafe(action)
	case ActivateWatchdog:
		t.Watchdog = o.watchdog
		return outcomeName(o.watchdog)
	case AskPeers:
		s.in.Peers = s.answers(a.Members)
		return peersText(s.in.Peers)
	}
	return s.executeLead(action)
}

// executeLead is what concerns the leader key and this machine.
func (s *story) executeLead(action Action) string {
	t, o := &s.in.Tried, s.script
	switch a := action.(type) {
	case RenewLeader:
		t.Renew = o.renew
		s.lead(o.renew)
		if o.renew == Done && a.Status != nil { // others read it in their next cycle
			s.view.optime, s.view.slots, s.view.retain = a.Status.Optime, a.Status.Slots, a.Status.RetainSlots
		}
		if o.renew == Done && a.Failsafe != nil {
			s.view.failsafe = a.Failsafe
		}
		return outcomeName(o.renew)
	case AcquireLeader:
		t.Acquire = o.acquire
		s.lead(o.acquire)
		if o.acquire == Done {
			s.view.leader = s.in.Self
		}
		return outcomeName(o.acquire)
	case ReleaseLeader:
		t.Release, s.in.LeaderUntil = o.release, 0
		if o.release == Done {
			s.view.leader = ""
		}
		return outcomeName(o.release)
	case HandOver:
		t.HandOver = o.handOver
		if o.handOver == Done {
			s.view.leader, s.view.failover, s.in.LeaderUntil = a.To.Name, nil, 0
		}
		return outcomeName(o.handOver)
	case ClearFailover:
		t.Failover = o.failover
		if o.failover == Done {
			s.view.failover = nil
		}
		return outcomeName(o.failover)
	case RewriteFailover:
		t.Failover, s.view.failover = o.failover, &a.Request
		return outcomeName(o.failover)
	case WriteHistory:
		t.History, s.view.history = true, a.Rows
		return "done"
	case Follow:
		t.Follow = o.follow
		return followName(o.follow)
	case Examine:
		t.Examine, t.ExamineWhy = o.examine, o.why
		return examineName(o.examine)
	case AskUpstream:
		t.Upstream, t.UpstreamAt = o.upstream, "10.0.0.2:5432"
		if len(s.in.Local.Feeds) > 0 {
			t.UpstreamAt = "b:5432" // as b's key has it
		}
		return upstreamNames[o.upstream]
	case SyncSlots:
		t.Slots = true
		return "done"
	case CancelJob:
		job := *s.in.Job
		if job.Canceled {
			s.out.WriteString("CANCELLED TWICE\n")
		}
		job.Canceled = true
		s.in.Job = &job
		return "asked"
	case SetRole:
		s.in.Local.Role = a.Role
		return "done"
	case Answer:
		t.Answered, s.in.Request = true, nil
		return "answered"
	}
	return fmt.Sprintf("NOT EXECUTABLE %T", action)
}

// lead keeps the own clock's view of the lease.
func (s *story) lead(o Outcome) {
	switch o {
	case Done:
		s.in.LeaderUntil = s.in.Now.Add(s.in.Settings.TTL)
	case Refused:
		s.in.LeaderUntil = 0
	}
}

func (s *story) reread() string {
	if len(s.reload) == 1 && s.reload[0] == "silent" {
		s.in.Cluster = nil
		return "silent"
	}
	if err := s.view.set(s.reload); err != nil {
		return err.Error()
	}
	s.in.Cluster = s.view.cluster()
	return "leader=" + orDash(s.view.leader)
}

func (s *story) answers(members []dcs.Member) []Peer {
	out := []Peer{}
	for _, m := range members {
		if p, ok := s.peers[m.Name]; ok {
			out = append(out, p)
			continue
		}
		out = append(out, Peer{Name: m.Name, Fault: "no answer"})
	}
	return out
}
