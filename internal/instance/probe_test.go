package instance

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A stop of a postmaster that is stopped by SIGSTOP ends: a fast one wakes it,
// so that nothing is lost, an immediate one kills it.
func TestStopOfAStoppedPostmaster(t *testing.T) {
	for _, mode := range []StopMode{StopFast, StopImmediate} {
		t.Run(string(mode), func(t *testing.T) {
			n := newNode(t, clusterDir(t), "a")
			n.primary()
			p, _ := n.findPostmaster()
			must(t, syscall.Kill(p.pid, syscall.SIGSTOP))
			start := time.Now()
			must(t, n.Stop(within(t, 30*time.Second), StopOptions{Mode: mode, Timeout: 2 * time.Second}))
			if took := time.Since(start); took > 8*time.Second || p.alive() {
				t.Errorf("stopped after %v, alive=%t", took, p.alive())
			}
			c, err := n.ControlData(within(t, 5*time.Second))
			must(t, err)
			if clean := c.State == "shut down"; clean != (mode == StopFast) {
				t.Errorf("%s stop: pg_control says %q", mode, c.State)
			}
		})
	}
}

// A fresh connection tells a server that works from one that is stopped, full,
// starting, gone, or has lost its socket file.
func TestProbeConnect(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	n.eff.Parameters["max_connections"], n.eff.Parameters["superuser_reserved_connections"] = "12", "3"
	n.eff.Parameters["max_wal_senders"] = "2"
	n.primary()
	must(t, n.Stop(within(t, 20*time.Second), StopOptions{}))
	n.start(StartOptions{Role: "primary"})
	want := func(v ProbeVerdict, full bool, part string) {
		t.Helper()
		r := n.ProbeConnect(within(t, 2*time.Second))
		if r.Verdict != v || r.Full != full || !strings.Contains(r.Why, part) {
			t.Fatalf("probe says %+v, want verdict %d, full %t, %q", r, v, full, part)
		}
	}
	want(ProbeOK, false, "")

	var held []*pgx.Conn
	for range 9 {
		c, err := n.connectLocal(within(t, 5*time.Second), "crowd")
		must(t, err)
		held = append(held, c)
	}
	want(ProbeOK, true, "ordinary connections")
	for {
		c, err := n.connectLocal(within(t, 5*time.Second), "crowd")
		if err != nil {
			break
		}
		held = append(held, c)
	}
	want(ProbeOK, true, "too many clients")
	for _, c := range held {
		closeConn(c)
	}
	until(t, "the crowd is gone", func() (bool, any) {
		r := n.ProbeConnect(within(t, 2*time.Second))
		return r.Verdict == ProbeOK && !r.Full, r
	})

	socket := filepath.Join(n.dir, ".s.PGSQL."+n.eff.Parameters["port"])
	must(t, os.Rename(socket, socket+".away"))
	want(ProbeOK, false, "other address")
	must(t, os.Rename(socket+".away", socket))

	p, _ := n.findPostmaster()
	must(t, syscall.Kill(p.pid, syscall.SIGSTOP))
	want(ProbeFailed, false, "no answer")
	must(t, syscall.Kill(p.pid, syscall.SIGCONT))
	want(ProbeOK, false, "")
	must(t, n.Stop(within(t, 20*time.Second), StopOptions{}))
	want(ProbeUnknown, false, "does not run")
}

// The write probe leaves nothing, follows pg_wal's link, knows nothing without
// data, and tells trouble of the disk from its own.
func TestProbeWrite(t *testing.T) {
	n := newNode(t, clusterDir(t), "a")
	if r := n.ProbeData(); r.Verdict != ProbeUnknown {
		t.Errorf("without data: %+v", r)
	}
	base, elsewhere := filepath.Join(n.dataDir(), "base"), filepath.Join(n.dir, "wal")
	must(t, os.MkdirAll(base, 0o700))
	must(t, os.MkdirAll(elsewhere, 0o700))
	must(t, os.Symlink(elsewhere, filepath.Join(n.dataDir(), "pg_wal")))
	for _, r := range []ProbeResult{n.ProbeData(), n.ProbeWAL()} {
		if r.Verdict != ProbeOK || r.Free == 0 {
			t.Errorf("writable: %+v", r)
		}
	}
	for _, dir := range []string{base, elsewhere} {
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("the probe left %v in %s", left, dir)
		}
	}
	must(t, os.WriteFile(filepath.Join(elsewhere, probeName), []byte("of an agent that was killed"), 0o600))
	if r := n.ProbeWAL(); r.Verdict != ProbeOK {
		t.Errorf("with an old probe file: %+v", r)
	}
	must(t, os.Chmod(elsewhere, 0o500))
	if r := n.ProbeWAL(); r.Verdict != ProbeUnknown {
		t.Errorf("without permission, which is the prober's own trouble: %+v", r)
	}
	must(t, os.Chmod(elsewhere, 0o700))
	for no, text := range diskTrouble {
		if r := writeVerdict(&os.PathError{Op: "write", Path: "x", Err: no}); r.Verdict != ProbeFailed || r.Why != text {
			t.Errorf("%v: %+v", no, r)
		}
	}
}
