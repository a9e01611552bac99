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
	stamp   = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?`)
	lsnText = regexp.MustCompile(`\b[0-9A-F]+/[0-9A-F]+\b`)
)

// same runs one command with the real patronictl and with pgha ctl and
// compares standard output byte by byte, and the exit code. The first is run
// again afterwards: if its answer has changed meanwhile, the round does not
// count. Under a writing client positions never stand still; then they are
// masked.
func same(t *testing.T, m *lab.Member, input string, args ...string) {
	t.Helper()
	var theirs, ours, again lab.Result
	for range 3 {
		theirs, ours = m.PatronictlInput(input, args...), m.CtlInput(input, args...)
		again = m.PatronictlInput(input, args...)
		if theirs == again {
			break
		}
	}
	if theirs != again {
		theirs.Stdout, ours.Stdout = lsnText.ReplaceAllString(theirs.Stdout, "X/Y"), lsnText.ReplaceAllString(ours.Stdout, "X/Y")
	}
	differ(t, args, theirs, ours)
}

func differ(t *testing.T, args []string, theirs, ours lab.Result) {
	t.Helper()
	if theirs.Stdout != ours.Stdout || theirs.Code != ours.Code {
		t.Errorf("%s\npatronictl: exit code %d\n%s\npgha ctl: exit code %d\n%s\n(stderr of both:)\n%s\n%s",
			strings.Join(args, " "), theirs.Code, theirs.Stdout, ours.Code, ours.Stdout, theirs.Stderr, ours.Stderr)
	}
	if (theirs.Stderr == "") != (ours.Stderr == "") || !strings.Contains(theirs.Stderr, "Traceback") && theirs.Stderr != ours.Stderr {
		t.Errorf("%s: stderr\npatronictl: %s\npgha ctl: %s", strings.Join(args, " "), theirs.Stderr, ours.Stderr)
	}
}

func TestMixedCommandsScratch(t *testing.T) {
	l := long(t)
	for _, kind := range []lab.Kind{lab.Pgha, lab.Patroni} {
		t.Run(kind.String(), func(t *testing.T) { commands(t, l, kind) })
	}
}

func commands(t *testing.T, l *lab.Lab, kind lab.Kind) {
	e := l.StartEtcd(1)
	o := lab.Options{Mixed: true}
	if kind == lab.Patroni {
		o.Patroni = []string{"pg01", "pg02", "pg03"}
	}
	c := l.NewCluster(e, o)
	c.Start()
	m := c.Leader()
	pass := filepath.Join(m.Dir, ".pgpass")
	os.WriteFile(pass, []byte("*:*:*:postgres:"+lab.SuperuserPassword+"\n"), 0o600)
	exec.Command("chown", "postgres", pass).Run()
	r := c.Others(m)
	for _, line := range []string{
		"list", "list -e", "list -f tsv", "list -f json", "list -f yaml", "list -f yml", "list -e -f json", "list -e -f yaml", "list -e -f tsv", "list nosuch", "list nosuch -f json", "list nosuch -f tsv", "list nosuch -f yaml",
		"list pg-basic nosuch", "topology", "topology nosuch", "history", "history -f json", "history -f tsv", "history -f yaml", "show-config", "show-config nosuch",
		"dsn", "dsn -r replica", "dsn -r any", "dsn -r primary", "dsn -r standby-leader", "dsn -m pg02", "dsn -m nosuch", "dsn -m pg01 -r leader", "dsn nosuch",
		"version", "version pg-basic", "version pg-basic pg01", "version nosuch",
		"nosuch", "list --nosuch", "restart", "list -f xml", "flush pg-basic nosuch", "restart pg-basic -r nosuch",
		"restart pg-basic nosuch --force", "reinit pg-basic nosuch --force", "reinit pg-basic --force", "reload nosuch --force", "reload pg-basic nosuch --force", "restart nosuch --force", "flush pg-basic switchover", "flush pg-basic restart --force",
		"switchover --candidate nosuch --force", "switchover --leader nosuch --force", "failover --force", "failover --candidate nosuch --force", "switchover nosuch --force",
		"switchover --force --candidate " + m.Name, "failover --force --candidate " + m.Name, "switchover --force --scheduled nonsense", "switchover --force --scheduled 2020-01-01T00:00",
		"resume", "pause nosuch",
		"edit-config -s ttl --force", "edit-config -s ttl=20 --force", "edit-config nosuch -s ttl=20 --force", "edit-config --apply /nonexistent --force",
		"remove nosuch", "demote-cluster --force", "promote-cluster --force",
		"query -c select", "query", "query -c x -f y", "query -m nosuch -c x", "query -r standby-leader -c x",
	} {
		same(t, m, "", words(line)...)
	}
	for _, f := range []string{"tsv", "pretty", "json", "yaml", "xxx"} {
		for _, sql := range []string{"select 1 as a, true as b, null as c, 'x y' as d, 1.5::float8 as e", "select 1 where false", "selec", "select 1; select 2 as b", "create temp table x()", "select 'a'||chr(10)||'b' as \"N\", 17::int8 as z, '{1,2}'::int[] as arr, 'ü' as u", "select now()::date, 1.10::numeric, '{\"a\":1}'::jsonb"} {
			same(t, m, "", "query", "-U", "postgres", "-d", "postgres", "--format", f, "-c", sql)
		}
		same(t, m, "", "query", "-U", "postgres", "-d", "postgres", "--format", f, "-r", "replica", "-c", "select pg_is_in_recovery()")
		same(t, m, "", "query", "-U", "postgres", "-d", "postgres", "--format", f, "-m", r[0].Name, "-c", "create table y()")
		same(t, m, "", "query", "-U", "postgres", "-d", "postgres", "--format", f, "--delimiter", ";", "-c", "select 1, 2")
	}
	for _, in := range []struct{ in, line string }{
		{"n\n", "edit-config -s ttl=21"}, {"", "edit-config -s ttl=21"}, {"", "switchover"}, {"\n", "switchover"}, {"\n\n\n", "switchover"}, {"\n\n\nn\n", "switchover"}, {"\n\n2050-01-01T00:00\nn\n", "switchover"},
		{"\n", "failover"}, {r[0].Name + "\nn\n", "failover"}, {"\nn\n", "restart pg-basic"}, {"2050-01-01T00:00\nn\n", "restart pg-basic"}, {"\ny\nnonsense\n", "restart pg-basic"}, {"\nn\n", "restart pg-basic pg01 --pending"},
		{"n\n", "reload pg-basic"}, {"\n", "reinit pg-basic"}, {r[0].Name + "\nn\n", "reinit pg-basic"}, {"n\n", "flush pg-basic restart"}, {"pg-bas\n", "remove pg-basic"}, {"pg-basic\nNo\n", "remove pg-basic"}, {"pg-basic\nYes I am aware\nnosuch\n", "remove pg-basic"},
		{"n\n", "demote-cluster --host x"}, {"n\n", "promote-cluster"},
		{"ttl: 30\n", "edit-config --apply -"}, {"n\n", "edit-config -s ttl=null -s a.b.c=1 -p work_mem=8MB -p auto_explain.log_min_duration=5"},
		{"n\n", "edit-config -s loop_wait=on -s x=[1,2] -s y={a: b} -s z='0777'"},
	} {
		same(t, m, in.in, words(in.line)...)
	}
	_ = fmt.Sprint
	_ = time.Second
}
