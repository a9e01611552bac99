// Package journal keeps decision records in a bounded local file: the agent
// writes, `ctl why` reads, also while it is written and after the agent's
// death (design decision 13). It stores what it is given and knows nothing of
// decisions.
//
// The file is a ring of segments, journal-NNNNNNNN.jsonl, each a quarter of the
// size; one record is one line of JSON. A line that was cut off by a crash is
// skipped by readers and closed by the next writer. docs/journal.md describes
// the fields.
package journal

import (
	"encoding/json"
	"time"
)

// Version is the format that this package writes.
const Version = 1

// Kind groups records: what a reader looks for.
type Kind string

// The kinds. A reader meets others in files of newer versions, and shows them
// as they are.
const (
	KindAgent       Kind = "agent"        // start, stop, hand-over of the agent itself
	KindSteady      Kind = "steady"       // leading or following, nothing to do
	KindLeader      Kind = "leader"       // somebody else's or our leader key came or went
	KindLock        Kind = "lock"         // what we did to the leader key, and what came back
	KindPromotion   Kind = "promotion"    // we become, or became, the primary
	KindNoPromotion Kind = "no_promotion" // nobody leads and we do not either: why
	KindDemotion    Kind = "demotion"     // we step down
	KindRole        Kind = "role"         // PostgreSQL became a primary or a standby
	KindDCS         Kind = "dcs"          // the DCS was lost, is ridden through, is back
	KindRewind      Kind = "rewind"       // a diverged member: examined, rewound, refused
	KindClone       Kind = "clone"        // bootstrap and copies
	KindStart       Kind = "start"        // PostgreSQL is not running: crash, start, restart
	KindJob         Kind = "job"          // a long action began or ended
	KindRequest     Kind = "request"      // what operators asked for, and the answer
	KindPause       Kind = "pause"        // maintenance mode on or off
	KindConfig      Kind = "config"       // a configuration was taken over or rejected
	KindGuard       Kind = "guard"        // the guard acted, was lost, was taken over
	KindHealth      Kind = "health"       // a verdict of the health probes
	KindFailsafe    Kind = "failsafe"     // entered, left
	KindShutdown    Kind = "shutdown"     // the agent was told to end
	KindRepeat      Kind = "repeat"       // the record of Since happened again
	KindLost        Kind = "lost"         // records that could not be kept
	KindOther       Kind = "other"
)

// Record is one line of the file. Everything but V, At, Member and Kind may be
// missing.
type Record struct {
	// V is the format's version.
	V int `json:"v"`
	// At is the member's civil time, with its zone.
	At time.Time `json:"at"`
	// Boot is the same moment in nanoseconds since the machine started; it
	// orders records of one machine even when the civil time was set.
	Boot int64 `json:"boot,omitempty"`
	// Member wrote it.
	Member string `json:"member"`
	Kind   Kind   `json:"kind"`
	// Code is the reason as a constant, Text as a sentence.
	Code string `json:"code,omitempty"`
	Text string `json:"text,omitempty"`
	// Action is what was done about it; empty: nothing.
	Action string `json:"action,omitempty"`
	// Cause names in one word why a role changed (switchover, leader_lost, ...).
	Cause string `json:"cause,omitempty"`
	// Other is another member that the record speaks of; with a KindRequest
	// from outside the client's address.
	Other string `json:"other,omitempty"`
	// Why are the conditions that led to it, one a line.
	Why []string `json:"why,omitempty"`
	// Seen is what the member knew.
	Seen *Facts `json:"seen,omitempty"`
	// Since and Of: a KindRepeat repeats the record of that time and kind.
	Since *time.Time `json:"since,omitempty"`
	Of    Kind       `json:"of,omitempty"`
	// Count is how often it happened in all; 0 and 1: once.
	Count int `json:"count,omitempty"`
	// Last is when it last did, as far as the file says; nil: At.
	Last *time.Time `json:"last,omitempty"`
}

