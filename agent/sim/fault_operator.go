package sim

import (
	"time"

	"pgha/agent/ha"
	"pgha/internal/dcs"
)

// What operators do, at bad moments.

// operate is somebody at a keyboard.
func (s *Sim) operate(m *machine) {
	other := s.nodes[s.rng.IntN(len(s.nodes))].name
	leader := s.etcd.leader()
	switch s.rng.IntN(12) {
	case 10, 11:
		in := s.dur(0, 3*s.shape.loop)
		at := civil(s.now.Add(in))
		if s.chance(0.5) {
			other = ""
		}
		s.tell("op", "switchover from %s to %q in %v", leader, other, in)
		s.etcd.put(dcs.KeyFailover, string(dcs.EncodeFailover(&dcs.Failover{Leader: leader, Candidate: other, ScheduledAt: at})))
	case 0, 7:
		s.tell("op", "switchover away from %s", leader)
		s.etcd.put(dcs.KeyFailover, requestText(leader, ""))
	case 1, 8, 9:
		s.tell("op", "switchover from %s to %s", leader, other)
		s.etcd.put(dcs.KeyFailover, requestText(leader, other))
	case 2:
		s.tell("op", "failover to %s", other)
		s.etcd.put(dcs.KeyFailover, requestText("", other))
	case 3:
		m.request(ha.Request{Kind: ha.RequestRestart})
	case 4:
		m.request(ha.Request{Kind: ha.RequestReinit, Force: s.chance(0.5)})
	case 5:
		s.pauseCluster()
	case 6:
		s.tell("op", "deletes the leader key by hand")
		s.tampered()
		s.etcd.remove(dcs.KeyLeader)
	}
}

func (m *machine) request(r ha.Request) {
	if a := m.agent; a != nil && !a.dead && a.loop != nil {
		a.tell("operator's request %d", r.Kind)
		a.run(func() { a.ha.Submit(r) })
	}
}

// pauseCluster pauses the cluster's automation for a while (rulings 7).
func (s *Sim) pauseCluster() {
	if s.etcd.keys[dcs.KeyConfig].value == nil {
		return
	}
	s.pauseFor(s.length())
}

func (s *Sim) pauseFor(d time.Duration) {
	s.tell("op", "pauses the cluster for %v", d)
	s.checks.excuse(d + 3*s.shape.ttl + 10*time.Second)
	s.etcd.put(dcs.KeyConfig, string(configDocument(s.shape, true)))
	if s.opt.Plant == PlantPauseUnread {
		for _, m := range s.nodes {
			if sv := m.db.run; sv != nil {
				s.checks.disarms(m)
				sv.guard.disarm(true)
			}
		}
	}
	s.after(d, s.resumeCluster)
}

func (s *Sim) resumeCluster() {
	s.tell("op", "resumes the cluster")
	if s.etcd.keys[dcs.KeyConfig].value != nil {
		s.etcd.put(dcs.KeyConfig, string(configDocument(s.shape, false)))
	}
}
