package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// network is the bridge all hosts of a run hang on. The test process itself is
// on it too (last address), as the clients' machine.
type network struct {
	bridge string
	prefix string // first three numbers of the addresses
}

// pickNetwork makes the bridge, or says why hosts are loopback addresses.
func (l *Lab) pickNetwork() {
	if os.Getuid() != 0 {
		l.t.Log("lab: not root: hosts are loopback addresses, nothing can be cut off")
		return
	}
	// Addresses of one width in every run: tables with them can be compared.
	n := &network{bridge: l.ID + "-br", prefix: fmt.Sprintf("10.%d.%d", 64+rand.IntN(36), 100+rand.IntN(156))}
	err := errors.Join(
		run("ip", "link", "add", n.bridge, "type", "bridge"),
		run("ip", "addr", "add", n.prefix+".254/24", "dev", n.bridge),
		run("ip", "link", "set", n.bridge, "up"))
	if err != nil {
		l.t.Logf("lab: hosts are loopback addresses, nothing can be cut off: %v", err)
		return
	}
	l.net = n
}

// Host is one machine: an address, a directory, a cgroup.
type Host struct {
	Name string
	Addr string
	// Dir belongs to the unprivileged user; it is HOME of what runs here.
	Dir string

	lab    *Lab
	caps   []uintptr // ambient capabilities of what is started here in the background
	n      int
	ns     string // path of the network namespace; empty: none
	veth   string // bridge side
	cgroup string
}

// Host adds a machine.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &Host{Name: name, lab: l, n: len(l.hosts) + 1, Dir: filepath.Join(l.Dir, name)}
	l.hosts = append(l.hosts, h)
	l.must(os.Mkdir(h.Dir, 0o755))
	if l.cred != nil {
		l.must(os.Chown(h.Dir, int(l.cred.Uid), int(l.cred.Gid)))
	}
	l.must(h.makeCgroup())
	if l.net == nil {
		id, _ := strconv.ParseUint(l.ID[1:], 36, 64)
		h.Addr = fmt.Sprintf("127.%d.%d.%d", 64+id%64, id/64%256, h.n)
		return h
	}
	h.Addr = fmt.Sprintf("%s.%d", l.net.prefix, h.n)
	l.must(h.makeNamespace())
	return h
}

// Shared makes a directory that all hosts see, as they would a file server's.
func (l *Lab) Shared(name string) string {
	l.t.Helper()
	dir := filepath.Join(l.Dir, name)
	l.must(os.Mkdir(dir, 0o755))
	if l.cred != nil {
		l.must(os.Chown(dir, int(l.cred.Uid), int(l.cred.Gid)))
	}
	return dir
}

// Script puts an executable shell script into the host's directory and
// returns its path.
func (h *Host) Script(name, text string) string {
	h.lab.t.Helper()
	path := filepath.Join(h.Dir, name)
	h.lab.must(os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755))
	return path
}

func (h *Host) makeNamespace() error {
	name := fmt.Sprintf("%s-n%d", h.lab.ID, h.n)
	h.veth = fmt.Sprintf("%s-%d", h.lab.ID, h.n)
	h.ns = "/run/netns/" + name
	for _, c := range []string{
		"ip netns add " + name,
		"ip link add " + h.veth + " type veth peer name eth0 netns " + name,
		"ip link set " + h.veth + " master " + h.lab.net.bridge + " up",
		"ip -n " + name + " link set lo up",
		"ip -n " + name + " link set eth0 up",
		"ip -n " + name + " addr add " + h.Addr + "/24 dev eth0",
	} {
		if err := run(strings.Fields(c)...); err != nil {
			return err
		}
	}
	return nil
}

// makeCgroup makes the host's group and delegates it to the user, as systemd's
// Delegate=yes does: what runs here may make groups of its own.
func (h *Host) makeCgroup() error {
	if h.lab.cgroup == "" {
		return nil
	}
	h.cgroup = filepath.Join(h.lab.cgroup, h.Name)
	for _, dir := range []string{h.cgroup, h.cgroup + "/main"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for _, f := range []string{"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"} {
			if err := os.Chown(dir+f, int(h.lab.cred.Uid), int(h.lab.cred.Gid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Start runs argv in the background as the unprivileged user, in a session of
// its own, output appended to <Dir>/<name>.log.
func (h *Host) Start(name string, argv ...string) *Proc {
	h.lab.t.Helper()
	p := &Proc{Log: filepath.Join(h.Dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	h.lab.must(err)
	defer log.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	h.lab.must(h.start(p.cmd, h.caps...))
	p.Pid = p.cmd.Process.Pid
	go func() {
		p.err = waitRegistered(p.cmd)
		close(p.done)
	}()
	return p
}

// Run executes argv here as the unprivileged user and returns what it printed
// (both streams) and its exit code. An error means that it could not be run.
func (h *Host) Run(ctx context.Context, argv ...string) (string, int, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	code, err := h.finish(ctx, cmd)
	return out.String(), code, err
}

// Output is Run with an input and the two streams apart.
func (h *Host) Output(ctx context.Context, input string, argv ...string) (Result, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	code, err := h.finish(ctx, cmd)
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}, err
}

// finish starts cmd here and waits for its end, or ends it with ctx.
func (h *Host) finish(ctx context.Context, cmd *exec.Cmd) (int, error) {
	if err := h.start(cmd); err != nil {
		return -1, err
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	err := waitRegistered(cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return exit.ExitCode(), nil
	}
	return cmd.ProcessState.ExitCode(), errors.Join(err, ctx.Err())
}

// start places cmd on this host: user, session, environment, cgroup, network.
func (h *Host) start(cmd *exec.Cmd, caps ...uintptr) error {
	cmd.Dir = h.Dir
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + h.Dir, "USER=" + h.lab.user.Username,
		"LC_ALL=C.UTF-8", "TZ=UTC", "PGHA_LAB_RUN=" + h.lab.ID,
	}
	if level := os.Getenv("PATRONI_LOG_LEVEL"); level != "" { // to look closer at a failing story
		cmd.Env = append(cmd.Env, "PATRONI_LOG_LEVEL="+level)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: h.lab.cred, AmbientCaps: caps}
	if h.cgroup != "" {
		group, err := os.Open(h.cgroup + "/main")
		if err != nil {
			return err
		}
		defer group.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	return h.inside(func() error { return startRegistered(cmd) })
}

// Dial connects from this host, also while it is cut off: to itself.
func (h *Host) Dial(ctx context.Context, netw, addr string) (net.Conn, error) {
	var c net.Conn
	err := h.inside(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, netw, addr)
		return err
	})
	return c, err
}

// Inside calls f in the host's network: a test's own client or listener there.
func (h *Host) Inside(f func() error) error { return h.inside(f) }

// inside calls f on an OS thread that is in the host's network namespace.
// Sockets and processes that f makes stay there.
func (h *Host) inside(f func() error) error {
	if h.ns == "" {
		return f()
	}
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine instead of
		// going back to the pool in the wrong namespace.
		runtime.LockOSThread()
		ns, err := os.Open(h.ns)
		if err != nil {
			result <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter %s: %w", h.ns, err)
			return
		}
		result <- f()
	}()
	return <-result
}

// Occupy listens on a TCP port of all the host's addresses, so that nothing
// else can, until release is called or the test ends.
func (h *Host) Occupy(port int) (release func()) {
	h.lab.t.Helper()
	var l net.Listener
	h.lab.must(h.inside(func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		return err
	}))
	release = func() { l.Close() }
	h.lab.t.Cleanup(release)
	return release
}
