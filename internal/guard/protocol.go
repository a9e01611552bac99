package guard

import "os"

// Protocol is the version this guard speaks; see PROTOCOL.md.
const Protocol = 1

// Error codes: the second word of an "error" answer.
const (
	codeUnknown     = "unknown"
	codeSyntax      = "syntax"
	codeHello       = "hello-first"
	codeStaleEpoch  = "stale-epoch"
	codeDeadline    = "deadline"
	codeBadDeadline = "bad-deadline"
	codeEarlier     = "earlier"
	codeNotArmed    = "not-armed"
	codeExpired     = "expired"
	codeRunning     = "running"
	codeNoServer    = "no-server"
	codeOccupied    = "occupied"
	codeStopping    = "stopping"
	codeExec        = "exec"
	codeRefused     = "refused"
)

func refuse(code, text string) string { return "error " + code + " " + Quote(text) }

// reply makes the answer of a request that has none but "ok".
func reply(code, text string) string {
	if code == "" {
		return "ok"
	}
	return refuse(code, text)
}

// answer executes one request. Words after those a request knows are ignored:
// newer agents may send more.
func (g *guard) answer(c *conn, line string) string {
	words := fields(line)
	if len(words) == 0 {
		return refuse(codeSyntax, "empty line")
	}
	verb, args := words[0], words[1:]
	switch {
	case verb == "hello":
		return g.hello(c, args)
	case !c.greet:
		return refuse(codeHello, "hello <protocol> <epoch> comes first")
	case verb == "state":
		return g.state()
	case c.epoch < g.epoch:
		return refuse(codeStaleEpoch, formatUint(g.epoch))
	}
	g.lastWord = bootNow()
	switch verb {
	case "arm":
		return g.arm(args)
	case "disarm":
		return reply(g.disarmFor(word(args, 0)))
	case "start":
		return g.start(args)
	case "adopt":
		return g.adopt(args)
	case "promote":
		return g.promoteFor(args)
	case "stop":
		return reply(g.requestStop(word(args, 0)))
	case "kill":
		return reply(g.killFor())
	case "detach":
		g.detached = true
		return "ok"
	default:
		return refuse(codeUnknown, verb)
	}
}

// word returns the word at the position, or "".
func word(words []string, i int) string {
	if i < len(words) {
		return words[i]
	}
	return ""
}

// hello names the speaker's incarnation. The highest epoch seen rules.
func (g *guard) hello(c *conn, args []string) string {
	_, ok1 := parseUint(word(args, 0))
	epoch, ok2 := parseUint(word(args, 1))
	if !ok1 || !ok2 {
		return refuse(codeSyntax, "hello <protocol> <epoch>")
	}
	if epoch > g.epoch {
		g.event("epoch " + formatUint(epoch)) // to those who are old now
		g.epoch, g.detached = epoch, false
	}
	c.greet, c.epoch = true, epoch
	if epoch != 0 && epoch < g.epoch {
		return refuse(codeStaleEpoch, formatUint(g.epoch))
	}
	return "ok " + formatInt(Protocol) + " " + formatInt(int64(os.Getpid()))
}

// arm takes a deadline: the kernel's timer first, then ours, then the answer.
func (g *guard) arm(args []string) string {
	deadline, ok1 := parseInt(word(args, 0))
	ttl, ok2 := parseInt(word(args, 1))
	if !ok1 || !ok2 {
		return refuse(codeSyntax, "arm <deadline> <ttl> [shorten]")
	}
	now := bootNow()
	if g.killing {
		return refuse(codeDeadline, "the tree is being killed")
	}
	if code, text := g.lease.checkArm(now, deadline, ttl, word(args, 2) == "shorten"); code != "" {
		return refuse(code, text)
	}
	if err := g.alarm.at(AlarmAt(deadline, ttl)); err != nil {
		return refuse(codeRefused, "kernel timer: "+err.Error())
	}
	g.lease = lease{armed: true, deadline: deadline, ttl: ttl}
	g.step(bootNow()) // its first stage may be due already
	return "ok"
}

// disarmFor gives the deadline up. With a server that may be writable this
// ends the protection, and wants the word "pause".
func (g *guard) disarmFor(why string) (code, text string) {
	switch {
	case g.killing:
		return codeDeadline, "the tree is being killed"
	case !g.lease.armed:
		return "", ""
	case g.server.writable() && why != "pause":
		return codeRefused, "a writable server runs: only \"disarm pause\" may"
	}
	g.disarm()
	return "", ""
}

