package stories

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// agentLine is Patroni's line format, what log shippers are configured for;
// postgresLine is PostgreSQL's own, which shares the stream.
var (
	agentLine    = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL): \S`)
	postgresLine = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \[\d+\] |^\t`)
)

// logged waits until a member's log holds those sentences, in that order,
// behind what it held before; each is the whole of a line's text, or its
// beginning where it ends with "...".
func logged(t *testing.T, l *lab.Lab, m *lab.Member, since int, want ...string) {
	t.Helper()
	l.Until(30*time.Second, m.Name+" to log "+strings.Join(want, " | "), func() string {
		missing := want
		for line := range strings.Lines(m.AgentLog()[since:]) {
			_, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			if !ok || len(missing) == 0 {
				continue
			}
			begin, partly := strings.CutSuffix(missing[0], "...")
			if text == missing[0] || partly && strings.HasPrefix(text, begin) {
				missing = missing[1:]
			}
		}
		if len(missing) == 0 {
			return ""
		}
		return "not there: " + missing[0]
	})
}

// The sentences that people's log rules match, on a real cluster: heartbeats,
// a switchover, a crash, pause, a lost machine. Contract: ha-behaviour.md 23.
func TestLogSentences(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	old := c.Leader()
	next, third := c.Others(old)[0], c.Others(old)[1]
	mark := map[*lab.Member]int{}
	from := func() {
		for _, m := range c.Members {
			mark[m] = len(m.AgentLog())
		}
	}
	leads := func(m *lab.Member) string { return "no action. I am (" + m.Name + "), the leader with the lock" }
	follows := func(m, leader *lab.Member) string {
		return "no action. I am (" + m.Name + "), a secondary, and following a leader (" + leader.Name + ")"
	}
	logged(t, l, old, 0, "trying to bootstrap a new cluster", "initialized a new cluster", leads(old))
	logged(t, l, next, 0, "trying to bootstrap from leader '"+old.Name+"'", follows(next, old))

	from()
	if out, code := old.Ctl("switchover", "--candidate", next.Name, "--force"); code != 0 {
		t.Fatalf("switchover: %d\n%s", code, out)
	}
	c.WaitHealthy(30 * time.Second)
	logged(t, l, old, mark[old], "received switchover request...", "Got response from "+next.Name+" ...", "Demoting self (graceful)",
		"Lock owner: "+old.Name+"; I am "+old.Name, "switchover: demoting myself",
		"Local timeline=1 lsn=...", "primary_timeline=2", follows(old, next))
	logged(t, l, next, mark[next], "Lock owner: "+next.Name+"; I am "+next.Name, "promoted self to leader because I had the session lock", leads(next))
	logged(t, l, third, mark[third], follows(third, next))

	from()
	next.KillPostgres()
	logged(t, l, next, mark[next], "Postgresql is not running.", "Lock owner: "+next.Name+"; I am "+next.Name, "starting primary after failure", leads(next))
	c.WaitHealthy(30 * time.Second)

	from()
	if out, code := next.Ctl("pause", "--wait"); code != 0 {
		t.Fatalf("pause: %d\n%s", code, out)
	}
	logged(t, l, next, mark[next], "PAUSE: "+leads(next))
	logged(t, l, third, mark[third], "PAUSE: "+follows(third, next))
	if out, code := next.Ctl("resume", "--wait"); code != 0 {
		t.Fatalf("resume: %d\n%s", code, out)
	}

	from()
	next.Lose()
	now := c.WaitLeader(ttl(c)+20*time.Second, next)
	for _, answer := range []string{"Got response from ...", "Request failed to " + next.Name + ": GET ..."} { // by name: either first
		logged(t, l, now, mark[now], answer, "promoted self to leader by acquiring session lock", leads(now))
	}
	logged(t, l, c.Others(now, next)[0], mark[c.Others(now, next)[0]], follows(c.Others(now, next)[0], now))

	for _, m := range c.Members {
		beats, lines := 0, strings.Split(strings.TrimSuffix(m.AgentLog(), "\n"), "\n")
		for _, line := range lines {
			if !agentLine.MatchString(line) && !postgresLine.MatchString(line) {
				t.Errorf("%s: not a line of Patroni's form: %s", m.Name, line)
			}
			if strings.Contains(line, "INFO: no action. ") {
				beats++
			}
		}
		if beats == 0 {
			t.Errorf("%s: no heartbeat", m.Name)
		}
	}
}
