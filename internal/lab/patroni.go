package lab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// PatroniVersion is the Patroni that mixed clusters and comparisons use, and
// the version that pgha publishes (rulings 25).
const PatroniVersion = "4.1.5"

// python is Debian's own interpreter: another one may come first in PATH, and
// does not find Debian's modules.
const python = "/usr/bin/python3"

// Kind is which agent a member runs.
type Kind int

// The two agents.
const (
	Pgha    Kind = iota
	Patroni      // the real one, version PatroniVersion
)

// String is the program's name.
func (k Kind) String() string {
	if k == Patroni {
		return "patroni"
	}
	return "pgha"
}

// PatroniPeer is the directory into which the real Patroni was unpacked. A
// machine without it fails the test with the command that puts it there.
func PatroniPeer(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(sharedCache(), "patroni", PatroniVersion)
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/patronictl")); err != nil {
		t.Fatalf("lab: this story needs Patroni %s in %s: run `bash internal/lab/patronipeer.sh` (as root on Debian; it installs what Patroni needs)",
			PatroniVersion, dir)
	}
	return dir
}

// peerCommand is the command line of one of Patroni's programs.
func peerCommand(t testing.TB, program string, args ...string) []string {
	peer := PatroniPeer(t)
	return append([]string{"/usr/bin/env", "PYTHONPATH=" + filepath.Join(peer, "usr/lib/python3/dist-packages"),
		"PYTHONDONTWRITEBYTECODE=1", python, filepath.Join(peer, "usr/bin", program)}, args...)
}

// Become makes the member's next Start run the other agent, on the same data
// directory and with the same patroni.yml. The one that runs must have ended.
func (m *Member) Become(k Kind) {
	m.lab.t.Helper()
	m.mustBeDown()
	m.kind = k
}

// Kind is which agent the member runs, or will run at the next Start.
func (m *Member) Kind() Kind { return m.kind }

// Replace is what a migration does to one machine: the agent is stopped, with
// its PostgreSQL, and the other kind is started on the same files. It returns
// once the new agent answers.
func (m *Member) Replace(k Kind) {
	m.lab.t.Helper()
	m.Shutdown(60 * time.Second)
	m.Become(k)
	m.Start()
	m.AwaitREST(60 * time.Second)
}

// AwaitREST waits until the member's API says that PostgreSQL runs.
func (m *Member) AwaitREST(timeout time.Duration) {
	m.lab.t.Helper()
	m.cluster.until(timeout, m.Name+" to run under "+m.kind.String(), func() string {
		s, err := m.Status()
		if err != nil {
			return err.Error()
		}
		if s.State != "running" {
			return m.Name + " is " + s.State
		}
		return ""
	})
}

// Edit replaces a piece of the member's patroni.yml that must be there.
func (m *Member) Edit(from, to string) {
	m.lab.t.Helper()
	text, err := os.ReadFile(m.Config())
	m.lab.must(err)
	if !strings.Contains(string(text), from) {
		m.lab.t.Fatalf("lab: %s has no %q", m.Config(), from)
	}
	m.lab.must(os.WriteFile(m.Config(), []byte(strings.Replace(string(text), from, to, 1)), 0o644))
}

// Reload sends SIGHUP to the agent: read patroni.yml again.
func (m *Member) Reload() { m.lab.must(m.agent.Signal(syscall.SIGHUP)) }

// Result is what a command printed and how it ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Patronictl runs the real `patronictl -c patroni.yml ...` on the member.
func (m *Member) Patronictl(args ...string) Result {
	m.lab.t.Helper()
	return m.PatronictlInput("", args...)
}

// PatronictlInput is Patronictl with answers to its questions.
func (m *Member) PatronictlInput(input string, args ...string) Result {
	m.lab.t.Helper()
	return m.command(input, peerCommand(m.lab.t, "patronictl", append([]string{"-c", m.Config()}, args...)...))
}

// CtlInput is Ctl with answers to its questions and the two streams apart.
func (m *Member) CtlInput(input string, args ...string) Result {
	m.lab.t.Helper()
	return m.command(input, append([]string{m.bin, "ctl", "-c", m.Config()}, args...))
}

// PatroniOnce runs a second agent, Patroni, on the member until it ends by
// itself; one that still runs after limit fails the test.
func (m *Member) PatroniOnce(limit time.Duration) Result {
	m.lab.t.Helper()
	return m.within(limit, "", peerCommand(m.lab.t, "patroni", m.Config()))
}

// PghaOnce is PatroniOnce with pgha.
func (m *Member) PghaOnce(limit time.Duration) Result {
	m.lab.t.Helper()
	return m.within(limit, "", []string{m.bin, "agent", "-c", m.Config()})
}

// command runs argv here, at most 90 s.
func (m *Member) command(input string, argv []string) Result {
	m.lab.t.Helper()
	return m.within(90*time.Second, input, argv)
}

func (m *Member) within(limit time.Duration, input string, argv []string) Result {
	m.lab.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r, err := m.Output(ctx, input, argv...)
	if err != nil {
		m.lab.t.Fatalf("%s on %s: %v\n%s%s", strings.Join(argv, " "), m.Name, err, r.Stdout, r.Stderr)
	}
	return r
}
