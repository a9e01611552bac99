package agent

import (
	"slices"

	"pgha/agent/rest"
)

// newRecorder returns a recorder whose series exist from the start.
func newRecorder() *rest.Recorder {
	r := rest.NewRecorder()
	unplanned := []string{promotedManual, promotedReleased, promotedLost, promotedFirst}
	known := rest.Known{
		Ops: dcsOps, Failovers: unplanned,
		Promotions:  append([]string{promotedSwitchover, promotedKept}, unplanned...),
		Switchovers: []string{switchedHandedOver, switchedReleased, switchedCancelled},
	}
	for _, code := range knownDemotions {
		known.Demotions = append(known.Demotions, string(code))
	}
	r.Expect(known)
	return r
}

// metrics are the sources of pgha's own series.
func (a *agent) metrics() rest.OwnMetrics {
	return rest.OwnMetrics{
		Recorder: a.recorder, Revision: a.options.Revision, Live: a.live, Certificates: a.certificates,
		MasterAlias: func() bool { return a.settings.Local().Pgha.MasterAlias },
	}
}

// live are the facts of the moment.
func (a *agent) live() rest.Live {
	l := a.launcher.live()
	l.Unguarded = l.GuardPID == 0 && a.machine.observation().Alive
	l.WatchdogActive, l.Gate = a.watchdog.active.Load(), a.shields.state(partGate) == gateActive
	l.LogQueued, l.LogLost = a.output.Queued(), a.output.Lost()
	return l
}

// live says how the guard stands, without asking it: what it was last told.
func (l *launcher) live() rest.Live {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guard == nil {
		return rest.Live{}
	}
	return rest.Live{GuardPID: l.guard.GuardPID(), GuardArmed: l.armed, GuardDeadline: l.until, GuardBeside: l.beside}
}

// certificates are the files whose end is worth an alert, each once.
func (a *agent) certificates() []string {
	local := a.settings.Local()
	var files []string
	for _, file := range []string{local.RestAPI.CertFile, local.RestAPI.CAFile, local.Etcd3.CACert, local.Etcd3.Cert, local.Ctl.CACert, local.Ctl.CertFile} {
		if file != "" && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
}
