package stories

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

const (
	guideFile   = "../../../docs/migrate-from-patroni.md"
	guideConfig = "/etc/patroni/patroni.yml"
)

// anyMember: which member leads is the cluster's choice, not the page's.
var anyMember = regexp.MustCompile(`pg0\d`)

// guide runs one command of docs/migrate-from-patroni.md on a member, as it is
// written there: a line of the page must be `    $ ` and the command. The
// machine's paths are the lab's, and systemctl is what it does to the agent.
func guide(t *testing.T, m *lab.Member, line string) (r lab.Result) {
	t.Helper()
	page, err := os.ReadFile(guideFile)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(strings.Split(string(page), "\n"), func(l string) bool {
		return anyMember.ReplaceAllString(strings.TrimSpace(l), "pg") == "$ "+anyMember.ReplaceAllString(line, "pg")
	}) {
		t.Fatalf("%s has no line `$ %s`", guideFile, line)
	}
	defer func() { t.Logf("%s$ %s\n%s%s", m.Name, line, r.Stdout, r.Stderr) }()
	argv := strings.Fields(strings.ReplaceAll(line, guideConfig, m.Config()))
	switch {
	case line == "systemctl stop patroni", line == "systemctl stop pgha":
		if want := argv[2]; m.Kind().String() != want {
			t.Fatalf("%s runs %s, not %s", m.Name, m.Kind(), want)
		}
		m.Shutdown(60 * time.Second)
		return lab.Result{}
	case line == "systemctl start pgha", line == "systemctl start patroni":
		m.Become(map[string]lab.Kind{"pgha": lab.Pgha, "patroni": lab.Patroni}[argv[2]])
		m.Start()
		m.AwaitREST(60 * time.Second)
		return lab.Result{}
	case argv[0] == "pgha" && argv[1] != "ctl", strings.Contains(line, " | "):
		return m.Shell(strings.ReplaceAll(line, guideConfig, m.Config()))
	case argv[0] == "patronictl" && argv[1] == "-c":
		return m.Patronictl(argv[3:]...)
	case strings.HasPrefix(line, "pgha ctl -c "):
		return m.CtlInput("", argv[4:]...)
	}
	t.Fatalf("this test cannot run %q", line)
	return lab.Result{}
}

// done fails unless a command of the guide ended well and said so.
func done(t *testing.T, r lab.Result, want string) {
	t.Helper()
	if r.Code != 0 || !strings.Contains(r.Stdout, want) {
		t.Fatalf("want %q and exit code 0: %+v", want, r)
	}
}

// migrate is the guide's way, member by member, replicas first: from one kind
// of agent to the other. It returns the longest write gap.
func migrate(t *testing.T, c *lab.Cluster, w *lab.Writer, from, to lab.Kind) time.Duration {
	t.Helper()
	began := time.Now()
	leader := c.WaitHealthy(60 * time.Second)
	tool := map[lab.Kind]string{lab.Patroni: "patronictl -c " + guideConfig, lab.Pgha: "pgha ctl -c " + guideConfig}
	for _, m := range c.Others(leader) {
		guide(t, m, "systemctl stop "+from.String())
		guide(t, m, "systemctl start "+to.String())
		done(t, guide(t, m, tool[to]+" list"), "| "+m.Name+" ")
		if now := c.WaitHealthy(60 * time.Second); now != leader {
			t.Fatalf("%s leads: changing %s, a replica, moved the leader", now.Name, m.Name)
		}
	}
	next := c.Others(leader)[0]
	r := guide(t, next, tool[to]+" switchover --force --candidate "+next.Name)
	done(t, r, `Successfully switched over to "`+next.Name+`"`)
	if now := c.WaitHealthy(60 * time.Second); now != next {
		t.Fatalf("%s leads, asked for %s", now.Name, next.Name)
	}
	guide(t, leader, "systemctl stop "+from.String())
	guide(t, leader, "systemctl start "+to.String())
	c.WaitHealthy(60 * time.Second)
	w.Advance(20 * time.Second)
	for _, m := range c.Members {
		if m.Kind() != to {
			t.Errorf("%s runs %s", m.Name, m.Kind())
		}
	}
	return w.Gap(began)
}

