package stories

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

var (
	stampText = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00)?`)
	lsnText   = regexp.MustCompile(`\b[0-9A-F]+/[0-9A-F]+\b`)
	tableRow  = regexp.MustCompile(`(?m)^(\+ Cluster|\+--|\| ).*\n`)
)

// same runs one command with the real patronictl and with pgha ctl and
// compares standard output byte by byte, and the exit code. If they differ,
// the first is run again: when its own answer has changed meanwhile, the round
// does not count. Under a writing client positions never stand still; then
// they are masked.
func same(t *testing.T, m *lab.Member, input string, args ...string) {
	t.Helper()
	mask := func(r lab.Result) lab.Result {
		r.Stdout = lsnText.ReplaceAllString(stampText.ReplaceAllString(r.Stdout, "TIME"), "X/Y")
		return r
	}
	// At the same time first: that saves most of the time, but the two may have
	// read before and after a change.
	theirs, ours := m.Both(input, args...)
	for try := 0; try < 3 && theirs.Stdout != ours.Stdout; try++ {
		theirs, ours = m.PatronictlInput(input, args...), m.CtlInput(input, args...)
		if theirs.Stdout == ours.Stdout || m.PatronictlInput(input, args...) == theirs {
			break
		}
		theirs, ours = mask(theirs), mask(ours)
	}
	differ(t, args, theirs, ours)
}

// differ compares what both tools printed. On standard error only the program's
// name, the wrapping of the Usage line, and log lines may differ. What another
// Patroni than the one pgha speaks for prints differently is a finding of
// `make lab`; in the runs of every change it is said, and fails nothing.
func differ(t *testing.T, args []string, theirs, ours lab.Result) {
	t.Helper()
	_, version := lab.PatroniPeer(t)
	errors := func(s string) string {
		if i := strings.LastIndex(s, "Error: "); i >= 0 {
			return s[i:]
		}
		return s
	}
	// The releases' numbers themselves differ then, whoever prints them.
	number := func(s string) string { return strings.ReplaceAll(s, version, lab.PatroniVersion) }
	if number(theirs.Stdout) == number(ours.Stdout) && theirs.Code == ours.Code && errors(theirs.Stderr) == errors(ours.Stderr) {
		return
	}
	say := t.Errorf
	if version != lab.PatroniVersion && lab.Mode() == "short" {
		say = t.Logf
	}
	say("%q\npatronictl %s: exit code %d\n%s%s\npgha ctl: exit code %d\n%s%s",
		args, version, theirs.Code, theirs.Stdout, theirs.Stderr, ours.Code, ours.Stdout, ours.Stderr)
}

// settled is what is left of an output when its tables, which show a moment,
// and its times are taken out.
func settled(r lab.Result) lab.Result {
	r.Stdout = stampText.ReplaceAllString(tableRow.ReplaceAllString(r.Stdout, ""), "TIME")
	return r
}

// alike carries a change out with one tool and takes it back with the other,
// and once more with the tools exchanged: both must say the same each time.
func alike(t *testing.T, l *lab.Lab, c *lab.Cluster, do, undo string) {
	t.Helper()
	m := c.Members[0]
	step := func(theirs bool, line string) lab.Result {
		if line == "" {
			return lab.Result{}
		}
		c.WaitHealthy(60 * time.Second)
		if theirs {
			return settled(m.Patronictl(words(line)...))
		}
		return settled(m.CtlInput("", words(line)...))
	}
	doTheirs, undoOurs := step(true, do), step(false, undo)
	// A member says in its next cycle that its scheduled restart is gone, and
	// the tools act on what the keys say.
	l.Until(30*time.Second, "no scheduled restart in any member's key", func() string {
		for _, m := range c.Members {
			if at := key(t, c, "members/"+m.Name)["scheduled_restart"]; at != nil && undo != "" {
				return fmt.Sprint(m.Name, " ", at)
			}
		}
		return ""
	})
	doOurs, undoTheirs := step(false, do), step(true, undo)
	differ(t, words(do), doTheirs, doOurs)
	differ(t, words(undo), undoTheirs, undoOurs)
	t.Logf("%s: %d %q; %s: %d %q", do, doTheirs.Code, doTheirs.Stdout+doTheirs.Stderr, undo, undoTheirs.Code, undoTheirs.Stdout+undoTheirs.Stderr)
}

// fromEtcd is how many of reads look into etcd only.
const fromEtcd = 27

// reads are commands that change nothing, refused ones among them.
var reads = []string{
	"list", "list -e", "list -f tsv", "list -f json", "list -f yaml", "list -f yml", "list -e -f json", "list -e -f yaml",
	"list -e -f tsv", "list nosuch", "list nosuch -f json", "list nosuch -f yaml", "list pg-basic nosuch", "topology",
	"history", "history -f json", "history -f tsv", "history -f yaml", "show-config", "show-config nosuch",
	"dsn", "dsn -r replica", "dsn -r primary", "dsn -r standby-leader", "dsn -m pg02", "dsn -m nosuch",
	"dsn -m pg01 -r leader", "version", "version pg-basic", "version pg-basic pg01", "version nosuch",
	"nosuch", "list --nosuch", "restart", "list -f xml", "flush pg-basic nosuch", "restart pg-basic -r nosuch",
	"restart pg-basic nosuch --force", "reinit pg-basic nosuch --force", "reinit pg-basic --force", "reload nosuch --force",
	"flush pg-basic switchover", "flush pg-basic restart --force", "switchover --candidate nosuch --force",
	"switchover --leader nosuch --force", "failover --force", "failover --candidate nosuch --force",
	"switchover nosuch --force", "switchover --force --scheduled nonsense", "resume", "pause nosuch",
	"restart pg-basic pg02 --pending --force", "edit-config -s ttl --force", "edit-config -s ttl=20 --force",
	"edit-config nosuch -s ttl=20 --force", "query", "query -c x -m nosuch", "query -r standby-leader -c x",
}

// answers are commands that ask, and what is answered.
var answers = []struct{ input, line string }{
	{"n\n", "edit-config -s ttl=null -s a.b.c=1 -p work_mem=8MB -p auto_explain.log_min_duration=5"},
	{"", "edit-config -s ttl=21"}, {"ttl: 30\n", "edit-config --apply -"}, {"\n\n\nn\n", "switchover"},
	{"\n\n2050-01-01T00:00\nn\n", "switchover"}, {"", "switchover"}, {"\n", "failover"}, {"\nn\n", "restart pg-basic"},
	{"2050-01-01T00:00\nn\n", "restart pg-basic"}, {"\ny\nnonsense\n", "restart pg-basic"},
	{"\nn\n", "restart pg-basic pg01 --pending"}, {"n\n", "reload pg-basic"}, {"n\n", "flush pg-basic restart"},
	{"pg-bas\n", "remove pg-basic"}, {"pg-basic\nNo\n", "remove pg-basic"}, {"pg-basic\nYes I am aware\nnosuch\n", "remove pg-basic"},
}

// queries by format; what patronictl cannot print (dates in JSON) is not here.
var queries = []string{
	"select 1 as a, true as b, null as c, 'x y' as d, 1.5::float8 as e", "select 1 where false", "selec",
	"select 1; select 2 as b", "create temp table x()", "select 'ü' as u, 17::int8 as z", "select pg_is_in_recovery()",
}

// The real patronictl and pgha ctl against members of one kind: everything both
// print is the same, and so is what the members answer to either.
func TestMixedToolsAgainstPgha(t *testing.T) { tools(t, lab.Options{Mixed: true}) }

func TestMixedToolsAgainstPatroni(t *testing.T) {
	tools(t, lab.Options{Patroni: []string{"pg01", "pg02", "pg03"}})
}

func tools(t *testing.T, o lab.Options) {
	l := long(t)
	c := l.NewCluster(l.StartEtcd(1), o)
	c.Start()
	m := c.Members[0]
	leads(t, c, c.Member("pg02")) // a history of one row
	leads(t, c, m)
	for i, line := range reads {
		// What comes from etcd alone is the same whoever wrote the keys.
		if len(o.Patroni) > 0 && i < fromEtcd && line != "list" && line != "history" {
			continue
		}
		same(t, m, "", words(line)...)
	}
	for _, a := range answers {
		same(t, m, a.input, words(a.line)...)
	}
	pass := filepath.Join(m.Dir, ".pgpass")
	if err := os.WriteFile(pass, []byte("*:*:*:postgres:"+lab.SuperuserPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chown", "--reference", m.Dir, pass).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for i, sql := range queries {
		format := []string{"tsv", "pretty", "json", "yaml"}[i%4]
		same(t, m, "", "query", "-U", "postgres", "-d", "postgres", "--format", format, "-r", []string{"leader", "replica"}[i/4], "-c", sql)
	}
	for _, change := range []struct{ do, undo string }{
		{"edit-config -s ttl=21 -p work_mem=8MB --force", "edit-config -s ttl=20 -p work_mem=null --force"},
		{"pause --wait", "resume --wait"},
		{"pause", "resume"},
		{"restart pg-basic pg03 --force", ""},
		{"restart pg-basic pg01 --force --timeout 60", ""},
		{"restart pg-basic pg03 --force --pg-version 9.6.1", ""},
		{"restart pg-basic pg03 --force --pg-version 9", ""},
		{"restart pg-basic pg03 --force --scheduled 2050-01-01T00:00+00:00", "flush pg-basic pg03 restart --force"},
		{"restart pg-basic pg03 --force --scheduled 2020-01-01T00:00+00:00", ""},
		{"reload pg-basic --force", ""},
		{"reinit pg-basic pg03 --force --wait", ""},
		{"reinit pg-basic pg01 --force", ""},
		{"switchover --force --scheduled 2050-01-01T00:00+00:00", "flush pg-basic switchover"},
		{"switchover --force --scheduled 2020-01-01T00:00+00:00", ""},
		{"switchover --force --candidate pg02", "switchover --force --candidate pg01"},
		{"failover --force --candidate pg02", "failover --force --candidate pg01"},
	} {
		alike(t, l, c, change.do, change.undo)
	}
	c.WaitHealthy(60 * time.Second)
	paused(t, l, c, true)
	for _, line := range []string{"list", "topology", "pause", "switchover --force", "restart pg-basic pg03 --force --scheduled 2050-01-01T00:00+00:00",
		"switchover --force --scheduled 2050-01-01T00:00+00:00", "show-config"} {
		same(t, m, "", words(line)...)
	}
	paused(t, l, c, false)
	c.WaitHealthy(60 * time.Second)
}
