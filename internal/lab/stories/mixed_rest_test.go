package stories

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// curl sends a request with the member's own curl: options, then the URL's path.
func curl(t *testing.T, from, to *lab.Member, path string, options ...string) (answer string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	argv := append([]string{"curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", from.Dir + "/" + from.Name + "-ca.pem"}, options...)
	out, code, err := from.Run(ctx, append(argv, "https://"+to.Addr+":8008"+path)...)
	if err != nil {
		t.Fatalf("curl: %v\n%s", err, out)
	}
	return out, code
}

// secureTrio is pg01 and pg02 under Patroni, pg03 under pgha, with TLS on both
// sides and a password.
func secureTrio(l *lab.Lab) *lab.Cluster {
	c := l.NewCluster(l.StartEtcd(3), lab.Options{Patroni: []string{"pg01", "pg02"}, Secure: true})
	prioritize(c)
	return c
}

// The REST API with TLS on both sides and a password: the kinds ask each other
// before a planned change, and both tools work. Without the certificate, or the
// password, both refuse alike.
func TestMixedRESTWithTLSAndPassword(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c := secureTrio(l)
	c.Start()
	theirs, ours := c.Member("pg02"), c.Member("pg03")
	leads(t, c, theirs)
	w, p := c.StartWriter(), c.StartProber()
	for _, m := range []*lab.Member{ours, theirs} {
		move(t, c, w, m, "pgha ctl switchover", func(old *lab.Member) string {
			r := m.CtlInput("", "switchover", "--candidate", m.Name, "--force")
			return r.Stdout + r.Stderr
		})
	}
	move(t, c, w, ours, "patronictl switchover", func(old *lab.Member) string {
		r := old.Patronictl("switchover", "--candidate", ours.Name, "--force")
		return r.Stdout + r.Stderr
	})
	same(t, ours, "", "list")
	same(t, theirs, "", "version", "pg-basic")
	for _, m := range []*lab.Member{theirs, ours} {
		same(t, ours, "", "reload", "pg-basic", m.Name, "--force")
		certificate := []string{"--cert", ours.Dir + "/" + ours.Name + ".pem", "--key", ours.Dir + "/" + ours.Name + ".key"}
		if out, code := curl(t, ours, m, "/patroni"); code == 0 {
			t.Errorf("%s (%s) answers %q without a client's certificate", m.Name, m.Kind(), out)
		}
		for _, try := range []struct{ user, want string }{
			{"", "401"}, {lab.RESTUser + ":wrong", "401"}, {lab.RESTUser + ":" + lab.RESTPassword, "202"},
		} {
			options := append([]string{"-X", "POST"}, certificate...)
			if try.user != "" {
				options = append(options, "--user", try.user)
			}
			if out, code := curl(t, ours, m, "/reload", options...); out != try.want || code != 0 {
				t.Errorf("POST /reload to %s (%s) as %q: %s (curl %d), want %s", m.Name, m.Kind(), try.user, out, code, try.want)
			}
		}
		if out, code := curl(t, ours, m, "/patroni", certificate...); out != "200" || code != 0 {
			t.Errorf("GET /patroni of %s (%s): %s (curl %d)", m.Name, m.Kind(), out, code)
		}
	}
	nothingLost(t, w, p, c.Leader())
}

// In a race the members ask each other over TLS, too: the one with the higher
// failover_priority must have been heard by the other kind.
func TestMixedRaceWithTLS(t *testing.T) {
	l := long(t)
	l.NeedNetwork()
	c := secureTrio(l)
	c.Start()
	leads(t, c, c.Member("pg01"))
	byPriority(t, c)
	ours := c.Member("pg03")
	for _, m := range c.Members {
		if m.Kind() == lab.Patroni && !strings.Contains(m.AgentLog(), fmt.Sprintf("Got response from %s https://%s:8008/patroni", ours.Name, ours.Addr)) {
			t.Errorf("%s has not asked %s over TLS:\n%s", m.Name, ours.Name, m.AgentLog())
		}
	}
}
