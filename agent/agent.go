package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgha/agent/rest"
	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/dcs/etcd"
	"pgha/internal/gate"
	"pgha/internal/guard/client"
	"pgha/internal/instance"
	"pgha/internal/logging"
	"pgha/internal/postgres"
)

// Options are the agent's command line and surroundings.
type Options struct {
	// ConfigPath is a file or directory; empty: the environment alone.
	ConfigPath string
	// Environ is the process's environment, PATRONI_* included.
	Environ []string
	Version string // of pgha
	// Revision is the commit that the binary was built from.
	Revision string
	Stderr   io.Writer
	// Signals delivers the process's signals (rulings 49).
	Signals <-chan os.Signal
}

// ExitError is an agent that could not run: the exit code of rulings 51, one
// line that says what and where, and a remedy when one is known.
type ExitError struct {
	Code   int
	Err    error
	Remedy string
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode and Hint are read by the command line.
func (e *ExitError) ExitCode() int { return e.Code }

// Hint is the remedy in one line, empty when none is known.
func (e *ExitError) Hint() string {
	remedy := e.Remedy
	if bad := new(config.Error); remedy == "" && errors.As(e.Err, &bad) {
		remedy = bad.Remedy
	}
	return strings.Join(strings.Fields(remedy), " ")
}

// Exit codes of the agent (rulings 51).
const (
	exitFailed      = 1
	exitConfig      = 2
	exitRefused     = 3
	exitUnreachable = 4
)

// Run is the daemon: it returns when the agent has ended, nil after a clean
// shutdown. Errors are *ExitError.
func Run(ctx context.Context, o Options) error {
	kept := gate.KeepToSelf() // before anything is executed
	before, environ, err := takeInherited(o.Environ)
	if err != nil {
		return &ExitError{Code: exitFailed, Err: err}
	}
	o.Environ = environ
	reapInherited()
	local, err := config.LoadLocal(o.ConfigPath, o.Environ)
	if err != nil {
		return &ExitError{Code: exitConfig, Err: err}
	}
	if err := preflight(local); err != nil {
		return err
	}
	log, output, err := logging.New(local.Log, o.Stderr)
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("log: %w", err)}
	}
	defer output.Close()
	notify := newNotifier(log)
	log.Info(fmt.Sprintf("pgha %s starts: member %s of %s/%s, data in %s", o.Version, local.Name, local.Namespace, local.Scope, local.PostgreSQL.DataDir), "pid", os.Getpid(), "config", o.ConfigPath)
	for _, w := range local.Warnings {
		log.Warn(w.String())
	}
	_, found := os.Stat(local.Pgha.StateDir)
	lock, err := before.lockOf(local)
	if err != nil {
		return &ExitError{Code: exitFailed, Err: err}
	}
	if lock == nil {
		if lock, err = takeStateDir(local); err != nil {
			return err
		}
	}
	defer lock.Close()
	a := &agent{options: o, log: log, output: output, notify: notify, epoch: uint64(clock.Now()), shields: newProtection(log),
		lock: lock, inherited: before, heirlooms: map[string]func() int{}}
	a.hand = newHandover(a)
	a.gate = newGateKeeper(local.Pgha.Gate, kept, a.shields, log)
	err = a.run(ctx, local)
	if found != nil && a.loop == nil {
		// Refused before anything began: what was made for the lock goes again.
		os.Remove(lock.Name())
		os.Remove(local.Pgha.StateDir)
	}
	return err
}

// agent is one incarnation of the daemon on one data directory.
type agent struct {
	options  Options
	log      *slog.Logger
	output   *logging.Output
	life     context.Context
	epoch    uint64
	store    *etcd.Store
	inst     *instance.Server
	launcher *launcher
	settings *settings
	machine  *machine
	calls    *callbacks
	loop     *Loop
	pub      *publisher
	backend  *backend
	rest     *rest.Server
	recorder *rest.Recorder
	shields  *protection
	watchdog *machineWatchdog
	gate     *gateKeeper
	health   *health
	notify   *notifier
	keeper   *keeper // of the decision journal; nil: it is off
	hand     *handover
	lock     *os.File // of the state directory
	// inherited is what the program before left in this process; nil: nothing.
	inherited *inherited
	// heirlooms are further descriptors that a hand-over passes on, by name;
	// negative: not open. Filled before the loop runs.
	heirlooms map[string]func() int
}

