package stories

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// why is what a story reads of `ctl why -f json` (docs/journal.md).
type why struct {
	Headline string `json:"headline"`
	Event    string `json:"event"`
	Leader   string `json:"leader"`
	Former   string `json:"former_leader"`
	Cause    string `json:"cause"`
	Members  []struct {
		Member string `json:"member"`
		Part   string `json:"part"`
		Why    string `json:"why"`
		Lag    int64  `json:"lag"`
		MaxLag int64  `json:"max_lag"`
	} `json:"members"`
	Notes []string `json:"notes"`
}

// askWhy runs `ctl why` on a member's machine, for people and for programs.
func askWhy(t *testing.T, m *lab.Member, args ...string) (why, string) {
	t.Helper()
	text, code := m.Ctl(append([]string{"why"}, args...)...)
	if code != 0 {
		t.Fatalf("ctl why %v: exit %d\n%s", args, code, text)
	}
	if lines := strings.Count(text, "\n"); lines > 60 {
		t.Errorf("%d lines are no screen:\n%s", lines, text)
	}
	out, code := m.Ctl(append([]string{"why", "-f", "json"}, args...)...)
	if code != 0 {
		t.Fatalf("ctl why -f json %v: exit %d\n%s", args, code, out)
	}
	var w why
	begin := strings.IndexByte(out, '{')
	if begin < 0 {
		t.Fatalf("no JSON: %s", out)
	}
	if err := json.NewDecoder(strings.NewReader(out[begin:])).Decode(&w); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("ctl why %v:\n%s", args, text)
	return w, text
}

// The primary's machine is gone: why names the cause, when its lease ended, and
// what each member had to do with it, although one of them cannot be asked.
// Once it is back, its own file tells its side, also when its agent is dead.
func TestWhyMachineLost(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	old := c.Leader()
	old.Lose()
	next := c.WaitLeader(ttl(c)+1*time.Second+slack, old)
	third := c.Others(old, next)[0]
	c.WaitHealthy(20*time.Second, old)

	w, text := askWhy(t, third)
	if w.Event != "new_leader" || w.Leader != next.Name || w.Former != old.Name || w.Cause != "leader_lost" {
		t.Errorf("event %s, leader %s, former %s, cause %s", w.Event, w.Leader, w.Former, w.Cause)
	}
	for _, want := range []string{next.Name + " became leader at ", "because the lease of " + old.Name + " ended at ", third.Name + " did not: "} {
		if !strings.Contains(w.Headline, want) {
			t.Errorf("the headline lacks %q: %s", want, w.Headline)
		}
	}
	parts := map[string]string{}
	for _, p := range w.Members {
		parts[p.Member] = p.Part
	}
	if got := fmt.Sprint(parts[next.Name], ", ", parts[old.Name], ", ", parts[third.Name]); got != "became leader, was the leader, did not become leader" {
		t.Errorf("parts: %s", got)
	}
	if !strings.Contains(text, "took the leader key") && !strings.Contains(text, "promoted self to leader") {
		t.Errorf("no promotion in the table:\n%s", text)
	}

	old.Return()
	c.WaitHealthy(40 * time.Second)
	w, _ = askWhy(t, next)
	if !strings.Contains(w.Headline, old.Name) || w.Event != "new_leader" {
		t.Errorf("after its return: %s", w.Headline)
	}
	old.KillAgent()
	if out, code := old.Ctl("why", "--file", old.DataDir()+".pgha"); code != 0 || !strings.Contains(out, old.Name) {
		t.Errorf("the file of a dead agent: exit %d\n%s", code, out)
	}
	if code, body, err := next.REST("GET", "/pgha/v1/why?limit=5", ""); err != nil || code != 200 || strings.Contains(body, lab.SuperuserPassword) {
		t.Errorf("GET /pgha/v1/why: %d, %v", code, err)
	}
}

// The only replica is too far behind when the primary's machine is lost:
// nobody takes over, and why says that this is the reason, with both numbers.
func TestWhyTooFarBehind(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Members: []string{"pg01", "pg02"}, DCS: []string{"maximum_lag_on_failover: 1048576"}})
	old := c.Leader()
	behind := c.Others(old)[0]
	behind.Block(lab.Both, old.Host) // etcd is reached, the primary is not
	old.MustQuery("create table much as select g, repeat('x', 1000) as filler from generate_series(1, 24000) g")
	l.Until(2*time.Duration(c.LoopWait)*time.Second+slack, "the position to be published", func() string {
		status, _, err := c.Etcd.Get("/service/" + c.Scope + "/status")
		if err != nil {
			return err.Error()
		}
		at := regexp.MustCompile(`"optime": ?(\d+)`).FindStringSubmatch(status)
		if at == nil || old.MustQuery("select ("+at[1]+" > pg_current_wal_flush_lsn() - '0/0'::pg_lsn - 1048576)::text") != "true" {
			return status
		}
		return ""
	})
	old.Lose()
	l.Until(ttl(c)+10*time.Second+slack, "the replica to stand back", func() string {
		w, _ := askWhy(t, behind)
		if w.Event != "no_failover" {
			return w.Headline
		}
		return ""
	})
	w, _ := askWhy(t, behind)
	for _, want := range []string{"Nobody leads since ", old.Name, behind.Name + ": ", " MB behind (limit 1 MB)"} {
		if !strings.Contains(w.Headline, want) {
			t.Errorf("the headline lacks %q: %s", want, w.Headline)
		}
	}
	for _, p := range w.Members {
		if p.Member == behind.Name && (p.Lag < 16<<20 || p.MaxLag != 1<<20) {
			t.Errorf("%s: lag %d, limit %d", p.Member, p.Lag, p.MaxLag)
		}
	}
	behind.Heal()
	old.Return()
	c.WaitHealthy(60 * time.Second)
	if w, _ := askWhy(t, old); w.Leader != old.Name || !strings.Contains(w.Headline, behind.Name+" did not: ") {
		t.Errorf("after the return: %s", w.Headline)
	}
}