// Facts are what a member saw when it decided.
type Facts struct {
	Role     string `json:"role,omitempty"`
	State    string `json:"state,omitempty"`
	Timeline uint32 `json:"timeline,omitempty"`
	// LSN is the position that members are compared by: flushed on a primary,
	// else the largest of received, written and replayed.
	LSN string `json:"lsn,omitempty"`
	// Leader holds the leader key; empty: nobody.
	Leader string `json:"leader,omitempty"`
	// LeaderLSN is what the leader published last, Lag how many bytes this
	// member is behind it, MaxLag the limit for a promotion.
	LeaderLSN string `json:"leader_lsn,omitempty"`
	Lag       int64  `json:"lag,omitempty"`
	MaxLag    int64  `json:"max_lag,omitempty"`
	// Leaderless is since when nobody leads.
	Leaderless *time.Time `json:"leaderless,omitempty"`
	// DCSLost: it does not answer. DCSSeen is its last good answer then.
	DCSLost bool       `json:"dcs_lost,omitempty"`
	DCSSeen *time.Time `json:"dcs_seen,omitempty"`
	// LeaseUntil is the end of our own leadership: the last renewal was sent TTL
	// (seconds) before it. Nothing but that renewal extends it.
	LeaseUntil *time.Time `json:"lease_until,omitempty"`
	TTL        float64    `json:"ttl,omitempty"`
	// Peers are the answers of the members that were asked.
	Peers []Peer `json:"peers,omitempty"`
	// Request is the change of leader that was wanted.
	Request *Request `json:"request,omitempty"`
	Pause   bool     `json:"pause,omitempty"`
	// Job is the long action under way.
	Job  string `json:"job,omitempty"`
	Note string `json:"note,omitempty"`
}

// Peer is one member's answer.
type Peer struct {
	Name     string `json:"name"`
	Answered bool   `json:"answered"`
	Role     string `json:"role,omitempty"`
	Timeline uint32 `json:"timeline,omitempty"`
	LSN      string `json:"lsn,omitempty"`
	// Ahead is how many bytes its log is ahead of ours; negative: behind.
	Ahead int64 `json:"ahead,omitempty"`
	// Fault is why there is no answer; Against what keeps it from leading.
	Fault   string `json:"fault,omitempty"`
	Against string `json:"against,omitempty"`
}

// Request is a wanted change of leader.
type Request struct {
	Leader    string     `json:"leader,omitempty"`
	Candidate string     `json:"candidate,omitempty"`
	At        *time.Time `json:"at,omitempty"`
}

// Times is how often it happened.
func (r Record) Times() int { return max(1, r.Count) }

// End is when it last happened.
func (r Record) End() time.Time {
	if r.Last != nil {
		return *r.Last
	}
	return r.At
}

// Limits of one record: a line never grows so that it displaces many others.
const (
	maxText  = 600
	maxLines = 20
	maxPeers = 32
	maxLine  = 32 << 10
)

// encode is the record as a line, shortened where it must be.
func encode(r Record) ([]byte, error) {
	r.V = Version
	r.Text = shorten(r.Text)
	if len(r.Why) > maxLines {
		r.Why = r.Why[:maxLines]
	}
	why := make([]string, len(r.Why))
	for i, line := range r.Why {
		why[i] = shorten(line)
	}
	r.Why = why
	if s := r.Seen; s != nil && len(s.Peers) > maxPeers {
		cut := *s
		cut.Peers = s.Peers[:maxPeers]
		r.Seen = &cut
	}
	line, err := json.Marshal(r)
	if err == nil && len(line) > maxLine {
		r.Seen, r.Why = nil, nil
		line, err = json.Marshal(r)
	}
	if err != nil {
		return nil, err
	}
	return append(line, '\n'), nil
}

// shorten cuts a text at a character's border.
func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > 0 && text[end]&0xC0 == 0x80 {
		end--
	}
	return text[:end] + "..."
}