// run wires the parts in the order in which they need each other, runs the
// loop, and takes them apart again. The parts that have goroutines of their
// own are listed in docs/ARCHITECTURE.md.
func (a *agent) run(ctx context.Context, local *config.Local) error {
	life, end := context.WithCancel(ctx)
	defer end()
	a.life = life
	notified := make(chan struct{})
	go func() {
		defer close(notified)
		a.notify.run(life)
	}()
	defer func() { end(); <-notified }()
	sleep := newSleeper()
	a.launcher = newLauncher(client.Options{StateDir: local.Pgha.StateDir, DataDir: local.PostgreSQL.DataDir,
		Scope: local.Scope, Epoch: a.epoch, Stdout: os.Stdout, Stderr: os.Stderr, Log: a.log}, sleep.Wake)
	a.launcher.off, a.launcher.shields = !local.Pgha.Guard, a.shields
	a.launcher.required = func() bool { return a.settings.Local().Watchdog.Mode == "required" }
	inst, err := instance.New(instance.Options{Local: local, Launcher: a.launcher, Sweep: a.sweep, Own: a.gate.markOwn, Clock: clock.System{}, Log: a.log})
	if err != nil {
		return &ExitError{Code: exitConfig, Err: err}
	}
	a.inst = inst
	a.settings = newSettings(local, inst, a.log)
	a.watchdog = newMachineWatchdog(local.Pgha.StateDir, clock.System{}, a.settings.Local, a.shields, a.launcher.guardless, a.log)
	if err := a.openStore(life, local); err != nil {
		return err
	}
	defer a.store.Close()
	peerClient, err := api.NewPeerClient(local.Ctl, local.RestAPI, "pgha/"+a.options.Version)
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("client of the members' REST API: %w", err)}
	}
	failsafeClient, err := api.NewFailsafeClient(local.Ctl, local.RestAPI, "pgha/"+a.options.Version)
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("client of the members' REST API: %w", err)}
	}
	if err := a.firstContact(life, local, peerClient); err != nil {
		return err
	}
	until, err := a.adopt(life)
	if err != nil {
		return err
	}
	a.openJournal(local)
	a.machine = a.newMachine(life, local, sleep)
	a.pub = newPublisher(inst, a.settings, clock.System{}, a.options.Version)
	a.pub.log, a.pub.protection, a.pub.watchdog = a.output, a.shields, a.watchdog
	a.health = newHealth(inst, clock.System{}, a.log, sleep.Wake, a.healthRules, a.replacesData)
	a.machine.health, a.pub.probes = a.health.facts, a.health.shown
	a.inheritStatus()
	a.recorder = newRecorder()
	a.loop = a.newLoop(local, sleep, peerClient, failsafeClient, a.inherited.leaderUntil(until))
	a.loop.restore(a.inherited)
	a.pub.promises = a.loop.Promises
	a.backend = &backend{publisher: a.pub, loop: a.loop, store: a.loop.Store, client: peerClient, reload: a.reload}
	return a.serve(life, local)
}

// serve runs REST, the signals, and the loop in the foreground.
func (a *agent) serve(life context.Context, local *config.Local) error {
	socket, err := a.inherited.listener(local)
	if err != nil {
		return &ExitError{Code: exitFailed, Err: err}
	}
	server, err := rest.New(rest.Options{Listener: socket, Config: local.RestAPI, Backend: a.backend, Clock: clock.System{}, Log: a.log, Version: a.options.Version, Metrics: a.metrics(),
		Own: append(a.hand.routes(), a.whyRoute(local)), Changes: a.changed})
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("REST API: %w", err)}
	}
	a.rest = server
	restCtx, stopREST := context.WithCancel(life)
	restDone, published := make(chan struct{}), a.pub.Changed()
	go func() {
		defer close(restDone)
		a.awaitFirstView(restCtx, published)
		if err := server.Serve(restCtx); err != nil {
			a.log.Error("REST API", "err", err)
		}
	}()
	a.gate.start(life, a.settings, a.inst)
	a.startParts(life)
	go a.health.run(life) // ends with life; a probe that hangs in the kernel is left behind
	a.notify.ready()
	code := a.loop.Run(life)
	a.notify.fine(endBound)
	a.notify.stopping()
	stopREST()
	<-restDone
	a.finish()
	a.closeJournal(code)
	a.log.Info("the agent ends", "code", code)
	if code == 0 {
		return nil
	}
	return &ExitError{Code: code, Err: errors.New(a.loop.LastResult())}
}

