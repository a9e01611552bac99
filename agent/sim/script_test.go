package sim

import (
	"testing"
	"time"

	"pgha/agent/ha"
	"pgha/internal/dcs"
)

// Stories that the simulator met by chance once, told on purpose. Each failed
// before its fix.

// TestPauseThatEndedDuringACycle (seed 17225 of its day): the leader's agent
// freezes in the middle of a cycle, having read of a pause. The pause ends,
// another member leads and is lost. What goes on then must not take the free
// key back by the rules of the pause, past a newer timeline.
func TestPauseThatEndedDuringACycle(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		var old, next *machine
		frozen := false
		o := Options{Seed: seed, Calm: true, Tell: true}
		o.hook = func(m *machine, step string) {
			if m == old && !frozen && step == "the cluster was read" && m.agent.settings.paused {
				frozen = true
				m.agent.tell("agent frozen in its cycle")
				m.agent.frozen = true
			}
		}
		o.script = func(s *Sim) {
			ttl := s.shape.ttl
			s.checks.excuse(time.Hour) // a pause is outside the promise
			s.opt.Calm = false         // there will be promotions
			s.after(60*time.Second, func() {
				old = s.machineNamed(s.etcd.leader())
				s.pauseFor(3 * s.shape.loop)
			})
			s.after(60*time.Second+3*ttl, func() { // its lease is over, another leads
				next = s.machineNamed(s.etcd.leader())
				for _, m := range s.nodes {
					if m != old {
						m.powerOff(time.Hour)
					}
				}
			})
			s.after(60*time.Second+6*ttl, func() {
				if s.etcd.leader() != "" {
					t.Errorf("seed %d: the key is %q's", seed, s.etcd.leader())
				}
				old.agent.thaw()
			})
			s.after(60*time.Second+7*ttl, func() { s.ended = true })
		}
		r := Run(o)
		if old == nil || next == nil || next == old || !frozen {
			t.Fatalf("seed %d: the story did not come about\n%s", seed, r.Story)
		}
		if len(r.Broken) > 0 {
			t.Fatalf("seed %d: %s\n%s", seed, r.Broken[0], r.Story)
		}
		if old.db.timeline == 1 && old.db.run.accepts() {
			t.Fatalf("seed %d: %s goes on as a primary on timeline %d\n%s", seed, old.name, old.db.timeline, r.Story)
		}
	}
}

// TestRegistrationOutlivesItsServer (seed 8105 of its day): the server of a
// bootstrap dies while the request that registers the cluster is on its way.
// The data are not moved aside from under a cluster that is registered after all.
func TestRegistrationOutlivesItsServer(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		done := false
		var claim etcdKey
		o := Options{Seed: seed, Calm: true, Tell: true}
		o.hook = func(m *machine, step string) {
			e, sv := m.s.etcd, m.db.run
			switch {
			case !done && sv != nil && sv.boot && sv.ready && step == "the cluster was read" && m.agent.control.job == nil:
				// The request that registers the cluster is held up on its way,
				// and the new server dies.
				done, claim = true, e.keys[dcs.KeyInitialize]
				m.s.net.block(m.at, etcdAt, 100*time.Millisecond)
				m.s.after(60*time.Millisecond, m.crashPostgres)
			case done && step == "a job began: "+string(ha.JobUnbootstrap) && e.keys[dcs.KeyInitialize].revision == claim.revision:
				m.s.tell("etcd", "the registration arrives")
				e.put(dcs.KeyInitialize, string(m.db.systemID))
			}
		}
		o.script = func(s *Sim) {
			s.opt.Calm = false
			s.after(60*time.Second+6*s.shape.ttl, func() { s.heals(s.now) })
		}
		r := Run(o)
		if !done {
			t.Fatalf("seed %d: the story did not come about\n%s", seed, r.Story)
		}
		if len(r.Broken) > 0 {
			t.Fatalf("seed %d: %s\n%s", seed, r.Broken[0], r.Story)
		}
	}
}
