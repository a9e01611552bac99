package ha

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// Failsafe mode (13): a primary that cannot reach the DCS goes on while every
// other member of /failsafe agrees not to lead for a ttl. Two halves: what the
// primary does (failsafe, leaveFailsafe, mapDue) and what a member is bound to
// that agreed (boundBy, ledBySender, waitsForPromises).

// Failsafe is what is known of failsafe mode beside the DCS.
type Failsafe struct {
	// Members is the last known /failsafe: name to api_url; nil: none. It is
	// in memory only.
	Members map[string]string
	// Sender is the primary that this member agreed with last; nil: none.
	Sender *FailsafeSender
	// Born is when this agent began to run: what an earlier one agreed to is
	// not known, and has run out a ttl later.
	Born clock.Instant
}

// FailsafeSender is a primary that goes on without the DCS, as it said in
// POST /failsafe.
type FailsafeSender struct {
	Name, ConnURL, APIURL string
	// Slots are the positions of its replication slots, its own log's end among them.
	Slots map[string]postgres.LSN
	// Heard is when this member agreed; Until when that ends.
	Heard, Until clock.Instant
	// Mixed: an agreement with another primary had not ended then.
	Mixed bool
}

// FailsafeAnswer is what one member said in a round.
type FailsafeAnswer struct {
	Name string
	// Accepted, Refused: neither means that it was silent.
	Accepted, Refused bool
	// Location is its last position; zero: it did not say.
	Location postgres.LSN
	// Fault says why it did not accept.
	Fault string
}

// FailsafeRound is a question to all other members and what came back.
type FailsafeRound struct {
	// Sent is when the first request of the round was sent: what is agreed to
	// holds for a ttl from each receipt, which is later.
	Sent    clock.Instant
	Answers []FailsafeAnswer
}

// failsafe is what a running primary does without the DCS when the mode is on.
// ok is false when the mode is off or does not apply: the rules of a silent
// DCS hold then. A lease that has ended is never extended: others may lead.
func failsafe(in Input) (d Decision, ok bool) {
	members := in.Failsafe.Members
	if _, listed := members[in.Self]; !listed || !in.Settings.FailsafeMode || !in.Now.Before(in.LeaderUntil) {
		return Decision{}, false
	}
	switch round := in.Tried.Failsafe; {
	case in.Tried.Extended:
		return goOn(in), true
	case in.Watchdog == WatchdogIdle && in.Tried.Watchdog == NotTried:
		// It was lost under way, or configured anew: left alone, it counts on
		// and resets a machine whose primary everybody wants to go on.
		return do(in, ActivateWatchdog{}, "before going on without the DCS"), true
	case in.Watchdog == WatchdogIdle && in.Tried.Watchdog != Done:
		return demote(in, DemoteOffline, Reason{Code: WatchdogDemoting}), true
	case round == nil && !roundDue(in):
		return restFor(in, failsafePoll(in), Reason{Code: FailsafeLeading}), true
	case round == nil && len(members) > 1:
		return do(in, AskFailsafe{Members: askedMembers(in), Slots: slotPositions(lastView(in))}, "the DCS is not accessible").
			saying(Line{Error, "Error communicating with DCS"}), true
	case round == nil: // nobody else may lead
		return extend(in, in.Now), true
	case dissent(*round) == nil:
		return extend(in, round.Sent), true
	case !dissent(*round).Refused && in.Tried.Reloaded == 0 && in.Tried.Renew != Failed:
		// It took long to find out that a member is silent: is the DCS back?
		return do(in, Reload{Briefly: true}, "a member of /failsafe is silent"), true
	}
	no := dissent(*in.Tried.Failsafe)
	how := "does not answer"
	if no.Refused {
		how = "refuses"
	}
	return demote(in, DemoteOffline, Reason{Code: DemotedNoDCS}).saying(
		Line{Warning, fmt.Sprintf("failsafe mode is not possible: %s %s (%s)", no.Name, how, no.Fault)},
		Line{Info, "demoting self because DCS is not accessible and I was a leader"}), true
}

// roundDue says whether the members are to be asked now: at once when the DCS
// fails, then every loop_wait, and in time before the extension ends.
func roundDue(in Input) bool {
	last := in.Memory.FailsafeSent
	return last.IsZero() || in.Now.Sub(last) >= in.Settings.LoopWait || !in.Now.Add(in.Settings.RetryTimeout).Before(demoteAt(in))
}

// failsafePoll is how soon the DCS is asked again: a tenth of loop_wait.
func failsafePoll(in Input) time.Duration {
	return max(dcsRetry, in.Settings.LoopWait/10)
}

