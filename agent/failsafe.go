package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"pgha/agent/ha"
	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// Failsafe mode outside of the decisions (contract: ha-behaviour.md 13): the
// map in memory, the questions to the other members, and what this member
// agreed to when a primary asked it.

// Promises is what this member agreed to. REST accepts, the loop obeys: either
// this member leads, or is about to, or it is bound to leave that to a primary
// that asked. Never both: both are decided under one mutex.
type Promises struct {
	clock clock.Clock
	// accepted wakes the loop; may be nil.
	accepted func()

	mu     sync.Mutex
	leads  bool // this member leads, or a request of ours that makes it lead may still take effect
	sender *ha.FailsafeSender
}

// NewPromises returns promises to nobody. leads: this member may be the leader.
func NewPromises(c clock.Clock, leads bool) *Promises { return &Promises{clock: c, leads: leads} }

// Accept binds this member to leave leading to that primary for a ttl from
// now. It refuses, and returns false, if this member leads or is about to.
func (p *Promises) Accept(from ha.FailsafeSender, ttl time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leads {
		return false
	}
	now := p.clock.Now()
	from.Heard, from.Until = now, now.Add(ttl)
	if old := p.sender; old != nil && now.Before(old.Until) {
		from.Mixed = old.Mixed || old.Name != from.Name
		from.Until = max(from.Until, old.Until)
	}
	p.sender = &from
	return true
}

// Sender is the primary that this member agreed with last; nil: none whose
// time is not over.
func (p *Promises) Sender() *ha.FailsafeSender {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sender == nil || !p.clock.Now().Before(p.sender.Until) {
		return nil
	}
	s := *p.sender
	return &s
}

// claim is asked right before this member tries to become the leader. done is
// the agreement that is known to be over (ha.Memory.SenderDone).
func (p *Promises) claim(done clock.Instant) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sender; s != nil && p.clock.Now().Before(s.Until) && s.Heard > done {
		return false
	}
	p.leads, p.sender = true, nil
	return true
}

// given: the leader key names this member, so whoever held it gave it away and
// runs no primary any more (pitfall 45).
func (p *Promises) given() {
	p.mu.Lock()
	p.leads, p.sender = true, nil
	p.mu.Unlock()
}

// note is told after each cycle whether this member may lead; known is false
// when the DCS could not be read.
func (p *Promises) note(leads, known bool) {
	p.mu.Lock()
	p.leads = leads || p.leads && !known
	p.mu.Unlock()
}

// knowFailsafe keeps the map of the last read. One that is not there, or cannot
// be read, keeps nobody from racing, so nobody's consent is worth anything: no
// failsafe mode until it is written again. Names whose write may still take
// effect stay in it: the members they name may race by it.
func (l *Loop) knowFailsafe(read map[string]string) {
	if read == nil {
		l.failsafe = nil
		if !l.settings.FailsafeMode {
			l.doubtful = nil
		}
		return
	}
	l.failsafe = maps.Clone(read)
	for name, url := range l.doubtful {
		if _, listed := l.failsafe[name]; !listed {
			l.failsafe[name] = url
		}
	}
}

// writeFailsafe publishes who has to agree. It is guarded by the leader key:
// only whoever leads may say who can lead without being asked.
func (l *Loop) writeFailsafe(ctx context.Context, members map[string]string) {
	switch l.apply(ctx, dcs.Write{Key: dcs.KeyFailsafe, Value: dcs.EncodeFailsafe(members), Guard: dcs.Guard{Leader: true}}) {
	case ha.Done:
		l.failsafe, l.doubtful = maps.Clone(members), nil
	case ha.Failed:
		if l.doubtful == nil {
			l.doubtful = map[string]string{}
		}
		maps.Copy(l.doubtful, members)
		if l.failsafe == nil {
			return // perhaps there is still none, and whoever is not named may race
		}
		for name, url := range members {
			if _, listed := l.failsafe[name]; !listed {
				l.failsafe[name] = url
			}
		}
	}
}

// failsafeInput is what decisions need to know.
func (l *Loop) failsafeInput() ha.Failsafe {
	return ha.Failsafe{Members: l.failsafe, Sender: l.Promises.Sender(), Born: l.Born}
}

// failsafeReady says whether a silent DCS would be answered by a round: the
// time until the step-down is then shared between the DCS and the members.
func (l *Loop) failsafeReady() bool {
	_, listed := l.failsafe[l.Self]
	return listed && l.settings.FailsafeMode && !l.settings.Pause
}

// askFailsafe makes one round. It may take what is left of the lease before a
// clean step-down must begin, retry_timeout at most, so that latency alone
// never ends a leadership (docs/differences.md, "failsafe mode over slow links").
func (l *Loop) askFailsafe(parent context.Context, in *ha.Input, a ha.AskFailsafe) {
	sent := l.Clock.Now()
	end := min(sent.Add(l.settings.RetryTimeout), max(l.stepDown(), sent.Add(lastTry)))
	ctx, cancel := l.Clock.WithDeadline(parent, end)
	defer cancel()
	own := l.Member(l.view(*in, ha.Decision{}))
	answers := l.Peers.AskFailsafe(ctx, a.Members, FailsafeNote{
		Name: l.Self, ConnURL: own.ConnURL, APIURL: own.APIURL, Slots: a.Slots, TTL: l.settings.TTL})
	in.Tried.Failsafe = &ha.FailsafeRound{Sent: sent, Answers: answers}
}

