package demo

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestHealthy(t *testing.T) {
	lead, ok := row{"a", "Leader", "running", 2}, row{"b", "Replica", "streaming", 2}
	for _, c := range []struct {
		rows []row
		want bool
	}{
		{[]row{lead, ok, {"c", "Replica", "streaming", 2}}, true},
		{[]row{lead, ok, {"c", "Replica", "streaming", 1}}, false},
		{[]row{lead, ok, {"c", "Replica", "running", 2}}, false},
		{[]row{lead, ok}, false},
		{[]row{{"a", "Leader", "stopped", 0}, ok, {"c", "Replica", "streaming", 2}}, false},
		{nil, false},
	} {
		if got := healthy(c.rows); got != c.want {
			t.Errorf("%+v: %v", c.rows, got)
		}
	}
}

// A server that computes, whose postmaster was killed, is found and ended:
// descendants by parent, orphans by their working directory.
func TestKillTreeFindsOrphans(t *testing.T) {
	dir := t.TempDir()
	m := &member{stage: &stage{dir: dir}, name: "pg1"}
	if err := os.MkdirAll(m.dataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	// The inner sleep works in the data directory and loses its parent.
	orphan := exec.Command("sh", "-c", `cd "$1" && setsid sleep 1000 >/dev/null 2>&1 & echo $!`, "sh", m.dataDir())
	out, err := orphan.Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	agent, err := startProcess(exec.Command("sh", "-c", "sleep 1000 & wait"), dir+"/log")
	if err != nil {
		t.Fatal(err)
	}
	m.agent = agent
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = until(ctx, 5*time.Second, "agent, its child and the orphan found", func() error {
		tree := m.processes()
		if tree.agent == agent.pid() && len(tree.all()) == 3 {
			return nil
		}
		return errWaiting(tree.String())
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.killTree(); err != nil {
		t.Fatal(err)
	}
	if p, ok := processTable()[pid]; ok && !p.zombie {
		t.Errorf("the orphan %d lives", pid)
	}
}

func TestVersionInPath(t *testing.T) {
	for dir, want := range map[string]int{"/usr/lib/postgresql/15/bin": 15, "/usr/pgsql-17/bin": 17, "/usr/bin": 0} {
		if got := version(dir); got != want {
			t.Errorf("%s: %d", dir, got)
		}
	}
}

func TestStatesIgnorePositions(t *testing.T) {
	a := "| pg2 | h | Replica | streaming | 1 | 0/3000060 | 0 |\n"
	b := "| pg2 | h | Replica | streaming | 1 | 0/4000060 | 0 |\n"
	c := "| pg2 | h | Replica | stopped | 1 | 0/4000060 | 0 |\n"
	if states(a) != states(b) || states(b) == states(c) {
		t.Error("a table counts as new when a state changes, not when positions do")
	}
}

// The built-in etcd, if this build has it, starts, answers and ends.
func TestBuiltInEtcd(t *testing.T) {
	if !bundled() {
		t.Skip("run `make build` first: no etcd in demo/bundle")
	}
	dir := t.TempDir()
	ports, err := freePorts(6)
	if err != nil {
		t.Fatal(err)
	}
	d := &stage{dir: dir}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	e, err := d.startEtcd(ctx, ports)
	if err != nil {
		t.Fatal(err)
	}
	defer e.stop()
	for _, p := range e.clientPorts {
		if err := waitHealthy(ctx, "http://127.0.0.1:"+strconv.Itoa(p)); err != nil {
			t.Error(err)
		}
	}
}