// late says whether the sender no longer wants its request: it may have
// waited in the socket while this process was frozen. "0" is no limit.
func late(notAfter string) (code, text string) {
	at, ok := parseInt(notAfter)
	switch {
	case !ok:
		return codeSyntax, "the instant after which the request is void, or 0"
	case at != 0 && bootNow() > at:
		return codeExpired, "the request came too late"
	default:
		return "", ""
	}
}

// start <mode> <not-after> <path> <dir> <argc> <argument>... <environment>...
func (g *guard) start(args []string) string {
	mode := word(args, 0)
	switch mode {
	case ModePrimary, ModeStandby, ModeSingleUser, ModeBootstrap, ModePause:
	default:
		return refuse(codeSyntax, "mode "+mode)
	}
	if code, text := late(word(args, 1)); code != "" {
		return refuse(code, text)
	}
	var plain []string
	for _, w := range args[2:] {
		s, ok := Unquote(w)
		if !ok {
			return refuse(codeSyntax, "bad word "+w)
		}
		plain = append(plain, s)
	}
	argc, ok := parseInt(word(plain, 2))
	if !ok || argc < 1 || argc > int64(len(plain))-3 {
		return refuse(codeSyntax, "start <mode> <not-after> <path> <dir> <argc> <argument>... <environment>...")
	}
	c := command{path: plain[0], dir: plain[1], args: plain[3 : 3+argc], env: plain[3+argc:]}
	if code, text := g.startServer(mode, c); code != "" {
		return refuse(code, text)
	}
	return "ok " + formatInt(int64(g.server.pid)) + " " + formatUint(g.server.start)
}

// adopt <pid> <start time in clock ticks, field 22 of /proc/PID/stat>
func (g *guard) adopt(args []string) string {
	pid, ok1 := parseInt(word(args, 0))
	start, ok2 := parseUint(word(args, 1))
	if !ok1 || !ok2 || pid <= 1 || pid > 1<<30 {
		return refuse(codeSyntax, "adopt <pid> <start>")
	}
	return reply(g.adoptServer(int(pid), start))
}

// promote <not-after> [unguarded-bootstrap | unguarded-pause]
func (g *guard) promoteFor(args []string) string {
	if code, text := late(word(args, 0)); code != "" {
		return refuse(code, text)
	}
	mode := ModePrimary
	if w := word(args, 1); unguarded(w) {
		mode = w
	}
	return reply(g.promote(mode))
}

func (g *guard) killFor() (code, text string) {
	if g.server.pid == 0 {
		return codeNoServer, "no server runs"
	}
	g.kill()
	return "", ""
}

// state is one line of key=value words; readers ignore keys they do not know.
func (g *guard) state() string {
	run, protection, mode := "none", "none", ModeNone
	if g.server.pid != 0 {
		mode = g.server.mode
		protection = "parent"
		if g.server.adopted {
			protection = "walk"
		}
		switch {
		case g.killing:
			run = "killing"
		case g.server.stop != 0:
			run = "stopping"
		default:
			run = "running"
		}
	}
	flag := func(b bool) string {
		if b {
			return "1"
		}
		return "0"
	}
	out := "ok"
	for _, kv := range [][2]string{
		{"protocol", formatInt(Protocol)}, {"guard", formatInt(int64(os.Getpid()))},
		{"epoch", formatUint(g.epoch)}, {"now", formatInt(bootNow())},
		{"run", run}, {"mode", mode}, {"pid", formatInt(int64(g.server.pid))},
		{"start", formatUint(g.server.start)}, {"status", g.server.status},
		{"armed", flag(g.lease.armed)}, {"deadline", formatInt(g.lease.deadline)},
		{"ttl", formatInt(g.lease.ttl)}, {"stage", g.stage.String()},
		{"alive", formatInt(int64(g.alive))}, {"stuck", formatInt(int64(g.stuck))},
		{"fenced", flag(g.killing && g.empty >= 2)},
		{"protection", protection}, {"undertaker", formatInt(int64(g.undertaker))},
		{"cgroup", g.groupNote}, {"mlock", g.lockNote}, {"oom", g.oomNote},
		{"detached", flag(g.detached)},
	} {
		out += " " + kv[0] + "=" + Quote(kv[1])
	}
	return out
}
