package stories

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// The DCS lost everything while the agents were stopped, and a standby's agent
// is started first: it asks the server that it followed, which is a primary,
// registers nothing, and names the member to start. Then that one leads again
// with the PostgreSQL that never stopped (docs/differences.md, "standby with
// an empty DCS").
func TestStandbyFirstAfterALostDCS(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w := c.StartWriter()
	leader := c.Leader()
	stopped, running := c.Others(leader)[0], c.Others(leader)[1]
	stopped.Shutdown(30 * time.Second)
	ctl(t, leader, 0, words("pause"), "Success: cluster management is paused")
	for _, m := range []*lab.Member{leader, running} {
		l.Until(10*time.Second, m.Name+" is paused", func() string {
			if s, err := m.Status(); err != nil || !s.Pause {
				return fmt.Sprintf("%+v %v", s, err)
			}
			return ""
		})
	}
	running.Shutdown(30 * time.Second)
	leader.Shutdown(30 * time.Second)
	pid, standby := leader.Postmaster(), running.Postmaster()
	if pid == 0 || standby == 0 {
		t.Fatal("PostgreSQL was stopped in pause")
	}

	keys, err := c.Etcd.List(c.Key(""))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal([]byte(keys[c.Key("config")]), &config); err != nil {
		t.Fatal(err)
	}
	for key := range keys {
		c.Etcd.Delete(key)
	}
	delete(config, "pause") // what the operator writes back
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	c.Etcd.Put(c.Key("config"), string(text))

	stopped.Start()
	asked := leader.Addr + ":5432, which answers as a primary"
	l.Until(30*time.Second, stopped.Name+" names the member to start first", func() string {
		if log := stopped.AgentLog(); !strings.Contains(log, "waiting for the member running as primary ("+asked+") to register it") {
			return log
		}
		return ""
	})
	l.Until(10*time.Second, "the member key tells it too", func() string {
		note, _, err := c.Etcd.Get(c.Key("members/" + stopped.Name))
		if err != nil || !strings.Contains(note, "first start the agent of the member at "+asked) {
			return fmt.Sprint(note, err)
		}
		return ""
	})
	running.Start()
	l.Never(ttl(c)+2*time.Second, "standbys must not register the cluster", func() string {
		id, there, err := c.Etcd.Get(c.Key("initialize"))
		if now := c.Leader(); there || now != nil {
			return fmt.Sprint(id, now, err)
		}
		return ""
	})
	out, code := leader.Ctl("adopt", "--member", "nosuch", "--force")
	expect(t, out, code, 1, "Error: Member nosuch does not exist in cluster pg-basic: start its agent first")

	leader.Start()
	if now := c.WaitHealthy(60 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	sameServer(t, leader, pid)
	sameServer(t, running, standby)
	w.Advance(10 * time.Second)
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
}
