package gate

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgha/internal/clock"
)

// TestDamageIsRepaired: whatever somebody did to the table, the next Extend
// makes it whole, and no client is reset by that.
func TestDamageIsRepaired(t *testing.T) {
	table := "inet " + TableName(testPort)
	for _, c := range []struct{ name, damage, why string }{
		{"all rules of the machine flushed", "flush ruleset", "there is no table"},
		{"table deleted", "delete table " + table, "there is no table"},
		{"rules flushed", "flush table " + table, "chain to_server has 0 rules instead of 7"},
		{"one chain flushed", "flush chain " + table + " to_client", "chain to_client has 0 rules instead of 7"},
		{"a rule added", "insert rule " + table + " in accept", "chain in has 2 rules instead of 1"},
		{"base chain deleted", "delete chain " + table + " in", "chain in is missing"},
		{"dormant", "add table " + table + " { flags dormant; }", "the table is switched off (dormant)"},
		{"member added", "add element " + table + " members4 { 10.1.2.3 }", "set members4 has other addresses"},
		{"members gone", "flush set " + table + " members4", "set members4 has other addresses"},
		{"element gone", "flush set " + table + " lease", ""},
		{"nothing", "list ruleset", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inNamespace(t, func(t *testing.T) {
				echo(t, testPort)
				g := open(t, Options{})
				g.Members([]netip.Addr{netip.MustParseAddr("10.0.0.2")})
				extend(t, g, time.Minute)
				whole := shape(t)
				client := mustDial(t, "", "127.0.0.1", false)
				sh(t, "nft '"+c.damage+"'")
				if why := extend(t, g, time.Minute); why != c.why {
					t.Errorf("said %q, want %q", why, c.why)
				}
				if got := shape(t); got != whole {
					t.Errorf("not whole again:\n%s\nwas\n%s", got, whole)
				}
				wantPass(t, "client", say(client, 'x'))
			})
		})
	}
}

// shape is the ruleset without what is left of timeouts.
func shape(t *testing.T) string {
	lines := strings.Split(sh(t, "nft list ruleset"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, "expires") })
	return strings.Join(lines, "\n")
}

// TestOtherTablesStay: they are byte for byte the same, whatever a gate does.
func TestOtherTablesStay(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		sh(t, `nft -f - <<'E'
table inet filter {
	set pgha { type ipv4_addr; flags timeout; elements = { 10.0.0.1 } }
	chain input { type filter hook input priority filter; policy drop; iif lo accept; tcp dport 22 counter accept; }
}
table ip pgha_21770 {
	chain x { tcp dport 21770 accept; }
}
table inet pgha_21771 {
	chain x { tcp dport 21771 accept; }
}
E`)
		others := func() string { return sh(t, "nft list ruleset | grep -v expires") }
		before := others()
		g := open(t, Options{})
		if now := others(); now != before {
			t.Errorf("Open changed\n%s\nto\n%s", before, now)
		}
		extend(t, g, time.Minute)
		own := sh(t, "nft list table inet pgha_21770 | grep -v expires")
		if now := strings.Replace(others(), own, "", 1); now != before {
			t.Errorf("Extend changed\n%s\nto\n%s", before, now)
		}
		extend(t, g, -time.Minute)
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		if now := others(); now != before {
			t.Errorf("Remove left\n%s\nof\n%s", now, before)
		}
	})
}

// TestTakenOverWithoutAGap: a new process continues the table of an earlier
// one; a client that talks all the time notices nothing, also when the table
// is of an older format.
func TestTakenOverWithoutAGap(t *testing.T) {
	for _, old := range []bool{false, true} {
		inNamespace(t, func(t *testing.T) {
			echo(t, testPort)
			first := open(t, Options{})
			if old {
				first.Listen = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			}
			extend(t, first, time.Minute)
			client := mustDial(t, "", "127.0.0.1", false)
			stop, failed := make(chan struct{}), make(chan error, 1)
			go func() {
				var err error
				for err == nil {
					select {
					case <-stop:
						failed <- nil
						return
					default:
						err = say(client, 'x')
					}
				}
				failed <- err
			}()
			for range 20 {
				extend(t, open(t, Options{}), time.Minute)
			}
			close(stop)
			wantPass(t, "client", <-failed)
		})
	}
}

