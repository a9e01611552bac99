package agent

import (
	"context"
	"log/slog"
	"time"

	"pgha/agent/ha"
	"pgha/internal/api"
	"pgha/internal/dcs"
)

// slowGrace is how long the former leader is waited for once all others have
// answered (rulings 17).
const slowGrace = 300 * time.Millisecond

// peers is the production Peers: the members' REST APIs.
type peers struct {
	client   *api.Client
	log      *slog.Logger
	failsafe failsafeClient
	said     map[string]time.Time // when an answer of that member was logged; the loop's alone
}

var _ Peers = (*peers)(nil)

// Ask asks all members in parallel.
func (p *peers) Ask(ctx context.Context, members []dcs.Member, slow string) []ha.Peer {
	answers := p.client.AskAll(ctx, members, api.Ask{PerPeer: peerBound, Dead: slow, Grace: slowGrace})
	out := make([]ha.Peer, 0, len(answers))
	for _, a := range answers {
		out = append(out, p.peer(a))
	}
	return out
}

// sayOnce logs an answer, at most once a second for a member: a switchover
// asks 40 times a second.
func (p *peers) sayOnce(a api.PeerStatus) {
	if now := time.Now(); now.Sub(p.said[a.Name]) >= time.Second {
		p.said[a.Name] = now
		p.log.Info("Got response from " + a.Name + " " + a.APIURL + ": " + a.Body)
	}
}

// peer reads one answer, and logs it with the words people look for.
func (p *peers) peer(a api.PeerStatus) ha.Peer {
	if !a.Reachable() {
		p.log.Warn("Request failed to " + a.Name + ": GET " + a.APIURL + " (" + a.Err.Error() + ")")
		return ha.Peer{Name: a.Name, Fault: a.Err.Error()}
	}
	p.sayOnce(a)
	unwell := ""
	if a.Pgha != nil {
		unwell = a.Pgha.Unwell
	}
	return ha.Peer{
		Unwell: unwell,
		Name:   a.Name, Answered: true, Running: a.State == "running",
		Streaming: a.ReplicationState == "streaming",
		Primary:   a.Role.IsPrimary(), Location: a.Location, Timeline: a.Timeline,
		NoFailover: a.NoFailover(), Priority: a.FailoverPriority(),
		WatchdogFailed: a.WatchdogFailed, Pgha: a.Pgha != nil,
	}
}
