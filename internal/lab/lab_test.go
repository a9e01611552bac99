package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv("PGHA_LAB_TEST_DIE") != "" {
		os.Setenv("PGHA_LAB", "short")
	}
	Main(m)
}

// The lab's own faults must be real before anything is concluded from them:
// an etcd leader that is cut off is replaced, and comes back as a follower.
func TestEtcdSurvivesACutAndALoss(t *testing.T) {
	l := New(t)
	l.NeedNetwork()
	e := l.StartEtcd(3)
	e.Put("/service/x/a", "1")

	leader := etcdLeader(l, e, nil)
	leader.Unplug()
	second := etcdLeader(l, e, leader)
	l.Until(5*time.Second, "a write through the other two", func() string {
		return errText(second.call("/v3/kv/put", map[string]any{"key": []byte("/service/x/a"), "value": []byte("2")}, &struct{}{}))
	})
	if err := leader.call("/v3/kv/range", map[string]any{"key": []byte("/")}, &struct{}{}); err == nil {
		t.Error("the unplugged member answers")
	}
	leader.Heal()
	e.WaitHealthy(10 * time.Second)

	second.PowerOff()
	second.Heal()
	third := etcdLeader(l, e, second)
	second.Wipe()
	if v, _, err := e.Get("/service/x/a"); v != "2" {
		t.Errorf("after the loss of %s, led by %s: %q, %v", second.Name, third.Name, v, err)
	}
}

func etcdLeader(l *Lab, e *Etcd, not *EtcdMember) *EtcdMember {
	l.t.Helper()
	var leader *EtcdMember
	l.Until(15*time.Second, "an etcd leader", func() string {
		for _, m := range e.Members {
			if m != not && m.IsLeader() {
				leader = m
				return ""
			}
		}
		return "none"
	})
	return leader
}

func errText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// One-way blocks, loss of a machine with processes that left their session,
// frozen processes and a full disk, with a real PostgreSQL.
func TestHostFaults(t *testing.T) {
	l := New(t)
	l.NeedNetwork()
	pg := PGBin(t, PGVersion(t))
	h, client := l.Host("db"), l.Host("client")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	if out, code, err := h.Run(ctx, "id", "-un"); err != nil || code != 0 || strings.TrimSpace(out) == "root" {
		t.Fatalf("id -un: %q %d %v", out, code, err)
	}
	disk := h.Disk("disk", 128)
	data := filepath.Join(disk.Path, "data")
	if out, code, err := h.Run(ctx, pg+"/initdb", "-N", "--auth=trust", "-U", "postgres", data); err != nil || code != 0 {
		t.Fatalf("initdb: %d %v\n%s", code, err, out)
	}
	l.must(os.WriteFile(data+"/pg_hba.conf", []byte("local all all trust\nhost all all 0.0.0.0/0 trust\n"), 0o600))
	p := h.Start("postgres", pg+"/postgres", "-D", data, "-k", h.Dir, "-c", "listen_addresses="+h.Addr)
	dial := func(from *Host) string {
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		c, err := from.Dial(ctx, "tcp", h.Addr+":5432")
		if err == nil {
			c.Close()
		}
		return errText(err)
	}
	l.Until(20*time.Second, "PostgreSQL listens", func() string { return dial(client) })

	client.Block(In, h)
	if dial(client) == "" {
		t.Error("answers pass a one-way block")
	}
	client.Heal()
	h.Block(Both, client)
	if dial(client) == "" || dial(h) != "" {
		t.Error("a block must cut the client and nobody else")
	}
	h.Heal()
	h.Unplug()
	if dial(client) == "" || dial(h) != "" {
		t.Error("an unplugged host reaches itself alone")
	}
	h.Heal()
	l.Until(5*time.Second, "healed", func() string { return dial(client) })

	disk.Fill()
	if err := os.WriteFile(data+"/x", make([]byte, 1<<16), 0o600); err == nil {
		t.Error("the full disk takes data")
	}
	disk.Free()

	h.Freeze()
	l.Until(5*time.Second, "frozen", func() string {
		events, _ := os.ReadFile(h.cgroup + "/cgroup.events")
		if strings.Contains(string(events), "frozen 1") {
			return ""
		}
		return string(events)
	})
	h.Thaw()
	h.PowerOff()
	if p.Alive() && Running(p.Pid) {
		t.Error("the postmaster survived the loss of its machine")
	}
	h.Heal()
	again := h.Start("again", "sleep", "60")
	if _, err := again.Wait(300 * time.Millisecond); err == nil {
		t.Errorf("nothing can be started on a machine that is back: %v", again)
	}
}

// The machine room is empty again also when the test process is killed.
func TestNothingIsLeftWhenTheTestDies(t *testing.T) {
	if os.Getenv("PGHA_LAB_TEST_DIE") != "" {
		l := New(t)
		h := l.Host("h1")
		p := h.Start("sleep", "sh", "-c", "setsid sleep 1000 & sleep 1000")
		fmt.Printf("LAB %s %d\n", l.ID, p.Pid)
		select {} // until killed
	}
	if Mode() == "" {
		t.Skip("lab tests run with `make short` or `make lab`")
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestNothingIsLeftWhenTheTestDies$")
	cmd.Env = append(os.Environ(), "PGHA_LAB_TEST_DIE=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var id string
	var pid int
	for s := bufio.NewScanner(out); id == "" && s.Scan(); {
		fmt.Sscanf(s.Text(), "LAB %s %d", &id, &pid)
	}
	if !Running(pid) {
		t.Errorf("process %d of lab %q does not run", pid, id)
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	deadline := time.Now().Add(15 * time.Second)
	for {
		var left []string
		for _, pattern := range []string{"/tmp/" + id, "/run/netns/" + id + "*", "/sys/class/net/" + id + "*", "/sys/fs/cgroup/*/pgha-lab-" + id, "/sys/fs/cgroup/pgha-lab-" + id} {
			found, _ := filepath.Glob(pattern)
			left = append(left, found...)
		}
		if Running(pid) {
			left = append(left, fmt.Sprintf("process %d", pid))
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind after 15 s: %v", left)
		}
		unix.Poll(nil, 50)
	}
}

func TestOverlap(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, int64(s*1e9)) }
	for _, c := range []struct {
		spans []Span
		want  time.Duration
	}{
		{[]Span{{"a", at(0), at(5)}, {"b", at(6), at(9)}}, 0},
		{[]Span{{"a", at(0), at(5)}, {"a", at(4), at(9)}}, 0},
		{[]Span{{"a", at(0), at(5)}, {"b", at(3), at(9)}}, 2 * time.Second},
		{[]Span{{"a", at(0), at(5)}, {"b", at(3), at(3)}}, time.Millisecond},
	} {
		if got, which := Overlap(c.spans); got != c.want {
			t.Errorf("%v: %v (%s), want %v", c.spans, got, which, c.want)
		}
	}
}