// extend: everybody agreed, or there is nobody else.
func extend(in Input, sent clock.Instant) Decision {
	var says []Line
	if in.Memory.FailsafeSince.IsZero() {
		in.Memory.FailsafeSince = in.Now
		says = append(says, Line{Warning, fmt.Sprintf("failsafe mode begins: the DCS is not accessible, and all %d other members agree that this primary goes on", len(in.Failsafe.Members)-1)})
	}
	in.Memory.FailsafeSent = sent
	return do(in, ExtendLeadership{Sent: sent}, "all members agree").saying(says...)
}

// goOn ends a cycle in failsafe mode: the slots of members are moved to where
// these said they are, as with the DCS.
func goOn(in Input) Decision {
	if d, ok := slotsStep(lastView(in)); ok && in.Job == nil {
		return d
	}
	return restFor(in, failsafePoll(in), Reason{Code: FailsafeLeading})
}

// agreedUpon: this primary is in failsafe mode, and what the members agreed to
// has not ended: nobody else takes a free leader key.
func agreedUpon(in Input) bool {
	return in.Local.Primary() && in.Settings.FailsafeMode && !in.Memory.FailsafeSince.IsZero() && in.Now.Before(demoteAt(in))
}

// askedMembers are all others of /failsafe, by name.
func askedMembers(in Input) []dcs.Member {
	var out []dcs.Member
	for _, name := range slices.Sorted(maps.Keys(in.Failsafe.Members)) {
		if name != in.Self {
			out = append(out, dcs.Member{Name: name, MemberData: dcs.MemberData{APIURL: in.Failsafe.Members[name]}})
		}
	}
	return out
}

// dissent is the answer that ends failsafe mode; nil: everybody accepted. A
// refusal weighs more than silence.
func dissent(r FailsafeRound) *FailsafeAnswer {
	var silent *FailsafeAnswer
	for i := range r.Answers {
		switch a := &r.Answers[i]; {
		case a.Refused:
			return a
		case !a.Accepted:
			silent = a
		}
	}
	return silent
}

// lastView lets the steps that need a view of the cluster work on the last
// one that had a leader, with the positions that the members themselves told.
func lastView(in Input) Input {
	if in.Cluster == nil {
		in.Cluster = in.Memory.LastLed
	}
	if in.Cluster == nil {
		in.Cluster = &dcs.Cluster{}
	}
	if in.Tried.Failsafe == nil {
		return in
	}
	c := *in.Cluster
	c.Members = slices.Clone(c.Members)
	for _, a := range in.Tried.Failsafe.Answers {
		for i := range c.Members {
			if c.Members[i].Name == a.Name {
				c.Members[i].Location = max(c.Members[i].Location, a.Location)
			}
		}
	}
	in.Cluster = &c
	return in
}

// leaveFailsafe notes the end of failsafe mode, whatever ended it, and says
// once how long it lasted.
func leaveFailsafe(in Input, d Decision) Decision {
	since := d.Memory.FailsafeSince
	if since.IsZero() {
		return d
	}
	var why string
	switch {
	case in.holder() && (in.Tried.Renew == Done || in.Tried.Acquire == Done):
		why = "the DCS answers and the leader key is ours"
	case d.Memory.Demotion != nil:
		why = "this member steps down"
	case !in.Local.Primary():
		why = "PostgreSQL is no running primary any more"
	default:
		return d
	}
	d.Memory.FailsafeSince, d.Memory.FailsafeSent = 0, 0
	return d.saying(Line{Warning, fmt.Sprintf("failsafe mode ended after %.1f s: %s", in.Now.Sub(since).Seconds(), why)})
}

// mapDue is the /failsafe to write with a renewal; nil: it is in order, or the
// mode is off. All members with an address are in it, and this one. Whoever is
// in it already stays while Memory.KeepListed says so: after an outage of the
// DCS members register again only moments later, and one that is not listed
// never leads.
func mapDue(in Input) map[string]string {
	if !in.Settings.FailsafeMode || in.Cluster.Member(in.Self) == nil {
		return nil
	}
	want := map[string]string{}
	if in.Now.Before(in.Memory.KeepListed) {
		maps.Copy(want, in.Cluster.Failsafe)
		maps.Copy(want, in.Failsafe.Members)
	}
	for _, m := range in.Cluster.Members {
		if m.APIURL != "" || m.Name == in.Self {
			want[m.Name] = m.APIURL
		}
	}
	if maps.Equal(want, in.Cluster.Failsafe) {
		return nil
	}
	return want
}

