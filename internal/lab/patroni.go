package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// PatroniVersion is the Patroni that mixed clusters and comparisons prefer, and
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
	Patroni      // the real one, see PatroniPeer
)

// String is the program's name.
func (k Kind) String() string {
	if k == Patroni {
		return "patroni"
	}
	return "pgha"
}

// PatroniPeer is the directory into which the real Patroni was unpacked and the
// version of it: PatroniVersion if it is there, else the newest 4.x. A machine
// without any fails the test with the command that puts it there.
func PatroniPeer(t testing.TB) (dir, version string) {
	t.Helper()
	cache := filepath.Join(sharedCache(), "patroni")
	found, _ := filepath.Glob(filepath.Join(cache, "4.*/usr/bin/patronictl"))
	for i, program := range found {
		found[i] = filepath.Base(strings.TrimSuffix(program, "/usr/bin/patronictl"))
	}
	version = choosePeer(found)
	if version == "" {
		t.Fatalf("lab: this story needs Patroni %s (or another 4.x) in %s: run `bash internal/lab/patronipeer.sh` (as root on Debian; it installs what Patroni needs)",
			PatroniVersion, cache)
	}
	return filepath.Join(cache, version), version
}

// choosePeer prefers PatroniVersion, then the newest; "" of none.
func choosePeer(found []string) string {
	best, at := "", []int(nil)
	for _, v := range found {
		if v == PatroniVersion {
			return v
		}
		var parts []int
		for _, p := range strings.Split(v, ".") {
			n, err := strconv.Atoi(p)
			if err != nil {
				parts = nil
				break
			}
			parts = append(parts, n)
		}
		if parts != nil && slices.Compare(parts, at) > 0 {
			best, at = v, parts
		}
	}
	return best
}

// peerCommand is the command line of one of Patroni's programs.
func peerCommand(t testing.TB, program string, args ...string) []string {
	peer, _ := PatroniPeer(t)
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

// Both runs one command that changes nothing with both tools at the same time:
// PatronictlInput and CtlInput.
func (m *Member) Both(input string, args ...string) (theirs, ours Result) {
	m.lab.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	argv := peerCommand(m.lab.t, "patronictl", append([]string{"-c", m.Config()}, args...)...)
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		theirs, failed = m.Output(ctx, input, argv...)
	}()
	ours, err := m.Output(ctx, input, append([]string{m.bin, "ctl", "-c", m.Config()}, args...)...)
	<-done
	if err := errors.Join(err, failed); err != nil {
		m.lab.t.Fatalf("%q on %s: %v\n%+v\n%+v", args, m.Name, err, theirs, ours)
	}
	return theirs, ours
}

// Shell runs one line of a shell on the member, in which patronictl is the real
// one and pgha the one under test.
func (m *Member) Shell(line string) Result {
	m.lab.t.Helper()
	bin := filepath.Join(m.Dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		m.lab.must(err)
	}
	for name, argv := range map[string][]string{"patronictl": peerCommand(m.lab.t, "patronictl"), "pgha": {m.bin}} {
		m.Script("bin/"+name, "exec '"+strings.Join(argv, "' '")+"' \"$@\"\n")
	}
	return m.command("", []string{"/bin/sh", "-c", "PATH='" + bin + "':$PATH; " + line})
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
