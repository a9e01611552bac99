package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/lab"
)

// detection is by when a leader that cannot serve writes has given its key up:
// the rest of the present interval, three failures, and the stop, which is
// bounded by twice its patience (docs/guarantees.md).
func detection(c *lab.Cluster, hanging bool) time.Duration {
	interval, retry := time.Duration(c.LoopWait)*time.Second, time.Duration(c.RetryTimeout)*time.Second
	if hanging {
		return interval + 3*retry + 2*retry
	}
	return interval + retry + 2*retry
}

// probeSays is a probe's state and reason in GET /patroni.
func probeSays(m *lab.Member, probe string) string {
	_, body, err := m.REST("GET", "/patroni", "")
	if err != nil {
		return err.Error()
	}
	var doc struct {
		Pgha struct {
			Health map[string]struct{ State, Reason string }
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		return err.Error()
	}
	p := doc.Pgha.Health[probe]
	return strings.TrimSpace(p.State + " " + p.Reason)
}

// awaitProbe waits until a probe says what it should.
func awaitProbe(l *lab.Lab, m *lab.Member, probe, part string, within time.Duration) {
	l.Until(within, probe+" of "+m.Name+" says "+part, func() string {
		if says := probeSays(m, probe); !strings.Contains(says, part) {
			return says
		}
		return ""
	})
}

// noteSays waits until `ctl list` shows a note.
func noteSays(l *lab.Lab, m *lab.Member, part string, within time.Duration) {
	l.Until(within, "`ctl list` says "+part, func() string {
		out, _ := m.Ctl("list", "-e")
		if !strings.Contains(out, part) {
			return out
		}
		return ""
	})
}

// givesWay waits for another leader after the fault at `from`, and measures.
func givesWay(t *testing.T, c *lab.Cluster, w *lab.Writer, old *lab.Member, from time.Time, hanging bool) *lab.Member {
	t.Helper()
	bound := detection(c, hanging) + 3*time.Second + slack
	next := c.WaitLeader(bound+10*time.Second, old)
	w.Advance(20 * time.Second)
	gap := w.Gap(from)
	t.Logf("%s leads instead of %s; write gap %v, promised %v", next.Name, old.Name, gap.Round(10*time.Millisecond), bound)
	if gap > bound {
		t.Errorf("write gap %v", gap)
	}
	// Either the agent gave up, or PostgreSQL ended itself (PANIC) before that.
	if log := old.AgentLog(); !strings.Contains(log, "This member cannot serve writes") &&
		!strings.Contains(log, "not starting PostgreSQL until its disk can be written") {
		t.Error("the old leader does not say why it gave up")
	}
	return next
}

// A postmaster that is stopped by SIGSTOP: the kernel goes on accepting for
// it, its sessions go on working, and nobody new gets in. Another member takes
// over, nothing is lost, and the old leader comes back by itself.
func TestPostmasterFrozen(t *testing.T) {
	l := short(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	pid := old.Postmaster()
	from := time.Now()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	next := givesWay(t, c, w, old, from, true)
	c.WaitHealthy(40 * time.Second)
	if rows := w.Lost(next); len(rows) > 0 {
		t.Errorf("%d acknowledged rows lost though the postmaster could be stopped clean", len(rows))
	}
	p.NeverTwo()
}

// Everything of PostgreSQL is frozen, and stays so until it is killed.
func TestPostgreSQLFrozenWhole(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	pid := old.Postmaster()
	from := time.Now()
	freezeTree(t, pid)
	next := givesWay(t, c, w, old, from, true)
	c.WaitHealthy(60 * time.Second)
	t.Logf("%d acknowledged rows lost (asynchronous)", len(w.Lost(next)))
	p.NeverTwo()
}

// freezeTree stops a postmaster and all its children.
func freezeTree(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(tasks)) {
		var child int
		if _, err := fmt.Sscan(word, &child); err == nil {
			_ = syscall.Kill(child, syscall.SIGSTOP)
		}
	}
}

// diskCluster has each member's data on a disk of its own.
func diskCluster(t *testing.T, l *lab.Lab) (*lab.Cluster, map[string]*lab.Disk) {
	t.Helper()
	disks := map[string]*lab.Disk{}
	c := healthyCluster(t, l, lab.Options{DataOn: func(h *lab.Host) string {
		disks[h.Name] = h.Disk("disk", 256)
		return disks[h.Name].Path
	}})
	return c, disks
}

// The leader's data directory is full: another member takes over; the note
// says why; the old leader comes back when there is space.
func TestDataDirectoryFull(t *testing.T) {
	l := long(t)
	c, disks := diskCluster(t, l)
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	from := time.Now()
	disks[old.Name].Fill()
	next := givesWay(t, c, w, old, from, false)
	awaitProbe(l, old, "data_write", "no space left on device", 10*time.Second)
	noteSays(l, next, "no space left on device", 20*time.Second)
	disks[old.Name].Free()
	c.WaitHealthy(60 * time.Second)
	awaitProbe(l, old, "data_write", "ok", 20*time.Second)
	t.Logf("%d acknowledged rows lost (asynchronous)", len(w.Lost(next)))
	p.NeverTwo()
}

// pg_wal alone is full, on a disk of its own.
func TestWALDiskFull(t *testing.T) {
	l := long(t)
	disks := map[string]*lab.Disk{}
	c := healthyCluster(t, l, lab.Options{Bootstrap: func(m *lab.Member) []string {
		if disks[m.Name] == nil {
			disks[m.Name] = m.Host.Disk("wal", 192)
		}
		return []string{"  - waldir: " + filepath.Join(disks[m.Name].Path, "pg_wal")}
	}})
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	if _, err := os.Readlink(filepath.Join(old.DataDir(), "pg_wal")); err != nil {
		t.Fatalf("%s: pg_wal is on no disk of its own: %v", old.Name, err)
	}
	from := time.Now()
	disks[old.Name].Fill()
	next := givesWay(t, c, w, old, from, false)
	noteSays(l, next, "no space left on device", 20*time.Second)
	disks[old.Name].Free()
	c.WaitHealthy(60 * time.Second)
	t.Logf("%d acknowledged rows lost (asynchronous)", len(w.Lost(next)))
	p.NeverTwo()
}

// volumeCluster has each member's data on a file system that can hang or break.
func volumeCluster(t *testing.T, l *lab.Lab) (*lab.Cluster, map[string]*lab.Volume) {
	t.Helper()
	volumes := map[string]*lab.Volume{}
	c := healthyCluster(t, l, lab.Options{DataOn: func(h *lab.Host) string {
		volumes[h.Name] = h.Volume("disk", 400)
		return volumes[h.Name].Path
	}})
	return c, volumes
}

// The file system turns read-only after an error of its device.
func TestDataDirectoryReadOnly(t *testing.T) {
	l := long(t)
	c, volumes := volumeCluster(t, l)
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	from := time.Now()
	volumes[old.Name].Break()
	next := givesWay(t, c, w, old, from, false)
	noteSays(l, next, "read-only file system", 20*time.Second)
	t.Logf("%d acknowledged rows lost (asynchronous)", len(w.Lost(next)))
	p.NeverTwo()
}

// The disk under the data directory hangs: writers stick in the kernel, where
// not even SIGKILL ends them before the disk answers. They count as gone.
func TestDiskHangs(t *testing.T) {
	l := long(t)
	c, volumes := volumeCluster(t, l)
	w, p := c.StartWriter(), c.StartProber()
	old := c.Leader()
	from := time.Now()
	volumes[old.Name].Hang(100 * time.Second)
	next := givesWay(t, c, w, old, from, true)
	noteSays(l, next, "no answer for", 20*time.Second)
	volumes[old.Name].Thaw()
	c.WaitHealthy(60 * time.Second)
	t.Logf("%d acknowledged rows lost (asynchronous)", len(w.Lost(next)))
	p.NeverTwo()
}

// All ordinary connections are taken. That is said, and is no reason to fail
// over: who is connected is served, and the next leader would get the same crowd.
func TestConnectionsExhausted(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Parameters: []string{"superuser_reserved_connections: 5"}})
	leader := c.Leader()
	leader.MustQuery("CREATE ROLE crowd LOGIN PASSWORD 'x'")
	var held []*pgx.Conn
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dsn := fmt.Sprintf("host=%s port=5432 user=crowd password=x dbname=postgres", leader.Addr)
	for {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Logf("%d connections, then: %v", len(held), err)
			break
		}
		defer conn.Close(ctx)
		held = append(held, conn)
	}
	awaitProbe(l, leader, "connect", "ordinary connections are in use", 15*time.Second)
	noteSays(l, leader, "clients cannot connect", 15*time.Second)
	stays(t, c, leader, detection(c, true)+slack)
	if _, err := held[0].Exec(ctx, "SELECT 1"); err != nil {
		t.Errorf("a client that was connected: %v", err)
	}
}