// startParts runs what wakes the loop: the DCS watch and the signals.
func (a *agent) startParts(life context.Context) {
	wakes := a.store.Wakes()
	go func() {
		for {
			select {
			case <-life.Done():
				return
			case <-wakes:
				a.loop.Sleeper.Wake()
			case s := <-a.options.Signals:
				a.signal(s)
			}
		}
	}()
}

// sweep ends whatever an earlier postmaster left on the data directory.
func (a *agent) sweep(ctx context.Context, dataDir string) error {
	found, err := client.Sweep(ctx, dataDir)
	if found > 0 {
		a.log.Warn("killed processes that an earlier PostgreSQL had left on the data directory", "found", found)
	}
	return err
}

func (a *agent) newMachine(life context.Context, local *config.Local, sleep *sleeper) *machine {
	m := &machine{
		inst: a.inst, launcher: a.launcher, log: a.log, clock: clock.System{}, wake: sleep.Wake, background: life,
		dataDir: local.PostgreSQL.DataDir, marker: filepath.Join(local.Pgha.StateDir, "bootstrap.unfinished"),
		settings: a.settings, safePoint: a.watchdog.Safe,
	}
	m.markerLook, m.backupLabel = &fileLook{path: m.marker}, &fileLook{path: filepath.Join(m.dataDir, "backup_label")}
	m.jobRunner = jobRunner{log: a.log, clock: clock.System{}, wake: sleep.Wake}
	a.calls = &callbacks{run: a.inst.RunCallback, scope: local.Scope, log: a.log,
		command: func(c callback) string { return a.settings.Effective().Callbacks[string(c)] }}
	m.announce = newAnnouncer(a.calls.call)
	a.settings.reloaded = func() { m.announce.say(onReload, a.inst.Role()) }
	a.launcher.onStruck(m.struck)
	m.gate = a.gate
	a.launcher.onStandby(a.gate.remove)
	return m
}

func (a *agent) newLoop(local *config.Local, sleep *sleeper, peerClient, failsafe *api.Client, leader clock.Instant) *Loop {
	return NewLoop(LoopOptions{
		Self: local.Name, Tags: func() config.Tags { return a.settings.Local().Tags }, CanBoot: local.Bootstrap != nil,
		Clock: clock.System{}, Store: meteredStore{Store: a.store, request: a.recorder.DCSRequest}, Server: a.machine, Watchdog: a.watchdog, Peers: &peers{client: peerClient, log: a.log, failsafe: failsafeClient{client: failsafe, log: a.log}, said: map[string]time.Time{}}, Settings: a.settings,
		Sleeper: sleep, Log: a.log, LeaderUntil: leader, AtRest: a.hand.atRest, Fine: a.notify.fine, Journal: a.keeper.pass, Meter: &changes{to: a.recorder, wall: time.Now},
		Member: func(v View) dcs.MemberData {
			v.Note = cmp.Or(v.Note, a.shields.note(), a.settings.note())
			return a.memberData(v, a.machine.observation())
		},
		Publish: func(v View) {
			if v.Job == nil { // a job that starts PostgreSQL has chosen the role itself
				a.settings.SetRole(v.Local.Role)
			}
			a.gate.members(v.Cluster, local.Name)
			a.pub.publish(v, a.machine.observation())
			a.backend.runSchedule(v)
			a.notify.say(statusLine(v, local.Name, clock.Now()))
		},
	})
}

func (a *agent) memberData(v View, o instance.Observation) dcs.MemberData {
	local := a.settings.Local()
	var tl postgres.Timeline
	if o.Row != nil {
		tl = o.Row.Timeline
	}
	return memberData(identityOf(local, a.inst.RunningPort(), a.settings.Effective().Database, a.options.Version), v, o, local.Tags.Published,
		a.machine.checkpoint.pending(tl), a.pub.scheduledRestart(), a.inst.Pending())
}
