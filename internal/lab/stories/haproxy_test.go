package stories

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/lab"
)

// proxy is a machine with HAProxy that runs dist/haproxy.cfg with the
// cluster's addresses.
type proxy struct {
	*lab.Host
	t *testing.T
}

func startHAProxy(t *testing.T, l *lab.Lab, c *lab.Cluster) *proxy {
	t.Helper()
	bin, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("haproxy is missing: apt-get install haproxy")
	}
	text, err := os.ReadFile("../../../dist/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, m := range c.Members {
		names = append(names, fmt.Sprintf("10.0.0.%d:5432", i+1), m.Addr+":5432")
	}
	p := &proxy{l.Host("proxy"), t}
	config := filepath.Join(p.Dir, "haproxy.cfg")
	if err := os.WriteFile(config, []byte(strings.NewReplacer(names...).Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	p.Start("haproxy", bin, "-db", "-f", config)
	return p
}

func (p *proxy) dsn(port int) string {
	return fmt.Sprintf("postgres://postgres:%s@%s:%d/postgres?sslmode=disable&connect_timeout=2", lab.SuperuserPassword, p.Addr, port)
}

// session is one connection through the proxy: what it was told.
type session struct {
	at       time.Time
	recovery bool
	server   string
}

// visitor opens session after session through one port, each asks for its
// server's role, and lingers for what it was told first.
type visitor struct {
	port   int
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	seen []session
}

func (p *proxy) visit(port int) *visitor {
	ctx, cancel := context.WithCancel(context.Background())
	v := &visitor{port: port, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(v.done)
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			v.ask(ctx, p.dsn(port))
			<-tick.C
		}
	}()
	p.t.Cleanup(v.stop)
	return v
}

func (v *visitor) stop() { v.cancel(); <-v.done }

func (v *visitor) ask(ctx context.Context, dsn string) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return // nobody is there: no answer is not a wrong one
	}
	defer conn.Close(ctx)
	s := session{at: time.Now()}
	if err := conn.QueryRow(ctx, "select pg_is_in_recovery(), host(inet_server_addr())").Scan(&s.recovery, &s.server); err != nil {
		return
	}
	v.mu.Lock()
	v.seen = append(v.seen, s)
	v.mu.Unlock()
}

// since are the sessions from that time on, and those of them that met the
// wrong role.
func (v *visitor) since(from time.Time, wantRecovery bool) (all, wrong []session) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.seen {
		if s.at.After(from) {
			all = append(all, s)
			if s.recovery != wantRecovery {
				wrong = append(wrong, s)
			}
		}
	}
	return all, wrong
}

// await waits until a session of that server was seen after from.
func (v *visitor) await(l *lab.Lab, from time.Time, server string) {
	l.Until(60*time.Second, fmt.Sprintf("a session of %s through port %d", server, v.port), func() string {
		all, _ := v.since(from, false)
		for _, s := range all {
			if s.server == server {
				return ""
			}
		}
		return fmt.Sprintf("%d other sessions", len(all))
	})
}

// Clients behind HAProxy, with the checks that Patroni's users have: they
// write through a switchover and through the loss of the primary's machine.
func TestHAProxy(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	p := startHAProxy(t, l, c)
	leader := c.Leader()
	w, probe := c.StartWriterAt(p.dsn(5000)), c.StartProber()
	primary, head := p.visit(5000), p.visit(5003)
	replicas, fresh := p.visit(5001), p.visit(5002)
	start := time.Now()
	for _, m := range c.Others(leader) {
		replicas.await(l, start, m.Addr)
		fresh.await(l, start, m.Addr)
	}
	head.await(l, start, leader.Addr)
	l.Until(30*time.Second, "HAProxy to have settled", func() string { // it begins with all servers up
		for _, v := range []*visitor{primary, head, replicas, fresh} {
			if all, wrong := v.since(time.Now().Add(-2*time.Second), v == replicas || v == fresh); len(wrong) > 0 || len(all) == 0 {
				return fmt.Sprintf("port %d: %d sessions, %d wrong", v.port, len(all), len(wrong))
			}
		}
		return ""
	})
	start = time.Now()

	next := c.Others(leader)[0]
	asked := time.Now()
	if out, code := leader.Ctl("switchover", "--candidate", next.Name, "--force"); code != 0 {
		t.Fatalf("switchover: %d\n%s", code, out)
	}
	primary.await(l, asked, next.Addr)
	head.await(l, asked, next.Addr)
	w.Advance(30 * time.Second)
	gap := w.Gap(asked)
	t.Logf("switchover: write gap through HAProxy %v", gap.Round(time.Millisecond))
	if gap > 3*time.Second+slack {
		t.Errorf("write gap of a switchover %v", gap)
	}
	c.WaitHealthy(30 * time.Second)
	replicas.await(l, asked, leader.Addr)

	lost := time.Now()
	next.Lose()
	now := c.WaitLeader(ttl(c)+20*time.Second, next)
	primary.await(l, lost, now.Addr)
	head.await(l, lost, now.Addr)
	w.Advance(30 * time.Second)
	t.Logf("machine lost: write gap through HAProxy %v", w.Gap(lost).Round(time.Millisecond))

	for _, v := range []*visitor{primary, head} {
		v.stop()
		all, wrong := v.since(start, false)
		t.Logf("port %d, for writers: %d sessions, %d read-only", v.port, len(all), len(wrong))
		for _, s := range wrong {
			// A new leader answers /primary once it has the key (contract:
			// rest-api.md 4.2): its promotion may still be under way. Nobody
			// else may be met, a former primary above all.
			takes := s.at.Before(lost) && s.server == next.Addr || s.at.After(lost) && s.server == now.Addr
			if !takes {
				t.Errorf("port %d: a session of %s, which does not lead, %v after the switchover, %v after the loss", v.port, s.server, s.at.Sub(asked), s.at.Sub(lost))
			}
		}
	}
	for _, v := range []*visitor{replicas, fresh} {
		v.stop()
		all, wrong := v.since(start, true)
		t.Logf("port %d, for readers: %d sessions, %d of a primary", v.port, len(all), len(wrong))
		for _, s := range wrong {
			// Up to inter and fall times fastinter a new primary is still in
			// their pool: right answers, from the wrong place.
			if after := min(s.at.Sub(asked).Abs(), s.at.Sub(lost).Abs()); after > ttl(c)+5*time.Second+slack {
				t.Errorf("port %d: a session of the primary %s %v after the last change", v.port, s.server, after)
			}
		}
	}
	if gap := w.Gap(asked); gap > ttl(c)+10*time.Second {
		t.Errorf("write gap %v", gap)
	}
	if rows := w.Lost(now); len(rows) > 0 {
		t.Logf("%d acknowledged rows were only on the lost machine", len(rows))
	}
	probe.NeverTwo()
}
