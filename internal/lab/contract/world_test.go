package contract

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"pgha/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// world is the live cluster that cases are walked against: one etcd, pg01
// (the leader), pg02 and pg03, and a machine outside the cluster.
type world struct {
	*lab.Lab
	etcd    *lab.Etcd
	cluster *lab.Cluster
	client  *lab.Host
	// tls is how pg02 is spoken to; set by the directive settings.
	tls *tlsFiles
	ca  *authority
	// down says that etcd was killed: nothing can be compared then.
	down bool
}

// patience bounds every wait for a state of the cluster.
const patience = 90 * time.Second

// newWorld starts the cluster. pg03 carries tags that people use.
func newWorld(t *testing.T) *world {
	t.Helper()
	l := lab.New(t)
	l.NeedNetwork()
	w := &world{Lab: l, etcd: l.StartEtcd(1)}
	w.cluster = l.NewCluster(w.etcd, lab.Options{})
	w.client = l.Host("client")
	for _, m := range w.cluster.Members {
		moveBelowDCS(t, m.Config())
	}
	edit(t, w.member(t, "pg03").Config(), "  nosync: false\n", "  nosync: false\n  dc: South\n  version: 1.4\n  failover_priority: 2\n")
	leader := w.member(t, "pg01")
	leader.Start()
	w.cluster.WaitLeader(patience)
	for _, m := range w.cluster.Others(leader) {
		m.Start()
	}
	w.cluster.WaitHealthy(patience)
	w.writeTool(t)
	var err error
	if w.ca, err = newAuthority(filepath.Join(w.Dir, "tls")); err != nil {
		t.Fatal(err)
	}
	return w
}

// writeTool makes the command `ctl` of the cases: pgha ctl with the leader's
// configuration, and `bare`, the same without any.
func (w *world) writeTool(t *testing.T) {
	t.Helper()
	m := w.member(t, "pg01")
	for name, args := range map[string]string{"ctl": "ctl -c " + m.Config(), "bare": "ctl"} {
		// A command that hangs says where, in the case's answer.
		text := fmt.Sprintf("#!/bin/sh\nexec timeout -s QUIT 60 %s %s \"$@\"\n", m.Program(), args)
		if err := os.WriteFile(filepath.Join(w.Dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) member(t testing.TB, name string) *lab.Member {
	t.Helper()
	for _, m := range w.cluster.Members {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no member %q", name)
	return nil
}

// edit replaces a text in a file, which must be there once.
func edit(t testing.TB, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), old) != 1 {
		t.Fatalf("%s: want %q once", file, old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// moveBelowDCS moves bootstrap.postgresql of the talk's file to where Patroni
// wants it: the same cases can be recorded with the real one (PGHA_BIN).
func moveBelowDCS(t testing.TB, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "  postgresql:\n    use_pg_rewind", "  initdb:\n"
	from, to := strings.Index(string(text), begin), strings.Index(string(text), end)
	if from < 0 || to < from {
		t.Fatalf("%s: bootstrap.postgresql not found", file)
	}
	block := string(text[from:to])
	edit(t, file, block, strings.TrimRight("  "+strings.ReplaceAll(block, "\n", "\n  "), " "))
}

// TestContract walks all cases against one cluster, the reading ones first;
// `make short` stops after those. Directives: testdata/README.md.
func TestContract(t *testing.T) {
	w := newWorld(t)
	parts := []string{"normal"}
	if lab.Mode() != "short" {
		parts = append(parts, "settings", "states", "changes", "outages")
	}
	for _, part := range parts {
		files, err := filepath.Glob("testdata/" + part + "/*.txt")
		if err != nil || len(files) == 0 {
			t.Fatalf("no cases in testdata/%s: %v", part, err)
		}
		for _, file := range files {
			t.Run(part+"/"+strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
				begin := time.Now()
				datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string { return w.directive(t, d) })
				t.Logf("%.1f s", time.Since(begin).Seconds())
			})
		}
	}
}

func (w *world) directive(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	if d.HasArg("eventually") {
		return w.eventually(t, d)
	}
	return w.once(t, d)
}

func (w *world) once(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "http":
		return w.http(t, d)
	case "codes":
		return w.codes(t, d)
	case "raw":
		return w.raw(t, d)
	case "metrics":
		return w.metrics(t, d)
	case "ctl":
		return w.ctl(t, d)
	case "typed":
		return w.typed(t, d)
	case "silent":
		return w.silent(t, d)
	case "await":
		return w.await(t, d)
	case "settings":
		return w.settings(t, d)
	case "do":
		for line := range strings.SplitSeq(d.Input, "\n") {
			if err := w.do(t, line); err != nil {
				t.Fatalf("%s: %s: %v", d.Pos, line, err)
			}
		}
		return "ok"
	}
	t.Fatalf("%s: unknown directive %q", d.Pos, d.Cmd)
	return ""
}

// eventually repeats a case until its answer is the expected one: for what
// follows in the next cycle of a loop. When cases are recorded, nothing is
// known to wait for: the answer after two seconds counts.
func (w *world) eventually(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	limit := patience
	if d.Rewrite {
		limit = 2 * time.Second
	}
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		got := w.once(t, d)
		if !d.Rewrite && strings.TrimSpace(got) == strings.TrimSpace(d.Expected) || time.Now().After(deadline) {
			return got
		}
		<-tick.C
	}
}

// on is the members a case is about: on=pg02, on=(pg01,pg02); pg01 if not said.
func (w *world) on(t *testing.T, d *datadriven.TestData) []*lab.Member {
	t.Helper()
	arg, given := d.Arg("on")
	if !given {
		return []*lab.Member{w.member(t, "pg01")}
	}
	var members []*lab.Member
	for _, name := range arg.Vals {
		members = append(members, w.member(t, name))
	}
	return members
}

// await waits until a member's answer to GET has all the texts; !TEXT must
// not be in it.
func (w *world) await(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	path, texts, _ := strings.Cut(w.unmasked(d.Input), "\n")
	for _, m := range w.on(t, d) {
		until(t, d.Pos+": "+m.Name+" answers as awaited", func() string {
			a, err := w.send(m, m.Host, "GET "+path, nil, "")
			if err != nil {
				return err.Error()
			}
			for text := range strings.SplitSeq(texts, "\n") {
				absent, negated := strings.CutPrefix(text, "!")
				if strings.Contains(a.text(), absent) == negated {
					return fmt.Sprintf("want %s in %s", text, a.text())
				}
			}
			return ""
		})
	}
	return "ok"
}

// until is Lab.Until that ends the case's own test only.
func until(t *testing.T, what string, probe func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := probe()
		if last == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s\nlast seen: %s", patience, what, last)
		}
		<-tick.C
	}
}

