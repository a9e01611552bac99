package stories

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// garbage is what a hand, a broken tool or another program may leave in a key.
var garbage = []struct{ name, value string }{
	{"empty", ""},
	{"not JSON", "garbage"},
	{"JSON of another type", `[1,"two",null]`},
	{"cut off", `{"ttl":10,"loop_`},
	{"binary", "\xff\xfe\x00\x01{"},
	{"nested deeply", strings.Repeat("[", 20000)},
	{"a megabyte", strings.Repeat("x", 1<<20)},
}

// keeper checks, after each damage, what must not have changed.
type keeper struct {
	t      *testing.T
	l      *lab.Lab
	c      *lab.Cluster
	w      *lab.Writer
	leader *lab.Member
	pids   map[string]int
}

func newKeeper(t *testing.T, l *lab.Lab, c *lab.Cluster, w *lab.Writer) *keeper {
	k := &keeper{t: t, l: l, c: c, w: w, leader: c.Leader(), pids: map[string]int{}}
	for _, m := range c.Members {
		k.pids[m.Name] = m.Postmaster()
	}
	return k
}

// well: the agents live, the same servers run, writes go on, ctl answers.
func (k *keeper) well(what string) {
	k.t.Helper()
	k.w.Advance(10 * time.Second)
	for _, m := range k.c.Members {
		if !m.Agent().Alive() {
			k.t.Fatalf("%s: the agent of %s has ended", what, m.Name)
		}
		if strings.Contains(m.AgentLog(), "panic:") || strings.Contains(m.AgentLog(), "BUG") {
			k.t.Fatalf("%s: %s", what, m.AgentLog())
		}
		if pid := m.Postmaster(); pid != k.pids[m.Name] {
			k.t.Fatalf("%s: PostgreSQL of %s was pid %d, is now %d", what, m.Name, k.pids[m.Name], pid)
		}
	}
	if out, code := k.c.Members[1].Ctl("list"); code != 0 || !strings.Contains(out, "| Leader ") {
		k.t.Fatalf("%s: ctl list: exit %d\n%.2000s", what, code, out)
	}
}

// said counts how often a member's log names the key as damaged.
func said(m *lab.Member, key string) int {
	return strings.Count(m.AgentLog(), "damaged value in the DCS: "+key+": ")
}

// saidBy waits until every agent has named the key once more than before.
func (k *keeper) saidBy(key string, before map[string]int) {
	k.t.Helper()
	k.l.Until(15*time.Second, "every agent names "+key+" as damaged", func() string {
		for _, m := range k.c.Members {
			if said(m, key) <= before[m.Name] {
				return m.Name + " does not"
			}
		}
		return ""
	})
}

func (k *keeper) counts(key string) map[string]int {
	all := map[string]int{}
	for _, m := range k.c.Members {
		all[m.Name] = said(m, key)
	}
	return all
}

// value reads a key of the cluster.
func (k *keeper) value(key string) string {
	k.t.Helper()
	v, _, err := k.c.Etcd.Get(k.c.Key(key))
	if err != nil {
		k.t.Fatal(err)
	}
	return v
}

