package agent

// What happens before the loop runs: etcd, the twin check, and what an
// earlier agent left behind (contract: ha-behaviour.md 1).

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"pgha/agent/ha"
	"pgha/internal/api"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/dcs/etcd"
	"pgha/internal/postgres"
)

func (a *agent) openStore(ctx context.Context, local *config.Local) error {
	dyn := a.settings.Current()
	o := etcd.FromConfig(local)
	o.TTL, o.LoopWait, o.RetryTimeout, o.Clock, o.Log = dyn.TTL, dyn.LoopWait, dyn.RetryTimeout, clock.System{}, a.log
	store, err := etcd.Open(ctx, o)
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("etcd3: %w", err)}
	}
	a.store = store
	if i := a.inherited; i != nil {
		store.Inherit(dcs.LeaseID(i.Lease), i.LeaseTTL)
	}
	return nil
}

// waitLog is how often a silent etcd is complained about (rulings 51).
const waitLog = 10 * time.Second

// firstContact waits for etcd, takes the dynamic configuration, and refuses
// to be the second member of that name (1, steps 2 to 4).
func (a *agent) firstContact(ctx context.Context, local *config.Local, peerClient *api.Client) error {
	cluster, err := a.waitForDCS(ctx)
	if err != nil {
		return err
	}
	if a.inherited == nil { // else the socket at our address is our own
		if err := refuseTwin(ctx, cluster, local.Name, peerClient); err != nil {
			return err
		}
	}
	a.settings.Learn(cluster.Config)
	if u := a.settings.Current().Unsupported; len(u) > 0 {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("the dynamic configuration of %s in the DCS: %s", local.Scope, u[0].Message),
			Remedy: strings.TrimPrefix(u[0].Remedy+"; the dynamic configuration is changed with `pgha ctl edit-config "+local.Scope+"`", "; ")}
	}
	a.store.SetTTL(a.settings.Current().TTL)
	return a.refuseForeign(ctx, cluster, local)
}

// refuseForeign: the data of another cluster (contract: ha-behaviour.md 3.1).
// The loop would refuse it as well, but only once it has become a member, for
// which the leader keeps a slot.
func (a *agent) refuseForeign(ctx context.Context, cluster *dcs.Cluster, local *config.Local) error {
	if cluster.Initialize == nil || !cluster.Initialize.SystemID.Valid() || a.settings.Current().Pause {
		return nil
	}
	control, err := a.inst.ControlData(ctx)
	if err != nil || !control.SystemID.Valid() || control.SystemID == cluster.Initialize.SystemID {
		return nil // no data, or none that can be read: the loop says so
	}
	reason := ha.Reason{Code: ha.SystemIDMismatch, Self: local.Name, Detail: string(cluster.Initialize.SystemID) + " != " + string(control.SystemID)}
	return &ExitError{Code: exitRefused, Err: fmt.Errorf("%s (%s)", reason, local.PostgreSQL.DataDir),
		Remedy: "check scope and postgresql.data_dir; to make a replica here, move the directory away"}
}

func (a *agent) waitForDCS(ctx context.Context) (*dcs.Cluster, error) {
	var said clock.Instant
	for down := 0; ; {
		// What an earlier agent left counting must not reset a machine on which
		// nothing runs, however long etcd is away.
		if _, alive := a.inst.Alive(); alive {
			down = 0
		} else if down++; down > 1 {
			a.watchdog.Off(false)
		}
		lctx, cancel := context.WithTimeout(ctx, a.settings.Current().RetryTimeout)
		cluster, err := a.store.Load(lctx)
		cancel()
		switch {
		case err == nil:
			return cluster, nil
		case errors.Is(err, dcs.ErrDenied):
			return nil, &ExitError{Code: exitConfig, Err: fmt.Errorf("etcd refuses this member: %w", err),
				Remedy: "check etcd3.username, etcd3.password and the permissions of the user's roles on the keys below namespace and scope"}
		}
		if said.IsZero() || clock.Now().Sub(said) >= waitLog {
			told := []any{"err", err}
			if h := hint(err); h != "" {
				told = append(told, "hint", h)
			}
			a.log.Info("waiting on etcd", told...)
			a.notify.say("waiting on etcd: " + err.Error())
			said = clock.Now()
		}
		select {
		case s := <-a.options.Signals:
			if s != syscall.SIGHUP && s != syscall.SIGUSR2 { // both ask for what was just done
				return nil, &ExitError{Code: exitUnreachable, Err: fmt.Errorf("told to stop (%s) while etcd could not be reached: %w", s, err), Remedy: hint(err)}
			}
		case <-ctx.Done():
			return nil, &ExitError{Code: exitFailed, Err: ctx.Err()}
		case <-time.After(time.Second):
		}
	}
}

// hint is what an error of the store knows of its remedy; empty: nothing.
func hint(err error) string {
	if h := interface{ Hint() string }(nil); errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// refuseTwin: a member key with our name whose address answers HTTP is a
// living member; an open TCP port is no proof (pitfall 6).
func refuseTwin(ctx context.Context, cluster *dcs.Cluster, name string, peerClient *api.Client) error {
	m := cluster.Member(name)
	if m == nil || m.APIURL == "" {
		return nil
	}
	actx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if _, err := peerClient.Do(actx, "GET", m.APIURL, "liveness", nil); err != nil {
		return nil
	}
	//lint:ignore ST1005 the reference's text
	return &ExitError{Code: exitRefused, Err: fmt.Errorf("Can't start; there is already a node named '%s' running (it answers at %s)", name, m.APIURL),
		Remedy: "give this member another name, or stop the other agent"}
}

// adopt connects to a guard that is there and looks at what runs (1, step 5).
// The result is the deadline that the guard holds: until then the leader key
// may be ours. Zero: none.
func (a *agent) adopt(ctx context.Context) (clock.Instant, error) {
	actx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	a.settings.Fix()
	until, err := a.launcher.adopt(actx)
	if err != nil {
		return 0, &ExitError{Code: exitRefused, Err: err, Remedy: "another agent has taken this data directory over, or the guard does not answer"}
	}
	found, err := a.inst.Adopt(actx)
	if err != nil {
		a.log.Warn("look at the data directory", "err", err)
	}
	if found.Running && a.launcher.promoting && a.inst.Role() == postgres.RoleReplica {
		// An earlier agent asked for it, and it cannot be taken back.
		a.log.Info("a promotion of PostgreSQL is under way")
		a.inst.SetRole(postgres.RolePromoted)
	}
	if found.Running && a.launcher.guardless() {
		if err := a.launcher.adoptPostmaster(actx, a.inst); err != nil {
			a.log.Warn("PostgreSQL runs without a guard: started by somebody else. It is outside the promise of one writable primary until its next restart", "err", err)
		}
	}
	if v, err := a.inst.Version(actx); err == nil {
		a.settings.SetServer(v.Major(), a.inst.Described(actx))
	}
	a.settings.SetRole(a.inst.Role()) // before the first cycle writes any file
	if err := checkDirectories(a.settings.Local(), a.settings.Effective()); err != nil {
		if !found.Running {
			return 0, err
		}
		// A server that runs has what it needs; ending the agent would end it too.
		a.log.Warn("PostgreSQL would not start again", "err", err)
	}
	return until, nil
}
