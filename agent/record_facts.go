package agent

import (
	"regexp"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/journal"
	"pgha/internal/postgres"
)

// facts are what the member saw in a pass, for the journal: no value of a
// configuration, no connection string.
func facts(p Pass) *journal.Facts {
	v, l := p.View, p.View.Local
	f := &journal.Facts{
		Role: string(l.Role), State: string(l.State), Timeline: uint32(l.Timeline), LSN: lsnText(l.Location),
		Pause: v.Settings.Pause, Note: v.Note, DCSLost: v.ClusterLost,
	}
	civil := func(at clock.Instant) *time.Time {
		if at.IsZero() {
			return nil
		}
		t := p.Wall.Add(at.Sub(v.At)).Round(time.Millisecond)
		return &t
	}
	if v.ClusterLost && !v.DCSSeen.IsZero() {
		seen := v.DCSSeen
		f.DCSSeen = &seen
	}
	f.LeaseUntil, f.TTL = civil(v.LeaderUntil), v.Settings.TTL.Seconds()
	if c := v.Cluster; c != nil {
		f.Leader, f.LeaderLSN = leaderName(c), lsnText(c.Status.Optime)
		if c.Status.Optime > l.Location && l.Location != 0 {
			f.Lag, f.MaxLag = int64(c.Status.Optime-l.Location), v.Settings.MaximumLagOnFailover
		}
		if c.Leader == nil && v.Memory.LastLed != nil { // before the first leader nobody is missed
			f.Leaderless = civil(v.Memory.UnlockedSince)
		}
	}
	if w := p.Wanted; w != nil {
		f.Request = &journal.Request{Leader: w.Leader, Candidate: w.Candidate}
		if !w.ScheduledAt.IsZero() {
			f.Request.At = &w.ScheduledAt
		}
	}
	if v.Job != nil {
		f.Job = jobText(v.Job.JobSpec)
	}
	for _, a := range p.Input.Peers {
		f.Peers = append(f.Peers, peerFacts(a, l.Location))
	}
	return f
}

func peerFacts(a ha.Peer, mine postgres.LSN) journal.Peer {
	p := journal.Peer{Name: a.Name, Answered: a.Answered, Fault: withoutSecrets(a.Fault)}
	if !a.Answered {
		return p
	}
	p.Role, p.Timeline, p.LSN = "replica", uint32(a.Timeline), lsnText(a.Location)
	if a.Primary {
		p.Role = "primary"
	}
	if a.Location != 0 && mine != 0 {
		p.Ahead = int64(a.Location) - int64(mine)
	}
	switch {
	case a.NoFailover:
		p.Against = "nofailover"
	case a.WatchdogFailed:
		p.Against = "watchdog failed"
	case !a.Running:
		p.Against = "PostgreSQL does not run there"
	}
	return p
}

func lsnText(n postgres.LSN) string {
	if n == 0 {
		return ""
	}
	return n.String()
}

// secret matches what a connection string or an address may carry.
var secret = regexp.MustCompile(`(?i)(pass(?:word|file|wd)?\s*[=:]\s*)('(?:[^'\\]|\\.)*'|"[^"]*"|[^\s'",;]+)|(//[^/\s:@]*:)([^@\s/]+)(@)`)

// withoutSecrets blanks passwords out of a text of another program.
func withoutSecrets(text string) string {
	return secret.ReplaceAllString(text, "${1}${3}***${5}")
}
