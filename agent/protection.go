package agent

import (
	"log/slog"
	"maps"
	"sync"
)

// What stands between this member and a second writable primary, part by
// part. The names are keys of the object pgha.protection in GET /patroni.
const (
	partGuard    = "guard"    // who ends PostgreSQL when the lease ends
	partCgroup   = "cgroup"   // whether its processes can be killed as a whole
	partMemory   = "memory"   // whether the guard is locked in memory
	partOOM      = "oom"      // whether the kernel spares it when memory runs out
	partGate     = "gate"     // the kernel's gate before PostgreSQL's port
	partWatchdog = "watchdog" // the watchdog device
)

// protection remembers the state of each part and says a change once. Parts
// report from any goroutine; REST and the member key read. A part that is
// missing never stops a cluster that Patroni would run: it is said, with what
// is left, and shown.
type protection struct {
	log *slog.Logger

	mu    sync.Mutex
	parts map[string]string
	notes map[string]string
}

func newProtection(log *slog.Logger) *protection {
	return &protection{log: log, parts: map[string]string{}, notes: map[string]string{}}
}

// works notes that a part does its work; how is shown, e.g. "parent".
func (p *protection) works(part, how string) { p.set(part, how, "", "") }

// lacks notes that a part cannot do its work: why, and what protection is left
// (or what to do), in one line each. The pair is logged as a warning once for
// each new cause. A part whose lack takes this member out of the promise of
// docs/guarantees.md has a note for `ctl list`; the others pass an empty one.
func (p *protection) lacks(part, why, left, note string) { p.set(part, "no: "+why, left, note) }

// forget takes a part away that was switched off on purpose.
func (p *protection) forget(part string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.parts, part)
	delete(p.notes, part)
}

func (p *protection) set(part, state, left, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parts[part] == state {
		return
	}
	p.parts[part] = state
	delete(p.notes, part)
	if note != "" {
		p.notes[part] = note
	}
	if left != "" {
		p.log.Warn("protection: "+part+": "+state+"; "+left, "part", part)
	}
}

// shown is a copy of all parts, for REST.
func (p *protection) shown() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.parts)
}

// state is what is shown of a part; empty: nothing is known of it.
func (p *protection) state(part string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.parts[part]
}

// note is what `ctl list` says of the most important lack; empty: none.
func (p *protection) note() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, part := range []string{partGuard, partWatchdog, partGate} {
		if n := p.notes[part]; n != "" {
			return n
		}
	}
	return ""
}
