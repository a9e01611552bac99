package guard

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestStages(t *testing.T) {
	const s, ms = second, millisecond
	for _, c := range []struct{ ttl, fast, kill, alarm int64 }{ // lead before the deadline
		{5 * s, 2 * s, 1 * s, 500 * ms},
		{20 * s, 2 * s, 1 * s, 500 * ms},
		{30 * s, 3 * s, 1500 * ms, 750 * ms},
		{100 * s, 10 * s, 5 * s, 2500 * ms},
	} {
		const deadline = 1000 * s
		if got := deadline - FastStopAt(deadline, c.ttl); got != c.fast {
			t.Errorf("ttl %v: fast stop %v before, want %v", time.Duration(c.ttl), got, c.fast)
		}
		if got := deadline - KillAt(deadline, c.ttl); got != c.kill {
			t.Errorf("ttl %v: kill %v before, want %v", time.Duration(c.ttl), got, c.kill)
		}
		if got := deadline - AlarmAt(deadline, c.ttl); got != c.alarm {
			t.Errorf("ttl %v: alarm %v before, want %v", time.Duration(c.ttl), got, c.alarm)
		}
	}
}

func TestCheckArm(t *testing.T) {
	const s = second
	held := lease{armed: true, deadline: 110 * s, ttl: 20 * s}
	for _, c := range []struct {
		name          string
		l             lease
		deadline, ttl int64
		shorten       bool
		want          string
	}{
		{"first", lease{}, 120 * s, 20 * s, false, ""},
		{"extends", held, 119 * s, 20 * s, false, ""},
		{"same", held, 110 * s, 20 * s, false, ""},
		{"earlier", held, 109 * s, 20 * s, false, codeEarlier},
		{"earlier by name", held, 109 * s, 20 * s, true, ""},
		{"past", lease{}, 99 * s, 20 * s, false, codeDeadline},
		{"kill stage reached", lease{}, 101 * s, 20 * s, false, codeDeadline},
		{"past by name", held, 99 * s, 20 * s, true, codeDeadline},
		{"another clock", lease{}, 1795000000 * s, 20 * s, false, codeBadDeadline},
		{"ttl in seconds", lease{}, 120 * s, 20, false, codeBadDeadline},
		{"no ttl", lease{}, 100 * s, 0, false, codeBadDeadline},
		{"endless ttl", lease{}, 120 * s, 1 << 62, false, codeBadDeadline},
	} {
		if got, _ := c.l.checkArm(100*s, c.deadline, c.ttl, c.shorten); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if (lease{}).mayAct(0) {
		t.Error("acts without a lease")
	}
	if !held.mayAct(108*s-1) || held.mayAct(108*s) {
		t.Error("the first stage is the limit for acting")
	}
}

func TestParseStat(t *testing.T) {
	line := func(state string, threads string) string {
		return "4711 (a) S 9 (x y) " + state + " 17 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 " + threads + " 0 123456 99 1\n"
	}
	p, ok := parseStat(line("S", "1"))
	if !ok || p != (process{pid: 4711, ppid: 17, state: 'S', threads: 1, start: 123456}) {
		t.Errorf("%+v %v", p, ok)
	}
	for _, c := range []struct {
		state, threads string
		dead           bool
	}{{"Z", "1", true}, {"X", "0", true}, {"Z", "2", false}, {"D", "1", false}, {"T", "1", false}} {
		if p, _ := parseStat(line(c.state, c.threads)); p.dead() != c.dead {
			t.Errorf("%s with %s threads: dead %v", c.state, c.threads, p.dead())
		}
	}
	for _, bad := range []string{"", "4711", "x (y) S 1", "4711 (y) S", "4711 )"} {
		if p, ok := parseStat(bad); ok {
			t.Errorf("%q taken as %+v", bad, p)
		}
	}
}

func TestStatusKillPending(t *testing.T) {
	for text, want := range map[string]bool{
		"Name:\tx\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n": true,
		"SigPnd:\t0000000000000000\nShdPnd:\t0000000000004300\n":           true,
		"SigPnd:\t0000000000000000\nShdPnd:\t0000000000004e01\n":           false,
		"SigBlk:\t0000000000000100\n":                                      false,
		"":                                                                 false,
	} {
		if got := statusKillPending(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestProgramPages(t *testing.T) {
	const exe = "/usr/bin/pgha"
	for line, want := range map[string]uint64{
		"00400000-00e46000 r-xp 00000000 fe:00 10018317                           /usr/bin/pgha": 0xa46000,
		"00e46000-01a0a000 r--p 00a46000 fe:00 10018317                           /usr/bin/pgha": 0xbc4000,
		"01a0a000-01ac8000 rw-p 0160a000 fe:00 10018317                           /usr/bin/pgha": 0,
		"55d000400000-55d000e46000 r-xp 00000000 fe:00 10018317                   /usr/bin/pgha": 0,
		"00400000-00e46000 r-xp 00000000 fe:00 10018317                           /usr/bin/else": 0,
		"7fd5b24a0000-7fd5b2600000 rw-p 00000000 00:00 0":                                        0,
		"": 0,
	} {
		if _, n, ok := programPages(line, exe); ok != (want > 0) || ok && n != want {
			t.Errorf("%q: %#x %v, want %#x", line, n, ok, want)
		}
	}
}

func TestFindGroup(t *testing.T) {
	const (
		hybrid = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n" +
			"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
		pure      = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		container = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
	)
	for _, c := range []struct{ mounts, groups, want string }{
		{hybrid, "7:freezer:/x\n0::/\n", "/sys/fs/cgroup/unified"},
		{pure, "0::/system.slice/pgha.service\n", "/sys/fs/cgroup/system.slice/pgha.service"},
		{container, "0::/docker/abc/d\n", "/sys/fs/cgroup/d"},
		{pure, "0::/../other\n", ""},
		{"", "0::/\n", ""},
		{pure, "7:freezer:/x\n", ""},
	} {
		if got := findGroup(c.mounts, c.groups); got != c.want {
			t.Errorf("%q: %q, want %q", c.groups, got, c.want)
		}
	}
}

// The guard must stay small and work when the rest does not.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{join .Imports \" \"}}", "pgha/internal/guard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(out)) {
		switch name {
		case "os", "syscall", "runtime", "unsafe":
		default:
			t.Errorf("internal/guard imports %s: everything it pulls in is resident in every guard (rulings 35)", name)
		}
	}
}

// The acts check the deadline themselves, whatever the loop did before: time
// passes between its look and the act.
func TestActsCheckDeadline(t *testing.T) {
	victim := exec.Command("sleep", "60")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer victim.Process.Kill()
	dir := t.TempDir()
	tree, err := FindTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	due := lease{armed: true, deadline: bootNow() + 1900*millisecond, ttl: 20 * second}
	g := &guard{dataDir: dir, groupFD: -1, lease: due, tree: tree,
		server: server{pid: victim.Process.Pid, pidfd: -1, mode: ModeStandby}}
	for _, mode := range []string{ModePrimary, ModePause} {
		if code, text := g.promote(mode); code != codeDeadline {
			t.Errorf("promote %s after the first stage: %q %s", mode, code, text)
		}
	}
	g.lease = lease{}
	if code, _ := g.promote(ModePrimary); code != codeNotArmed {
		t.Errorf("promote without a lease: %q", code)
	}
	if _, err := os.Stat(dir + "/promote"); err == nil {
		t.Error("the promote file was written")
	}
	victim.Process.Kill() // our child would count as the tree's
	victim.Wait()
	g.server = server{pidfd: -1}
	for _, l := range []lease{due, {}} {
		g.lease = l
		if code, text := g.startServer(ModePrimary, command{path: "/bin/true", dir: "/", args: []string{"true"}}); code != codeDeadline {
			t.Errorf("start with %+v: %q %s", l, code, text)
		}
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "%", "a b", "x=ü\n", "\x00\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		word := Quote(s)
		if strings.ContainsAny(word, " \n") || word == "" {
			t.Fatalf("%q is no word", word)
		}
		if got, ok := Unquote(word); !ok || got != s {
			t.Fatalf("%q came back as %q, %v", s, got, ok)
		}
		if plain, ok := Unquote(s); ok && Quote(plain) != s && s != "" {
			// several spellings of one string are fine, as long as they agree
			if again, ok := Unquote(Quote(plain)); !ok || again != plain {
				t.Fatalf("%q means %q and %q", s, plain, again)
			}
		}
	})
}

// FuzzAnswer speaks to a guard that has nothing to start and nothing to kill:
// no line may end it, and each gets one line as its answer.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"state", "hello 1 2", "arm 1 1", "arm 9223372036854775807 86400000000000", "disarm pause",
		"start primary 0 / / 1 x", "start standby 0 % % 9 %", "adopt 2 2", "promote 0 unguarded-pause", "stop fast", "kill", "detach", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		g := &guard{dataDir: "/nonexistent/data", groupFD: -1, epoch: 1}
		c := &conn{epoch: 1, greet: true}
		answer := g.answer(c, line)
		if strings.Contains(answer, "\n") || !strings.HasPrefix(answer, "ok") && !strings.HasPrefix(answer, "error ") {
			t.Fatalf("%q: %q", line, answer)
		}
		if g.server.pid != 0 {
			t.Fatalf("%q started something", line)
		}
	})
}

