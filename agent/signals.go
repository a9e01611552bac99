package agent

import (
	"os"
	"syscall"

	"pgha/agent/ha"
	"pgha/internal/config"
	"pgha/internal/journal"
)

// signal is rulings 49.
func (a *agent) signal(s os.Signal) {
	switch s {
	case syscall.SIGTERM, syscall.SIGINT:
		a.log.Info("received " + s.String() + ": stopping PostgreSQL and handing the leader key over")
		a.notify.stopping()
		a.loop.Shutdown(ha.ShutdownStop)
	case syscall.SIGUSR1:
		a.log.Info("received " + s.String() + ": detaching, PostgreSQL stays with its guard")
		a.notify.stopping()
		a.loop.Shutdown(ha.ShutdownDetach)
	case syscall.SIGUSR2:
		a.log.Info("received " + s.String() + ": handing over to the program on disk")
		a.hand.request() // the log says what becomes of it
	case syscall.SIGHUP:
		a.reload()
	}
}

// reload reads the local configuration again. What does not validate changes nothing.
func (a *agent) reload() {
	a.notify.reloading()
	defer a.notify.ready()
	local, err := config.LoadLocal(a.options.ConfigPath, a.options.Environ)
	if err == nil {
		err = local.CheckAgent()
	}
	if err != nil {
		a.log.Error("the configuration was not reloaded, the old one stays in force", "err", err)
		a.keeper.event(journal.KindConfig, "reload_rejected", "the configuration file was not reloaded, the old one stays in force: "+err.Error())
		return
	}
	for _, w := range local.Warnings {
		a.log.Warn(w.String())
	}
	a.settings.Reload(local)
	if err := a.output.Reconfigure(local.Log); err != nil {
		a.log.Error("the log keeps its old configuration", "err", err)
	}
	if err := a.rest.Reconfigure(a.life, local.RestAPI); err != nil {
		a.log.Error("the REST API keeps its old configuration", "err", err)
	}
	a.log.Info("configuration reloaded")
	a.resizeJournal(local)
	a.keeper.event(journal.KindConfig, "reloaded", "the configuration file was read again")
	a.loop.Sleeper.Wake()
}
