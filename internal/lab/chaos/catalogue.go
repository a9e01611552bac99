package chaos

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"pgha/internal/lab"
)

// Fault is one way to hurt the cluster.
type Fault struct {
	Name string
	// On is the usual target: Leader may become Replica, unless LeaderOnly.
	On         Target
	LeaderOnly bool
	// Instant faults have no end: what they do is done.
	Instant bool
	// Least and Most bound the duration, in parts of the ttl; zero: no bound.
	Least, Most float64
	// NeedsFailsafe faults are played with failsafe_mode on.
	NeedsFailsafe bool
	// By is what makes another case of it, with a line of its own in the report.
	By By
	// NoLoss: also with asynchronous replication no acknowledged row may be
	// lost, because PostgreSQL is stopped cleanly or started again in place.
	NoLoss bool
	// Outside says why the promise of one primary does not hold; empty: it does.
	Outside string
	// Begin does it to m (nil when the target is no member) and returns what
	// ends it, or nil. An error: there was nothing to hurt, the round goes on.
	Begin func(s *scene, m *lab.Member) (end func(), err error)
}

// By is a property of a round.
type By string

const (
	Failsafe By = "failsafe"
	// Gate: also outside of the promise to all clients, those from elsewhere
	// must see one primary.
	Gate By = "gate"
)

