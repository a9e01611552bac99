package ha

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// TestCyclesEnd throws situations at Decide that no scenario thought of: any
// state of PostgreSQL, the cluster, a job, a request, and any outcome of what
// is tried. Whatever they are, a cycle ends within its bound, says why, and
// never does what no situation permits.
func TestCyclesEnd(t *testing.T) {
	for seed := range uint64(10000) {
		s, err := randomStory(rand.New(rand.NewPCG(seed, 7)))
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			begin := s.in
			begin.Cluster, begin.Tried = s.view.cluster(), Tried{}
			steps := s.cycle()
			if why := forbidden(begin, s, steps); why != "" {
				t.Fatalf("seed %d: %s\n%s\nmember %s leader %q init %q pause %v job %+v\nlocal %+v\nmemory %+v", seed, why, steps,
					begin.Self, s.view.leader, s.view.initialize, begin.Settings.Pause, begin.Job, begin.Local, begin.Memory)
			}
			s.advance()
			if s.in.Job != nil && seed%3 != 0 {
				s.in.Finished, s.in.Job = &JobResult{JobSpec: s.in.Job.JobSpec, OK: seed%3 == 1}, nil
			}
		}
	}
}

// TestFailingJobsDoNotSpin: every job ends at once and did not work, and its
// end wakes the loop. Attempts are kept apart all the same.
func TestFailingJobsDoNotSpin(t *testing.T) {
	const cycles, freely = 40, 6
	for seed := range uint64(5000) {
		s, err := randomStory(rand.New(rand.NewPCG(seed, 11)))
		if err != nil {
			t.Fatal(err)
		}
		begin, started, last := s.in.Now, 0, ""
		for range cycles {
			s.in.Tried = Tried{}
			last = s.cycle()
			s.in.Request = nil
			if s.running == nil {
				s.advance()
				continue
			}
			started++
			s.pass(time.Millisecond)
			s.in.Finished, s.in.Job = &JobResult{JobSpec: s.running.JobSpec, Err: "at once", Unreachable: seed%2 == 0}, nil
		}
		if passed := s.in.Now.Sub(begin); started > freely && passed < time.Duration(started-freely)*500*time.Millisecond {
			t.Fatalf("seed %d: %d jobs in %s, the last cycle:\n%s\nlocal %+v\nmemory %+v", seed, started, passed, last, s.in.Local, s.in.Memory)
		}
	}
}

// forbidden names a rule that the cycle broke; empty: none.
func forbidden(begin Input, s *story, steps string) string {
	has := func(text string) bool { return strings.Contains(steps, "\n"+text) || strings.HasPrefix(steps, text) }
	for _, shout := range []string{"TOO MANY STEPS", "TWO JOBS", "CANCELLED TWICE", "NOT EXECUTABLE", "rest -"} {
		if strings.Contains(steps, shout) {
			return shout
		}
	}
	confirmed := s.in.Tried.Renew == Done || s.in.Tried.Acquire == Done
	switch {
	case has("start promote") && !confirmed:
		return "a promotion without a confirmed key"
	case has("start start-primary") && !confirmed:
		return "a start as primary without a confirmed key"
	case has("start restart") && strings.Contains(steps, "as primary") && !confirmed && !begin.Settings.Pause:
		return "a restart as primary without the key"
	case begin.Settings.Pause && has("start stop") && begin.Shutdown == ShutdownNone && s.view.failover == nil && begin.Local.Data == DataPresent:
		return "PostgreSQL is stopped in pause, and nobody asked for it"
	case begin.Tags.NoFailover && !begin.Local.Primary() && has("acquire") && !begin.Memory.BootstrapDone:
		return "a nofailover standby raced"
	case has("start reinit") && begin.Request == nil && !begin.Settings.RemoveOnDiverged && !begin.Settings.RemoveOnRewindFailure:
		return "data are removed without permission"
	case has("start clone") && begin.Local.Data == DataPresent:
		return "data are there, and cloned over"
	case (has("start start-standby") || has("start start-primary") || has("start rewind")) && begin.Local.HalfRewound:
		return "half rewritten data are used"
	case strings.Contains(steps, " from "+begin.Self+"\n"):
		return "this member is its own source"
	case begin.Request != nil && s.in.Request != nil && s.in.Cluster == nil && begin.Job == nil:
		return "a request stays unanswered while the DCS is silent"
	}
	return mustStepDown(begin, s, steps)
}

// mustStepDown: a primary that has lost its key does not rest as it is.
func mustStepDown(begin Input, s *story, steps string) string {
	l := begin.Local
	other := s.view.leader != "" && s.view.leader != begin.Self && !s.silent
	if !other || !l.Primary() || begin.Settings.Pause || begin.Job != nil || begin.Shutdown != ShutdownNone ||
		l.Superseded || l.Data != DataPresent || begin.Memory.Demotion != nil || begin.Memory.BootstrapDone {
		return ""
	}
	for _, ends := range []string{"start stop", "start unbootstrap", "exit ", "could not be stopped", "do not have the lock"} {
		if strings.Contains(steps, ends) {
			return ""
		}
	}
	if !l.SystemID.Valid() {
		return ""
	}
	return "a primary rests although another member holds the key"
}

