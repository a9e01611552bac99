package contract

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	// stored is the configuration as the bootstrap wrote it, shown is what
	// GET /config makes of it.
	stored, shown string
	// down says that etcd was killed: nothing can be compared then.
	down bool
	// timelines says that timelines are not compared.
	timelines bool
	limit     time.Duration // of one wait
	wrong     []string      // of the file: datadriven ends it when the test has failed
}

// patience bounds every wait for a state of the cluster, impatience those
// after a case has failed.
const (
	patience   = 90 * time.Second
	impatience = 20 * time.Second
)

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
	leader.MustQuery("create table t as select 1 as x") // what cases write to, and a transaction to replay
	a, err := w.send(leader, leader.Host, "GET /config", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if w.shown = a.body; a.code != 200 {
		t.Fatalf("GET /config: %s", a.text())
	}
	if w.stored, _, err = w.etcd.Get(w.cluster.Key("config")); err != nil {
		t.Fatal(err)
	}
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
			t.Run(part+"/"+strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { w.walk(t, part, file) })
		}
	}
}

// walk runs one file's cases, from a cluster that is as every file finds it.
func (w *world) walk(t *testing.T, part, file string) {
	begin := time.Now()
	w.timelines = part == "outages"
	w.limit, w.wrong = patience, nil
	if part != "bootstrap" {
		w.restore(t)
	}
	ready := time.Since(begin)
	datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string { return w.directive(t, d) })
	for _, text := range w.wrong {
		t.Error(text)
	}
	t.Logf("%.1f s, %.1f s of them before the first case", time.Since(begin).Seconds(), ready.Seconds())
}

// directive runs one case. A wrong answer fails the test and the file goes on:
// later cases undo what earlier ones did. After the first one nothing is
// waited for as long as before.
func (w *world) directive(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var got string
	if d.HasArg("eventually") {
		got = w.eventually(t, d)
	} else {
		got = w.once(t, d)
	}
	if d.Rewrite || strings.TrimSpace(got) == strings.TrimSpace(d.Expected) {
		return got
	}
	w.limit = impatience
	w.wrong = append(w.wrong, fmt.Sprintf("%s:\n%s\n%s\nexpected:\n%sfound:\n%s", d.Pos, d.Cmd, d.Input, d.Expected, got))
	return d.Expected
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
		if d.HasArg("own") {
			return w.ownMetrics(t, d)
		}
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
	limit := w.limit
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
		last := w.until(func() string {
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
		if last != "" {
			return fmt.Sprintf("%s still not, after %v: %s\n", m.Name, w.limit, w.masked(last))
		}
	}
	return "ok"
}

// until asks probe until it says nothing more, or for too long; it returns
// what it said last.
func (w *world) until(probe func() string) string {
	deadline := time.Now().Add(w.limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := probe()
		if last == "" || time.Now().After(deadline) {
			return last
		}
		<-tick.C
	}
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
	in, errs := filepath.Join(m.Dir, "ctl.in"), filepath.Join(m.Dir, "ctl.err")
	if err := os.WriteFile(in, []byte(input.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	begin := time.Now()
	out, code, err := m.Run(ctx, "/bin/sh", "-c", fmt.Sprintf("PATH=%s:$PATH; export TMPDIR=%s; { %s\n} <%s 2>%s", w.Dir, m.Dir, line, in, errs))
	if err != nil {
		t.Fatalf("%s: %v\n%s", d.Pos, err, out)
	}
	if d.HasArg("took") {
		t.Logf("%s: %s took %v", d.Pos, line, time.Since(begin).Round(time.Millisecond))
	}
	complaints, err := os.ReadFile(errs)
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
