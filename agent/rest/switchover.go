package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pgha/internal/api"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// action is the word an operation is reported by.
type action string

const (
	switchover action = "switchover"
	failover   action = "failover"
)

// words are the forms of an action in answers. Clients look for the
// lower-case done (contract: integrations.md 1, 20).
var words = map[action]struct{ title, done, Done string }{
	switchover: {"Switchover", "switched over", "Switched over"},
	failover:   {"Failover", "failed over", "Failed over"},
}

// wish is a request for another leader as it was sent, and what it turned
// out to be.
type wish struct {
	action    action
	leader    string
	candidate string
	at        time.Time // zero: now
}

func (s *Server) postSwitchover(c *call) answer { return s.changeLeader(c, switchover) }
func (s *Server) postFailover(c *call) answer   { return s.changeLeader(c, failover) }

// changeLeader is POST /switchover and /failover (contract: rest-api.md
// section 10): check, write the wish, wait for the outcome.
func (s *Server) changeLeader(c *call, asked action) answer {
	body, refusal := mandatoryBody(c.w, c.r)
	if refusal != nil {
		return *refusal
	}
	s.log.Info("received "+string(asked)+" request", "client", c.r.RemoteAddr, "body", string(body.Compact()))
	cluster, refusal := s.clusterNow(c.r.Context())
	if refusal != nil {
		return *refusal
	}
	conf := &s.backend.Snapshot().Config
	w, refusal := parseWish(body, asked, pausedIn(cluster, conf.Pause), s.clock.Wall())
	if refusal != nil {
		return *refusal
	}
	c.asked = w.text()
	if w.action != asked {
		s.log.Warn("a failover request that names the leader is taken as a switchover", "leader", w.leader)
	}
	if w.at.IsZero() {
		if refusal := s.refuseNow(c.r.Context(), w, cluster, conf); refusal != nil {
			return *refusal
		}
	}
	if err := s.writeWish(c.r.Context(), w); err != nil {
		s.log.Warn("failover key not written", "err", err)
		return textAnswer(http.StatusServiceUnavailable, "failed to write failover key into DCS")
	}
	if !w.at.IsZero() {
		return textAnswer(http.StatusAccepted, "Switchover scheduled")
	}
	return s.awaitLeader(c.r.Context(), w, leaderName(cluster), conf.LoopWait)
}

// parseWish makes the checks 1 to 7 of section 10.2, which look at the
// request alone.
func parseWish(body config.Document, asked action, paused bool, now time.Time) (wish, *answer) {
	values := body.Map()
	w := wish{action: asked, leader: textOf(values["leader"]), candidate: textOf(values["candidate"])}
	if w.candidate == "" {
		w.candidate = textOf(values["member"])
	}
	scheduled := values["scheduled_at"] != nil && values["scheduled_at"] != "" && values["scheduled_at"] != false
	switch {
	case !isName(values["leader"]) || !isName(values["candidate"]) || !isName(values["member"]):
		// Read as absent, a candidate of 17 would be "any member".
		return w, refuseText(http.StatusBadRequest, "leader and candidate should be names of members")
	case asked == failover && w.candidate == "":
		return w, refuseText(http.StatusBadRequest, "Failover could be performed only to a specific candidate")
	case asked == switchover && w.leader == "":
		return w, refuseText(http.StatusBadRequest, "Switchover could be performed only from a specific leader")
	case asked == failover && scheduled:
		return w, refuseText(http.StatusBadRequest, "Failover can't be scheduled")
	case scheduled && paused:
		return w, refuseText(http.StatusBadRequest, "Can't schedule switchover in the paused state")
	}
	if scheduled {
		at, refusal := parseScheduled(values["scheduled_at"], "switchover", now)
		if refusal != nil {
			return w, refusal
		}
		w.at = at
	}
	if paused && w.candidate == "" {
		return w, refuseText(http.StatusBadRequest, "Switchover is possible only to a specific candidate in a paused state")
	}
	if w.leader != "" {
		w.action = switchover
		if w.leader == w.candidate {
			return w, refuseText(http.StatusBadRequest, "Switchover target and source are the same")
		}
	}
	return w, nil
}

// isName says whether a body's value can name a member, or says that none is named.
func isName(v any) bool {
	_, text := v.(string)
	return text || v == nil
}

// refuseNow makes the checks 8 to 13, which compare the wish with the
// cluster. A scheduled wish is compared by the leader when its time comes.
func (s *Server) refuseNow(ctx context.Context, w wish, cluster *dcs.Cluster, conf *config.Dynamic) *answer {
	members, refusal := w.candidates(cluster, conf.SynchronousMode)
	if refusal != nil {
		return refusal
	}
	against := yardstick{action: w.action, leader: cluster.LeaderMember(), maxLag: conf.MaximumLagOnFailover, end: cluster.Status.Optime}
	if own := s.backend.Snapshot(); own.Server != nil && own.Name == leaderName(cluster) {
		against.end = max(against.end, own.Server.Location)
	}
	reasons := against.noGood(s.backend.AskPeers(ctx, members))
	if reasons == "" {
		return nil
	}
	return refuseText(http.StatusPreconditionFailed, "%s is not possible: no good candidates have been found (%s)", w.action, reasons)
}

