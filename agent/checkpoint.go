package agent

import (
	"context"
	"sync"
	"time"

	"pgha/internal/postgres"
)

// checkpointTask sees to it that a promoted primary's new timeline reaches
// pg_control: until then the member key carries checkpoint_after_promote and
// nobody rewinds from us (16.3, "leader side").
type checkpointTask struct {
	mu       sync.Mutex
	done     postgres.Timeline // pg_control is known to have this one
	running  postgres.Timeline
	retryNot time.Time
}

// ensure is called each cycle that a primary on that timeline was seen.
func (t *checkpointTask) ensure(m *machine, tl postgres.Timeline) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tl == 0 || t.done == tl || t.running == tl || time.Now().Before(t.retryNot) {
		return
	}
	t.running = tl
	go func() { // ends with the agent's context
		err := t.run(m.background, m, tl)
		t.mu.Lock()
		t.running = 0
		if err == nil {
			t.done = tl
		} else {
			t.retryNot = time.Now().Add(2 * time.Second)
		}
		t.mu.Unlock()
		if err != nil && m.background.Err() == nil {
			m.log.Warn("checkpoint after promotion", "err", err)
		}
		m.wake()
	}()
}

func (t *checkpointTask) run(ctx context.Context, m *machine, tl postgres.Timeline) error {
	if c, err := m.inst.ControlData(ctx); err == nil && c.Timeline == tl {
		return nil
	}
	return m.inst.Checkpoint(ctx)
}

// pending says whether the checkpoint of the present timeline is outstanding.
func (t *checkpointTask) pending(tl postgres.Timeline) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return tl != 0 && t.done != tl
}
