package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pgha/internal/lab"
)

// diskMiB and walMiB are the sizes of each member's disks, for data and pg_wal.
const (
	diskMiB = 700
	walMiB  = 400
)

// scene is one cluster and what is needed to hurt and to repair it.
type scene struct {
	bench    *bench
	gate     bool
	lab      *lab.Lab
	etcd     *lab.Etcd
	cluster  *lab.Cluster
	app      *lab.Host // a machine of the clients, no member
	disks    map[string]*lab.Disk
	walDisks map[string]*lab.Disk
	busy     []*lab.Proc
	ops      sync.WaitGroup // operators' commands under way
	clients  int            // numbers given to clients so far
	note     func(string, ...any)
}

// newScene starts a cluster; it panics with stopped where the lab would fail.
func newScene(b *bench, opts Options, gate bool, note func(string, ...any)) *scene {
	s := &scene{bench: b, gate: gate, disks: map[string]*lab.Disk{}, walDisks: map[string]*lab.Disk{}, note: note}
	b.log = func(text string) { s.note("lab: %s", text) }
	s.lab = lab.New(b)
	s.lab.NeedNetwork()
	s.etcd = s.lab.StartEtcd(3)
	s.app = s.lab.Host("app01")
	waldir := func(m *lab.Member) string { return filepath.Join(s.walDisks[m.Name].Path, "pg_wal") }
	o := lab.Options{TTL: opts.TTL, LoopWait: 2, RetryTimeout: 3, Gate: gate,
		// What a lost machine misses must fit on the small disks.
		Parameters: []string{"max_wal_size: 64MB", "wal_keep_size: 48MB", "logging_collector: 'off'", "log_line_prefix: '%m [%p] '"},
		DataOn: func(h *lab.Host) string {
			s.disks[h.Name], s.walDisks[h.Name] = h.Disk("disk", diskMiB), h.Disk("wal", walMiB)
			return s.disks[h.Name].Path
		},
		Bootstrap:  func(m *lab.Member) []string { return []string{"  - waldir: " + waldir(m)} },
		PostgreSQL: func(m *lab.Member) []string { return []string{"basebackup:", "  - waldir: " + waldir(m)} }}
	if opts.TTL < 10 {
		o.LoopWait, o.RetryTimeout = 1, 2
	}
	if opts.Patroni {
		o.Patroni = []string{"pg01", "pg02", "pg03"}
	}
	s.cluster = s.lab.NewCluster(s.etcd, o)
	s.cluster.Start()
	s.cluster.Leader().MustQuery("create table chaos_rows (client int, id bigint, primary key (client, id))")
	return s
}

// replicate makes the cluster replicate in that mode, and waits until it does.
func (s *scene) replicate(mode Mode) {
	value, names := "null", ""
	if mode == Sync {
		value, names = `"ANY 1 (*)"`, "ANY 1 (*)"
	}
	leader := s.cluster.Leader()
	code, text, err := leader.REST("PATCH", "/config", `{"postgresql":{"parameters":{"synchronous_standby_names":`+value+`}}}`)
	if err != nil || code != 200 {
		s.bench.Fatalf("PATCH /config: %d %v: %s", code, err, text)
	}
	s.lab.Until(20*time.Second, "replication mode "+string(mode), func() string {
		if got, err := leader.Query("show synchronous_standby_names"); err != nil || got != names {
			return fmt.Sprintf("synchronous_standby_names %q, %v", got, err)
		}
		if mode == Async {
			return ""
		}
		if n, err := leader.Query("select count(*) from pg_stat_replication where sync_state = 'quorum'"); err != nil || n != "2" {
			return fmt.Sprintf("%s standbys confirm, %v", n, err)
		}
		return ""
	})
}

// member is whom a target means now.
func (s *scene) member(t Target) *lab.Member {
	switch t {
	case Leader:
		if l := s.cluster.Leader(); l != nil {
			return l
		}
		return s.cluster.Members[0]
	case Replica:
		return s.replica()
	}
	return nil
}

func (s *scene) replica() *lab.Member { return s.cluster.Others(s.member(Leader))[0] }

func (s *scene) etcdLeader() *lab.EtcdMember {
	for _, e := range s.etcd.Members {
		if e.Alive() && e.IsLeader() {
			return e
		}
	}
	return s.etcd.Members[0]
}

func (s *scene) etcdFollower() *lab.EtcdMember {
	leader := s.etcdLeader()
	for _, e := range s.etcd.Members {
		if e != leader && e.Alive() {
			return e
		}
	}
	return leader
}

func (s *scene) etcdBut(e *lab.EtcdMember) []*lab.Host {
	return slices.DeleteFunc(s.etcd.Hosts(), func(h *lab.Host) bool { return h == e.Host })
}

func (s *scene) membersBut(m *lab.Member) []*lab.Host {
	var hosts []*lab.Host
	for _, o := range s.cluster.Others(m) {
		hosts = append(hosts, o.Host)
	}
	return hosts
}

func (s *scene) everybodyBut(m *lab.Member) []*lab.Host {
	return append(append(s.membersBut(m), s.etcd.Hosts()...), s.app)
}

// ctl runs a command of `pgha ctl` on a replica in the background, as an
// operator would in the middle of trouble; its answer is noted. It ends within
// a minute.
func (s *scene) ctl(args ...string) {
	on := s.replica()
	s.ops.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, code, err := on.Run(ctx, append([]string{on.Program(), "ctl", "-c", on.Config()}, args...)...)
		s.note("ctl %s on %s: exit %d %v\n%s", strings.Join(args, " "), on.Name, code, err, strings.TrimSpace(out))
	})
}