// boundBy is the primary that this member agreed to leave alone and whose
// time is not over; nil: none. It ends early when that primary itself was
// heard to be none any more.
func boundBy(in Input) *FailsafeSender {
	s := in.Failsafe.Sender
	if s == nil || !in.Now.Before(s.Until) || s.Heard <= in.Memory.SenderDone {
		return nil
	}
	return s
}

// ledBySender: while an agreement holds, an unlocked cluster is led by the
// primary that asked for it. Its timeline and role are not known, so nothing
// is decided about divergence. A standby that lost its stream asks it whether
// it still is one; a plain no ends the agreement.
func ledBySender(in Input) (Input, *Decision) {
	s := boundBy(in)
	if s == nil || in.Cluster == nil || in.Cluster.Leader != nil {
		return in, nil
	}
	quiet := in.Job == nil && in.Request == nil && in.Shutdown == ShutdownNone && in.Memory.Demotion == nil
	if quiet && !s.Mixed && in.Local.Running() && in.Local.InRecovery && !in.Local.Streaming && !in.Settings.Pause {
		if in.Peers == nil {
			asked := others(in, "")
			asked = append(asked, missing(asked, dcs.Member{Name: s.Name, MemberData: dcs.MemberData{APIURL: s.APIURL}})...)
			if f := in.Cluster.Failover; f != nil && f.Candidate != in.Self {
				if m := in.Cluster.Member(f.Candidate); m != nil {
					asked = append(asked, missing(asked, *m)...)
				}
			}
			d := do(in, AskPeers{Members: asked, Slow: s.Name}, "is the primary of failsafe mode still one")
			return in, &d
		}
		if p := peer(in, s.Name); p != nil && p.noPrimary() {
			in.Memory.SenderDone = s.Heard
			return in, nil
		}
	}
	c := *in.Cluster
	c.Leader = &dcs.Leader{Name: s.Name}
	c.Members = slices.DeleteFunc(slices.Clone(c.Members), func(m dcs.Member) bool { return m.Name == s.Name })
	c.Members = append(c.Members, dcs.Member{Name: s.Name, MemberData: dcs.MemberData{ConnURL: s.ConnURL, APIURL: s.APIURL}})
	slices.SortFunc(c.Members, func(a, b dcs.Member) int { return strings.Compare(a.Name, b.Name) })
	if len(s.Slots) > 0 {
		c.Status.Slots = s.Slots
	}
	in.Cluster = &c
	return in, nil
}

// noPrimary says whether the answer is proof that this member runs no primary:
// its server was asked and is in recovery. It can become one with the leader
// key only.
func (p Peer) noPrimary() bool {
	return p.Answered && p.Running && !p.Primary && p.Location != 0
}

// waitsForPromises: an agent that began less than a ttl ago does not know what
// its predecessor agreed to, so it does not race until that has run out, or
// until every other member of /failsafe was heard to be no primary
// (docs/guarantees.md, "failsafe mode").
func waitsForPromises(in Input) (v verdict, waits bool) {
	if !in.Settings.FailsafeMode || in.Failsafe.Born.IsZero() || in.Now.Sub(in.Failsafe.Born) >= in.Settings.TTL {
		return verdict{}, false
	}
	asked := others(in, "")
	for name, url := range in.Cluster.Failsafe {
		if name != in.Self {
			asked = append(asked, missing(asked, dcs.Member{Name: name, MemberData: dcs.MemberData{APIURL: url}})...)
		}
	}
	slices.SortFunc(asked, func(a, b dcs.Member) int { return strings.Compare(a.Name, b.Name) })
	if in.Peers == nil && len(asked) > 0 {
		return verdict{ask: &AskPeers{Members: asked, Slow: formerLeader(in)}}, true
	}
	unheard := "/failsafe is not there"
	if len(in.Cluster.Failsafe) > 0 {
		unheard = ""
	}
	for _, name := range slices.Sorted(maps.Keys(in.Cluster.Failsafe)) {
		if p := peer(in, name); name != in.Self && (p == nil || !p.noPrimary()) {
			unheard = name + " was not heard to be no primary"
			break
		}
	}
	if unheard == "" {
		return verdict{}, false
	}
	left := in.Settings.TTL - in.Now.Sub(in.Failsafe.Born)
	return no(Line{Info, fmt.Sprintf("failsafe mode: this agent was just started and does not race for %d more seconds: %s", int(left.Seconds())+1, unheard)}), true
}

// standbyView is the last known view for a standby without the DCS; the
// primary that it agreed with tells where its slots are.
func standbyView(in Input) Input {
	in = lastView(in)
	if s := boundBy(in); s != nil && len(s.Slots) > 0 {
		c := *in.Cluster
		c.Status.Slots = s.Slots
		in.Cluster = &c
	}
	return in
}
