package stories

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// patch changes the dynamic configuration as an operator's tool does.
func patch(t *testing.T, m *lab.Member, body string) {
	t.Helper()
	if code, answer, err := m.REST("PATCH", "/config", body); err != nil || code != 200 {
		t.Fatalf("PATCH /config: %d %s %v", code, answer, err)
	}
}

// everywhere waits until the members' servers show the setting so.
func everywhere(t *testing.T, l *lab.Lab, members []*lab.Member, setting, want string) {
	t.Helper()
	l.Until(30*time.Second, setting+" = "+want, func() string {
		for _, m := range members {
			if got, err := m.Query("SHOW " + setting); err != nil || got != want {
				return m.Name + ": " + got + errText(err)
			}
		}
		return ""
	})
}

func errText(err error) string {
	if err != nil {
		return " " + err.Error()
	}
	return ""
}

// pendingReason waits until the member's own document says that this setting
// waits for a restart, or, with two empty values, that none does.
func pendingReason(t *testing.T, l *lab.Lab, m *lab.Member, setting, old, next string) {
	t.Helper()
	l.Until(30*time.Second, m.Name+": pending "+setting+" "+old+" -> "+next, func() string {
		var doc struct {
			Pending bool `json:"pending_restart"`
			Reason  map[string]struct {
				Old string `json:"old_value"`
				New string `json:"new_value"`
			} `json:"pending_restart_reason"`
		}
		_, body, err := m.REST("GET", "/patroni", "")
		if err == nil {
			err = json.Unmarshal([]byte(body), &doc)
		}
		r, there := doc.Reason[setting]
		if err != nil || doc.Pending != (old != "") || there != (old != "") || r.Old != old || r.New != next {
			return body + errText(err)
		}
		return ""
	})
}

// A change of the dynamic configuration reaches every server; what needs a
// restart waits for it, with the reason; max_connections is raised and lowered
// in both orders (config contract 6.1 to 6.3).
func TestSettingsReachEveryMember(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	leader := c.Leader()
	standbys := c.Others(leader)
	patch(t, standbys[0], `{"postgresql":{"parameters":{"work_mem":"7MB","log_statement":"nonsense","max_connections":120}}}`)
	everywhere(t, l, c.Members, "work_mem", "7MB")
	for _, m := range c.Members {
		pendingReason(t, l, m, "max_connections", "100", "120")
		if !strings.Contains(m.AgentLog(), "parameters.log_statement: left out") {
			t.Errorf("%s does not say that log_statement was left out", m.Name)
		}
	}
	everywhere(t, l, c.Members, "max_connections", "100")
	l.Until(10*time.Second, "the reason in the list", func() string {
		if out, _ := leader.Ctl("list", "-e"); strings.Count(out, "max_connections: 100->120") != 3 {
			return out
		}
		return ""
	})

	// Raised in the documented order: standbys first.
	for _, m := range standbys {
		ctl(t, m, 0, words("restart pg-basic "+m.Name+" --force"), "Success: restart on member "+m.Name)
	}
	everywhere(t, l, standbys, "max_connections", "120")
	ctl(t, leader, 0, words("restart pg-basic "+leader.Name+" --force"), "Success: restart on member "+leader.Name)
	everywhere(t, l, c.Members, "max_connections", "120")
	for _, m := range c.Members {
		pendingReason(t, l, m, "max_connections", "", "")
	}

	// Raised on the primary first: the standbys' replay stands still, and they
	// come back with the primary's value by themselves.
	patch(t, leader, `{"postgresql":{"parameters":{"max_connections":140}}}`)
	for _, m := range c.Members {
		pendingReason(t, l, m, "max_connections", "120", "140")
	}
	ctl(t, leader, 0, words("restart pg-basic "+leader.Name+" --force"), "Success: restart on member "+leader.Name)
	everywhere(t, l, c.Members, "max_connections", "140")
	c.WaitHealthy(30 * time.Second)

	// Lowered, a standby too early: it keeps the primary's value and stays pending.
	patch(t, leader, `{"postgresql":{"parameters":{"max_connections":110}}}`)
	early := standbys[0]
	pendingReason(t, l, early, "max_connections", "140", "110")
	ctl(t, early, 0, words("restart pg-basic "+early.Name+" --force"), "Success: restart on member "+early.Name)
	everywhere(t, l, c.Members, "max_connections", "140")
	pendingReason(t, l, early, "max_connections", "140", "110")
	ctl(t, leader, 0, words("restart pg-basic "+leader.Name+" --force"), "Success: restart on member "+leader.Name)
	everywhere(t, l, []*lab.Member{leader}, "max_connections", "110")
	c.WaitHealthy(30 * time.Second)
	for _, m := range standbys {
		// The new value is in the standby's pg_control once it has replayed the
		// restart, and was written down at a restart point.
		l.Until(30*time.Second, m.Name+" runs with the lower value", func() string {
			if out, code := m.Ctl("restart", "pg-basic", m.Name, "--force"); code != 0 {
				return out
			}
			got, err := m.Query("SHOW max_connections")
			if got != "110" {
				return got + errText(err)
			}
			return ""
		})
		pendingReason(t, l, m, "max_connections", "", "")
	}
	if now := c.WaitHealthy(30 * time.Second); now != leader {
		t.Errorf("%s leads", now.Name)
	}
	if rows := w.Lost(leader); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}