func (s *scene) switchover() error {
	leader := s.cluster.Leader()
	if leader == nil {
		return errors.New("there is no leader")
	}
	s.ctl("switchover", s.cluster.Scope, "--leader", leader.Name, "--candidate", s.replica().Name, "--force")
	return nil
}

// restartAgent detaches the agent (SIGUSR1: the guard keeps PostgreSQL within
// the lease) and starts it again, as a replacement of the binary does.
func (s *scene) restartAgent(m *lab.Member) error {
	if err := m.Agent().Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	if _, err := m.Agent().Wait(10 * time.Second); err != nil {
		return err
	}
	m.Start()
	return nil
}

// killBackend is kill -9 of one client's backend: PostgreSQL ends all sessions
// and recovers.
func (s *scene) killBackend(m *lab.Member) error {
	pid, err := m.Query(`select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() limit 1`)
	if err != nil {
		return err
	}
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil {
		return errors.New("no client is connected")
	}
	return send(syscall.SIGKILL, n)
}

// starve puts everything of the member behind processes that compute.
func (s *scene) starve(m *lab.Member) func() {
	for _, pid := range []int{m.Agent().Pid, m.Guard(), m.Undertaker(), m.Postmaster()} {
		if pid != 0 {
			syscall.Setpriority(syscall.PRIO_PROCESS, pid, 19)
		}
	}
	var mine []*lab.Proc
	for i := range 4 {
		mine = append(mine, m.Host.Start(fmt.Sprintf("busy%d", i), "/bin/sh", "-c", "while :; do :; done"))
	}
	s.busy = append(s.busy, mine...)
	return func() {
		for _, p := range mine {
			p.Kill()
		}
		for _, pid := range []int{m.Agent().Pid, m.Guard(), m.Undertaker(), m.Postmaster()} {
			if pid != 0 {
				syscall.Setpriority(syscall.PRIO_PROCESS, pid, 0)
			}
		}
	}
}

// free gives the space of full disks back.
func (s *scene) free(m *lab.Member) {
	for _, d := range []*lab.Disk{s.disks[m.Name], s.walDisks[m.Name]} {
		if _, err := os.Stat(filepath.Join(d.Path, "ballast")); err == nil {
			d.Free()
		}
	}
}

// freezePostgres stops every process of the member's PostgreSQL, the
// postmaster first: it makes no new ones.
func (s *scene) freezePostgres(m *lab.Member) (func(), error) {
	if err := send(syscall.SIGSTOP, m.Postmaster()); err != nil {
		return nil, err
	}
	all := m.PostgresProcesses()
	for _, pid := range all {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
	return func() {
		for _, pid := range all { // a pid that is another's by now loses nothing by it
			syscall.Kill(pid, syscall.SIGCONT)
		}
	}, nil
}

// freezeEtcd stops every etcd member.
func (s *scene) freezeEtcd() func() {
	for _, e := range s.etcd.Members {
		e.Stop()
	}
	return func() {
		for _, e := range s.etcd.Members {
			e.Cont()
		}
	}
}

// failsafe switches failsafe_mode, and waits until every member knows whom to ask.
func (s *scene) failsafe(on bool) {
	code, text, err := s.cluster.Leader().REST("PATCH", "/config", fmt.Sprintf(`{"failsafe_mode":%t}`, on))
	if err != nil || code != 200 {
		s.bench.Fatalf("PATCH /config: %d %v: %s", code, err, text)
	}
	if !on {
		return
	}
	s.lab.Until(20*time.Second, "failsafe_mode is known", func() string {
		for _, m := range s.cluster.Members {
			code, body, err := m.REST("GET", "/failsafe", "")
			var known map[string]string
			if err != nil || code != 200 || json.Unmarshal([]byte(body), &known) != nil || len(known) != len(s.cluster.Members) {
				return fmt.Sprint(m.Name, code, body, err)
			}
		}
		return ""
	})
}

// heal repairs everything that any fault may have done, also twice.
func (s *scene) heal() {
	for _, p := range s.busy {
		p.Kill()
	}
	s.busy = nil
	for _, e := range s.etcd.Members {
		e.Cont()
		e.Heal()
		if !e.Alive() {
			e.Start()
		}
	}
	s.etcd.WaitHealthy(20 * time.Second)
	for _, m := range s.cluster.Members {
		m.Thaw()
		m.Heal()
		for _, pid := range []int{m.Guard(), m.Undertaker(), m.Postmaster()} {
			if pid != 0 {
				syscall.Kill(pid, syscall.SIGCONT)
			}
		}
		s.free(m)
		m.ThawAgent()
	}
	s.revive()
}

// revive starts the agents that are not running, as their systemd would.
func (s *scene) revive() {
	for _, m := range s.cluster.Members {
		if !m.Agent().Alive() {
			s.note("agent of %s: %s; started again", m.Name, m.Agent())
			m.Start()
		}
	}
}

// unpause ends maintenance mode if it is on.
func (s *scene) unpause() {
	config, _, err := s.etcd.Get(s.cluster.Key("config"))
	if err == nil && strings.Contains(config, `"pause":true`) {
		code, text, err := s.cluster.Members[0].REST("PATCH", "/config", `{"pause":null}`)
		s.note("pause was still on: PATCH /config: %d %v %s", code, err, text)
	}
}

// healthy says what is missing to a whole cluster, or "".
func (s *scene) healthy() string {
	s.revive()
	s.unpause()
	return s.cluster.Unhealthy()
}