// do is one step that changes the world.
func (w *world) do(t *testing.T, line string) error {
	t.Helper()
	words := strings.Fields(line)
	if len(words) < 2 {
		return fmt.Errorf("not understood")
	}
	what, whom := words[0], words[1]
	rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(line, what+" "), whom))
	switch what {
	case "etcd":
		return w.doEtcd(whom, rest)
	case "sql":
		_, err := w.member(t, whom).Query(rest)
		return err
	case "agent":
		return w.doAgent(w.member(t, whom), rest)
	case "postgres":
		return doPostgres(t, w.member(t, whom), rest)
	case "healthy":
		w.cluster.WaitHealthy(patience)
		return nil
	case "tls":
		return w.ca.issue(whom, rest)
	case "bin":
		return w.holdProgram(t, w.member(t, whom), rest)
	}
	return fmt.Errorf("not understood")
}

func (w *world) doEtcd(verb, rest string) error {
	switch verb {
	case "kill":
		w.down = true
		w.etcd.Members[0].Kill()
	case "start":
		w.etcd.Members[0].Start()
		w.etcd.WaitHealthy(patience)
		w.down = false
	case "put":
		key, value, _ := strings.Cut(rest, " ")
		w.etcd.Put(w.cluster.Key(key), value)
	case "delete":
		w.etcd.Delete(w.cluster.Key(rest))
	default:
		return fmt.Errorf("not understood")
	}
	return nil
}

func (w *world) doAgent(m *lab.Member, verb string) error {
	switch verb {
	case "stop":
		m.Shutdown(patience)
	case "kill":
		m.KillAgent()
	case "start":
		m.Start()
	case "freeze":
		m.FreezeAgent()
	case "thaw":
		m.ThawAgent()
	case "reload":
		return m.Agent().Signal(syscall.SIGHUP)
	default:
		return fmt.Errorf("not understood")
	}
	return nil
}

