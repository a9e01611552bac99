// Package demo is a cluster on this machine in one command: three etcd
// members, three PostgreSQL members under pgha agents, all on loopback ports,
// a client that writes all the time, and a primary that is killed. It drives
// the real agents and the real `pgha ctl` by executing its own binary.
//
// Nothing is left behind: all files are in one temporary directory, all
// processes are ended by their ids, and agents and etcd end by themselves if
// the demo is killed.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"pgha/internal/writer"
)

// SetupError: this machine or the options lack something; the text names it.
type SetupError struct{ Text string }

func (e *SetupError) Error() string { return e.Text }

// ExitCode is that of usage and configuration errors (rulings 51).
func (e *SetupError) ExitCode() int { return 2 }

func setupErrorf(format string, args ...any) error { return &SetupError{fmt.Sprintf(format, args...)} }

// Scripts are the non-interactive courses of events.
var Scripts = []string{"failover"}

// Options of the demo.
type Options struct {
	// Script to run; empty: interactive, until ctx ends.
	Script string
	// BinDir holds PostgreSQL's programs; empty: the usual places are searched.
	BinDir string
	// EtcdBin is an etcd binary to use instead of the built-in one.
	EtcdBin string
	// User runs everything when started as root; empty: postgres, else SUDO_USER.
	User string
	// Out gets the story. Live redraws the table in place: for terminals.
	Out  io.Writer
	Live bool
}

// step limits: the scripted demo must end within 90 s.
const (
	startLimit    = 45 * time.Second
	failoverLimit = 40 * time.Second
	rejoinLimit   = 30 * time.Second
)

// Run runs the demo and cleans up. It returns nil when ctx ends an interactive
// demo, ctx's error when it ends a script. As root it runs itself again as an
// unprivileged user.
func Run(ctx context.Context, o Options) error {
	if o.Script != "" && o.Script != "failover" {
		return setupErrorf("unknown script %q, there is: failover", o.Script)
	}
	if o.BinDir == "" {
		dir, err := findPostgreSQL()
		if err != nil {
			return err
		}
		o.BinDir = dir
	}
	if o.EtcdBin == "" && !bundled() {
		return setupErrorf("this pgha was built without its etcd, run `make build`, or pass --etcd-bin")
	}
	if os.Getuid() == 0 {
		return becomeUser(o)
	}
	// Children die with the thread that started them (parent-death signal), so
	// that even kill -9 of the demo leaves nothing: this one must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	d, err := newStage(o)
	if err != nil {
		return err
	}
	err = d.play(ctx)
	d.say("")
	d.say("Cleaning up.")
	if cleanErr := d.strike(); err == nil {
		err = cleanErr
	}
	return err
}

// stage is everything that must be cleaned up.
type stage struct {
	Options
	dir     string
	exe     string
	etcd    *etcd
	members []*member
	writer  *writer.Writer
	start   time.Time
}

func newStage(o Options) (*stage, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir := os.Getenv(dirVariable) // made by becomeUser
	if dir == "" {
		if dir, err = os.MkdirTemp("/tmp", "pgha-demo-"); err != nil {
			return nil, err
		}
	}
	return &stage{Options: o, dir: dir, exe: exe, start: time.Now()}, nil
}

// say prints one line of the story.
func (d *stage) say(format string, args ...any) {
	fmt.Fprintf(d.Out, format+"\n", args...)
}

// note prints one line with the time since the start.
func (d *stage) note(format string, args ...any) {
	d.say("[%5.1f s] %s", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...))
}

// play brings the cluster up and runs the script or waits for the end.
func (d *stage) play(ctx context.Context) error {
	if err := d.bringUp(ctx); err != nil {
		return d.explain(ctx, err)
	}
	if d.Script == "" {
		return d.interactive(ctx)
	}
	return d.explain(ctx, d.failover(ctx))
}

// bringUp starts etcd and the three members and waits until all are well.
func (d *stage) bringUp(ctx context.Context) error {
	ports, err := freePorts(12)
	if err != nil {
		return err
	}
	d.note("PostgreSQL in %s; everything else in %s", d.BinDir, d.dir)
	d.note("starting three etcd members on ports %d, %d, %d", ports[0], ports[1], ports[2])
	if d.etcd, err = d.startEtcd(ctx, ports[:6]); err != nil {
		return err
	}
	password := rand.Text() // loopback is open to every user of this machine
	for i := range 3 {
		m := &member{stage: d, name: fmt.Sprintf("pg%d", i+1), port: ports[6+i], rest: ports[9+i], password: password}
		d.members = append(d.members, m)
		if err := m.configure(d.etcd.clientPorts); err != nil {
			return err
		}
	}
	d.note("starting three pgha agents; the first one there runs initdb, the others copy from it")
	for _, m := range d.members {
		if err := m.startAgent(); err != nil {
			return err
		}
	}
	if err := d.waitStreaming(ctx, startLimit); err != nil {
		return err
	}
	d.note("three members are healthy")
	d.printTable(ctx)
	d.writer, err = writer.Start(writer.Options{DSN: d.dsn(), Table: "demo"})
	return err
}

// explain adds the end of each agent's log to an error, unless somebody
// pressed ctrl-C.
func (d *stage) explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, m := range d.members {
		d.say("\n-- end of %s's log", m.name)
		d.say("%s", lastLines(m.logPath(), 15))
	}
	return err
}

// strike ends every process and removes the directory.
func (d *stage) strike() error {
	if d.writer != nil {
		d.writer.Stop()
	}
	for _, m := range d.members {
		m.terminate()
	}
	deadline := time.Now().Add(12 * time.Second)
	var errs []error
	for _, m := range d.members {
		errs = append(errs, m.end(deadline))
	}
	if d.etcd != nil {
		d.etcd.stop()
	}
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}

// logPath is where a member's agent writes.
func (m *member) logPath() string { return filepath.Join(m.dir(), "agent.log") }