func TestNumbers(t *testing.T) {
	for _, n := range []int64{0, 7, -7, 1<<63 - 1, -1 << 63} {
		if n < 0 {
			continue
		}
		if got, ok := parseInt(formatInt(n)); !ok || got != n {
			t.Errorf("%d came back as %d", n, got)
		}
	}
	if formatInt(-1<<63) != "-9223372036854775808" || formatUint(1<<64-1) != "18446744073709551615" {
		t.Error("extremes")
	}
	for _, bad := range []string{"", "-1", "+1", "1 ", "x", "18446744073709551616", "99999999999999999999"} {
		if n, ok := parseUint(bad); ok {
			t.Errorf("%q taken as %d", bad, n)
		}
	}
	if _, ok := parseInt("9223372036854775808"); ok {
		t.Error("int64 overflow taken")
	}
}

// The walk sees this very process by its working directory when it is not
// spared, and never otherwise.
func TestTreeSparesCaller(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := FindTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if !tree.cwdIsPath(os.Getpid()) || !tree.cwdIsInode(os.Getpid()) {
		t.Error("this process is not recognised by its working directory")
	}
	for _, pid := range ancestors(os.Getpid()) {
		if !contains(tree.spare(), pid) {
			t.Errorf("ancestor %d is not spared", pid)
		}
	}
}
