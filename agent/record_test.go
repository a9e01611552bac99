package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgha/agent/ha"
	"pgha/agent/rest"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/journal"
	"pgha/internal/postgres"
)

var midnight = time.Date(2031, 2, 3, 0, 0, 0, 0, time.UTC)

// seenAt is a pass of member pg02 some seconds into a story.
func seenAt(s float64, leader string, reason ha.Reason, change func(*Pass)) Pass {
	cluster := &dcs.Cluster{Config: &dcs.Config{Valid: true, Revision: 5}, Status: dcs.Status{Optime: 0x3000000},
		Members: []dcs.Member{{Name: "pg01"}, {Name: "pg02"}}}
	if leader != "" {
		cluster.Leader = &dcs.Leader{Name: leader}
	}
	reason.Self = "pg02"
	v := View{
		At: second(s), Cluster: cluster, Reason: reason,
		Settings: ha.Settings{Dynamic: config.Dynamic{TTL: 30 * time.Second, MaximumLagOnFailover: 1 << 20}},
		Local: ha.Local{Alive: true, InRecovery: true, Queried: true, Role: postgres.RoleReplica, State: postgres.StateRunning, Timeline: 1,
			Location: 0x3000000, Streaming: true},
		Memory: ha.Memory{LastLed: &dcs.Cluster{Leader: &dcs.Leader{Name: "pg01"}}},
	}
	p := Pass{View: v, Input: ha.Input{Self: "pg02", Cluster: cluster}, Wall: midnight.Add(time.Duration(s * float64(time.Second))),
		Steps: []Step{{Action: ha.Rest{}, Reason: reason}}}
	if change != nil {
		change(&p)
	}
	p.Input.Local = p.View.Local
	return p
}

// kept runs what feed does against a keeper and returns what its file holds.
func kept(t *testing.T, feed func(*keeper)) (records []journal.Record, bytes int64) {
	t.Helper()
	dir := t.TempDir()
	k := newKeeper("pg02", journal.Start(journal.Options{Dir: dir, Member: "pg02", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}), clock.System{})
	feed(k)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	k.end(ctx)
	found, err := journal.Read(dir, journal.Query{Limit: journal.MaxLimit})
	if err != nil {
		t.Fatal(err)
	}
	if lost := k.writer.Lost(); lost > 0 {
		t.Errorf("%d records lost", lost)
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			bytes += info.Size()
		}
	}
	return found.Records, bytes
}