// A Patroni cluster becomes a pgha cluster and a Patroni cluster again, with
// writing clients: the commands of docs/migrate-from-patroni.md.
func TestMixedMigrationAndBack(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{Patroni: []string{"pg01", "pg02", "pg03"}})
	w, p := c.StartWriter(), c.StartProber()
	for _, way := range [][2]lab.Kind{{lab.Patroni, lab.Pgha}, {lab.Pgha, lab.Patroni}} {
		gap := migrate(t, c, w, way[0], way[1])
		t.Logf("%s to %s: longest write gap %v", way[0], way[1], gap.Round(time.Millisecond))
		if gap > 10*time.Second {
			t.Errorf("%s to %s: write gap %v", way[0], way[1], gap)
		}
		_, version := lab.PatroniPeer(t)
		if way[1] == lab.Pgha {
			version = lab.PatroniVersion // what pgha publishes
		}
		done(t, guide(t, c.Members[0], "patronictl -c "+guideConfig+" version pg-basic"), "pg01: Patroni "+version)
	}
	nothingLost(t, w, p, c.Leader())
}

// checkFirst is the guide's section of that name on one member that Patroni
// runs: nothing that pgha refuses, and the file is valid here.
func checkFirst(t *testing.T, m *lab.Member) {
	t.Helper()
	done(t, guide(t, m, "pgha agent --validate-config -i "+guideConfig), "")
	if r := guide(t, m, "pgha config lint "+guideConfig); strings.Contains(r.Stdout, "not supported") || r.Stderr != "" {
		t.Errorf("lint: %+v", r)
	}
	done(t, guide(t, m, "patronictl -c "+guideConfig+" show-config | pgha config lint --dcs -"), "nothing found")
}

// What the guide says is refused is found by its commands before the change.
func TestMixedRefusedIsFoundBeforehand(t *testing.T) {
	l := long(t)
	c := l.NewCluster(l.StartEtcd(1), lab.Options{Members: []string{"pg01"}, Patroni: []string{"pg01"}})
	c.Start()
	m := c.Members[0]
	checkFirst(t, m)
	for setting, want := range map[string]string{
		"synchronous_mode: true":                                 "synchronous_mode: on is not supported yet",
		"standby_cluster: {host: 192.0.2.1}":                     "standby clusters are not supported yet",
		"slots: {copy: {type: logical, plugin: x, database: y}}": "logical failover slots are not supported yet: copy",
	} {
		r := m.Shell("(patronictl -c " + m.Config() + " show-config; echo '" + setting + "') | pgha config lint --dcs -")
		if r.Code != 1 || !strings.Contains(r.Stdout, want) {
			t.Errorf("%s: want %q: %+v", setting, want, r)
		}
	}
	m.Edit("mode: automatic", "mode: required")
	for _, line := range []string{"pgha config lint " + guideConfig, "pgha agent --validate-config -i " + guideConfig} {
		if r := guide(t, m, line); r.Code != 0 { // Patroni's modes of the watchdog are ours
			t.Errorf("%s: %+v", line, r)
		}
	}
}

// The same with two members, one way: the story of every test run. Both tools
// show the cluster alike, byte by byte, while it is mixed.
func TestMixedMigration(t *testing.T) {
	l := short(t)
	c := l.NewCluster(l.StartEtcd(1), lab.Options{Members: []string{"pg01", "pg02"}, Patroni: []string{"pg01", "pg02"}})
	c.Start()
	w, p := c.StartWriter(), c.StartProber()
	checkFirst(t, c.Members[0])
	gap := migrate(t, c, w, lab.Patroni, lab.Pgha)
	t.Logf("longest write gap %v", gap.Round(time.Millisecond))
	nothingLost(t, w, p, c.Leader())
	for _, args := range []string{"list", "list -f json", "history -f tsv"} {
		same(t, c.Leader(), "", words(args)...)
	}
}