// extend counts on the leader key for a ttl from the send of the first request
// of a round that everybody accepted (rulings 8).
func (l *Loop) extend(ctx context.Context, in *ha.Input, a ha.ExtendLeadership) {
	in.Tried.Extended = true
	if until := a.Sent.Add(l.settings.TTL); until.After(l.leaderUntil) {
		l.secure(ctx, until, l.settings.TTL)
	}
}

// mayLead says whether this member leads, or something it did may make it
// lead: as long as that is so it agrees to no other primary.
func (l *Loop) mayLead(in ha.Input) bool {
	job := l.Server.Job()
	return in.Cluster != nil && in.Cluster.Leader != nil && in.Cluster.Leader.Name == l.Self ||
		in.Memory.AcquireInDoubt || l.leaderUntil.After(l.Clock.Now()) || in.Local.Primary() ||
		in.Local.Role == postgres.RolePromoted || job != nil && (job.Kind == ha.JobPromote || job.Kind == ha.JobBootstrap)
}

// failsafeUntil is until when failsafe mode counts as confirmed: by our own
// round, or by a primary that asked us.
func failsafeUntil(m ha.Memory, ttl time.Duration, s *ha.FailsafeSender) clock.Instant {
	var until clock.Instant
	if !m.FailsafeSent.IsZero() {
		until = m.FailsafeSent.Add(ttl)
	}
	if s != nil && s.Heard > m.SenderDone {
		until = max(until, s.Until)
	}
	return until
}

// FailsafeNote is what a primary without the DCS tells the members.
type FailsafeNote struct {
	Name, ConnURL, APIURL string
	Slots                 map[string]postgres.LSN
	TTL                   time.Duration
}

// AskFailsafe asks all members in parallel, and one that did not answer again
// and again until ctx ends.
func (p *peers) AskFailsafe(ctx context.Context, members []dcs.Member, note FailsafeNote) []ha.FailsafeAnswer {
	body := api.Failsafe{Name: note.Name, ConnURL: note.ConnURL, APIURL: note.APIURL, Slots: map[string]uint64{}, TTL: int((note.TTL + time.Second - 1) / time.Second)}
	for name, at := range note.Slots {
		body.Slots[name] = uint64(at)
	}
	out := make([]ha.FailsafeAnswer, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() { out[i] = p.failsafe.ask(ctx, m, body) })
	}
	all.Wait()
	return out
}

// failsafeClient asks members in failsafe mode.
type failsafeClient struct {
	client *api.Client
	log    *slog.Logger
}

// How a member that does not answer is asked again: failsafePause after an
// error, and beside the first request when that has taken failsafeHedge. A
// request that was sent is not given up for it: a slow answer counts.
const (
	failsafePause = time.Second
	failsafeHedge = 2 * time.Second
)

// ask asks one member until it has answered or ctx ends.
func (c *failsafeClient) ask(ctx context.Context, m dcs.Member, body api.Failsafe) ha.FailsafeAnswer {
	if m.APIURL == "" {
		return ha.FailsafeAnswer{Name: m.Name, Refused: true, Fault: "it has no api_url in /failsafe"}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan api.FailsafeAnswer)
	send := func() {
		a := c.client.PostFailsafe(ctx, m.Name, m.APIURL, body)
		select {
		case answers <- a:
		case <-ctx.Done():
		}
	}
	again := time.NewTimer(failsafeHedge)
	defer again.Stop()
	under := 1
	go send()
	fault, said := "no answer", false
	for {
		select {
		case <-again.C:
			if under < 2 {
				under++
				go send()
			}
			again.Reset(failsafeHedge)
		case a := <-answers:
			under--
			if a.Accepted || a.Refused {
				return c.answer(a)
			}
			fault = a.Err.Error()
			if !said && ctx.Err() == nil {
				said = true
				c.log.Warn("Request failed to " + m.Name + ": POST " + m.APIURL + " (" + fault + ")")
			}
			if under == 0 {
				again.Reset(failsafePause)
			}
		case <-ctx.Done():
			return ha.FailsafeAnswer{Name: m.Name, Fault: fault}
		}
	}
}

func (c *failsafeClient) answer(a api.FailsafeAnswer) ha.FailsafeAnswer {
	out := ha.FailsafeAnswer{Name: a.Name, Accepted: a.Accepted, Refused: a.Refused, Location: a.LSN}
	if a.Refused {
		out.Fault = fmt.Sprintf("status %d: %.200s", a.Code, a.Body)
	}
	return out
}
