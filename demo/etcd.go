package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// etcd is the demo's three etcd members: one process of the built-in kind, or
// three of --etcd-bin.
type etcd struct {
	clientPorts []int
	procs       []*process
	stdin       io.Closer
}

// startEtcd starts the members and waits until they answer. ports are three
// client ports, then three peer ports.
func (d *stage) startEtcd(ctx context.Context, ports []int) (*etcd, error) {
	e := &etcd{clientPorts: ports[:3]}
	var err error
	if d.EtcdBin != "" {
		err = d.startOwnEtcd(ctx, e, ports)
	} else {
		err = d.startTrio(ctx, e, ports)
	}
	if err != nil {
		e.stop()
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	return e, nil
}

// startTrio starts the built-in etcd. It ends when its standard input does,
// so it cannot outlive the demo.
func (d *stage) startTrio(ctx context.Context, e *etcd, ports []int) error {
	path := filepath.Join(d.dir, "etcdtrio")
	if err := unpack(path); err != nil {
		return err
	}
	var list []string
	for _, p := range ports {
		list = append(list, strconv.Itoa(p))
	}
	cmd := exec.Command(path, "-dir", filepath.Join(d.dir, "etcd"), "-ports", strings.Join(list, ","))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p, err := startProcess(cmd, filepath.Join(d.dir, "etcd.log"))
	if err != nil {
		return err
	}
	e.stdin, e.procs = stdin, append(e.procs, p)
	ready := make(chan bool, 1)
	go func() { ready <- bufio.NewScanner(stdout).Scan() }()
	select {
	case ok := <-ready:
		if !ok {
			return fmt.Errorf("it ended: %s", lastLines(filepath.Join(d.dir, "etcd.log"), 5))
		}
		return nil
	case <-time.After(25 * time.Second):
		return fmt.Errorf("not ready after 25 s")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startOwnEtcd starts three processes of --etcd-bin.
func (d *stage) startOwnEtcd(ctx context.Context, e *etcd, ports []int) error {
	url := func(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }
	var initial []string
	for i := range 3 {
		initial = append(initial, fmt.Sprintf("etcd%d=%s", i+1, url(ports[3+i])))
	}
	for i := range 3 {
		name := fmt.Sprintf("etcd%d", i+1)
		cmd := exec.Command(d.EtcdBin, "--name", name, "--data-dir", filepath.Join(d.dir, name),
			"--listen-client-urls", url(ports[i]), "--advertise-client-urls", url(ports[i]),
			"--listen-peer-urls", url(ports[3+i]), "--initial-advertise-peer-urls", url(ports[3+i]),
			"--initial-cluster", strings.Join(initial, ","), "--log-level", "error")
		p, err := startProcess(cmd, filepath.Join(d.dir, name+".log"))
		if err != nil {
			return err
		}
		e.procs = append(e.procs, p)
	}
	for i := range 3 {
		if err := waitHealthy(ctx, url(ports[i])); err != nil {
			return err
		}
	}
	return nil
}

func waitHealthy(ctx context.Context, url string) error {
	client := http.Client{Timeout: time.Second}
	return until(ctx, 20*time.Second, "etcd at "+url+" answers", func() error {
		r, err := client.Get(url + "/health")
		if err != nil {
			return errWaiting(err.Error())
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return errWaiting(r.Status)
		}
		return nil
	})
}

// stop ends the members at once: their data is not kept.
func (e *etcd) stop() {
	if e.stdin != nil {
		e.stdin.Close()
	}
	for _, p := range e.procs {
		p.kill()
	}
}

// process is a child of the demo.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// startProcess starts cmd in a session of its own (ctrl-C reaches only the
// demo, which then ends everything in order), its output appended to log
// unless taken. The kernel sends it SIGTERM if the demo is killed.
func startProcess(cmd *exec.Cmd, log string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = f
	}
	cmd.Stderr = f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends the process and waits until it is reaped.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// freePorts finds n TCP ports of the loopback address that nobody uses.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// All are held until all are found, so that they differ.
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// errWaiting is what a probe returns while it is not so yet; until stops at
// any other error.
type errWaiting string

func (e errWaiting) Error() string { return string(e) }

// until calls probe five times a second until it returns nil. The error names
// what was awaited and probe's last words.
func until(ctx context.Context, limit time.Duration, what string, probe func() error) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		last := probe()
		if last == nil {
			return nil
		}
		if _, waiting := last.(errWaiting); !waiting {
			return fmt.Errorf("wait for: %s: %w", what, last)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v still not: %s; last seen: %w", limit, what, last)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lastLines is the end of a text file, or why it cannot be read.
func lastLines(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