// The sections of a role go with the role through a switchover, and rules that
// PostgreSQL cannot read never replace those it uses (config contract 4.3, 5.6).
func TestSettingsFollowTheRole(t *testing.T) {
	l := long(t)
	c := healthyCluster(t, l, lab.Options{})
	w, p := c.StartWriter(), c.StartProber()
	leader := c.Leader()
	patch(t, leader, `{"postgresql":{"parameters":{"work_mem":"5MB"},"parameters_primary":{"work_mem":"9MB"},"parameters_replica":{"work_mem":"3MB"}}}`)
	everywhere(t, l, []*lab.Member{leader}, "work_mem", "9MB")
	everywhere(t, l, c.Others(leader), "work_mem", "3MB")
	ctl(t, leader, 0, words("switchover pg-basic --leader "+leader.Name+" --candidate "+c.Others(leader)[0].Name+" --force"))
	now := c.WaitHealthy(30 * time.Second)
	if now == leader {
		t.Fatalf("%s leads still", now.Name)
	}
	everywhere(t, l, []*lab.Member{now}, "work_mem", "9MB")
	everywhere(t, l, c.Others(now), "work_mem", "3MB")

	good := now.MustQuery("SELECT count(*)::text FROM pg_hba_file_rules")
	patch(t, now, `{"postgresql":{"pg_hba":["this is not a rule"]}}`)
	l.Until(20*time.Second, "all members say what is wrong", func() string {
		for _, m := range c.Members {
			if !strings.Contains(m.AgentLog(), `pg_hba.conf line 4: invalid connection type \"this\"`) && !strings.Contains(m.AgentLog(), `invalid connection type "this"`) {
				return m.Name
			}
		}
		return ""
	})
	for _, m := range c.Members {
		ctl(t, m, 0, words("restart pg-basic "+m.Name+" --force"), "Success: restart on member "+m.Name)
		everywhere(t, l, []*lab.Member{m}, "work_mem", map[bool]string{true: "9MB", false: "3MB"}[m == now])
		if got := m.MustQuery("SELECT count(*)::text FROM pg_hba_file_rules"); got != good {
			t.Errorf("%s: %s rules in force, were %s", m.Name, got, good)
		}
	}
	// An agent that was not there to ask the server: the start fails at once,
	// and is tried with the rules of the last good one.
	late := c.Others(now)[0]
	late.Shutdown(30 * time.Second)
	late.Start()
	c.WaitHealthy(30 * time.Second)
	if got := late.MustQuery("SELECT count(*)::text FROM pg_hba_file_rules"); got != good || !strings.Contains(late.AgentLog(), "starting it with the old pg_hba.conf") {
		t.Errorf("%s: %s rules in force, were %s\n%s", late.Name, got, good, late.AgentLog())
	}
	if rows := w.Lost(c.WaitHealthy(30 * time.Second)); len(rows) > 0 {
		t.Errorf("%d rows lost", len(rows))
	}
	p.NeverTwo()
}