// randomStory is a member in any situation that the notation can tell.
func randomStory(r *rand.Rand) (*story, error) {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	s := newStory("a")
	lines := []string{
		"cluster leader=" + pick("-", "a", "b", "c") + " initialize=" + pick("7000000000000000001", "7000000000000000001", "7000000000000000001", "-", "empty", "mine", "theirs", "other", "12ab") +
			" members=" + pick("a,b,c", "a,b,c", "b,c", "a") + " history=" + pick("[]", "-", "1:0/3000000:b"),
		"local " + pick("primary", "primary", "standby", "standby", "starting", "starting-primary", "stopped", "demoted", "primary crashed", "empty", "foreign", "unreadable", "half"),
		"member b " + pick("role=primary", "role=replica", "nourl", "noapi", "nofailover", "checkpoint-pending", "nolease"),
		"time lease=" + pick("-5s", "1s", "6s", "25s"),
		"memory rewind=" + rewindNames[r.IntN(len(rewindNames))],
	}
	maybe := func(odds int, words ...string) {
		if r.IntN(odds) == 0 {
			lines = append(lines, pick(words...))
		}
	}
	maybe(4, "set pause")
	maybe(6, "set remove-on-diverged", "set remove-on-rewind-failure", "set start_timeout=0s", "set check_timeline", "set failsafe", "set unsupported")
	maybe(6, "tags nofailover", "tags nostream", "tags replicatefrom=c", "tags nobootstrap")
	maybe(3, "failover leader=a candidate=c", "failover leader=b candidate=a", "failover candidate=x", "failover leader=a", "failover candidate=a at=+3s",
		"failover leader=a candidate=b at=-60s", "failover candidate=b nozone")
	maybe(6, "sync leader=b standbys=c", "sync leader=b standbys=a")
	maybe(2, "peer b", "peer b lsn=0/6000000", "peer b primary", "peer b lsn=0/4000000")
	maybe(2, "peer c", "peer c patroni lsn=0/6000000", "peer c nofailover")
	maybe(3, "job "+jobWords[r.IntN(len(jobWords))].word+pick("", " phase=shutdown checkpoint=0/5000028", " phase=promoting", " canceled", " age=400s"))
	maybe(5, "request restart", "request reinit", "request reinit force", "request restart role=primary")
	maybe(8, "dcs silent")
	maybe(10, "shutdown stop", "shutdown detach")
	maybe(8, "local half-rewound", "local label", "local norewind", "local role=promoted", "local recovery", "local streaming")
	maybe(10, "memory recovering", "memory recovered", "memory bootstrap-done")
	for _, o := range []string{"renew", "acquire", "release", "handover", "failover", "initialize", "register", "config"} {
		maybe(3, "try "+o+"=refused", "try "+o+"=failed")
	}
	maybe(3, "try follow=changed", "try follow=restart", "try follow=failed")
	maybe(3, "try examine=diverged", "try examine=undecided")
	maybe(2, "reload leader=c", "reload silent", "reload leader=a", "reload leader=-")
	for _, line := range lines {
		if err := s.fact(strings.Fields(line)); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	return s, nil
}

// TestDecideChangesNothing: a decision leaves what it was given as it was; the
// cluster and the maps of Memory are shared with whoever reads them.
func TestDecideChangesNothing(t *testing.T) {
	in := Input{Now: 1000, Self: "a", Settings: Settings{Dynamic: config.Dynamic{UseSlots: true, MemberSlotsTTL: time.Minute, TTL: 30 * time.Second}},
		Local: Local{SystemID: ownSystemID, Alive: true, State: postgres.StateRunning, Role: postgres.RolePrimary, Queried: true, Timeline: 1, Location: 5}}
	v := newView()
	v.leader, v.retain = "a", []string{"gone"}
	in.Cluster = v.cluster()
	in.Memory.SlotSeen = seen(in)
	in.Memory.Demotion = &Demotion{Mode: DemoteGraceful, Stopped: true}
	before := fmt.Sprintf("%+v %+v %+v", *in.Memory.Demotion, in.Memory.SlotSeen, *in.Cluster)
	for _, tried := range []Tried{{}, {Renew: Done}, {Renew: Refused}, {Renew: Done, Release: Done}, {Renew: Done, HandOver: Refused}} {
		in.Tried = tried
		for _, m := range []Memory{in.Memory, {SlotSeen: in.Memory.SlotSeen}} {
			given := in
			given.Memory, given.Peers = m, []Peer{}
			Decide(given)
		}
	}
	if after := fmt.Sprintf("%+v %+v %+v", *in.Memory.Demotion, in.Memory.SlotSeen, *in.Cluster); after != before {
		t.Errorf("Decide changed its input:\n%s\n%s", before, after)
	}
}