func doPostgres(t *testing.T, m *lab.Member, verb string) error {
	t.Helper()
	sig, known := map[string]syscall.Signal{"stop": syscall.SIGINT, "crash": syscall.SIGKILL,
		"freeze": syscall.SIGSTOP, "thaw": syscall.SIGCONT}[verb]
	if !known {
		return fmt.Errorf("not understood")
	}
	pid := m.Postmaster()
	if pid == 0 {
		return fmt.Errorf("PostgreSQL does not run")
	}
	if verb == "freeze" || verb == "thaw" {
		return signalTree(pid, sig)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return err
	}
	until(t, "PostgreSQL of "+m.Name+" has ended", func() string {
		if lab.Running(pid) {
			return "it runs"
		}
		return ""
	})
	return nil
}

// signalTree signals the postmaster and its children.
func signalTree(postmaster int, sig syscall.Signal) error {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", postmaster, postmaster))
	if err != nil {
		return err
	}
	for _, f := range append(strings.Fields(string(children)), fmt.Sprint(postmaster)) {
		var pid int
		if _, err := fmt.Sscan(f, &pid); err != nil {
			return err
		}
		// A backend may have ended since the list was read.
		if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
			return err
		}
	}
	return nil
}

// holdProgram makes one of PostgreSQL's programs wait for the file <name>.go
// in the member's directory (hold), or creates that file (release): states
// that last a moment last as long as a case needs.
func (w *world) holdProgram(t *testing.T, m *lab.Member, rest string) error {
	t.Helper()
	verb, name, _ := strings.Cut(rest, " ")
	gate, dir := filepath.Join(m.Dir, name+".go"), filepath.Join(m.Dir, "bin")
	if verb == "release" {
		return os.WriteFile(gate, nil, 0o644)
	}
	if verb != "hold" {
		return fmt.Errorf("not understood")
	}
	real := lab.PGBin(t, lab.PGVersion(t))
	if _, err := os.Stat(dir); err == nil {
		return os.Remove(gate)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	programs, err := filepath.Glob(real + "/*")
	if err != nil {
		return err
	}
	for _, p := range programs {
		if err := os.Symlink(p, filepath.Join(dir, filepath.Base(p))); err != nil {
			return err
		}
	}
	held := filepath.Join(dir, name)
	text := fmt.Sprintf("#!/bin/sh\nwhile [ ! -e %s ]; do sleep 0.05; done\nexec %s/%s \"$@\"\n", gate, real, name)
	if err := os.Remove(held); err != nil {
		return err
	}
	if err := os.WriteFile(held, []byte(text), 0o755); err != nil {
		return err
	}
	edit(t, m.Config(), "bin_dir: "+real+"\n", "bin_dir: "+dir+"\n")
	return nil
}

// ctl runs a command line of the shell in which ctl and bare are commands;
// further lines are its input, "<TEXT". What it prints, what it complains
// about, and its exit code are the answer.
func (w *world) ctl(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	line, answers, _ := strings.Cut(w.unmasked(d.Input), "\n")
	var input strings.Builder
	for text := range strings.SplitSeq(answers, "\n") {
		if text, isInput := strings.CutPrefix(text, "<"); isInput {
			input.WriteString(text + "\n")
		}
	}
	m := w.member(t, "pg01")
	in, errors := filepath.Join(m.Dir, "ctl.in"), filepath.Join(m.Dir, "ctl.err")
	if err := os.WriteFile(in, []byte(input.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	begin := time.Now()
	out, code, err := m.Run(ctx, "/bin/sh", "-c", fmt.Sprintf("PATH=%s:$PATH; export TMPDIR=%s; { %s\n} <%s 2>%s", w.Dir, m.Dir, line, in, errors))
	if err != nil {
		t.Fatalf("%s: %v\n%s", d.Pos, err, out)
	}
	if d.HasArg("took") {
		t.Logf("%s: %s took %v", d.Pos, line, time.Since(begin).Round(time.Millisecond))
	}
	complaints, err := os.ReadFile(errors)
	if err != nil {
		t.Fatal(err)
	}
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "<no line end>\n"
	}
	if len(complaints) > 0 {
		out += "stderr:\n" + string(complaints)
	}
	return w.masked(out) + fmt.Sprintf("exit %d\n", code)
}