// stays fails if another member leads within the time.
func stays(t *testing.T, c *lab.Cluster, leader *lab.Member, d time.Duration) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		if now := c.Leader(); now != nil && now != leader {
			t.Fatalf("%s leads instead of %s", now.Name, leader.Name)
		}
	}
}

// The disk is full and all other members are away: the leader stays, and says so.
func TestNobodyElseCanTakeOver(t *testing.T) {
	l := long(t)
	c, disks := diskCluster(t, l)
	leader := c.Leader()
	for _, m := range c.Others(leader) {
		m.Shutdown(30 * time.Second)
	}
	disks[leader.Name].Fill()
	noteSays(l, leader, "no other member can take over", detection(c, false)+slack)
	stays(t, c, leader, 15*time.Second)
	if !strings.Contains(leader.AgentLog(), "staying the leader") {
		t.Error("the log does not say that it stays")
	}
	disks[leader.Name].Free()
	awaitProbe(l, leader, "data_write", "ok", 20*time.Second)
	if _, err := leader.Query("CREATE TABLE after_it(x int)"); err != nil {
		// A PANIC for the full disk is followed by a restart in place.
		l.Until(30*time.Second, "writes", func() string {
			if _, err := leader.Query("CREATE TABLE IF NOT EXISTS after_it(x int)"); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	if c.Leader() != leader {
		t.Error("another member leads")
	}
}

// Load alone never fails over: many writing clients, and another program that
// keeps the same file system busy with writes and syncs.
func TestLoadAlone(t *testing.T) {
	l := long(t)
	c, volumes := volumeCluster(t, l)
	leader := c.Leader()
	w := c.StartWriter()
	bin := lab.PGBin(t, lab.PGVersion(t))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if out, code, err := leader.Run(ctx, bin+"/pgbench", "-h", leader.Dir, "-U", "postgres", "-i", "-s", "3", "-q", "postgres"); err != nil || code != 0 {
		t.Fatalf("pgbench -i: %d %v\n%s", code, err, out)
	}
	load := leader.Host.Start("pgbench", bin+"/pgbench", "-h", leader.Dir, "-U", "postgres", "-c", "20", "-j", "2", "-C", "-T", "45", "postgres")
	dd := leader.Host.Start("dd", "sh", "-c", fmt.Sprintf("end=$(($(date +%%s) + 45)); while [ $(date +%%s) -lt $end ]; do dd if=/dev/zero of=%[1]s/ballast bs=1M count=60 conv=fsync 2>/dev/null; rm -f %[1]s/ballast; done", volumes[leader.Name].Path))
	stays(t, c, leader, 40*time.Second)
	for _, proc := range []*lab.Proc{load, dd} {
		if _, err := proc.Wait(60 * time.Second); err != nil {
			t.Error(err)
		}
	}
	if log := leader.AgentLog(); strings.Contains(log, "cannot serve writes") {
		t.Error("the leader took load for a fault")
	}
	w.Advance(20 * time.Second)
}
