package contract

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"pgha/internal/lab"
)

// restore brings the cluster to what every file of cases finds: etcd and all
// agents run, nothing is paused, scheduled or changed, pg01 leads and the
// others stream from it. After a file whose cases all passed there is little
// to do; after one that failed, or when files are left out, the others mean
// the same as ever.
func (w *world) restore(t *testing.T) {
	t.Helper()
	if w.down {
		if err := w.doEtcd("start", ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range w.cluster.Members {
		if err := w.restoreMember(t, m); err != nil {
			t.Fatalf("restore %s: %v", m.Name, err)
		}
	}
	w.tls = nil
	for key, want := range map[string]string{"config": w.stored, "failover": "{}"} {
		have, there, err := w.etcd.Get(w.cluster.Key(key))
		if err != nil {
			t.Fatal(err)
		}
		if have != want && (there || key == "config") {
			w.etcd.Put(w.cluster.Key(key), want)
		}
	}
	if err := w.awaitHealthy(); err != nil {
		t.Fatal(err)
	}
	first := w.member(t, "pg01")
	if l := w.cluster.Leader(); l != nil && l != first {
		a, err := w.send(l, l.Host, "POST /switchover", nil, fmt.Sprintf(`{"leader": %q, "candidate": "pg01"}`, l.Name))
		if err != nil || a.code != 200 {
			t.Fatalf("restore the leader: %v %s", err, a.text())
		}
		if err := w.awaitHealthy(); err != nil {
			t.Fatal(err)
		}
	}
	last := w.until(func() string {
		for _, m := range w.cluster.Members {
			if a, err := w.send(m, m.Host, "GET /config", nil, ""); err != nil || a.body != w.shown {
				return fmt.Sprintf("%s: %v %s", m.Name, err, a.body)
			}
			a, err := w.send(m, m.Host, "GET /patroni", nil, "")
			if err != nil || strings.Contains(a.body, `"pause"`) || strings.Contains(a.body, `"pending_restart"`) {
				return fmt.Sprintf("%s: %v %s", m.Name, err, a.body)
			}
		}
		return ""
	})
	if last != "" {
		t.Fatalf("the configuration is not restored: %s", last)
	}
}

// restoreMember thaws and starts what runs of a member, as its file was.
func (w *world) restoreMember(t *testing.T, m *lab.Member) error {
	t.Helper()
	if pid := m.Postmaster(); pid != 0 {
		if err := signalTree(pid, syscall.SIGCONT); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(m.Config())
	if err != nil {
		return err
	}
	changed := strings.Contains(string(text), settingsMark)
	if changed {
		rewriteSection(t, m, "")
	}
	if !m.Agent().Alive() {
		return w.doAgent(m, "start")
	}
	m.ThawAgent()
	if changed {
		if err := w.doAgent(m, "reload"); err != nil {
			return err
		}
	}
	w.tls = nil
	if last := w.until(func() string { return w.silentYet(m) }); last != "" {
		return errors.New(last)
	}
	_, err = w.send(m, m.Host, "DELETE /restart", nil, "")
	return err
}

// silentYet says why a member's REST gives no answer, or "".
func (w *world) silentYet(m *lab.Member) string {
	if _, err := w.send(m, m.Host, "GET /liveness", nil, ""); err != nil {
		return err.Error()
	}
	return ""
}

// awaitHealthy is Cluster.WaitHealthy that ends the case's own test only.
func (w *world) awaitHealthy() error {
	last := w.until(func() string { return w.cluster.Unhealthy() })
	if last != "" {
		return fmt.Errorf("not healthy: %s\n%s", last, w.cluster.State())
	}
	return nil
}