// catalogue is every fault. Wall clocks are not in it: Linux has no namespace
// for them, and moving one would move the whole test machine's.
var catalogue = []Fault{
	{Name: "agent killed", On: Leader, NoLoss: true, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		m.KillAgent()
		return func() { startAgent(m) }, nil
	}},
	{Name: "agent frozen", On: Leader, NoLoss: true, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		m.FreezeAgent()
		return m.ThawAgent, nil
	}},
	{Name: "agent stopped", On: Leader, NoLoss: true, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		return func() { startAgent(m) }, m.Agent().Signal(syscall.SIGTERM)
	}},
	{Name: "agent restarted", On: Leader, NoLoss: true, Instant: true, Begin: func(s *scene, m *lab.Member) (func(), error) {
		return nil, s.restartAgent(m)
	}},
	{Name: "agent replaced", On: Leader, NoLoss: true, Instant: true, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		if m.Kind() == lab.Patroni {
			return nil, errors.New("Patroni has no hand-over")
		}
		return nil, m.Agent().Signal(syscall.SIGUSR2)
	}},
	{Name: "guard killed", On: Leader, Instant: true, NoLoss: true, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		return nil, send(syscall.SIGKILL, m.Guard())
	}},
	{Name: "undertaker killed", On: Leader, Instant: true, NoLoss: true, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		return nil, send(syscall.SIGKILL, m.Undertaker())
	}},
	{Name: "agent and guard killed", On: Leader, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		guard := m.Guard()
		m.KillAgent()
		return func() { startAgent(m) }, send(syscall.SIGKILL, guard)
	}},
	{Name: "agent and guard frozen", On: Leader, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		guard := m.Guard()
		m.FreezeAgent()
		return func() { m.ThawAgent(); send(syscall.SIGCONT, guard) }, send(syscall.SIGSTOP, guard)
	}},
	{Name: "agent, guard and undertaker killed", On: Leader, By: Gate, Outside: "the last two protections killed at once",
		Begin: func(_ *scene, m *lab.Member) (func(), error) {
			guard, undertaker := m.Guard(), m.Undertaker()
			m.KillAgent()
			return func() { startAgent(m) }, errors.Join(send(syscall.SIGKILL, undertaker), send(syscall.SIGKILL, guard))
		}},
	{Name: "agent, guard and undertaker frozen", On: Leader, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		guard, undertaker := m.Guard(), m.Undertaker()
		m.FreezeAgent()
		return func() { m.ThawAgent(); send(syscall.SIGCONT, guard); send(syscall.SIGCONT, undertaker) },
			errors.Join(send(syscall.SIGSTOP, undertaker), send(syscall.SIGSTOP, guard))
	}},
	{Name: "PostgreSQL killed", On: Leader, Instant: true, NoLoss: true, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		return nil, send(syscall.SIGKILL, m.Postmaster())
	}},
	{Name: "backend killed", On: Leader, Instant: true, NoLoss: true, Begin: func(s *scene, m *lab.Member) (func(), error) {
		return nil, s.killBackend(m)
	}},
	{Name: "postmaster frozen", On: Leader, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		pid := m.Postmaster()
		return func() { send(syscall.SIGCONT, pid) }, send(syscall.SIGSTOP, pid)
	}},
	// Long enough for the probes to find it out: 3 x retry_timeout and more.
	{Name: "postmaster frozen for long", On: Leader, Least: 1.8, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		pid := m.Postmaster()
		return func() { send(syscall.SIGCONT, pid) }, send(syscall.SIGSTOP, pid)
	}},
	{Name: "PostgreSQL frozen", On: Leader, Least: 1.8, Begin: func(s *scene, m *lab.Member) (func(), error) {
		return s.freezePostgres(m)
	}},
	{Name: "machine lost", On: Leader, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		m.PowerOff()
		return func() { m.Plug(); startAgent(m) }, nil
	}},
	{Name: "machine frozen", On: Leader, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		m.Freeze()
		return m.Thaw, nil
	}},
	{Name: "processor starved", On: Leader, Most: 1.2, NoLoss: true, Begin: func(s *scene, m *lab.Member) (func(), error) {
		return s.starve(m), nil
	}},
	{Name: "data disk full", On: Leader, Begin: func(s *scene, m *lab.Member) (func(), error) {
		s.disks[m.Name].Fill()
		return func() { s.free(m) }, nil
	}},
	{Name: "WAL disk full", On: Leader, Begin: func(s *scene, m *lab.Member) (func(), error) {
		s.walDisks[m.Name].Fill()
		return func() { s.free(m) }, nil
	}},
	{Name: "cut off", On: Leader, Begin: func(_ *scene, m *lab.Member) (func(), error) {
		m.Unplug()
		return m.Plug, nil
	}},
	{Name: "hears nobody", On: Leader, Begin: func(s *scene, m *lab.Member) (func(), error) {
		m.Block(lab.In, s.everybodyBut(m)...)
		return m.Heal, nil
	}},
	{Name: "heard by nobody", On: Leader, Begin: func(s *scene, m *lab.Member) (func(), error) {
		m.Block(lab.Out, s.everybodyBut(m)...)
		return m.Heal, nil
	}},
	{Name: "cut off from etcd", On: Leader, By: Failsafe, Begin: func(s *scene, m *lab.Member) (func(), error) {
		m.Block(lab.Both, s.etcd.Hosts()...)
		return m.Heal, nil
	}},
	{Name: "hears no answer of etcd", On: Leader, By: Failsafe, Begin: func(s *scene, m *lab.Member) (func(), error) {
		m.Block(lab.In, s.etcd.Hosts()...)
		return m.Heal, nil
	}},
	{Name: "cut off from the members", On: Leader, Begin: func(s *scene, m *lab.Member) (func(), error) {
		m.Block(lab.Both, s.membersBut(m)...)
		return m.Heal, nil
	}},
	{Name: "etcd member killed", On: EtcdMember, NoLoss: true, Begin: func(s *scene, _ *lab.Member) (func(), error) {
		return killEtcd(s.etcdFollower()), nil
	}},
	{Name: "etcd leader killed", On: EtcdLeader, NoLoss: true, Begin: func(s *scene, _ *lab.Member) (func(), error) {
		return killEtcd(s.etcdLeader()), nil
	}},
	{Name: "etcd leader frozen", On: EtcdLeader, NoLoss: true, Begin: func(s *scene, _ *lab.Member) (func(), error) {
		e := s.etcdLeader()
		e.Stop()
		return e.Cont, nil
	}},
	{Name: "etcd leader cut off from etcd", On: EtcdLeader, NoLoss: true, Begin: func(s *scene, _ *lab.Member) (func(), error) {
		e := s.etcdLeader()
		e.Block(lab.Both, s.etcdBut(e)...)
		return e.Heal, nil
	}},
	{Name: "etcd frozen", On: EtcdAll, By: Failsafe, Begin: func(s *scene, _ *lab.Member) (func(), error) {
		return s.freezeEtcd(), nil
	}},
	{Name: "etcd frozen for long", On: EtcdAll, By: Failsafe, Least: 1.5, Begin: func(s *scene, _ *lab.Member) (func(), error) {
		return s.freezeEtcd(), nil
	}},
	// etcd is silent; the member goes when failsafe mode has begun.
	{Name: "member lost without etcd", On: Replica, Least: 1.3, NeedsFailsafe: true, NoLoss: true, Begin: func(s *scene, m *lab.Member) (func(), error) {
		end := s.freezeEtcd()
		s.pass(4*time.Second, nil)
		m.PowerOff()
		return func() { end(); m.Plug(); startAgent(m) }, nil
	}},
	{Name: "primary lost without etcd", On: Leader, LeaderOnly: true, Least: 1.3, NeedsFailsafe: true, Begin: func(s *scene, m *lab.Member) (func(), error) {
		end := s.freezeEtcd()
		s.pass(4*time.Second, nil)
		m.PowerOff()
		return func() { end(); m.Plug(); startAgent(m) }, nil
	}},
	{Name: "switchover", On: Cluster, Instant: true, NoLoss: true, Begin: func(s *scene, _ *lab.Member) (func(), error) {
		return nil, s.switchover()
	}},
	{Name: "restart", On: Leader, Instant: true, NoLoss: true, Begin: func(s *scene, m *lab.Member) (func(), error) {
		s.ctl("restart", s.cluster.Scope, m.Name, "--force")
		return nil, nil
	}},
	{Name: "reinit", On: Replica, Instant: true, NoLoss: true, Begin: func(s *scene, m *lab.Member) (func(), error) {
		s.ctl("reinit", s.cluster.Scope, m.Name, "--force")
		return nil, nil
	}},
	{Name: "pause", On: Cluster, Outside: "maintenance mode", Begin: func(s *scene, _ *lab.Member) (func(), error) {
		s.ctl("pause", "--wait", s.cluster.Scope)
		return func() { s.ctl("resume", "--wait", s.cluster.Scope) }, nil
	}},
}

// send signals a process that must be there.
func send(sig syscall.Signal, pid int) error {
	if pid == 0 {
		return errors.New("there is no such process")
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("%v to %d: %w", sig, pid, err)
	}
	return nil
}

// startAgent starts an agent that is not running.
func startAgent(m *lab.Member) {
	if !m.Agent().Alive() {
		m.Start()
	}
}

func killEtcd(e *lab.EtcdMember) func() {
	e.Kill()
	return func() {
		if !e.Alive() {
			e.Start()
		}
	}
}
