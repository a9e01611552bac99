package guard_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard/client"
)

const agentMarker = "PGHA_STRIKE_AGENT" // the scenario's directory

// TestMain lets the test binary be three programs: the tests, an agent that
// does what it is told on its standard input and that can be struck, and,
// through the package's own init, the guard.
func TestMain(m *testing.M) {
	if dir := os.Getenv(agentMarker); dir != "" {
		agentMain(dir)
		return
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set("7") // the scenarios mostly wait
	}
	code := m.Run()
	removeTemplate()
	os.Exit(code)
}

// agentMain answers one line per command: "ok ..." or "err <sentinel> text".
func agentMain(dir string) {
	a := &strikeAgent{dir: dir}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		f := strings.Fields(in.Text())
		answer, err := a.do(f[0], f[1:])
		if err != nil {
			answer = "err " + sentinel(err) + " " + err.Error()
		} else {
			answer = strings.TrimSpace("ok " + answer)
		}
		fmt.Println(answer)
	}
}

func sentinel(err error) string {
	for name, s := range map[string]error{"noguard": client.ErrNoGuard, "running": client.ErrGuardRunning,
		"stale": client.ErrStaleEpoch, "deadline": client.ErrDeadline, "occupied": client.ErrOccupied,
		"unsupported": client.ErrUnsupported, "refused": client.ErrRefused, "timeout": context.DeadlineExceeded} {
		if errors.Is(err, s) {
			return name
		}
	}
	return "other"
}

type strikeAgent struct {
	dir string
	exe string // "": this binary
	c   *client.Client
}

func (a *strikeAgent) do(verb string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	number := func(i int) int64 { n, _ := strconv.ParseInt(args[i], 10, 64); return n }
	switch verb {
	case "exe":
		a.exe = args[0]
		return "", nil
	case "spawn":
		logFile, err := os.OpenFile(filepath.Join(a.dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return "", err
		}
		defer logFile.Close()
		c, err := client.Spawn(ctx, client.Options{Exe: a.exe, StateDir: a.dir + "/state", DataDir: a.dir + "/data",
			Scope: "strike", Epoch: uint64(number(0)), Stdout: logFile, Stderr: logFile})
		if err != nil {
			return "", err
		}
		a.c = c
		return strconv.Itoa(c.GuardPID()), nil
	case "connect":
		c, err := client.Connect(ctx, a.dir+"/state", uint64(number(0)))
		if err == nil {
			a.c = c
		}
		return "", err
	case "arm", "shorten": // milliseconds of ttl
		ttl := time.Duration(number(0)) * time.Millisecond
		deadline := clock.Now().Add(ttl)
		if verb == "shorten" {
			return strconv.FormatInt(int64(deadline), 10), a.c.Shorten(ctx, deadline, ttl)
		}
		return strconv.FormatInt(int64(deadline), 10), a.c.Arm(ctx, deadline, ttl)
	case "disarm":
		return "", a.c.Disarm(ctx)
	case "pause":
		return "", a.c.DisarmForPause(ctx)
	case "start":
		pid, err := a.c.Start(ctx, a.command(), client.Mode(args[0]))
		return strconv.Itoa(pid), err
	case "adopt":
		return "", a.c.Adopt(ctx, int(number(0)), uint64(number(1)))
	case "promote":
		return "", a.c.Promote(ctx)
	case "stop":
		return "", a.c.Stop(ctx, args[0])
	case "kill":
		return "", a.c.Kill(ctx)
	case "exited":
		select {
		case e := <-a.c.Exited():
			return fmt.Sprintf("status=%s stage=%s lost=%t", e.Status, e.Stage, e.GuardLost), nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	case "fired":
		select {
		case s := <-a.c.Fired():
			return s.String(), nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	case "state":
		s, err := a.c.State(ctx)
		return fmt.Sprintf("%+v", s), err
	case "sweep":
		n, err := client.Sweep(ctx, a.dir+"/data")
		return strconv.Itoa(n), err
	default:
		return "", errors.New("unknown command " + verb)
	}
}

func (a *strikeAgent) command() client.Command {
	postgres := os.Getenv("PGBIN") + "/postgres"
	return client.Command{Path: postgres, Dir: a.dir, Env: []string{"LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin", "HOME=" + a.dir},
		Args: []string{postgres, "-D", a.dir + "/data", "-c", "listen_addresses=", "-c", "unix_socket_directories=" + a.dir,
			"-c", "port=5432", "-c", "shared_buffers=16MB", "-c", "autovacuum=off"}}
}

// struck is an agent process as the tests see it.
type struck struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func (b *box) agent() *struck { return b.agentIn(-1) }

// agentIn starts the agent in a cgroup, given by its directory's descriptor.
func (b *box) agentIn(group int) *struck {
	attr := asPostgres()
	if group >= 0 {
		attr.UseCgroupFD, attr.CgroupFD = true, group
	}
	return b.agentWith(attr)
}

func (b *box) agentWith(attr *syscall.SysProcAttr) *struck {
	b.t.Helper()
	cmd := exec.Command(filepath.Join(template.dir, "test.bin"))
	cmd.Env = []string{agentMarker + "=" + b.dir, "PGBIN=" + pgBin(b.t), "PATH=/usr/bin:/bin"}
	cmd.Dir, cmd.Stderr, cmd.SysProcAttr = "/", os.Stderr, attr
	in, err := cmd.StdinPipe()
	must(b.t, err)
	out, err := cmd.StdoutPipe()
	must(b.t, err)
	must(b.t, cmd.Start())
	b.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &struck{t: b.t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
}

// ask sends a command and returns the answer; "ok" is cut off.
func (a *struck) ask(command string) (answer string, ok bool) {
	a.t.Helper()
	fmt.Fprintln(a.in, command)
	if !a.out.Scan() {
		a.t.Fatalf("agent ended while asked to %s", command)
	}
	answer, ok = strings.CutPrefix(a.out.Text(), "ok")
	return strings.TrimSpace(answer), ok
}

func (a *struck) must(command string) string {
	a.t.Helper()
	answer, ok := a.ask(command)
	if !ok {
		a.t.Fatalf("%s: %s", command, answer)
	}
	return answer
}

// refused asserts that the command fails with one of the sentinels.
func (a *struck) refused(command string, sentinels ...string) {
	a.t.Helper()
	answer, ok := a.ask(command)
	if ok {
		a.t.Errorf("%s was granted (%s), want refusal", command, answer)
		return
	}
	for _, s := range sentinels {
		if strings.HasPrefix(answer, "err "+s+" ") {
			return
		}
	}
	a.t.Errorf("%s: %s, want %v", command, answer, sentinels)
}

func asPostgres() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if os.Getuid() == 0 {
		attr.Credential = postgresUser()
	}
	return attr
}
