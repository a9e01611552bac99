package stories

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgha/internal/lab"
)

// The same callbacks in the same file under both kinds are called with the same
// arguments in the same order: start, reload, restart, switchovers in both
// directions (as the old and as the new leader), end.
func TestMixedCallbacks(t *testing.T) {
	l := long(t)
	c, ours, theirs := pair(t, l, lab.Options{PostgreSQL: func(m *lab.Member) []string {
		return allCallbacks(m.Script("callback", fmt.Sprintf("echo \"$@\" >> %s/calls\n", m.Dir)))
	}})
	// seen waits until the member's script has been called like that, and no
	// call comes behind it, and forgets the calls.
	seen := func(m *lab.Member, event string, reloads bool) []string {
		t.Helper()
		var got []string
		at := time.Now()
		l.Until(30*time.Second, m.Name+" to call back for "+event, func() string {
			if now := calls(m, reloads); !slices.Equal(now, got) {
				got, at = now, time.Now()
			}
			if len(got) == 0 || time.Since(at) < 3*time.Second {
				return fmt.Sprintf("%q", got)
			}
			return ""
		})
		os.Remove(filepath.Join(m.Dir, "calls"))
		t.Logf("%s, %s: %q", event, m.Kind(), got)
		return got
	}
	alike := func(event string, ours, theirs []string) {
		t.Helper()
		if !slices.Equal(ours, theirs) {
			t.Errorf("%s\npgha:    %q\npatroni: %q", event, ours, theirs)
		}
	}
	restart := func(m *lab.Member) {
		t.Helper()
		if r := m.Patronictl("restart", "pg-basic", m.Name, "--force"); r.Code != 0 {
			t.Fatalf("%+v", r)
		}
		c.WaitHealthy(60 * time.Second)
	}
	forget := func() {
		for _, m := range c.Members {
			os.Remove(filepath.Join(m.Dir, "calls"))
		}
	}
	away, here, again := map[lab.Kind][]string{}, map[lab.Kind][]string{}, map[lab.Kind][]string{}
	leads(t, c, ours)
	for _, old := range []*lab.Member{ours, theirs} {
		next := c.Others(old)[0]
		forget()
		restart(old)
		again[old.Kind()] = seen(old, "restart of a primary", false)
		streamed(t, l, old)
		leads(t, c, next)
		away[old.Kind()] = seen(old, "switchover from it", false)
		here[next.Kind()] = seen(next, "switchover to it", false)
	}
	alike("restart of a primary", again[lab.Pgha], again[lab.Patroni])
	alike("switchover from it", away[lab.Pgha], away[lab.Patroni])
	alike("switchover to it", here[lab.Pgha], here[lab.Patroni])

	// The rest as replicas, each in its turn.
	restarts, reloads, stops, starts := map[lab.Kind][]string{}, map[lab.Kind][]string{}, map[lab.Kind][]string{}, map[lab.Kind][]string{}
	for _, m := range []*lab.Member{ours, theirs} {
		leads(t, c, c.Others(m)[0])
		seen(m, "switchover from it", false)
		forget()
		m.Reload()
		reloads[m.Kind()] = slices.Compact(seen(m, "reload of a replica", true))
		restart(m)
		restarts[m.Kind()] = seen(m, "restart of a replica", false)
		m.Shutdown(60 * time.Second)
		stops[m.Kind()] = seen(m, "end of a replica", false)
		m.Start()
		c.WaitHealthy(60 * time.Second)
		starts[m.Kind()] = seen(m, "start of a replica", false)
	}
	alike("reload of a replica", reloads[lab.Pgha], reloads[lab.Patroni])
	alike("restart of a replica", restarts[lab.Pgha], restarts[lab.Patroni])
	alike("end of a replica", stops[lab.Pgha], stops[lab.Patroni])
	alike("start of a replica", starts[lab.Pgha], starts[lab.Patroni])
}
