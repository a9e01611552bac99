package stories

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

// A planned change of leader to a chosen member: the writers hardly notice,
// nothing is lost, the old leader follows without a rewind.
func TestSwitchoverToAChosenMember(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	target := c.Others(old)[1]

	asked := time.Now()
	out, code := old.Ctl("switchover", "--candidate", target.Name, "--force")
	if want := fmt.Sprintf("Successfully switched over to %q", target.Name); code != 0 || !strings.Contains(out, want) {
		t.Fatalf("exit %d, want %q in:\n%s", code, want, out)
	}
	w.Advance(10 * time.Second)
	gap := w.Gap(asked)
	t.Logf("write gap %v (target: 350 ms at p50, 800 ms at p95)", gap.Round(time.Millisecond))
	if gap > 3*time.Second {
		t.Errorf("write gap %v", gap)
	}
	if now := c.WaitHealthy(20 * time.Second); now != target {
		t.Errorf("%s leads, asked for %s", now.Name, target.Name)
	}
	if strings.Contains(old.AgentLog(), "running pg_rewind") {
		t.Errorf("%s was rewound after a clean switchover", old.Name)
	}
	if rows := w.Lost(target); len(rows) > 0 {
		t.Errorf("%d acknowledged rows lost by a switchover", len(rows))
	}
	p.NeverTwo()
}

// Any member: through the REST API, without a candidate.
func TestSwitchoverToAny(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	code, body, err := old.REST("POST", "/switchover", fmt.Sprintf(`{"leader": %q}`, old.Name))
	if err != nil || code != 200 || !strings.HasPrefix(body, "Successfully switched over to ") {
		t.Fatalf("%d %q %v", code, body, err)
	}
	next := c.WaitHealthy(20 * time.Second)
	if want := fmt.Sprintf("Successfully switched over to %q", next.Name); next == old || body != want {
		t.Errorf("%s leads; the answer was %s", next.Name, body)
	}
	nothingLost(t, w, p, next)
}

// nothingLost: every acknowledged row is there, and two members never wrote.
func nothingLost(t *testing.T, w *lab.Writer, p *lab.Prober, now *lab.Member) {
	t.Helper()
	w.Advance(20 * time.Second)
	if rows := w.Lost(now); len(rows) > 0 {
		t.Errorf("%d acknowledged rows lost by a planned change", len(rows))
	}
	p.NeverTwo()
}

// Right after a restart of the leader the replicas have not reconnected yet,
// and nobody can receive its last rows: the switchover is refused with the
// reason before the leader stops anything (docs/differences.md, "switchover
// candidate"), and works once they stream.
func TestSwitchoverRightAfterARestartLosesNothing(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	restarted := time.Now()
	if out, code := old.Ctl("restart", "pg-basic", old.Name, "--force"); code != 0 {
		t.Fatalf("restart: exit %d\n%s", code, out)
	}
	refused := 0
	for asked := time.Now(); ; {
		out, code := old.Ctl("switchover", "--force")
		if code == 0 && strings.Contains(out, "Successfully switched over to ") {
			break
		}
		refused++
		if !strings.Contains(out, "412, switchover is not possible: no good candidates have been found (") || !strings.Contains(out, "not streaming") {
			t.Fatalf("exit %d\n%s", code, out)
		}
		if time.Since(asked) > 30*time.Second {
			t.Fatalf("still refused after 30 s:\n%s", out)
		}
	}
	gap := w.Gap(restarted)
	t.Logf("refused %d times, then done; longest write gap %v, the restart included", refused, gap.Round(time.Millisecond))
	if log := old.AgentLog(); strings.Contains(log, "switchover cancelled") {
		t.Errorf("a switchover was begun and cancelled")
	}
	nothingLost(t, w, p, c.WaitHealthy(30*time.Second))
}

