package stories

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/lab"
)

// gateTable is what a host has of a gate; empty: none.
func gateTable(t *testing.T, m *lab.Member) string {
	t.Helper()
	var out []byte
	err := m.Inside(func() (err error) {
		out, err = output("nft", "list", "table", "inet", "pgha_5432")
		return err
	})
	if err != nil && !strings.Contains(string(out), "No such file") {
		t.Fatalf("nft on %s: %v\n%s", m.Name, err, out)
	}
	if err != nil {
		return ""
	}
	return string(out)
}

func nft(t *testing.T, m *lab.Member, args ...string) {
	t.Helper()
	if err := m.Inside(func() error {
		if out, err := output("nft", args...); err != nil {
			return fmt.Errorf("nft %v: %w\n%s", args, err, out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// steady is a client from elsewhere with one connection to one member that it
// never opens again: whoever resets it is seen.
type steady struct {
	mu   sync.Mutex
	last time.Time // of the last answer
	err  error
	done chan struct{}
	stop context.CancelFunc
}

func steadyClient(t *testing.T, m *lab.Member, sql string) *steady {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, "postgres://postgres:"+lab.SuperuserPassword+"@"+m.Addr+":5432/postgres?sslmode=disable")
	if err != nil {
		t.Fatalf("connect to %s from elsewhere: %v", m.Name, err)
	}
	life, stop := context.WithCancel(context.Background())
	s := &steady{done: make(chan struct{}), stop: stop}
	go func() {
		defer close(s.done)
		defer conn.PgConn().Conn().Close()
		for life.Err() == nil {
			// No deadline: the end has to come from outside, soon.
			_, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
			s.mu.Lock()
			if s.err = err; err == nil {
				s.last = time.Now()
			}
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(stop)
	return s
}

// state is the last answer, and the error that ended the client.
func (s *steady) state() (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.err
}

func (s *steady) mustGoOn(t *testing.T, what string) {
	t.Helper()
	if _, err := s.state(); err != nil {
		t.Fatalf("%s: the client from elsewhere was cut off: %v", what, err)
	}
}

// mustEnd waits until the client noticed its end; it returns the last answer.
func (s *steady) mustEnd(t *testing.T, within time.Duration) time.Time {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(within):
		t.Fatalf("the client from elsewhere waits on, %v after the strike", within)
	}
	last, err := s.state()
	t.Logf("client's end: %v", err)
	return last
}

// holdsNetAdmin says which capability sets of a process have CAP_NET_ADMIN.
func holdsNetAdmin(t *testing.T, pid int) (held []string) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^Cap(Inh|Prm|Eff|Amb):\s+(\w+)`).FindAllStringSubmatch(string(text), -1) {
		if bits, _ := strconv.ParseUint(m[2], 16, 64); bits&(1<<12) != 0 {
			held = append(held, m[1])
		}
	}
	return held
}

// The gate through a day's work: made on the primary alone, mended when
// somebody flushed it, kept through a restart of the agent, shut without its
// element, moved by a switchover, gone after a clean stop.
func TestGate(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{Gate: true})
	leader := c.Leader()
	l.Until(10*time.Second, "a gate on the primary", func() string {
		if !strings.Contains(gateTable(t, leader), "elements = { 5432") {
			return "none"
		}
		return ""
	})
	for _, m := range c.Others(leader) {
		if text := gateTable(t, m); text != "" {
			t.Errorf("%s, a standby, has a gate:\n%s", m.Name, text)
		}
	}
	if _, body, err := leader.REST("GET", "/patroni", ""); err != nil || !strings.Contains(body, `"gate": "clients pass while the lease lasts"`) {
		t.Errorf("GET /patroni: %v %s", err, body)
	}
	if held := holdsNetAdmin(t, leader.Agent().Pid); fmt.Sprint(held) != "[Prm Eff]" {
		t.Errorf("the agent has CAP_NET_ADMIN in %v", held)
	}
	for what, pid := range map[string]int{"guard": leader.Guard(), "postmaster": leader.Postmaster()} {
		if held := holdsNetAdmin(t, pid); len(held) > 0 {
			t.Errorf("the %s has CAP_NET_ADMIN in %v", what, held)
		}
	}

	client := steadyClient(t, leader, "select 1")
	nft(t, leader, "flush", "ruleset")
	l.Until(5*time.Second, "the gate is made anew", func() string {
		if gateTable(t, leader) == "" {
			return "none"
		}
		return ""
	})
	client.mustGoOn(t, "nft flush ruleset")

	leader.KillAgent()
	leader.Start()
	l.Until(15*time.Second, "the new agent leads", func() string {
		if s, err := leader.Status(); err != nil || s.Role != "primary" {
			return fmt.Sprint(s.Role, err)
		}
		return ""
	})
	l.Never(3*time.Second, "the client is cut off by a restart of the agent", func() string {
		_, err := client.state()
		if err != nil {
			return err.Error()
		}
		return ""
	})

	// Shut, while PostgreSQL runs: replication and unix sockets go on.
	leader.FreezeAgent()
	nft(t, leader, "flush", "set", "inet", "pgha_5432", "lease")
	client.mustEnd(t, 5*time.Second)
	onSocket := func(sql string) string {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		out, code, err := leader.Run(ctx, lab.PGBin(t, lab.PGVersion(t))+"/psql", "-XAtq", "-h", leader.Dir, "-U", "postgres", "-c", sql)
		if err != nil || code != 0 {
			t.Errorf("psql by unix socket: %v, exit %d, %s", err, code, out)
		}
		return strings.TrimSpace(out)
	}
	onSocket("create table behind_the_gate as select 1")
	target := onSocket("select pg_current_wal_lsn()")
	l.Until(5*time.Second, "replicas receive behind a shut gate", func() string {
		return strings.ReplaceAll(onSocket("select client_addr from pg_stat_replication where replay_lsn < '"+target+"' union all select '0.0.0.0' where (select count(*) from pg_stat_replication where state = 'streaming') < 2"), "\n", " ")
	})
	if _, err := pgx.Connect(context.Background(), "postgres://postgres:"+lab.SuperuserPassword+"@"+leader.Addr+":5432/postgres?sslmode=disable&connect_timeout=2"); err == nil {
		t.Error("a new client got through a shut gate")
	}
	leader.ThawAgent()
	c.WaitHealthy(30 * time.Second)

	leader = c.Leader()
	next := c.Others(leader)[0]
	p := c.StartProber()
	w := c.StartWriter()
	at := time.Now()
	if out, code := leader.Ctl("switchover", c.Scope, "--leader", leader.Name, "--candidate", next.Name, "--force"); code != 0 {
		t.Fatalf("switchover: %d\n%s", code, out)
	}
	w.Advance(10 * time.Second)
	t.Logf("switchover: write gap %v", w.Gap(at).Round(10*time.Millisecond))
	c.WaitHealthy(30 * time.Second)
	steadyClient(t, leader, "select 1").mustGoOn(t, "reads on the old primary")
	l.Until(5*time.Second, "no gate on the old primary", func() string { return gateTable(t, leader) })
	p.NeverTwo()
	w.Stop()

	for _, m := range append(c.Others(next), next) {
		m.Shutdown(60 * time.Second)
		if text := gateTable(t, m); text != "" {
			t.Errorf("after a clean stop %s has a gate:\n%s", m.Name, text)
		}
	}
}

// Agent, guard and undertaker stand still together. The kernel's timer ends
// PostgreSQL and the gate ends with it; the client is told at once, by a
// reset, although the last words of its server come after the gate's end.
func TestGateWithEverybodyFrozen(t *testing.T) {
	gateStrike(t, func(t *testing.T, m *lab.Member, pids []int) {
		m.FreezeAgent()
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Agent, guard and undertaker are killed at once. Whatever goes on of
// PostgreSQL, nothing is acknowledged to this client after the lease, and it is
// told. (This client waits for its answers, so its backend usually follows the
// postmaster by itself, long before the gate shuts.)
func TestGateWithEverybodyKilled(t *testing.T) {
	gateStrike(t, func(t *testing.T, m *lab.Member, pids []int) {
		for i := len(pids) - 1; i >= 0; i-- { // the undertaker first
			if err := syscall.Kill(pids[i], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		m.KillAgent()
	})
}

func gateStrike(t *testing.T, strike func(*testing.T, *lab.Member, []int)) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Gate: true})
	leader := c.Leader()
	leader.MustQuery("create table piped (id serial)")
	l.Until(10*time.Second, "a gate on the primary", func() string {
		if !strings.Contains(gateTable(t, leader), "elements = { 5432") {
			return "none"
		}
		return ""
	})
	guard := leader.Guard()
	pids := append([]int{guard}, undertakerOf(t, guard)...)
	p := c.StartProber()
	client := steadyClient(t, leader, strings.Repeat("insert into piped default values;", 200))
	l.Until(10*time.Second, "the client to be at work", func() string {
		client.mu.Lock()
		defer client.mu.Unlock()
		if client.last.IsZero() {
			return "nothing acknowledged yet"
		}
		return ""
	})
	struck := time.Now()
	strike(t, leader, pids)
	last := client.mustEnd(t, ttl(c)+5*time.Second)
	if after := last.Sub(struck); after > ttl(c)-500*time.Millisecond+100*time.Millisecond {
		t.Errorf("the last acknowledgement came %v after the strike; the lease ended %v after it at the latest", after, ttl(c))
	} else {
		t.Logf("last acknowledgement %v after the strike, told %v after it (ttl %v)", after.Round(time.Millisecond), time.Since(struck).Round(time.Millisecond), ttl(c))
	}
	c.WaitLeader(ttl(c)+slack, leader)
	p.NeverTwo()
}

// undertakerOf are the children of the guard but the postmaster.
func undertakerOf(t *testing.T, guard int) (pids []int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", guard, guard))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(text)) {
		line, err := os.ReadFile("/proc/" + f + "/cmdline")
		if err == nil && strings.Contains(string(line), "undertaker") {
			pid, _ := strconv.Atoi(f)
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		t.Fatalf("the guard %d has no undertaker", guard)
	}
	return pids
}

func output(program string, args ...string) ([]byte, error) {
	return exec.Command(program, args...).CombinedOutput()
}