func lines(records []journal.Record) string {
	var out []string
	for _, r := range records {
		line := fmt.Sprintf("%s %s", r.Kind, r.Code)
		if r.Times() > 1 {
			line += fmt.Sprintf(" x%d", r.Times())
		}
		if len(r.Why) > 0 {
			line += " (" + strings.Join(r.Why, "; ") + ")"
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

var followsPg01 = ha.Reason{Code: ha.Following, Member: "pg01"}

// The end of failsafe mode is a record of its own, with how long it lasted.
func TestFailsafeEndIsRecorded(t *testing.T) {
	leading := ha.Reason{Code: ha.Leading}
	records, _ := kept(t, func(k *keeper) {
		k.pass(seenAt(0, "pg02", leading, nil))
		k.pass(seenAt(2, "pg02", ha.Reason{Code: ha.FailsafeLeading}, func(p *Pass) { p.View.Memory.FailsafeSince = second(2) }))
		k.pass(seenAt(9, "pg02", leading, func(p *Pass) {
			p.Steps[0].Says = []ha.Line{{Level: ha.Warning, Text: "failsafe mode ended after 7.0 s: the DCS answers and the leader key is ours"}}
		}))
		k.pass(seenAt(12, "pg02", leading, nil))
	})
	var ends []string
	for _, r := range records {
		if r.Code == "failsafe_ended" {
			ends = append(ends, string(r.Kind)+": "+r.Text)
		}
	}
	if len(ends) != 1 || !strings.HasPrefix(ends[0], "failsafe: failsafe mode ended after 7.0 s") {
		t.Errorf("%q in\n%s", ends, lines(records))
	}
}

// A quiet week, a pass every ten seconds, is one record with its repetitions:
// far below the ring's size.
func TestQuietWeek(t *testing.T) {
	const passes = 7 * 24 * 3600 / 10
	records, bytes := kept(t, func(k *keeper) {
		for n := range passes {
			k.pass(seenAt(float64(10*n), "pg01", followsPg01, nil))
		}
	})
	if got, want := lines(records), fmt.Sprintf("leader leader_known\nsteady following x%d", passes); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if bytes > 1<<20 {
		t.Errorf("a quiet week takes %d bytes", bytes)
	}
}

// Why a member does not take over is kept when it changes, and counted while
// it only is a number that does.
func TestNotHealthyEnough(t *testing.T) {
	stand := func(s float64, lag int64, lines ...string) Pass {
		return seenAt(s, "", ha.Reason{Code: ha.NotHealthiest}, func(p *Pass) {
			p.View.Local.Location = postgres.LSN(0x3000000 - lag)
			p.View.Memory.UnlockedSince = second(10)
			for _, l := range lines {
				p.Steps[0].Says = append(p.Steps[0].Says, ha.Line{Text: l})
			}
		})
	}
	records, _ := kept(t, func(k *keeper) {
		k.pass(seenAt(0, "pg01", followsPg01, nil))
		for n := range 30 {
			k.pass(stand(11+float64(n), 24<<20, "My wal position exceeds maximum replication lag"))
		}
		for n := range 30 {
			k.pass(stand(41+float64(n), 0, "Wal position of pg03 is ahead of my wal position", fmt.Sprintf("(pg03 is ahead by %d bytes)", 1000+n)))
		}
		k.pass(stand(71, 0, "Wal position of pg04 is ahead of my wal position"))
	})
	want := `leader leader_known
steady following
leader leader_gone
no_promotion not_healthiest x30 (My wal position exceeds maximum replication lag)
no_promotion not_healthiest x30 (Wal position of pg03 is ahead of my wal position; (pg03 is ahead by 1000 bytes))
no_promotion not_healthiest (Wal position of pg04 is ahead of my wal position)`
	if got := lines(records); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	seen := records[3].Seen
	if seen.Lag != 24<<20 || seen.MaxLag != 1<<20 || seen.Leaderless == nil || !seen.Leaderless.Equal(midnight.Add(10*time.Second)) {
		t.Errorf("seen: %+v", seen)
	}
}

// Decisions that take turns do not fill the file: each is counted.
func TestFlapping(t *testing.T) {
	records, _ := kept(t, func(k *keeper) {
		for n := range 1000 {
			reason := ha.Reason{Code: ha.NotHealthiest}
			if n%2 == 0 {
				reason = ha.Reason{Code: ha.FollowingAfterLosing}
			}
			k.pass(seenAt(float64(n), "", reason, nil))
		}
	})
	if got := lines(records); got != "no_promotion following_after_losing_race x500\nno_promotion not_healthiest x500" {
		t.Error(got)
	}
}

// A failover as the new leader records it: why, and what the others answered.
func TestPromotionRecorded(t *testing.T) {
	records, _ := kept(t, func(k *keeper) {
		k.pass(seenAt(0, "pg01", followsPg01, nil))
		k.pass(seenAt(30, "", ha.Reason{Code: ha.PromotedByAcquiring}, func(p *Pass) {
			p.View.Cluster.Members = p.View.Cluster.Members[1:]
			p.View.LeaderUntil = second(60)
			p.Input.Tried.Acquire = ha.Done
			p.Input.Peers = []ha.Peer{{Name: "pg01", Fault: "connection refused"}, {Name: "pg03", Answered: true, Running: true, Location: 0x2000000, NoFailover: true}}
			p.Steps[0].Action = ha.StartJob{Job: ha.JobSpec{Kind: ha.JobPromote, Name: "promote"}}
		}))
		k.pass(seenAt(31, "pg02", ha.Reason{Code: ha.Leading}, func(p *Pass) {
			p.View.Local.InRecovery, p.View.Local.Role, p.View.Local.Timeline = false, postgres.RolePrimary, 2
			p.Finished = &ha.JobResult{JobSpec: ha.JobSpec{Kind: ha.JobPromote, Name: "promote"}, OK: true}
		}))
	})
	want := `leader leader_known
steady following
leader leader_gone
lock acquired
promotion promoted_by_acquiring
leader leader_known
job job_done
steady leading
role became_primary`
	if got := lines(records); got != want {
		t.Fatalf("%s\nwant\n%s", got, want)
	}
	p := records[4]
	if p.Cause != promotedLost || p.Other != "pg01" || p.Action != "promote" || records[8].Cause != promotedLost || records[2].Cause != promotedLost {
		t.Errorf("%+v", p)
	}
	if got := fmt.Sprintf("%+v", p.Seen.Peers); got != `[{Name:pg01 Answered:false Role: Timeline:0 LSN: Ahead:0 Fault:connection refused Against:} `+
		`{Name:pg03 Answered:true Role:replica Timeline:0 LSN:0/2000000 Ahead:-16777216 Fault: Against:nofailover}]` {
		t.Error(got)
	}
	if until := p.Seen.LeaseUntil; until == nil || !until.Equal(midnight.Add(60*time.Second)) || p.Seen.TTL != 30 {
		t.Errorf("lease until %v, ttl %v", until, p.Seen.TTL)
	}
}

// What an operator changed, by the names of the keys: never a value. And no
// password out of the words of another program.
func TestNothingSecretIsRecorded(t *testing.T) {
	records, _ := kept(t, func(k *keeper) {
		k.pass(seenAt(0, "pg01", followsPg01, nil))
		k.pass(seenAt(2, "pg01", followsPg01, func(p *Pass) {
			p.View.Cluster.Config = &dcs.Config{Valid: true, Revision: 6}
			p.View.Settings.Document = map[string]any{"postgresql": map[string]any{"parameters": "hunter2"}}
			p.Finished = &ha.JobResult{JobSpec: ha.JobSpec{Kind: ha.JobRewind, Name: "running pg_rewind from pg01"},
				Err: `could not connect with "host=pg01 user=rewind password=hunter2 port=5432": postgres://rewind:hunter2@pg01/postgres passfile='/x/hunter2'`}
		}))
		k.event(journal.KindConfig, "x", "password: hunter2, PGPASSWORD=hunter2")
	})
	if got := lines(records); !strings.Contains(got, "config config_taken") || !strings.Contains(got, "rewind job_failed") {
		t.Errorf("not recorded:\n%s", got)
	}
	for _, r := range records {
		if strings.Contains(fmt.Sprintf("%+v", r), "hunter2") {
			t.Errorf("a password in %+v", r)
		}
		if r.Code == "config_taken" && !strings.Contains(r.Text, "changed: postgresql") {
			t.Error(r.Text)
		}
	}
}

// Every reason of agent/ha has a kind, but the steps of a cycle and the trap
// for a bug.
func TestEveryReasonHasAKind(t *testing.T) {
	text, err := os.ReadFile("ha/reason.go")
	if err != nil {
		t.Fatal(err)
	}
	none := []string{string(ha.Stepping), string(ha.BumpLimit)}
	found := regexp.MustCompile(`(?m)^\t\w+ +Code = "(\w+)"`).FindAllStringSubmatch(string(text), -1)
	if len(found) < 60 {
		t.Fatalf("%d reasons found", len(found))
	}
	for _, m := range found {
		if _, there := kindOf[ha.Code(m[1])]; there == slices.Contains(none, m[1]) {
			t.Errorf("%s: kind %q", m[1], kindOf[ha.Code(m[1])])
		}
	}
	total := 0
	for _, codes := range kinds {
		total += len(codes)
	}
	if total != len(kindOf) {
		t.Errorf("%d entries for %d reasons: one has two kinds", total, len(kindOf))
	}
}

// Switched off, nothing is kept, nothing is made on the disk, and REST says so.
func TestJournalSwitchedOff(t *testing.T) {
	local := &config.Local{Name: "pg02", Scope: "shop", Pgha: config.Pgha{StateDir: filepath.Join(t.TempDir(), "state")}}
	a := &agent{log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	a.openJournal(local)
	a.keeper.pass(seenAt(0, "pg01", followsPg01, nil))
	a.keeper.event(journal.KindAgent, "x", "y")
	a.changed(rest.Change{Method: "POST", Path: "/restart", Client: "192.0.2.1", Code: 200, Answer: "restarted successfully"})
	a.resizeJournal(local)
	a.closeJournal(0)
	if _, err := os.Stat(local.Pgha.StateDir); err == nil {
		t.Error("something was made on the disk")
	}
	answer := httptest.NewRecorder()
	a.whyRoute(local).Handle(answer, httptest.NewRequest(http.MethodGet, journal.Path, nil))
	if body := answer.Body.String(); answer.Code != 200 || !strings.Contains(body, "pgha.journal.enabled") || !strings.Contains(body, `"records":[]`) {
		t.Errorf("%d %s", answer.Code, body)
	}
}

// The journal's disk hangs in the kernel: passes of the loop go on as if it
// did not, and the end of the agent waits for a moment only.
func TestJournalOnAHungDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a file system to freeze needs root")
	}
	dir := t.TempDir()
	image, disk := dir+"/image", dir+"/disk"
	for _, step := range [][]string{{"mkdir", disk}, {"truncate", "-s", "16M", image}, {"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, disk}} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no file system to freeze: %v: %v %s", step, err, out)
		}
	}
	t.Cleanup(func() {
		for end := time.Now().Add(10 * time.Second); exec.Command("umount", disk).Run() != nil && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
	})
	w := journal.Start(journal.Options{Dir: disk + "/journal", Member: "pg02", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	k := newKeeper("pg02", w, clock.System{})
	k.pass(seenAt(0, "pg01", followsPg01, nil))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if f, err := journal.Read(disk+"/journal", journal.Query{}); err == nil && len(f.Records) == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing was written before")
		}
	}
	if out, err := exec.Command("fsfreeze", "-f", disk).CombinedOutput(); err != nil {
		t.Skipf("fsfreeze: %v %s", err, out)
	}
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			exec.Command("fsfreeze", "-u", disk).Run()
		}
	}
	timer := time.AfterFunc(30*time.Second, func() { exec.Command("fsfreeze", "-u", disk).Run() })
	t.Cleanup(func() { timer.Stop(); thaw() })
	worst := time.Duration(0)
	for n := range 5000 { // each something new
		from := time.Now()
		k.pass(seenAt(float64(n), fmt.Sprintf("pg%d", n), ha.Reason{Code: ha.Following, Member: fmt.Sprintf("pg%d", n)}, nil))
		worst = max(worst, time.Since(from))
	}
	if worst > 500*time.Millisecond {
		t.Errorf("a pass took %v while the journal's disk hung", worst)
	}
	if w.Lost() == 0 {
		t.Error("the disk did not hang")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	from := time.Now()
	k.end(ctx)
	if took := time.Since(from); took > 2*time.Second {
		t.Errorf("the end took %v", took)
	}
	t.Logf("slowest of 5000 passes %v, %d records dropped", worst, w.Lost())
	thaw()
	end, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	w.Close(end)
}