// candidates are the members that could become leader by this wish.
func (w wish) candidates(cluster *dcs.Cluster, mode config.SyncMode) ([]dcs.Member, *answer) {
	refused := func(format string, args ...any) ([]dcs.Member, *answer) {
		return nil, refuseText(http.StatusPreconditionFailed, format, args...)
	}
	if w.leader != "" && w.leader != leaderName(cluster) {
		return refused("leader name does not match")
	}
	if w.candidate != "" {
		if w.action == switchover && mode == config.SyncOn && !inSync(cluster, w.candidate) {
			return refused("candidate name does not match with sync_standby")
		}
		if m := cluster.Member(w.candidate); m != nil {
			return []dcs.Member{*m}, nil
		}
		return refused("candidate does not exists")
	}
	var members []dcs.Member
	for _, m := range cluster.Members {
		if mode == config.SyncOn && inSync(cluster, m.Name) ||
			mode != config.SyncOn && m.Name != leaderName(cluster) && m.APIURL != "" {
			members = append(members, m)
		}
	}
	switch {
	case len(members) > 0:
		return members, nil
	case mode == config.SyncOn:
		return refused("%s is not possible: can not find sync_standby", w.action)
	}
	return refused("%s is not possible: cluster does not have members except leader", w.action)
}

// yardstick is what a candidate is measured with.
type yardstick struct {
	action action
	leader *dcs.Member // nil: nobody leads, and no position counts
	end    postgres.LSN
	maxLag int64
}

// noGood is why none of them can become leader, member by member; empty when
// one can.
func (y yardstick) noGood(peers []api.PeerStatus) string {
	var reasons []string
	for _, p := range peers {
		why := y.unfit(p)
		if why == "" {
			return ""
		}
		reasons = append(reasons, p.Name+": "+why)
	}
	return strings.Join(reasons, "; ")
}

// unfit says why a member cannot become leader; empty: it can. Behind the
// three reasons of the reference come those for which the leader would drop
// the request a moment later (agent/ha decides the same way): said here, they
// reach the person who asked.
func (y yardstick) unfit(p api.PeerStatus) string {
	switch {
	case !p.Reachable():
		return "not reachable: " + shortCause(p.Err)
	case p.NoFailover():
		return "nofailover"
	case p.WatchdogFailed:
		return "watchdog failed"
	case y.leader == nil:
		return ""
	case y.action == switchover && p.Pgha != nil && p.ReplicationState != replicationStreaming:
		return "not streaming"
	case y.leader.Timeline != 0 && p.Timeline != 0 && p.Timeline != y.leader.Timeline:
		return fmt.Sprintf("on timeline %d, the leader is on %d", p.Timeline, y.leader.Timeline)
	case p.Location == 0 && y.end > 0:
		return fmt.Sprintf("its position is unknown (%s)", p.State)
	case behind(y.end, p.Location, y.maxLag):
		return fmt.Sprintf("lag %s over maximum_lag_on_failover %s", bytesText(int64(y.end-p.Location)), bytesText(y.maxLag))
	}
	return ""
}

// bytesText is a size in the largest unit that leaves at least one.
func bytesText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "kB"}} {
		if n >= u.size {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// shortCause is an error on one line, without the address it repeats.
func shortCause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "none in time"
	}
	if asked := new(url.Error); errors.As(err, &asked) {
		err = asked.Err
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

func (s *Server) writeWish(ctx context.Context, w wish) error {
	ctx, cancel := context.WithTimeout(ctx, s.dcsBudget())
	defer cancel()
	return s.backend.Do(ctx, FailoverRequest{Failover: dcs.Failover{
		Leader: w.leader, Candidate: w.candidate, ScheduledAt: w.at,
	}}).Err
}

// pollEvery is the longest pause between two looks at the DCS while a client
// waits for a new leader.
const pollEvery = 200 * time.Millisecond

// awaitLeader waits until another member holds the key, or the wish is gone
// without that, or the time is over (section 10.3).
func (s *Server) awaitLeader(ctx context.Context, w wish, old string, loopWait time.Duration) answer {
	patience := 2 * max(10*time.Second, loopWait)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		// Before the read: a change while reading must not be slept through.
		changed := s.backend.Changed()
		cluster, err := s.backend.Cluster(ctx)
		if err == nil {
			if a := w.outcome(old, cluster); a != nil {
				return *a
			}
		}
		select {
		case <-changed:
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return textAnswer(http.StatusServiceUnavailable,
				"%s status unknown after %d seconds; operation may still be in progress", words[w.action].title, int(patience/time.Second))
		}
	}
}

// outcome is the answer a view of the cluster gives; nil: not decided yet.
func (w wish) outcome(old string, cluster *dcs.Cluster) *answer {
	word, now := words[w.action], leaderName(cluster)
	switch {
	case now != "" && now != old && (w.candidate == "" || w.candidate == now):
		return refuseText(http.StatusOK, `Successfully %s to "%s"`, word.done, now)
	case now != "" && now != old:
		return refuseText(http.StatusOK, `%s to "%s" instead of "%s"`, word.Done, now, w.candidate)
	case cluster.Failover == nil:
		return refuseText(http.StatusServiceUnavailable, "%s failed", words[w.action].title)
	}
	return nil
}

func leaderName(c *dcs.Cluster) string {
	if c.Leader == nil {
		return ""
	}
	return c.Leader.Name
}
