package agent

import (
	"sync"

	"pgha/internal/postgres"
)

// announcer knows which callback an event on this machine calls for (contract:
// ha-behaviour.md 21). Readiness is announced once a postmaster, whoever
// notices it: the job that started it, or the loop's look at a server that was
// slow, was started by hand, or was found running when the agent began.
type announcer struct {
	call func(callback, postgres.Role)

	mu sync.Mutex
	// spoken: something other than a reload was announced since the agent's
	// start. Before that a former primary that comes back is a start.
	spoken bool
	// silent: a bootstrap is under way.
	silent bool
	server int      // pid of the postmaster whose readiness has been announced
	as     callback // what the next one's is announced as
}

func newAnnouncer(call func(callback, postgres.Role)) *announcer {
	return &announcer{call: call, as: onStart}
}

// say announces one event.
func (a *announcer) say(kind callback, role postgres.Role) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sayLocked(kind, role)
}

func (a *announcer) sayLocked(kind callback, role postgres.Role) {
	if a.silent || kind == onNothing {
		return
	}
	a.spoken = a.spoken || kind != onReload
	a.call(kind, role)
}

// turns says whether a server that was old and comes back as a standby has
// changed its role.
func (a *announcer) turns(old postgres.Role) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.spoken && (old == postgres.RolePrimary || old == postgres.RolePromoted || old == postgres.RoleDemoted)
}

// starting says what the readiness of the server that is started next means.
func (a *announcer) starting(as callback) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.as = as
}

// ready announces a server that accepts connections, once.
func (a *announcer) ready(pid int, role postgres.Role) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.silent || pid == 0 || pid == a.server {
		return
	}
	as := a.as
	a.server, a.as = pid, onStart
	a.sayLocked(as, role)
}

// gone forgets the server: pids are used again.
func (a *announcer) gone() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.server = 0
}

// hush keeps everything silent while a new cluster is made.
func (a *announcer) hush(yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.silent = yes
}
