package lab

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// probeEvery is the prober's rate (20 Hz), and probeJoin how far apart two
// accepted writes may be to count as "accepting all the time between".
const (
	probeEvery = 50 * time.Millisecond
	probeJoin  = 200 * time.Millisecond
)

// Span is a time during which a member accepted writes.
type Span struct {
	Member   string
	From, To time.Time
}

// Prober asks every member, 20 times a second and from the member itself (so
// also while it is cut off): do you accept writes? The question is a real,
// committed insert.
type Prober struct {
	lab    *Lab
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu    sync.Mutex
	spans []Span
}

const probesTable = `create table if not exists lab_probes (member text, at timestamptz default clock_timestamp())`

// StartProber creates its table and starts asking. The test's end stops it.
func (c *Cluster) StartProber() *Prober {
	c.lab.t.Helper()
	c.until(20*time.Second, "the prober's table", func() string {
		leader := c.Leader()
		if leader == nil {
			return "no leader"
		}
		if _, err := leader.Query(probesTable); err != nil {
			return err.Error()
		}
		return ""
	})
	ctx, cancel := context.WithCancel(context.Background())
	p := &Prober{lab: c.lab, cancel: cancel}
	for _, m := range c.Members {
		p.wait.Go(func() { p.ask(ctx, m) })
	}
	c.lab.t.Cleanup(p.Stop)
	return p
}

// Stop ends the questions; what was seen stays.
func (p *Prober) Stop() {
	p.cancel()
	p.wait.Wait()
}

func (p *Prober) ask(ctx context.Context, m *Member) {
	var conn *pgx.Conn
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if conn != nil {
				conn.Close(context.Background())
			}
			return
		case <-tick.C:
		}
		one, cancel := context.WithTimeout(ctx, time.Second)
		var err error
		if conn == nil {
			conn, err = m.Connect(one)
		}
		if err == nil {
			// A standby is asked no further: its log would fill with refusals.
			var standby bool
			err = conn.QueryRow(one, "select pg_is_in_recovery()").Scan(&standby)
			if err == nil && !standby {
				if _, err = conn.Exec(one, "insert into lab_probes (member) values ($1)", m.Name); err == nil {
					p.accepted(m.Name, time.Now())
				}
			}
		}
		// Anything but an answer may come from a broken connection.
		if conn != nil && err != nil {
			conn.Close(ctx)
			conn = nil
		}
		cancel()
	}
}

// accepted records one committed write, extending the member's last span when
// it follows closely.
func (p *Prober) accepted(member string, acked time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.spans) - 1; i >= 0; i-- {
		if s := &p.spans[i]; s.Member == member {
			// An answer that took long (a frozen server) proves only itself.
			if acked.Sub(s.To) <= probeJoin {
				s.To = acked
				return
			}
			break
		}
	}
	// A single write proves the instant of its commit, somewhere before acked.
	p.spans = append(p.spans, Span{Member: member, From: acked, To: acked})
}

// Spans is a copy of what was seen so far, by start.
func (p *Prober) Spans() []Span {
	p.mu.Lock()
	defer p.mu.Unlock()
	spans := slices.Clone(p.spans)
	slices.SortFunc(spans, func(a, b Span) int { return a.From.Compare(b.From) })
	return spans
}

// Overlap is how long two members accepted writes at the same time, and which.
func Overlap(spans []Span) (time.Duration, string) {
	var total time.Duration
	var which string
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if a.Member == b.Member {
				continue
			}
			from, to := b.From, b.To
			if a.From.After(from) {
				from = a.From
			}
			if a.To.Before(to) {
				to = a.To
			}
			// Touching counts: two committed writes at one instant.
			if d := to.Sub(from); d >= 0 {
				total += max(d, time.Millisecond)
				which += fmt.Sprintf("%s and %s for %v from %s; ", a.Member, b.Member, d, from.Format("15:04:05.000"))
			}
		}
	}
	return total, which
}

// NeverTwo fails the test if two members accepted writes at the same time.
func (p *Prober) NeverTwo() {
	p.lab.t.Helper()
	p.Stop()
	if d, which := Overlap(p.Spans()); d > 0 {
		p.lab.t.Errorf("two members accepted writes at the same time, %v: %s", d, which)
	}
}
