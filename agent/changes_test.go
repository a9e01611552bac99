package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// told writes down what was counted; passes themselves are left out.
type told struct{ lines []string }

func (r *told) note(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *told) Cycle(took time.Duration, overrun bool, reason string) {
	if overrun {
		r.note("overrun %v %s", took, reason)
	}
}
func (r *told) Renewed(took time.Duration)         { r.note("renewed %v", took) }
func (r *told) Promoted(reason string)             { r.note("promoted %s", reason) }
func (r *told) PromotionFailed()                   { r.note("promotion failed") }
func (r *told) Demoting(reason string)             { r.note("demoting %s", reason) }
func (r *told) FailedOver(reason string)           { r.note("failed over %s", reason) }
func (r *told) SwitchedOver(result string)         { r.note("switched over %s", result) }
func (r *told) RoleChanged(time.Time)              { r.note("role changed") }
func (r *told) Failsafe(in bool, d time.Duration)  { r.note("failsafe %t %v", in, d) }
func (r *told) Phase(o, p string, d time.Duration) { r.note("phase %s %s %v", o, p, d) }

// pass is one cycle of member a at a second of the story.
type pass struct {
	at        float64
	reason    ha.Code
	leader    string // "-": nobody
	members   string // besides a
	primary   bool
	streaming bool
	failover  *dcs.Failover
	demotion  *ha.Demotion
	job       *ha.Job
	finished  *ha.JobResult
	tried     ha.Tried
	lastLed   string
	unlocked  float64
	failsafe  float64 // since when; 0: it is off
	took      time.Duration
}

func second(s float64) clock.Instant {
	return clock.Instant(1000*time.Second) + clock.Instant(s*float64(time.Second))
}

func (p pass) cycle() Cycle {
	cluster := &dcs.Cluster{Failover: p.failover, Members: []dcs.Member{{Name: "a"}}}
	for _, m := range strings.Fields(p.members) {
		cluster.Members = append(cluster.Members, dcs.Member{Name: m})
	}
	if p.leader != "-" {
		cluster.Leader = &dcs.Leader{Name: p.leader}
	}
	m := ha.Memory{Demotion: p.demotion}
	if p.lastLed != "" {
		m.LastLed = &dcs.Cluster{Leader: &dcs.Leader{Name: p.lastLed}}
	}
	if p.failsafe != 0 {
		m.FailsafeSince = second(p.failsafe)
	}
	if p.unlocked != 0 {
		m.UnlockedSince = second(p.unlocked)
	}
	return Cycle{
		View: View{Cluster: cluster, Memory: m, Reason: ha.Reason{Code: p.reason}, Job: p.job,
			Settings: ha.Settings{Dynamic: config.Dynamic{TTL: 30 * time.Second, LoopWait: 10 * time.Second}},
			Local:    ha.Local{Alive: true, InRecovery: !p.primary, Streaming: p.streaming, State: postgres.StateRunning}},
		Tried: p.tried, Finished: p.finished, Started: second(p.at), Ended: second(p.at) + clock.Instant(p.took),
	}
}

var promoted = &ha.JobResult{JobSpec: ha.JobSpec{Kind: ha.JobPromote}, OK: true}

