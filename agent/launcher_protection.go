package agent

// What a guard says of its own protection, as parts for people.

import (
	"context"
	"strings"
	"time"

	"pgha/internal/guard/client"
)

// statePatience bounds the question to a guard just started.
const statePatience = time.Second

// describe asks the guard how well it is protected itself and reports it.
func (l *launcher) describe(ctx context.Context, c *client.Client) {
	ctx, cancel := context.WithTimeout(ctx, statePatience)
	defer cancel()
	state, err := c.State(ctx)
	if err != nil {
		l.log.Debug("ask the guard how it is protected", "err", err)
		return
	}
	l.report(state)
}

// report turns a guard's notes into parts (guard/client.State).
func (l *launcher) report(s client.State) {
	p := l.shields
	if p == nil {
		return
	}
	switch s.Protection {
	case client.ProtectionParent:
		p.works(partGuard, "parent")
	case client.ProtectionWalk:
		p.set(partGuard, "beside: PostgreSQL was started by somebody else",
			"the guard ends it with the lease by a walk over its processes, the kernel does not if the guard is killed; restart PostgreSQL through pgha for the full promise",
			"guard beside PostgreSQL until its restart")
	}
	switch path, problem, half := strings.Cut(s.CgroupNote, " (guard: "); {
	case !strings.HasPrefix(path, "/"):
		p.lacks(partCgroup, s.CgroupNote, "PostgreSQL's processes are found by a walk and killed one by one (systemd: Delegate=yes gives the cgroup)", "")
	case half:
		p.set(partCgroup, s.CgroupNote, "the guard stays in the agent's cgroup: what kills or freezes that group as a whole means the guard too ("+strings.TrimSuffix(problem, ")")+")", "")
	default:
		p.works(partCgroup, path)
	}
	if why, no := strings.CutPrefix(s.MemoryLockNote, "no: "); no {
		p.lacks(partMemory, why, "the guard may be swapped out and act late, the kernel's timer does not (systemd: LimitMEMLOCK=infinity)", "")
	} else {
		p.works(partMemory, s.MemoryLockNote)
	}
	if s.OOMNote == "-1000" {
		p.works(partOOM, s.OOMNote)
	} else {
		p.lacks(partOOM, "oom_score_adj is "+s.OOMNote, "when memory runs out the kernel may choose the guard: PostgreSQL ends with it and is restarted (CAP_SYS_RESOURCE permits it)", "")
	}
}

// lacksGuard reports that PostgreSQL runs, or would run, without a guard.
func (l *launcher) lacksGuard(why string) {
	p := l.shields
	if p == nil {
		return
	}
	left := "the agent alone ends PostgreSQL when the lease ends: a killed or frozen agent leaves it running, outside the promise of one writable primary"
	if l.mustBeFenced() {
		left = "this member does not lead, because watchdog.mode is required"
	}
	p.lacks(partGuard, why, left, "no guard: outside the promise of one primary")
	for _, part := range []string{partCgroup, partMemory, partOOM} {
		p.works(part, "no guard")
	}
}