// Garbage in every key of a live cluster: nothing stops, nobody is misled, and
// what somebody owns is mended by its owner (contract: dcs-layout.md 1 and 2).
func TestDamagedKeys(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	k := newKeeper(t, l, c, w)
	id, replica := k.value("initialize"), c.Others(k.leader)[0]

	// Keys with an owner, who writes them again.
	isObjectWith := func(field string) func(string) bool {
		return func(v string) bool {
			m := map[string]any{}
			return json.Unmarshal([]byte(v), &m) == nil && m[field] != nil
		}
	}
	ctl(t, k.leader, 0, []string{"pause", "--wait"}, "Success")
	for _, g := range garbage { // pause ends by no damage
		c.Etcd.Put(c.Key("config"), g.value)
		l.Until(15*time.Second, "config is restored", func() string {
			if v := k.value("config"); !isObjectWith("pause")(v) || !isObjectWith("ttl")(v) {
				return fmt.Sprintf("%.100q", v)
			}
			return ""
		})
		if s, err := replica.Status(); err != nil || !s.Pause {
			t.Errorf("%s in config ended pause: %+v, %v", g.name, s, err)
		}
		k.well("config: " + g.name)
	}
	ctl(t, k.leader, 0, []string{"resume", "--wait"}, "Success")
	for _, owned := range []struct {
		key    string
		mended func(string) bool
	}{
		{"initialize", func(v string) bool { return v == id }},
		{"status", isObjectWith("optime")},
		{"members/" + k.leader.Name, isObjectWith("conn_url")},
		{"members/" + replica.Name, isObjectWith("conn_url")},
	} {
		for _, g := range garbage {
			c.Etcd.Put(c.Key(owned.key), g.value)
			l.Until(15*time.Second, owned.key+" is mended after: "+g.name, func() string {
				if v := k.value(owned.key); !owned.mended(v) {
					return fmt.Sprintf("%.100q", v)
				}
				return ""
			})
			k.well(owned.key + ": " + g.name)
		}
	}

	// Keys that nobody owns at the moment: read as nothing, and said once.
	ownerless := []string{"failover", "sync", "failsafe", "history"}
	for _, g := range garbage[1:] {
		before := map[string]map[string]int{}
		for _, key := range ownerless {
			before[key] = k.counts(key)
			c.Etcd.Put(c.Key(key), g.value)
		}
		c.Etcd.Put(c.Key("optime/leader"), g.value) // never read: status is there
		for _, key := range ownerless {
			k.saidBy(key, before[key])
		}
		k.well("failover, sync, failsafe, history: " + g.name)
		w.Advance(3 * time.Duration(c.LoopWait) * time.Second)
		for _, key := range ownerless {
			for _, m := range c.Members {
				if n := said(m, key); n != before[key][m.Name]+1 {
					t.Errorf("%s in %s: %s said so %d times", g.name, key, m.Name, n-before[key][m.Name])
				}
			}
			c.Etcd.Put(c.Key(key), map[string]string{"history": "[]", "failover": "{}"}[key])
		}
	}
	for _, key := range append(ownerless, "optime/leader") {
		c.Etcd.Delete(c.Key(key))
	}
	for _, m := range c.Members {
		for line := range strings.Lines(m.AgentLog()) {
			if len(line) > 4<<10 {
				t.Errorf("%s: a line of %d bytes: %.200s", m.Name, len(line), line)
			}
		}
	}

	// A switchover works after all of it.
	ctl(t, k.leader, 0, []string{"switchover", "--candidate", replica.Name, "--force"}, "Successfully switched over")
	if now := c.WaitHealthy(40 * time.Second); now != replica {
		t.Errorf("%s leads", now.Name)
	}
	if rows := w.Lost(replica); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

// Values that are valid JSON and mean nothing, keys that are not ours, members
// that are none, and a leader key that names nobody.
func TestForeignKeys(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	k := newKeeper(t, l, c, w)
	put := func(key, value string) {
		t.Helper()
		c.Etcd.Put(c.Key(key), value)
		w.Advance(10 * time.Second)
	}

	put("unknown", strings.Repeat("x", 1<<20))
	put("0/leader", "citus")
	put("members/a/b", "{}")
	put("members/", "{}")
	put("LEADER", "pg09")
	k.well("foreign keys below the scope")

	wrong := `{"conn_url":5,"api_url":["x"],"state":{},"role":1,"version":4,"tags":"x","timeline":"y","xlog_location":{}}`
	running := `{"conn_url":"postgres://[::1:x/\u0000","api_url":"http://192.0.2.1:99999/patroni","state":"running","role":"primary","version":"4.x","timeline":99,"xlog_location":9223372036854775807}`
	strangers := map[string]string{
		"types": wrong, "a b'\";drop--": running, "\x1b[31mred\nline": wrong, "Ünï": running,
		strings.Repeat("n", 300): "{}", "..": running,
	}
	for name, value := range strangers {
		c.Etcd.Put(c.Key("members/"+name), value)
	}
	w.Advance(3 * time.Duration(c.LoopWait) * time.Second)
	k.well("members that are none")
	out, code := k.leader.Ctl("list")
	if code != 0 || strings.Contains(out, "\x1b") {
		t.Errorf("ctl list: exit %d, a control character reaches the terminal\n%q", code, out)
	}
	for name := range strangers {
		c.Etcd.Delete(c.Key("members/" + name))
	}

	put("failover", `{"nonsense":[1,2],"leader":{},"member":17}`)
	put("failover", `{"member":"ghost","pause":true,"force":"yes"}`)
	put("failover", `{"leader":"`+k.leader.Name+`","member":"`+k.c.Others(k.leader)[0].Name+`","scheduled_at":"when pigs fly"}`)
	put("sync", `{"leader":17,"quorum":"x","sync_standby":{"a":1}}`)
	put("history", `[["x"],[1,2,3,4,5,6],{"a":1}]`)
	put("failsafe", `{"a":1,"b":null}`)
	put("status", `{"optime":"high","slots":["x"],"retain_slots":["no slot's name",{"a":1},17]}`)
	w.Advance(3 * time.Duration(c.LoopWait) * time.Second)
	k.well("valid JSON that means nothing")
	c.Etcd.Put(c.Key("failover"), "{}")
	for _, key := range []string{"sync", "failsafe"} {
		c.Etcd.Delete(c.Key(key))
	}

	// An empty leader key is nobody's: the primary takes it again.
	from := time.Now()
	c.Etcd.Put(c.Key("leader"), "")
	l.Until(10*time.Second, "the leader key is taken again", func() string {
		if v := k.value("leader"); v != k.leader.Name {
			return fmt.Sprintf("%q", v)
		}
		return ""
	})
	k.well("an empty leader key")
	if gap := w.Gap(from); gap > 3*time.Second {
		t.Errorf("write gap %v", gap)
	}

	// A name without a member is a valid owner: nobody leads, everybody says
	// what to do, and the deletion of the key is all it takes.
	c.Etcd.Put(c.Key("leader"), "ghost")
	l.Until(ttl(c)+15*time.Second, "list says that the leader key names no member", func() string {
		out, _ := c.Members[2].Ctl("list")
		if strings.Contains(out, "the leader key names ghost, which is no member") {
			return ""
		}
		return out
	})
	c.Etcd.Delete(c.Key("leader"))
	leader := c.WaitHealthy(40 * time.Second)
	w.Advance(10 * time.Second)
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}