func TestChangesAreCounted(t *testing.T) {
	toB := &dcs.Failover{Leader: "a", Candidate: "b", Revision: 7}
	toA := &dcs.Failover{Leader: "b", Candidate: "a", Revision: 7}
	manual := &dcs.Failover{Candidate: "a", Revision: 7}
	graceful := &ha.Demotion{Mode: ha.DemoteGraceful, Since: second(10.5)}
	handed := &ha.Demotion{Mode: ha.DemoteGraceful, Since: second(10.5), Released: true, HandedTo: "b"}
	lost := &ha.Demotion{Mode: ha.DemoteGraceful, Since: second(10.5), Released: true}
	immediate := &ha.Demotion{Mode: ha.DemoteImmediateNoLock, Since: second(10)}
	stopping := &ha.Job{JobSpec: ha.JobSpec{Kind: ha.JobStop}}
	down := &ha.Job{JobSpec: ha.JobSpec{Kind: ha.JobStop}, Phase: ha.PhaseShutDown}
	leads := pass{at: 1, reason: ha.Leading, leader: "a", members: "b", primary: true}
	follows := pass{at: 1, reason: ha.Following, leader: "b", members: "b", streaming: true}
	won := pass{at: 12, reason: ha.PromotedByAcquiring, leader: "-", lastLed: "b", unlocked: 11.5}
	writes := pass{at: 12.25, reason: ha.Leading, leader: "a", primary: true, finished: promoted}
	with := func(p pass, change func(*pass)) pass { change(&p); return p }

	for _, tc := range []struct {
		name   string
		passes []pass
		want   []string
	}{
		{"nothing happens", []pass{leads, leads, with(leads, func(p *pass) { p.took = 11 * time.Second })}, []string{"overrun 11s leading"}},
		{"failsafe mode", []pass{leads, with(leads, func(p *pass) { p.at, p.failsafe, p.took = 10, 10.5, time.Second }),
			with(leads, func(p *pass) { p.at, p.failsafe = 13, 10.5 }), with(leads, func(p *pass) { p.at = 14 }), leads},
			[]string{"failsafe true 500ms", "failsafe false 2s", "failsafe false 1s"}},
		{"switchover, as the old leader", []pass{leads,
			{at: 10, reason: ha.SwitchoverDemoting, leader: "a", members: "b", primary: true, failover: toB, demotion: graceful, job: stopping},
			{at: 10.8, reason: ha.SwitchoverHandingOver, leader: "a", members: "b", demotion: graceful, job: down},
			{at: 10.9, reason: ha.JobInProgress, leader: "a", members: "b", demotion: handed, job: down, tried: ha.Tried{HandOver: ha.Done}},
			{at: 11, reason: ha.StartingSecondary, leader: "b", members: "b"},
			{at: 13, reason: ha.Following, leader: "b", members: "b", streaming: true}},
			[]string{"demoting switchover_demoting", "phase switchover prepare 500ms", "role changed", "phase switchover shutdown 300ms",
				"phase switchover release 100ms", "switched over handed_over", "phase switchover rejoin 2.2s"}},
		{"switchover whose stop ends in the pass of the hand-over", []pass{leads,
			{at: 10, reason: ha.SwitchoverDemoting, leader: "a", members: "b", primary: true, failover: toB, demotion: graceful, job: stopping},
			{at: 10.9, took: 100 * time.Millisecond, reason: ha.JobInProgress, leader: "a", members: "b", demotion: handed, job: stopping, tried: ha.Tried{HandOver: ha.Done}},
			{at: 12, reason: ha.StartingSecondary, leader: "b", members: "b"}},
			[]string{"demoting switchover_demoting", "phase switchover prepare 500ms", "role changed", "phase switchover shutdown 400ms",
				"phase switchover release 100ms", "switched over handed_over"}},
		{"the key is lost while PostgreSQL stops", []pass{leads,
			{at: 10, reason: ha.SwitchoverDemoting, leader: "a", members: "b", primary: true, failover: toB, demotion: graceful, job: stopping},
			{at: 10.7, reason: ha.JobInProgress, leader: "b", members: "b", primary: true, demotion: lost, job: stopping},
			{at: 10.9, took: 100 * time.Millisecond, reason: ha.JobInProgress, leader: "b", members: "b", demotion: lost, job: down}},
			[]string{"demoting switchover_demoting", "phase switchover prepare 500ms", "role changed", "phase switchover shutdown 400ms",
				"phase switchover release 100ms"}},
		{"switchover that nobody can take over", []pass{leads,
			{at: 10, reason: ha.SwitchoverDemoting, leader: "a", members: "b", primary: true, failover: toB, demotion: graceful, job: stopping},
			{at: 10.8, reason: ha.SwitchoverHandingOver, leader: "a", members: "b", demotion: graceful, job: down},
			{at: 11.8, reason: ha.SwitchoverCanceled, leader: "a", members: "b"}, leads},
			[]string{"demoting switchover_demoting", "phase switchover prepare 500ms", "role changed", "phase switchover shutdown 300ms", "switched over cancelled", "role changed"}},
		{"switchover, as the candidate", []pass{follows,
			with(follows, func(p *pass) { p.at, p.failover = 10, toA }),
			{at: 12, reason: ha.PromotedWithLock, leader: "a", members: "b"}, writes},
			[]string{"role changed", "promoted switchover", "phase switchover promotion 250ms"}},
		{"handed over before the request was seen", []pass{follows, {at: 12, reason: ha.PromotedWithLock, leader: "a", members: "b"}, writes},
			[]string{"role changed", "promoted switchover", "phase switchover promotion 250ms"}},
		{"the leader is lost", []pass{follows, won, writes},
			[]string{"phase failover election 500ms", "role changed", "promoted leader_lost", "failed over leader_lost", "phase failover promotion 250ms"}},
		{"the leader gave up and is there", []pass{follows, with(won, func(p *pass) { p.members = "b" }), writes},
			[]string{"phase failover election 500ms", "role changed", "promoted leader_released", "failed over leader_released", "phase failover promotion 250ms"}},
		{"manual failover without a leader", []pass{follows, with(won, func(p *pass) { p.failover = manual }), writes},
			[]string{"phase failover election 500ms", "role changed", "promoted manual_failover", "failed over manual_failover", "phase failover promotion 250ms"}},
		{"started first", []pass{with(won, func(p *pass) { p.lastLed = "" }), writes},
			[]string{"phase failover election 500ms", "role changed", "promoted no_leader_known", "failed over no_leader_known", "phase failover promotion 250ms"}},
		{"the key was ours all along", []pass{with(follows, func(p *pass) { p.leader = "a" }), {at: 12, reason: ha.PromotedWithLock, leader: "a"}, writes},
			[]string{"role changed", "promoted key_kept", "phase promotion promotion 250ms"}},
		{"the promotion fails", []pass{follows, won, with(writes, func(p *pass) {
			p.primary, p.finished = false, &ha.JobResult{JobSpec: promoted.JobSpec, Err: "timed out"}
		})}, []string{"phase failover election 500ms", "promotion failed"}},
		{"the key is another's", []pass{leads,
			{at: 10, reason: ha.DemotedNoLock, leader: "b", members: "b", primary: true, demotion: immediate, job: stopping},
			{at: 10.5, reason: ha.StartingSecondary, leader: "b", members: "b"},
			{at: 12, reason: ha.Following, leader: "b", members: "b", streaming: true}},
			[]string{"demoting demoted_no_lock", "role changed", "phase demotion shutdown 500ms", "phase demotion rejoin 1.5s"}},
		{"a request that was answered long ago", []pass{with(follows, func(p *pass) { p.failover = toA }),
			with(follows, func(p *pass) { p.at = 40 }), with(won, func(p *pass) { p.at, p.unlocked = 52, 51.5 }), with(writes, func(p *pass) { p.at = 52.25 })},
			[]string{"phase failover election 500ms", "role changed", "promoted leader_lost", "failed over leader_lost", "phase failover promotion 250ms"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &told{}
			c := &changes{to: r, wall: func() time.Time { return time.Unix(1e9, 0) }}
			for _, p := range tc.passes {
				c.Cycle(p.cycle())
			}
			if !slices.Equal(r.lines, tc.want) {
				t.Errorf("counted:\n  %s\nwant:\n  %s", strings.Join(r.lines, "\n  "), strings.Join(tc.want, "\n  "))
			}
		})
	}
}