// TestAnothersTable: two members with one port on one machine; the second is told.
func TestAnothersTable(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		long := strings.Repeat("a-long-name/", 12)
		first := open(t, Options{Port: testPort, Owner: long + "1", Fence: 300 * time.Millisecond})
		second := open(t, Options{Port: testPort, Owner: long + "2"})
		extend(t, first, 300*time.Millisecond)
		before := shape(t)
		_, err := second.Extend(clock.Now().Add(time.Minute))
		if !errors.Is(err, ErrForeign) || !errors.Is(second.Remove(), ErrForeign) {
			t.Errorf("got %v, want %v", err, ErrForeign)
		}
		if now := shape(t); now != before {
			t.Errorf("changed to\n%s", now)
		}
		// Nobody has refreshed it for longer than it shuts: it is nobody's.
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err = second.Extend(clock.Now().Add(time.Minute)); err == nil || time.Now().After(end) {
				break
			}
		}
		wantPass(t, "left over", err)
		if _, err := first.Extend(clock.Now().Add(time.Minute)); !errors.Is(err, ErrForeign) {
			t.Errorf("the first owner: %v, want %v", err, ErrForeign)
		}
	})
}

// TestFenceEnds: of an agent that is gone for good no closed port is left.
func TestFenceEnds(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		echo(t, testPort)
		g := open(t, Options{Port: testPort, Owner: "demo/pg01", Fence: 700 * time.Millisecond})
		extend(t, g, 100*time.Millisecond)
		waitShut(t)
		var err error
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if _, err = dial("", "127.0.0.1", false); err == nil {
				break
			}
		}
		wantPass(t, "after the fence", err)
	})
}

// TestOtherAddressStays: a server on the same port of another address is not gated.
func TestOtherAddressStays(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		echo(t, testPort)
		g := open(t, Options{Port: testPort, Owner: "demo/pg01", Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::ffff:127.0.0.3")}})
		extend(t, g, -time.Second)
		for address, passes := range map[string]bool{"127.0.0.1": false, "127.0.0.2": true, "127.0.0.3": false, "::1": true} {
			_, err := dial("", address, false)
			if passes {
				wantPass(t, address, err)
			} else {
				wantReset(t, address, err)
			}
		}
	})
}

// jump is a clock that leaps ahead once, as a process does that stood still.
type jump struct {
	clock.System
	reads *int
	at    int
	by    time.Duration
}

func (j jump) Now() clock.Instant {
	*j.reads++
	if *j.reads > j.at {
		return clock.Now().Add(j.by)
	}
	return clock.Now()
}

// TestFrozenBeforeTheKernelHeard: a timeout that was computed before the
// process stood still must not begin afterwards.
func TestFrozenBeforeTheKernelHeard(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		echo(t, testPort)
		g := open(t, Options{Port: testPort, Owner: "demo/pg01", Clock: jump{reads: new(int), at: 1, by: 20 * time.Second}})
		extend(t, g, 10*time.Second)
		_, err := dial("", "127.0.0.1", false)
		wantReset(t, "client after the thaw", err)
	})
}

// TestNotPermitted runs this test again as a user without the capability.
func TestNotPermitted(t *testing.T) {
	if os.Getenv("PGHA_GATE_CHILD") != "" {
		if _, err := Open(Options{Port: testPort, Owner: "demo/pg01"}); !errors.Is(err, ErrNotPermitted) {
			t.Errorf("got %v, want %v", err, ErrNotPermitted)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("run as root")
	}
	out, err := runChild(t, "TestNotPermitted", nil)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// runChild runs one test again as user nobody, in a network namespace of its own.
func runChild(t *testing.T, test string, ambient []uintptr) (string, error) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "gate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/test", text, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir+"/test", "-test.run", "^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PGHA_GATE_CHILD=1")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, AmbientCaps: ambient,
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestCost says what a renewal costs the gate's goroutine.
func TestCost(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		g := open(t, Options{})
		extend(t, g, time.Minute)
		var longest time.Duration
		start := time.Now()
		const n = 50
		for range n {
			from := time.Now()
			extend(t, g, time.Minute)
			longest = max(longest, time.Since(from))
		}
		t.Logf("%d renewals: %s on average, %s the longest", n, time.Since(start)/n, longest)
	})
}