// A member tagged nofailover is refused by name, and nothing moves.
func TestSwitchoverToNofailoverIsRefused(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{NoFailover: []string{"pg03"}})
	old := c.Leader()
	pid := old.Postmaster()
	if old.Name == "pg03" {
		t.Fatal("a nofailover member leads although others were there")
	}
	out, code := old.Ctl("switchover", "--candidate", "pg03", "--force")
	if code != 1 || !strings.Contains(out, "Member pg03 does not exist in cluster pg-basic or is tagged as nofailover") {
		t.Errorf("ctl: exit %d\n%s", code, out)
	}
	status, body, err := old.REST("POST", "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": "pg03"}`, old.Name))
	if status != 412 || body != "switchover is not possible: no good candidates have been found (pg03: nofailover)" {
		t.Errorf("REST: %d %q %v", status, body, err)
	}
	sameServer(t, old, pid)
	if c.WaitHealthy(5*time.Second) != old {
		t.Error("the leader has changed")
	}
}

// A member that lags more than maximum_lag_on_failover is refused before the
// leader stops anything.
func TestSwitchoverToALaggingMemberIsRefused(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	old := c.Leader()
	pid := old.Postmaster()
	laggard := c.Others(old)[0]
	receiver := walReceiver(t, laggard)
	if err := syscall.Kill(receiver, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(receiver, syscall.SIGCONT) })
	old.MustQuery("create table big as select repeat('x', 1000) as x from generate_series(1, 20000)")
	// The leader's own position must be published before lag can be judged.
	l.Until(20*time.Second, "the lag is visible", func() string {
		v, err := c.View()
		if err != nil {
			return err.Error()
		}
		if m := v.Member(laggard.Name); m != nil {
			if lag, ok := m.Lag.(float64); ok && lag > 1<<20 {
				return ""
			}
		}
		return fmt.Sprintf("%+v", v)
	})
	status, body, err := old.REST("POST", "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": %q}`, old.Name, laggard.Name))
	if want := "switchover is not possible: no good candidates have been found (" + laggard.Name + ": lag "; status != 412 || !strings.HasPrefix(body, want) {
		t.Errorf("%d %q %v, want 412 %s", status, body, err, want)
	}
	sameServer(t, old, pid)
	syscall.Kill(receiver, syscall.SIGCONT)
	if c.WaitHealthy(30*time.Second) != old {
		t.Error("the leader has changed")
	}
}

// Scheduled: nothing before its time, then as asked.
func TestScheduledSwitchover(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	target := c.Others(old)[0]
	at := time.Now().Add(8 * time.Second).UTC().Truncate(time.Second)
	code, body, err := old.REST("POST", "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": %q, "scheduled_at": %q}`,
		old.Name, target.Name, at.Format("2006-01-02T15:04:05+00:00")))
	if err != nil || code != 202 || body != "Switchover scheduled" {
		t.Fatalf("%d %q %v", code, body, err)
	}
	if v, err := c.View(); err != nil || v.ScheduledSwitchover == nil || v.ScheduledSwitchover.To != target.Name {
		t.Errorf("GET /cluster does not show it: %+v %v", v, err)
	}
	l.Never(time.Until(at)-500*time.Millisecond, "before its time", func() string {
		if now := c.Leader(); now != old {
			return fmt.Sprintf("%s is not the leader any more", old.Name)
		}
		return ""
	})
	next := c.WaitLeader(15*time.Second, old)
	if next != target {
		t.Errorf("%s leads, asked for %s", next.Name, target.Name)
	}
	c.WaitHealthy(20 * time.Second)
	if v, err := c.View(); err != nil || v.ScheduledSwitchover != nil {
		t.Errorf("still scheduled: %+v %v", v.ScheduledSwitchover, err)
	}
	nothingLost(t, w, p, next)
}

// walReceiver finds the member's WAL receiver process.
func walReceiver(t *testing.T, m *lab.Member) int {
	t.Helper()
	parent := m.Postmaster()
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		title, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !bytes.Contains(title, []byte("walreceiver")) {
			continue
		}
		if stat, err := os.ReadFile(dir + "/stat"); err == nil && bytes.Contains(stat, fmt.Appendf(nil, " %d ", parent)) {
			var pid int
			fmt.Sscanf(filepath.Base(dir), "%d", &pid)
			return pid
		}
	}
	t.Fatalf("no WAL receiver below postmaster %d of %s", parent, m.Name)
	return 0
}
